"""Health checks: ``--health-*`` and the image's, and what Docker takes for what is not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swapbox.containers.config import Healthcheck
from swapbox.containers.options import parse_integer
from swapbox.durations import SECOND, parse_duration
from swapbox.errors import InvalidInput

DISABLED = ("NONE",)
_KINDS = (("CMD",), ("CMD-SHELL",))  # any other disables the check, as in Docker
_MINIMUM = SECOND // 1000
DURATIONS = ("interval", "timeout", "start_period", "start_interval")
_NAMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
}


def parse_healthcheck(given: Mapping[str, Any]) -> Healthcheck | None:
    """Read ``--health-cmd`` and its kin; None when none of them is given.

    :raises InvalidInput: with Docker's words.
    """
    texts = {name: given[f"health_{name}"] for name in DURATIONS}
    asked = any((*texts.values(), given["health_cmd"], given["health_retries"]))
    if given["no_healthcheck"]:
        if asked:
            raise InvalidInput("--no-healthcheck conflicts with --health-* options")
        return Healthcheck(DISABLED)
    if not asked:
        return None
    times = {name: _duration(name, text) for name, text in texts.items()}
    retries = parse_integer(given["health_retries"] or "0")
    if retries < 0:
        raise InvalidInput("--health-retries cannot be negative")
    return Healthcheck(("CMD-SHELL", given["health_cmd"]) if given["health_cmd"] else (), retries=retries, **times)


def _duration(name: str, text: str) -> int:
    duration = parse_duration(text) if text else 0
    if duration < 0:
        raise InvalidInput(f"--health-{name.replace('_', '-')} cannot be negative")
    if 0 < duration < _MINIMUM:
        raise InvalidInput(f"{name.title().replace('_', '')} in Healthcheck cannot be less than 1ms")
    return duration


def effective(check: Healthcheck | None) -> Healthcheck | None:
    """Return a check with Docker's defaults filled in; None when nothing is to be checked."""
    if check is None or check.test[:1] not in _KINDS:
        return None
    return Healthcheck(
        check.test,
        interval=max(check.interval or 30 * SECOND, _MINIMUM),  # flags below it are refused, images are not
        timeout=check.timeout or 30 * SECOND,
        start_period=check.start_period,
        start_interval=max(check.start_interval or 5 * SECOND, _MINIMUM),
        retries=check.retries or 3,
    )

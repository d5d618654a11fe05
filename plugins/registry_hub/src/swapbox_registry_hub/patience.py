"""How often a registry is asked again, and after how long: 429, 5xx, ``Retry-After`` and rate limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import requests

from swapbox.drivers.waiting import pause
from swapbox_registry_hub import refusals

_BACK_OFF = 0.5


def _ignore(_message: str) -> None:
    """Drop a warning."""


class Patience:
    """Decides about further attempts.

    :param retries: how many there may be after the first.
    :param longest: the longest wait that a registry may ask for, in seconds.
    :param sleep: waits so many seconds.
    :param warn: told before a wait that a registry asks for.
    """

    def __init__(
        self,
        *,
        retries: int = 3,
        longest: float = 60.0,
        sleep: Callable[[float], object] = pause,
        warn: Callable[[str], None] = _ignore,
    ) -> None:
        self._retries = retries
        self._longest = longest
        self._sleep = sleep
        self._warn = warn
        self._announced = 0.0
        self._lock = threading.Lock()

    def attempts(self) -> Iterator[int]:
        """Yield the number of each attempt, from 0."""
        yield from range(self._retries + 1)

    def wait(self, host: str, response: requests.Response, attempt: int) -> bool:
        """Wait until it is time for another attempt; return False when there should be none."""
        asked = _asked(response)
        if asked is not None:
            delay = asked if asked <= self._longest else None
        else:
            # Without a time, Docker Hub's 429 means hours.
            failing = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
            delay = _BACK_OFF * 2**attempt if failing else None
        if delay is None or attempt == self._retries:
            return False
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and delay >= 1:
            self._announce(host, _docker_hubs(response), delay)
        self._sleep(delay)
        return True

    def _announce(self, host: str, limit: str, delay: float) -> None:
        """Say that there is a wait, once for all threads that wait at the same time."""
        with self._lock:
            now = time.monotonic()
            if now < self._announced:
                return
            self._announced = now + delay
        self._warn(
            f"registry {host} has too many requests{limit and f' ({limit})'}: going on in {delay:.0f} seconds"
        )


def rate_limit(response: requests.Response) -> str:
    """Return what an answer says about limits: ``limit 100 in 6 hours, 0 left, wait 3600 seconds``; or nothing."""
    asked = _asked(response)
    return ", ".join(filter(None, (_docker_hubs(response), f"wait {asked:.0f} seconds" if asked else "")))


def _docker_hubs(response: requests.Response) -> str:
    """Return what Docker Hub's headers say; empty where there are none."""
    limit, left = (response.headers.get(f"RateLimit-{name}", "") for name in ("Limit", "Remaining"))
    count, _, window = limit.partition(";w=")
    if not count:
        return ""
    within = f" in {_duration(int(window))}" if window.isdecimal() and len(window) < 10 else ""
    remaining = left.partition(";")[0]
    return refusals.clean(f"limit {count}{within}{remaining and f', {remaining} left'}")


def _duration(seconds: int) -> str:
    for size, unit in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"


def _asked(response: requests.Response) -> float | None:
    """Return the seconds of ``Retry-After``, which may be a date (RFC 9110 section 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max((then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)

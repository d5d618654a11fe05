"""Restart policies: what ``--restart`` says, and whether and when a container that has ended starts again."""

from __future__ import annotations

from swapbox.containers.config import ContainerConfig
from swapbox.containers.records import RunState
from swapbox.durations import SECOND
from swapbox.errors import InvalidInput

POLICIES = ("no", "always", "unless-stopped", "on-failure")
_FIRST = SECOND // 10
_LONGEST = 60 * SECOND
_STABLE = 10 * SECOND
"""A run at least this long makes the delay start from the first one again."""


def parse_restart(text: str) -> tuple[str, int]:
    """Read ``--restart``: return the policy and how often at most, 0 for without end.

    :raises InvalidInput: with Docker's words.
    """
    policy, colon, count = text.partition(":")
    if not text:
        return "", 0
    if not policy:
        raise InvalidInput("invalid restart policy format: no policy provided before colon")
    number = count.removeprefix("-").removeprefix("+")
    if colon and not (number.isascii() and number.isdigit()):
        raise InvalidInput("invalid restart policy format: maximum retry count must be an integer")
    if policy not in POLICIES:
        raise InvalidInput(
            f"invalid restart policy: unknown policy '{policy}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if colon and policy != "on-failure":
        raise InvalidInput("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if count.startswith("-"):
        raise InvalidInput("invalid restart policy: maximum retry count cannot be negative")
    return policy, int(count or "0")


def next_delay(config: ContainerConfig, state: RunState, *, exit_code: int, ran: int) -> int | None:
    """Return after how many nanoseconds a container that has just ended starts again; None for not at all.

    The delay doubles from a tenth of a second to a minute, as Docker's does.

    :param state: what was recorded of the run that has ended.
    :param ran: nanoseconds it ran for.
    """
    again = config.restart in {"always", "unless-stopped"} or (
        config.restart == "on-failure"
        and exit_code != 0
        and (not config.restart_retries or state.restart_count < config.restart_retries)
    )
    if not again or state.stopped:
        return None
    return _FIRST if ran >= _STABLE or not state.delay else min(2 * state.delay, _LONGEST)

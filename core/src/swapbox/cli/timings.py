"""What ``--timings`` prints."""

from __future__ import annotations

from collections.abc import Mapping

from swapbox.timings import Timings


def report(timings: Timings) -> str:
    """Return the table: milliseconds by what was done, the command's own and its monitor's beside it."""
    total = timings.total()
    lines = ["", "timings, in milliseconds", "command", *_rows(timings.parts)]
    if timings.monitor:
        lines += ["monitor, beside it", *_rows(timings.monitor)]
    return "\n".join([*lines, f"{'total':<14}{total / 1e6:>10.1f}"])


def _rows(parts: Mapping[str, int]) -> list[str]:
    return [f"  {name:<12}{nanoseconds / 1e6:>10.1f}" for name, nanoseconds in parts.items()]

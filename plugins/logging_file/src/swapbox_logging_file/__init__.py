"""Logs in Docker's json-file format, with rotation that a reader never notices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import LogDriverSpec, Option, hookimpl

if TYPE_CHECKING:
    from swapbox import DriverContext, LogDriver

_OPTIONS = (
    Option("max-size", "rotate at this size: 500k, 10m, 1g; -1 for never", "100m"),
    Option("max-file", "files to keep, the current one included", "10, or 1 with max-size"),
    Option("compress", "compress rotated files with gzip: true or false", "false"),
    Option("labels", "labels to store with each line: names separated by commas"),
    Option("labels-regex", "labels to store with each line: a regular expression"),
    Option("env", "environment variables to store with each line: names separated by commas"),
    Option("env-regex", "environment variables to store with each line: a regular expression"),
    Option("tag", "text to store with each line, such as {{.ImageName}}/{{.Name}}/{{.ID}}"),
)


@hookimpl
def swapbox_log_drivers() -> Iterator[LogDriverSpec]:
    """Offer ``json-file``."""
    yield LogDriverSpec(
        name="json-file",
        summary="Docker's json-file format, rotated by size",
        factory=_open,
        capabilities=frozenset({"read", "recipe"}),
        priority=50,
        options=_OPTIONS,
    )


def _open(_context: DriverContext) -> LogDriver:
    from swapbox_logging_file.driver import Driver

    return Driver()

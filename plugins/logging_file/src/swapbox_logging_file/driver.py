"""The driver: where a container's log is, who writes it and who reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from swapbox.drivers.logging import LogInfo, LogQuery, LogRecord, LogWriter, WriterRecipe
from swapbox_logging_file import writer
from swapbox_logging_file.options import attributes, parse


class Driver:
    """``json-file``: a :class:`~swapbox.drivers.logging.LogDriver` with the capabilities read and recipe."""

    def validate(self, options: Mapping[str, str]) -> None:
        """Check option names and values."""
        parse(options)

    def recipe(self, info: LogInfo, options: Mapping[str, str]) -> WriterRecipe:
        """Return how to open the writer in a bare interpreter."""
        settings, extra = parse(options), attributes(info, options)
        arguments = (str(_path(info)), settings.max_size, settings.max_file, settings.compress, _json(extra))
        return WriterRecipe(Path(writer.__file__), writer.open_writer.__name__, arguments)

    def open(self, info: LogInfo, options: Mapping[str, str]) -> LogWriter:
        """Open the log for appending."""
        settings, extra = parse(options), attributes(info, options)
        return writer.open_writer(
            str(_path(info)), settings.max_size, settings.max_file, settings.compress, _json(extra)
        )

    def read(self, info: LogInfo, options: Mapping[str, str], query: LogQuery) -> Iterator[LogRecord]:
        """Yield the records that the query asks for, oldest first."""
        from swapbox_logging_file.reader import read

        return read(_path(info), query)

    def close(self) -> None:
        """Nothing is held open."""


def _path(info: LogInfo) -> Path:
    return info.directory / f"{info.container_id}-json.log"


def _json(extra: Mapping[str, str]) -> str:
    """Return the attributes as Go writes JSON: keys sorted, HTML characters escaped; empty for none."""
    if not extra:
        return ""
    import json

    text = json.dumps(extra, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text

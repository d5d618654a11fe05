"""The driver ``none``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from swapbox.drivers.logging import LogInfo, LogWriter, WriterRecipe
from swapbox.errors import InvalidInput
from swapbox_logging_none import writer


class Driver:
    """Keeps no log, and so cannot read one."""

    def validate(self, options: Mapping[str, str]) -> None:
        """Refuse every option."""
        for name in options:
            raise InvalidInput(f"unknown log opt '{name}' for none log driver")

    def open(self, info: LogInfo, options: Mapping[str, str]) -> LogWriter:
        """Return a writer that writes nothing."""
        return writer.open_writer()

    def recipe(self, info: LogInfo, options: Mapping[str, str]) -> WriterRecipe:
        """Return how to open such a writer in a bare interpreter."""
        return WriterRecipe(Path(writer.__file__), writer.open_writer.__name__, ())

    def close(self) -> None:
        """Nothing is held open."""

"""Logging: where a container's output goes, and how it is read back.

The monitor reads the container's pipes, cuts the bytes into lines and hands them to a writer in *chunks*: as many
lines as one read brought. A chunk ends with a newline, or with part of a line when the line is longer than
16 KiB or its end is not there at exit. One chunk has one stream and one time, so a writer can work on thousands of
lines with a handful of calls.

Optional powers, named in ``LogDriverSpec.capabilities``:

``read``
    The driver also keeps :class:`LogReader`; without it ``swapbox logs`` says so and fails.

``recipe``
    The driver also keeps :class:`LogRecipes`, so that a monitor which has executed a bare interpreter to give its
    memory back can go on writing without swapbox, pluggy or the plugin in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from swapbox.drivers.common import DriverSpec

Stream = Literal["stdout", "stderr"]


class LogInfo(NamedTuple):
    """The container a log belongs to.

    :param directory: exists, belongs to this container's log, and is removed with the container.
    :param environment: the container's, for drivers with an ``env`` option.
    """

    container_id: str
    container_name: str
    image: str
    directory: Path
    labels: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}


class LogRecord(NamedTuple):
    """One line read back.

    :param time: nanoseconds since the epoch.
    :param data: the line with its newline, or part of a line without one.
    :param attributes: what ``swapbox logs --details`` shows: chosen labels and variables, the tag.
    """

    time: int
    stream: Stream
    data: bytes
    attributes: Mapping[str, str] = {}


class LogQuery(NamedTuple):
    """Which records to read.

    :param since: only records at or after this time, nanoseconds since the epoch.
    :param until: only records at or before this time.
    :param tail: only the last so many records of those; None for all.
    :param follow: go on with new records until ``ended()`` says that no more will come (or ``until`` has passed).
    :param ended: asked between reads when following; after it says True, what is left is read once more.
    """

    since: int | None = None
    until: int | None = None
    tail: int | None = None
    follow: bool = False
    ended: Callable[[], bool] = bool


class LogWriter(Protocol):
    """The write end of one container's log; used by one process at a time."""

    def write(self, stream: Stream, chunk: bytes, time: int) -> None:
        """Append a chunk of lines (see the module) that arrived at ``time``, nanoseconds since the epoch.

        :raises OSError: the disk is full or failed; the log is still good, and the next chunk may succeed.
        """
        ...

    def close(self) -> None:
        """Flush and close; calling it twice is fine."""
        ...


class LogDriver(Protocol):
    """Makes writers."""

    def validate(self, options: Mapping[str, str]) -> None:
        """Check ``--log-opt`` values before anything is created.

        :raises InvalidInput: names the option, the value and what is expected.
        """
        ...

    def open(self, info: LogInfo, options: Mapping[str, str]) -> LogWriter:
        """Open the log for appending; a restarted container goes on in the same log."""
        ...

    def close(self) -> None:
        """Release what the driver holds open; calling it twice is fine."""
        ...


class WriterRecipe(NamedTuple):
    """How to open a writer without swapbox: call ``function(*arguments)`` of the module in the file ``source``.

    The module imports nothing but the standard library, and its function returns a :class:`LogWriter`.
    """

    source: Path
    function: str
    arguments: tuple[str | int | bool | None, ...]


class LogRecipes(Protocol):
    """Capability ``recipe``."""

    def recipe(self, info: LogInfo, options: Mapping[str, str]) -> WriterRecipe:
        """Return what opens the writer that ``open`` with the same arguments returns."""
        ...


class LogReader(Protocol):
    """Capability ``read``."""

    def read(self, info: LogInfo, options: Mapping[str, str], query: LogQuery) -> Iterator[LogRecord]:
        """Yield records in the order they were written, across rotated files, while the writer goes on."""
        ...


class LogDriverSpec(DriverSpec[LogDriver]):
    """Offer a log driver; see :class:`swapbox.drivers.common.DriverSpec`."""

    kind = "logging"
    __slots__ = ()

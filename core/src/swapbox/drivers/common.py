"""What all kinds of driver share: the spec record a plugin yields, probes, and the factory's context.

A driver comes to life in three steps. Its plugin *offers* a :class:`DriverSpec` (cheap: nothing heavy is
imported). The core asks ``spec.probe(context)`` whether this host can carry it. If selected, the core calls
``spec.factory(context)``, which imports the real module and returns the driver: a plain object that keeps the
kind's Protocol and is then called directly.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

DriverT_co = TypeVar("DriverT_co", covariant=True)

Kind = Literal["registry", "storage", "isolation", "cgroup", "logging", "network", "volume"]
KINDS: tuple[Kind, ...] = ("registry", "storage", "isolation", "cgroup", "logging", "network", "volume")

API_VERSION = (1, 0)
"""The (major, minor) of the driver interfaces in this release. A spec with another major is refused."""

FALLBACK_BELOW = 50
"""A driver of lower priority is a fallback: when it is used because a better one cannot be, the user is told."""


BY_NAME = "by-name"
"""The capability, in any kind, of a driver that serves who names it and is never the default."""


class Supported(NamedTuple):
    """The host can carry this driver."""


class Unsupported(NamedTuple):
    """The host cannot carry this driver; nothing is faulty."""

    reason: str


class Broken(NamedTuple):
    """The driver should work here and does not: its own fault, or that of something it needs."""

    error: str


ProbeResult = Supported | Unsupported | Broken


class Option(NamedTuple):
    """One setting a driver understands, given as ``--storage-opt``, ``--log-opt`` or in the configuration file.

    :param name: as the user types it, for example ``max-size``.
    :param help: one line.
    :param default: the text used when the option is not given; None when there is no default.
    """

    name: str
    help: str
    default: str | None = None


def _ignore(_message: str) -> None:
    """Drop a warning."""


class DriverContext(NamedTuple):
    """What a probe and a factory are told.

    :param root: the directory that belongs to this driver alone, on disk; the driver may create it.
    :param run_root: the same on tmpfs: gone after a reboot.
    :param options: settings by name, already checked against the spec's ``options``.
    :param unprivileged: the engine runs without root's powers (another user, or a user namespace).
    :param place: returns a word for where the engine's root directory is: another one where something else is
        mounted in its stead, or in a container that has a directory of the same path.
    :param warn: prints one line for the user on stderr; call it at most once per cause.
    """

    root: Path
    run_root: Path
    options: Mapping[str, str] = {}
    unprivileged: bool = False
    warn: Callable[[str], None] = _ignore
    place: Callable[[], str] = str


def always(_context: DriverContext) -> ProbeResult:
    """Say that every host carries this driver."""
    return Supported()


class DriverSpec(Generic[DriverT_co]):
    """A backend on offer. Use the subclass of the kind, for example ``StorageDriverSpec``.

    :param name: what users type after ``--storage-driver`` and the like; lower case, digits and dashes.
    :param summary: one line for ``swapbox plugins ls``.
    :param factory: imports the heavy module and returns the driver.
    :param probe: says whether this host can carry the driver; must be fast and leave nothing behind.
    :param api: the (major, minor) of the interface the driver was written against.
    :param capabilities: names of the optional powers it has, documented in the kind's module, and :data:`BY_NAME`.
    :param priority: the highest supported one is the default; built-ins use 0 to 100, and a fallback, whose use
        the user is told of, has less than :data:`FALLBACK_BELOW`.
    :param options: the settings it understands.
    """

    kind: ClassVar[Kind]
    __slots__ = ("api", "capabilities", "factory", "name", "options", "priority", "probe", "summary")

    def __init__(
        self,
        *,
        name: str,
        summary: str,
        factory: Callable[[DriverContext], DriverT_co],
        probe: Callable[[DriverContext], ProbeResult] = always,
        api: tuple[int, int] = API_VERSION,
        capabilities: frozenset[str] = frozenset(),
        priority: int = 0,
        options: tuple[Option, ...] = (),
    ) -> None:
        self.name = name
        self.summary = summary
        self.factory = factory
        self.probe = probe
        self.api = api
        self.capabilities = capabilities
        self.priority = priority
        self.options = options

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

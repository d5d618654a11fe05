"""Which driver of each kind is used, and why.

For what exists already, the driver it was made with: that is a fact, not a preference. For what is new, in this
order: the flag, the environment, what the store was made with, the configuration file, and last the highest
priority whose probe says that this host carries it. Only that last step ever tries a second driver: what somebody
asked for, or what data on disk needs, works or is an error.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack, overload

from swapbox.config import Config
from swapbox.drivers.common import (
    BY_NAME,
    FALLBACK_BELOW,
    Broken,
    DriverContext,
    Kind,
    ProbeResult,
    Supported,
    Unsupported,
)
from swapbox.errors import InvalidInput, NotFound, PluginError, SwapboxError, describe
from swapbox.errors import Unsupported as UnsupportedError
from swapbox.paths import Paths, is_unprivileged
from swapbox.plugins.kinds import NAMES
from swapbox.plugins.manager import Offer, Plugins
from swapbox.plugins.notes import Notes

if TYPE_CHECKING:
    from swapbox.drivers.cgroup import CgroupController
    from swapbox.drivers.isolation import IsolationDriver
    from swapbox.drivers.logging import LogDriver
    from swapbox.drivers.network import NetworkDriver
    from swapbox.drivers.registry import RegistryDriver
    from swapbox.drivers.storage import StorageDriver
    from swapbox.drivers.volume import VolumeDriver


class Candidate(NamedTuple):
    """One driver that was looked at; ``result`` is None when its probe was not asked."""

    offer: Offer
    result: ProbeResult | None


class Choice(NamedTuple):
    """The driver of a kind that is used, and how it came to that.

    :param reason: ``--storage-driver``, ``SWAPBOX_STORAGE_DRIVER``, the configuration file's path, ...
    :param considered: every driver of the kind, in the order in which they are tried.
    """

    kind: Kind
    offer: Offer
    reason: str
    considered: tuple[Candidate, ...]

    @property
    def name(self) -> str:
        """The driver's name."""
        return self.offer.spec.name


class Which(TypedDict, total=False):
    """What :meth:`Selector.open` passes on to :meth:`Selector.choose`."""

    name: str | None
    made_with: str | None
    made_by: str | None


class Selector:
    """Chooses drivers and opens each of them once.

    :param flags: the drivers named by the command line's options, for the whole command.
    :param options: driver options of the command line, by kind; they go before those of the configuration file.
    :param warn: prints one line for the user.
    """

    def __init__(
        self,
        plugins: Plugins,
        *,
        paths: Paths,
        config: Config,
        environment: Mapping[str, str],
        flags: Mapping[Kind, str],
        warn: Callable[[str], None],
        options: Mapping[Kind, Mapping[str, str]] | None = None,
    ) -> None:
        self._plugins = plugins
        self._paths = paths
        self._notes = Notes(paths)
        self._config = config
        self._environment = environment
        self._flags = flags
        self._warn = warn
        self._options = options or {}
        self._unprivileged = is_unprivileged()
        self._probed: dict[tuple[Kind, str], ProbeResult] = {}
        self._default: dict[Kind, Choice] = {}
        self._open: dict[tuple[Kind, str], Any] = {}

    def choose(
        self, kind: Kind, *, name: str | None = None, made_with: str | None = None, made_by: str | None = None
    ) -> Choice:
        """Return the driver to use.

        :param name: the driver that a flag names for this one operation.
        :param made_with: the driver that the container, snapshot or network at hand was made with; goes before
            flags and variables for the whole command.
        :param made_by: the distribution that driver came from, if it was written down.
        :raises NotFound: no installed plugin offers the named driver.
        :raises Unsupported: this host cannot carry it, or none at all.
        :raises PluginError: it is faulty, two plugins offer it, or the one that data was made with is gone.
        """
        titles = NAMES[kind]
        if name:
            return self._named(kind, name, titles.flag, by="")
        if made_with:
            return self._made_with(kind, made_with, made_by, "this")
        if flag := self._flags.get(kind):
            return self._named(kind, flag, titles.flag)
        if variable := self._environment.get(titles.variable):
            return self._named(kind, variable, titles.variable)
        if kind not in self._default:
            self._default[kind] = self._usual(kind)
        return self._default[kind]

    def explain(self, kind: Kind) -> tuple[Choice | SwapboxError, tuple[Candidate, ...]]:
        """Return what would be used without a flag for one operation, or why nothing can be, and every probe."""
        chosen: Choice | SwapboxError
        try:
            chosen = self.choose(kind)
        except SwapboxError as error:
            chosen = error
        for offer in self._ranked(kind):
            with contextlib.suppress(SwapboxError):  # wrong options: then the candidate has no result
                self._probe(kind, offer)
        return chosen, self._considered(kind)

    def context(self, kind: Kind, offer: Offer) -> DriverContext:
        """Return what a driver's probe and factory are told.

        :raises InvalidInput: an option is not one of the driver's.
        """
        name = offer.spec.name
        typed = self._options.get(kind, {})
        given = {**self._config.options.get((kind, name), {}), **typed}
        known = {option.name: option.default for option in offer.spec.options}
        for option in given:
            if option not in known:
                file = "" if option in typed else self._config.sources.get(f"options.{kind}.{name}", "")
                raise InvalidInput(
                    f"{file}: " * bool(file) + f"unknown option {option!r} of {NAMES[kind].title} {name!r}",
                    hint=f"it has: {', '.join(sorted(known))}" if known else "it has no options",
                )
        defaults = {option: default for option, default in known.items() if default is not None}
        return DriverContext(
            root=self._paths.driver(kind, name),
            run_root=self._paths.driver_run(kind, name),
            options=defaults | given,
            unprivileged=self._unprivileged,
            warn=self._warn,
            place=self._paths.place,
        )

    @overload
    def open(self, kind: Literal["registry"], **which: Unpack[Which]) -> "RegistryDriver": ...
    @overload
    def open(self, kind: Literal["storage"], **which: Unpack[Which]) -> "StorageDriver": ...
    @overload
    def open(self, kind: Literal["isolation"], **which: Unpack[Which]) -> "IsolationDriver": ...
    @overload
    def open(self, kind: Literal["cgroup"], **which: Unpack[Which]) -> "CgroupController": ...
    @overload
    def open(self, kind: Literal["logging"], **which: Unpack[Which]) -> "LogDriver": ...
    @overload
    def open(self, kind: Literal["network"], **which: Unpack[Which]) -> "NetworkDriver": ...
    @overload
    def open(self, kind: Literal["volume"], **which: Unpack[Which]) -> "VolumeDriver": ...

    def open(self, kind: Kind, **which: Unpack[Which]) -> Any:
        """Return the driver that :meth:`choose` chooses, ready for use; the same object each time.

        :raises PluginError: the factory failed with something that is none of our errors; names the distribution.
        """
        return self.open_choice(self.choose(kind, **which))

    def open_choice(self, choice: Choice) -> Any:
        """Return the chosen driver, ready for use; the same object each time."""
        key = choice.kind, choice.name
        if key not in self._open:
            context = self.context(choice.kind, choice.offer)
            try:
                self._open[key] = choice.offer.spec.factory(context)
            except SwapboxError:
                raise
            except (Exception, SystemExit) as error:
                raise PluginError(f"{_label(choice.kind, choice.offer)} failed: {describe(error)}") from error
            default = self._default.get(choice.kind)
            if default and default.name == choice.name:
                self._notes.note_made_with(choice.kind, choice.name, choice.offer.distribution)
        return self._open[key]

    def move_store(self, old: Choice, new: Choice) -> None:
        """Let what is new in this store be made with another driver, to which everything was moved."""
        self._notes.move_store(new.kind, old.name, new.name, new.offer.distribution)
        self._default.pop(new.kind, None)

    def close(self) -> None:
        """Close every open driver, all of them even when one fails; calling it twice is fine."""
        failure = None
        while self._open:
            _, driver = self._open.popitem()
            try:
                driver.close()
            except Exception as error:
                failure = failure or error
        if failure:
            raise failure

    def _named(self, kind: Kind, name: str, reason: str, *, by: str | None = None) -> Choice:
        """Return a driver that somebody named.

        :param by: what messages say it was chosen by, if not the reason; nothing of what was typed just now.
        """
        by = reason if by is None else by
        chosen = f"chosen by {by}" if by else ""
        try:
            offer = self._plugins.offer(kind, name)
        except NotFound as error:
            raise NotFound(f"{error.message}, {chosen}" if chosen else error.message, hint=error.hint) from None
        self._require(kind, offer, chosen)
        return Choice(kind, offer, reason, self._considered(kind))

    def _usual(self, kind: Kind) -> Choice:
        """Return what is used when nobody names a driver."""
        if store := self._notes.made_with(kind):
            return self._made_with(kind, *store, f"the store {self._paths.root}")
        if configured := self._config.drivers.get(kind):
            file = str(self._config.sources.get(f"drivers.{kind}", "configuration"))
            return self._named(kind, configured, file, by=f"drivers.{kind} in {file}")
        return self._best(kind)

    def _made_with(self, kind: Kind, name: str, distribution: str | None, what: str) -> Choice:
        try:
            offer = self._plugins.offer(kind, name)
        except NotFound as error:
            raise PluginError(
                f"{what} was made with {NAMES[kind].title} {name!r}, which no usable plugin offers",
                hint=self._way_back(kind, name, distribution, f"{error.hint}"),
            ) from error
        self._require(kind, offer, f"with which {what} was made")
        return Choice(kind, offer, f"{what} was made with it", self._considered(kind))

    def _way_back(self, kind: Kind, name: str, distribution: str | None, known: str) -> str:
        """Return how a driver that is gone can be had again.

        :param known: what there is instead, and which plugins could offer more.
        """
        package = distribution or f"the package it came from, perhaps swapbox-{kind}-{name}"
        here = any(distribution in (None, entry.distribution) for entry in self._plugins.left_out)
        return f"{known}; or else install {package}" if here else f"install {package}; {known}"

    def _best(self, kind: Kind) -> Choice:
        """Return the highest priority that the host carries; say what was passed over for a fallback."""
        passed: dict[str, Unsupported | Broken] = {}
        for name in [offer.spec.name for offer in self._ranked(kind) if BY_NAME not in offer.spec.capabilities]:
            offer = self._plugins.offer(kind, name)
            result = self._probe(kind, offer)
            if isinstance(result, Supported):
                self._announce(kind, offer, passed)
                return Choice(kind, offer, "highest priority that this host carries", self._considered(kind))
            passed[name] = result
        reasons = "; ".join(f"{name}: {_text(result)}" for name, result in passed.items())
        if reasons:
            raise UnsupportedError(f"no {NAMES[kind].title} works on this host: {reasons}")
        raise self._plugins.none_installed(kind)

    def _ranked(self, kind: Kind) -> list[Offer]:
        """Return the drivers of a kind in the order in which they are tried."""
        offers = self._plugins.offers(kind)
        return sorted(offers, key=lambda offer: (-offer.spec.priority, offer.spec.name))

    def _considered(self, kind: Kind) -> tuple[Candidate, ...]:
        return tuple(Candidate(offer, self._probed.get((kind, offer.spec.name))) for offer in self._ranked(kind))

    def _probe(self, kind: Kind, offer: Offer) -> ProbeResult:
        """Ask a driver, once, whether this host can carry it."""
        key = kind, offer.spec.name
        if key not in self._probed:
            context = self.context(kind, offer)
            try:
                self._probed[key] = offer.spec.probe(context)
            except (Exception, SystemExit) as error:
                self._probed[key] = Broken(describe(error))
        return self._probed[key]

    def _require(self, kind: Kind, offer: Offer, why: str) -> None:
        """Raise unless the host carries the driver."""
        result, why = self._probe(kind, offer), f", {why}," if why else ""
        if isinstance(result, Unsupported):
            title = NAMES[kind].title
            raise UnsupportedError(f"{title} {offer.spec.name!r}{why} cannot work here: {result.reason}")
        if isinstance(result, Broken):
            raise PluginError(f"{_label(kind, offer)}{why} is faulty: {result.error}")

    def _announce(self, kind: Kind, offer: Offer, passed: Mapping[str, Unsupported | Broken]) -> None:
        """Warn of a fallback, and of faulty drivers passed over; not again while it is the same on this host."""
        if offer.spec.priority >= FALLBACK_BELOW:
            passed = {name: result for name, result in passed.items() if isinstance(result, Broken)}
        if not passed:
            return
        reasons = "; ".join(f"{name!r} cannot be used: {_text(result)}" for name, result in passed.items())
        message = f"using {NAMES[kind].title} {offer.spec.name!r}, since {reasons}"
        if self._notes.is_news(kind, message):
            self._warn(message)


def _text(result: Unsupported | Broken) -> str:
    return result.reason if isinstance(result, Unsupported) else result.error


def _label(kind: Kind, offer: Offer) -> str:
    return f"{NAMES[kind].title} {offer.spec.name!r} (plugin {offer.plugin!r} of {offer.distribution})"

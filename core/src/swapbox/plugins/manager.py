"""What one process knows of its plugins: which there are, what they offer, and which are in quarantine."""

from collections.abc import Callable, Mapping
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.drivers.common import API_VERSION, DriverSpec, Kind
from swapbox.errors import ForcedExit, NotFound, PluginError, describe
from swapbox.plugins import index
from swapbox.plugins.index import Entry
from swapbox.plugins.kinds import NAMES

RESTRICTION = "SWAPBOX_PLUGINS"


class Offer(NamedTuple):
    """A driver on offer, and the plugin and distribution that offer it."""

    spec: DriverSpec[Any]
    plugin: str
    distribution: str


class Quarantined(NamedTuple):
    """A plugin that is not used, and why."""

    name: str
    distribution: str
    version: str
    error: str


class Plugins:
    """The plugins of one process. Nothing of a plugin is imported before something it offers is asked for.

    Made with :meth:`load`.
    """

    def __init__(self, entries: tuple[Entry, ...], *, rescan: Callable[[], tuple[Entry, ...]]) -> None:
        self._entries = {entry.key: entry for entry in entries if entry.validated}
        self._left_out = tuple(entry for entry in entries if not entry.validated)
        self._rescan = rescan
        self._objects: dict[tuple[str, str], object] = {}
        self._offers: dict[Kind, list[Offer]] = {}
        self._told_of: set[tuple[Entry, str]] = set()

    @classmethod
    def load(
        cls,
        *,
        environment: Mapping[str, str],
        cache_dir: Path | None,
        third_party: bool = True,
    ) -> "Plugins":
        """Find the installed plugins.

        :param environment: ``SWAPBOX_PLUGINS=a,b`` leaves out third-party plugins with other names.
        :param cache_dir: where the index is kept between commands; None to scan each time.
        :param third_party: False leaves out every plugin that does not come with swapbox.
        """
        wanted = _filter(environment.get(RESTRICTION), third_party=third_party)

        def scan() -> tuple[Entry, ...]:
            return _scan(cache_dir, wanted)

        known = index.read(cache_dir) if cache_dir else None
        if known is None or any(wanted(entry) and not entry.validated for entry in known):
            return cls(scan(), rescan=scan)
        entries = tuple(entry._replace(validated=wanted(entry)) for entry in known)
        return cls(entries, rescan=scan)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every plugin in use or in quarantine, by name."""
        return tuple(sorted(self._entries.values()))

    @property
    def left_out(self) -> tuple[Entry, ...]:
        """The plugins that ``SWAPBOX_PLUGINS`` or ``--no-plugins`` left out."""
        return self._left_out

    @property
    def quarantined(self) -> list[Quarantined]:
        """The plugins that are not used because they are faulty, as far as they were asked for anything."""
        return [
            Quarantined(entry.name, entry.distribution, entry.version, entry.error)
            for entry in self.entries
            if entry.error
        ]

    def check(self) -> list[Quarantined]:
        """Look at every plugin afresh, collect all they offer, and return those that are faulty."""
        self._entries = {entry.key: entry for entry in self._rescan() if entry.validated}
        self._offers.clear()
        for kind in NAMES:
            self.offers(kind)
        return self.quarantined

    def implements(self, hook: str) -> bool:
        """Say whether any plugin implements the hook; costs nothing."""
        return any(hook in entry.hooks and not entry.error for entry in self._entries.values())

    def offers(self, kind: Kind) -> list[Offer]:
        """Return every driver of one kind that a usable plugin offers; two may have one name."""
        if kind not in self._offers:
            self._offers[kind] = [
                Offer(spec, entry.name, entry.distribution)
                for entry, plugin in self._implementing(NAMES[kind].hook).items()
                for spec in self._specs_of(entry, plugin, kind)
            ]
        return self._offers[kind]

    def offer(self, kind: Kind, name: str) -> Offer:
        """Return one driver.

        :raises NotFound: no usable plugin offers it.
        :raises PluginError: two plugins offer it; names both distributions.
        """
        if not self._named(kind, name) and self.quarantined:
            self.check()  # what is in quarantine may have been mended since it was last looked at
        found = self._named(kind, name)
        if not found:
            raise self._unknown(kind, name)
        if len(found) > 1:
            raise _clash(kind, found)
        return found[0]

    def none_installed(self, kind: Kind) -> NotFound:
        """Return the error for a kind of which no driver is on offer, or none but those that are used by name."""
        names = ", ".join(sorted(offer.spec.name for offer in self.offers(kind)))
        return NotFound(
            f"no {NAMES[kind].title} is installed{names and f' but those to be named: {names}'}",
            hint=self._troubles() or "plugins are found by their installed metadata: pip install swapbox",
        )

    def notify(self, hook: str, *, warn: Callable[[str], None], **arguments: Any) -> list[Any]:
        """Call an editing or observing hook, and return what the implementations returned (None left out).

        :param warn: told of failures where the hook's policy is to go on, once of each plugin's hook.
        :raises PluginError: an implementation failed and the hook's policy is to stop.
        """
        if not self.implements(hook):
            return []
        from swapbox.hookspecs import POLICIES
        from swapbox.plugins.calls import call

        policy = POLICIES[hook]
        results = []
        for answer in call(hook, self._implementing(hook), arguments, timeout=policy.timeout):
            if answer.error and policy.on_error == "fail":
                raise answer.error
            if answer.error:
                if (told := (answer.entry, hook)) not in self._told_of:
                    warn(answer.error.message)
                self._told_of.add(told)
            elif answer.result is not None:
                results.append(answer.result)
        return results

    def _named(self, kind: Kind, name: str) -> list[Offer]:
        return [offer for offer in self.offers(kind) if offer.spec.name == name]

    def _unknown(self, kind: Kind, name: str) -> NotFound:
        available = ", ".join(sorted({offer.spec.name for offer in self.offers(kind)}))
        if not available:
            return self.none_installed(kind)
        troubles = self._troubles()
        return NotFound(
            f"unknown {NAMES[kind].title} {name!r}",
            hint=f"available: {available}" + (f"; {troubles}" if troubles else ""),
        )

    def _troubles(self) -> str:
        """Return which plugins could have offered more."""
        faulty = [f"plugin {q.name!r} of {q.distribution} is in quarantine: {q.error}" for q in self.quarantined]
        names = ", ".join(repr(entry.name) for entry in self._left_out)
        return "; ".join([*faulty, *([f"left out by {RESTRICTION} or --no-plugins: {names}"] if names else [])])

    def _specs_of(self, entry: Entry, plugin: object, kind: Kind) -> list[DriverSpec[Any]]:
        """Return what one plugin offers; nothing, and the plugin in quarantine, when any of it is wrong."""
        try:
            specs = list(getattr(plugin, NAMES[kind].hook)())
            for spec in specs:
                _check(spec, kind)
        except (KeyboardInterrupt, ForcedExit):
            raise
        except BaseException as error:
            self._quarantine(entry, error)
            return []
        return specs

    def _implementing(self, hook: str) -> dict[Entry, object]:
        """Return the healthy plugins that implement a hook, imported, in alphabetical order."""
        found = {}
        for entry in self.entries:
            if hook in entry.hooks and not entry.error and (plugin := self._imported(entry)) is not None:
                found[entry] = plugin
        return found

    def _imported(self, entry: Entry) -> object | None:
        if entry.key not in self._objects:
            module, _, attribute = entry.value.partition(":")
            try:
                plugin = import_module(module.strip())
                self._objects[entry.key] = reduce(getattr, filter(None, attribute.strip().split(".")), plugin)
            except (KeyboardInterrupt, ForcedExit):
                raise
            except BaseException as error:
                self._quarantine(entry, error)
        return self._objects.get(entry.key)

    def _quarantine(self, entry: Entry, error: BaseException) -> None:
        self._entries[entry.key] = self._entries[entry.key]._replace(error=describe(error))


def _filter(restriction: str | None, *, third_party: bool) -> Callable[[Entry], bool]:
    """Return which plugins a process uses."""
    if not third_party:
        return lambda entry: entry.builtin
    if restriction is None:
        return lambda _entry: True
    names = {name.strip() for name in restriction.split(",")}
    return lambda entry: entry.builtin or entry.name in names


def _scan(cache_dir: Path | None, wanted: Callable[[Entry], bool]) -> tuple[Entry, ...]:
    from swapbox.plugins.discovery import scan

    found = scan(wanted)
    if cache_dir:
        index.write(cache_dir, *found)
    return found.entries


def _check(spec: object, kind: Kind) -> None:
    """Refuse what is no spec of this kind and interface version."""
    hook = NAMES[kind].hook
    if not isinstance(spec, DriverSpec) or spec.kind != kind:
        raise PluginError(f"hook {hook!r} yielded {spec!r}, which is no spec of a {NAMES[kind].title}")
    if spec.api[0] != API_VERSION[0]:
        raise PluginError(
            f"{NAMES[kind].title} {spec.name!r} was written for driver interface {spec.api[0]}.{spec.api[1]},"
            f" this release has {API_VERSION[0]}.{API_VERSION[1]}"
        )


def _clash(kind: Kind, offers: list[Offer]) -> PluginError:
    owners = " and ".join(f"{offer.distribution} (plugin {offer.plugin!r})" for offer in offers)
    return PluginError(
        f"{NAMES[kind].title} {offers[0].spec.name!r} is offered twice: by {owners}",
        hint=f"uninstall one of them, or leave one out with {RESTRICTION} or --no-plugins",
    )

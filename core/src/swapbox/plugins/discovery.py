"""The scan: find every installed plugin, load the wanted ones, and check them against the hook specifications.

stevedore finds and loads, pluggy registers and validates. Both are slow to import, so this module is imported only
when the index cannot answer.

stevedore's own finder keeps a cache on disk, keyed on mtimes as 32-bit floats. Those tell two moments apart only
when they are 128 s apart, so a plugin installed twice within that time is found as it was the first time.
:class:`_Extensions` reads the installed metadata itself instead.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pluggy
from stevedore.extension import ExtensionManager

from swapbox import hookspecs
from swapbox.errors import ForcedExit, PluginError, describe
from swapbox.plugins import index
from swapbox.plugins.index import Entry
from swapbox.plugins.markers import PROJECT


class Scan(NamedTuple):
    """What a scan found: all entries, and the stamps of the files they depend on."""

    entries: tuple[Entry, ...]
    stamps: dict[str, index.Stamp]


def scan(wanted: Callable[[Entry], bool]) -> Scan:
    """Find every installed plugin; import and validate the wanted ones.

    :param wanted: asked for each entry before anything of it is imported.
    """
    importlib.invalidate_caches()
    before = index.stamps(sys.path)
    extensions = _Extensions(wanted)
    loaded = [*extensions.loaded()]
    checked = [_validated(entry, plugin) for entry, plugin in loaded]
    files = {file for _, plugin in loaded for file in _files(plugin)}
    return Scan(tuple(sorted([*checked, *extensions.left])), before | index.stamps(files))


def new_manager() -> pluggy.PluginManager:
    """Return a plugin manager that knows swapbox's hooks."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


class _EntryPoint(importlib.metadata.EntryPoint):
    """An entry point that knows its distribution, and whose failures are all of one class."""

    @classmethod
    def of(cls, entry: Entry) -> _EntryPoint:
        """Return the entry point of an entry."""
        point = cls(entry.name, entry.value, index.GROUP)
        vars(point)["entry"] = entry  # entry points refuse plain assignment
        return point

    def load(self) -> Any:
        """Import the plugin.

        :raises PluginError: in place of whatever the import raised, SystemExit too; stevedore would not catch it.
        """
        try:
            return super().load()
        except (KeyboardInterrupt, ForcedExit):
            raise
        except BaseException as error:
            raise PluginError(describe(error)) from error


class _Extensions(ExtensionManager[Any]):
    """stevedore's manager over a list of entry points that is never stale, loading the wanted ones.

    :ivar left: the entries that were not loaded: unwanted, or failed with their errors.
    """

    def __init__(self, wanted: Callable[[Entry], bool]) -> None:
        found = [*_find()]
        self.left = [entry for entry in found if not wanted(entry)]
        self._points = [_EntryPoint.of(entry) for entry in found if wanted(entry)]

        def failed(_manager: object, point: importlib.metadata.EntryPoint, error: BaseException) -> None:
            self.left.append(_entry(point)._replace(error=describe(error), validated=True))

        super().__init__(index.GROUP, on_load_failure_callback=failed)

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        """Return what to load; stevedore's own list may be stale."""
        return [*self._points]

    def loaded(self) -> Iterator[tuple[Entry, object]]:
        """Yield each entry that was loaded with its plugin."""
        for extension in self:
            yield _entry(extension.entry_point), extension.plugin


def _entry(point: importlib.metadata.EntryPoint) -> Entry:
    entry = vars(point)["entry"]
    assert isinstance(entry, Entry)
    return entry


def _find() -> Iterator[Entry]:
    """Yield the entry points of the group; of a distribution that is there twice, the one Python would import."""
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            name, version = distribution.name, distribution.version
            canonical = re.sub(r"[-_.]+", "-", name).lower()
            found = [*distribution.entry_points.select(group=index.GROUP)]
        except Exception:  # damaged metadata of some other package must not take every plugin down
            continue
        if canonical not in seen:
            seen.add(canonical)
            yield from (Entry(point.name, point.value, name, version) for point in found)


def _validated(entry: Entry, plugin: object) -> Entry:
    """Return the entry with the hooks that its plugin implements, or with what is wrong with it."""
    try:
        return entry._replace(hooks=_hooks(plugin), validated=True)
    except Exception as error:
        return entry._replace(error=describe(error), validated=True)


def _hooks(plugin: object) -> tuple[str, ...]:
    """Return the hooks a plugin implements.

    :raises PluginError: an implementation fits no hook.
    """
    manager = new_manager()
    manager.register(plugin)
    callers = manager.get_hookcallers(plugin) or []
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        unknown = next(caller.name for caller in callers if _is_pending(caller))
        raise PluginError(f"unknown hook {unknown!r}{_did_you_mean(unknown)}") from error
    for caller in callers:
        if any(implementation.wrapper or implementation.hookwrapper for implementation in caller.get_hookimpls()):
            raise PluginError(f"hook {caller.name!r} cannot be wrapped")
    for name, function in inspect.getmembers(plugin, inspect.isfunction):
        if name.startswith(f"{PROJECT}_") and not hasattr(function, f"{PROJECT}_impl"):
            raise PluginError(f"function {name!r} is not marked with @hookimpl")
    return tuple(sorted(caller.name for caller in callers if caller.has_spec()))


def _is_pending(caller: pluggy.HookCaller) -> bool:
    required = any(not implementation.optionalhook for implementation in caller.get_hookimpls())
    return required and not caller.has_spec()


def _did_you_mean(name: str) -> str:
    from difflib import get_close_matches

    known = [attribute for attribute, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")]
    close = get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _files(plugin: object) -> Iterable[str]:
    """Yield the source files that say which hooks a plugin implements."""
    module = plugin if inspect.ismodule(plugin) else inspect.getmodule(plugin)
    if module and module.__file__:
        yield module.__file__
    for _, function in inspect.getmembers(plugin, inspect.isfunction):
        if hasattr(function, f"{PROJECT}_impl"):
            yield function.__code__.co_filename

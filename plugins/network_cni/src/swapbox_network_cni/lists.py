"""Configuration lists: what an administrator writes, see the CNI specification, section 1.

They are read each time: a change holds for the next container. What was connected already is disconnected by the
list that it was connected with, which its attachment has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.drivers.network import Network
from swapbox.errors import InvalidInput, NotFound, SwapboxError, Unsupported

OPTION = "conflist"
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""What is spoken here, in their order."""
_CHECKING, _COLLECTING = VERSIONS.index("0.4.0"), VERSIONS.index("1.1.0")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SUFFIXES = (".conflist", ".conf", ".json")
_EVERYWHERE = ("0.0.0.0/0", "::/0")
_FIRST = "cni"
"""The network that has the driver's own name: the first list there is, as with other runtimes."""


class PluginList(NamedTuple):
    """A configuration list.

    :param name: of the network, to its plugins.
    :param version: that is spoken with the plugins.
    :param versions: more of them that may be.
    :param plugins: their configurations, in the order of ADD.
    :param source: the file.
    """

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    source: str
    versions: tuple[str, ...] = ()
    disable_check: bool = False
    disable_gc: bool = False

    @property
    def checks(self) -> bool:
        """Its plugins know CHECK."""
        return not self.disable_check and VERSIONS.index(self.version) >= _CHECKING

    @property
    def collects(self) -> bool:
        """Its plugins know GC."""
        return not self.disable_gc and VERSIONS.index(self.version) >= _COLLECTING

    def has(self, capability: str) -> bool:
        """Say whether a plugin has a capability."""
        return any(_capabilities(plugin).get(capability) is True for plugin in self.plugins)

    def to_json(self) -> dict[str, Any]:
        """Return it as :meth:`from_json` reads it."""
        return self._asdict()

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> PluginList:
        """Read what :meth:`to_json` has returned."""
        known = {name: value for name, value in fields.items() if name in cls._fields}
        plugins = tuple(_plugin(plugin) for plugin in fields["plugins"])
        return cls(**{**known, "plugins": plugins, "versions": tuple(fields.get("versions", ()))})

    def without_way_out(self) -> PluginList:
        """Return it without the default routes that it asks for: the container's way out is another network."""
        return self._replace(plugins=tuple(_without_way_out(plugin) for plugin in self.plugins))


def _without_way_out(plugin: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(plugin)
    if _truth(told.get("isDefaultGateway")):  # of the plugin bridge, which implies the other
        told |= {"isDefaultGateway": False, "isGateway": True}
    ipam = told.get("ipam")
    if isinstance(ipam, dict) and isinstance(ipam.get("routes"), list):
        routes = [one for one in ipam["routes"] if not (isinstance(one, dict) and one.get("dst") in _EVERYWHERE)]
        told["ipam"] = {**ipam, "routes": routes}
    return told


def of_network(network: Network, conf_dir: str) -> PluginList:
    """Return the list of a network.

    :raises InvalidInput: an option is wrong, or the list.
    :raises NotFound: there is no such list.
    """
    for name in network.options:
        if name != OPTION:
            raise InvalidInput(f"unknown option {name!r} for cni network driver", hint=f"it has {OPTION}")
    wanted = network.options.get(OPTION, network.name)
    if "/" in wanted:
        if not wanted.startswith("/"):
            raise InvalidInput(f"invalid value of {OPTION}: {wanted!r}", hint="use an absolute path, or a name")
        return read(Path(wanted))
    return _named(wanted, Path(conf_dir), first=OPTION not in network.options and wanted == _FIRST)


def _named(name: str, directory: Path, *, first: bool) -> PluginList:
    broken: list[SwapboxError] = []
    for path in _files(directory):
        try:
            found = read(path)
        except SwapboxError as error:  # perhaps not the one that is meant
            broken.append(error)
            continue
        if first or found.name == name:
            return found
    hint = f"put a list of this name there, or name a file with --opt {OPTION}=PATH"
    if broken:
        hint = "; ".join(error.message for error in broken)
    raise NotFound(f"no CNI configuration list {name} in {directory}", hint=hint)


def _files(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)
    except OSError:  # as good as an empty one
        return


def read(path: Path) -> PluginList:
    """Read a list, or the configuration of one plugin.

    :raises NotFound: there is no such file.
    :raises InvalidInput: it is wrong.
    :raises Unsupported: it is of another version of the specification.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise NotFound(f"CNI configuration list {path} not found") from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot read CNI configuration list {path}: {error}") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"invalid CNI configuration list {path}: no JSON: {error}") from None
    try:
        return _parsed(document, str(path))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"invalid CNI configuration list {path}: {error}") from None


def _parsed(document: Any, source: str) -> PluginList:
    if not isinstance(document, dict):
        raise TypeError("it is no object")
    plugins = document.get("plugins", [document])
    if not isinstance(plugins, list) or not plugins:
        raise TypeError("plugins is no list of plugins")
    more = document.get("cniVersions", [])
    if not isinstance(more, list):
        raise TypeError("cniVersions is no list")
    return PluginList(
        name=_name(document.get("name"), "name"),
        version=_version(document.get("cniVersion"), more, source),
        plugins=tuple(_plugin(plugin) for plugin in plugins),
        source=source,
        versions=tuple(one for one in VERSIONS if one in more),
        disable_check=_truth(document.get("disableCheck")),
        disable_gc=_truth(document.get("disableGC")),
    )


def _truth(value: object) -> bool:
    """Read a boolean; the specification allows texts, too."""
    return value is True or value == "true"


def _name(value: object, what: str) -> str:
    """Return a name that becomes part of paths."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"invalid {what} {value!r}")
    return value


def _version(value: object, more: list[object], source: str) -> str:
    spoken = [one for one in VERSIONS if one == value or one in more]
    if not spoken:
        raise Unsupported(
            f"{source}: version {value} of the CNI is not supported", hint=f"use one of {', '.join(VERSIONS)}"
        )
    return str(value) if value in VERSIONS else spoken[-1]


def _plugin(plugin: object) -> Mapping[str, Any]:
    if not isinstance(plugin, dict):
        raise TypeError(f"a plugin is no object: {plugin!r}")
    _name(plugin.get("type"), "type of a plugin")
    _capabilities(plugin)
    return plugin


def _capabilities(plugin: Mapping[str, Any]) -> Mapping[str, Any]:
    found = plugin.get("capabilities") or {}
    if not isinstance(found, dict):
        raise TypeError(f"capabilities of plugin {plugin.get('type')} are no object")
    return found


def execution(made: PluginList, plugin: Mapping[str, Any], capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plugin is told on its standard input; see the specification, section 3."""
    asked = {name: value for name, value in capabilities.items() if _capabilities(plugin).get(name) is True}
    told = {key: value for key, value in plugin.items() if key not in ("capabilities", "cniVersions")}
    told |= {"name": made.name, "cniVersion": made.version}
    if asked:
        told["runtimeConfig"] = asked
    return told

"""The configuration file: TOML, every setting typed, every mistake named with its file and key.

A setting in a file is the weakest way to say something: flags and environment variables go before it. Without a
file nothing is parsed and nothing imported. ``docs/configuration.md`` has a section for each of :data:`SETTINGS`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from swapbox.drivers.common import KINDS, Kind
from swapbox.errors import InvalidInput, NotFound, PermissionDenied
from swapbox.paths import config_files

CONFIG_VARIABLE = "SWAPBOX_CONFIG"

_PLACE = "expected a host, or a host and the beginning of a path"

SettingType = Literal["path", "text", "count", "table", "pools", "flag", "rule"]


class Setting(NamedTuple):
    """One setting: its dotted key, and what may be written there."""

    key: str
    type: SettingType


SETTINGS: tuple[Setting, ...] = (
    Setting("root", "path"),
    Setting("run-root", "path"),
    *(Setting(f"drivers.{kind}", "text") for kind in KINDS),
    Setting("options.KIND.DRIVER", "table"),
    Setting("limits.max-ratio", "count"),
    Setting("limits.max-entries", "count"),
    Setting("limits.max-path", "count"),
    Setting("networks.pools", "pools"),
    Setting("offline", "flag"),
    Setting("registries.PREFIX", "rule"),
)


class Limits(NamedTuple):
    """What a layer may ask of this host.

    :param max_ratio: how many bytes one compressed byte may become, on average, once more than 1 GiB came out.
    :param max_entries: entries of one layer.
    :param max_path: bytes of one path.
    """

    max_ratio: int = 200
    max_entries: int = 2_000_000
    max_path: int = 4095


class Rule(NamedTuple):
    """What is special about the images whose names begin in a certain way; see :mod:`swapbox.images.registries`.

    :param location: what takes the place of that beginning; empty for itself.
    :param mirrors: what does so before, in a pull, each as long as those before it do not have the image.
    :param blocked: they are neither pulled nor pushed.
    """

    location: str = ""
    mirrors: tuple[str, ...] = ()
    blocked: bool = False


class Config(NamedTuple):
    """What the configuration files say.

    :param drivers: the driver to use for a kind.
    :param options: settings of a driver by kind and name; as text, for the driver to check.
    :param pools: what new networks' subnets are cut from: a base with prefix length, and the size of a subnet.
    :param registries: rules by the beginning of the names they are for; ``*`` is for all without one.
    :param sources: the file each key was read from.
    """

    root: Path | None = None
    run_root: Path | None = None
    drivers: Mapping[Kind, str] = {}
    options: Mapping[tuple[Kind, str], Mapping[str, str]] = {}
    limits: Limits = Limits()
    pools: tuple[tuple[str, int], ...] = ()
    offline: bool = False
    registries: Mapping[str, Rule] = {}
    sources: Mapping[str, Path] = {}


def load(*, environment: Mapping[str, str], path: Path | None = None) -> Config:
    """Read the configuration.

    :param path: from ``--config``; like ``SWAPBOX_CONFIG`` it replaces the files that are read otherwise.
    :raises NotFound: a file that was asked for is not there.
    :raises InvalidInput: a file is no TOML, or has an unknown key or a wrong value.
    """
    asked = path or (Path(named) if (named := environment.get(CONFIG_VARIABLE)) else None)
    files = (asked,) if asked else config_files(environment)
    values: dict[str, Any] = {}
    sources: dict[str, Path] = {}
    for file in files:
        for key, value in _read(file, required=asked is not None):
            values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
            sources[key] = file
    return _config(values, sources) if values else Config()


def _config(values: Mapping[str, Any], sources: Mapping[str, Path]) -> Config:
    limits = {
        key.removeprefix("limits.").replace("-", "_"): value
        for key, value in values.items()
        if key.startswith("limits.")
    }
    options = {
        (kind, key.removeprefix(f"options.{kind}.")): value
        for kind in KINDS
        for key, value in values.items()
        if key.startswith(f"options.{kind}.")
    }
    return Config(
        root=values.get("root"),
        run_root=values.get("run-root"),
        drivers={kind: values[f"drivers.{kind}"] for kind in KINDS if f"drivers.{kind}" in values},
        options=options,
        limits=Limits(**limits),
        pools=values.get("networks.pools", ()),
        offline=values.get("offline", False),
        registries={
            key.removeprefix("registries."): Rule(**value)
            for key, value in values.items()
            if key.startswith("registries.")
        },
        sources=sources,
    )


def _read(file: Path, *, required: bool) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and checked values of one file."""
    try:
        with file.open("rb") as stream:
            import tomllib

            document = tomllib.load(stream)
    except FileNotFoundError:
        if required:
            raise NotFound(f"no configuration file {file}") from None
        return
    except OSError as error:
        raise PermissionDenied(f"cannot read configuration file {file}: {error.strerror}") from error
    except ValueError as error:  # tomllib.TOMLDecodeError, or not UTF-8
        raise InvalidInput(f"{file}: {error}") from error
    yield from _settings(file, document, prefix="")


def _settings(file: Path, table: Mapping[str, Any], *, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        key = prefix + name
        if setting := _find(key):
            if setting.type == "rule" and name != "*" and not _is_place(name):
                raise InvalidInput(f"{file}: {key}: {_PLACE}, not {name!r}", hint='write [registries."docker.io"]')
            try:
                yield key, _CHECKS[setting.type](value)
            except ValueError as error:
                raise InvalidInput(f"{file}: {key}: {error}, not {value!r}") from None
        elif isinstance(value, dict) and _is_section(key):
            yield from _settings(file, value, prefix=f"{key}.")
        else:
            raise InvalidInput(f"{file}: unknown setting {key!r}", hint=_hint(key))


def _find(key: str) -> Setting | None:
    """Return the setting a key names; any driver's name stands for ``DRIVER``."""
    if key.startswith("registries."):
        key = "registries.PREFIX"
    parts = key.split(".", 2)
    if len(parts) == 3 and parts[0] == "options" and parts[1] in KINDS:
        key = "options.KIND.DRIVER"
    return next((setting for setting in SETTINGS if setting.key == key), None)


def _is_section(key: str) -> bool:
    sections = {setting.key.rpartition(".")[0] for setting in SETTINGS}
    return key in sections | {"options", *(f"options.{kind}" for kind in KINDS)}


def _hint(key: str) -> str:
    from difflib import get_close_matches

    known = [setting.key for setting in SETTINGS]
    sections = {name.partition(".")[0] for name in known}
    close = get_close_matches(key, known if "." in key else {*known, *sections}, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known settings: {', '.join(known)}"


def _path(value: object) -> Path:
    if not isinstance(value, str) or not os.path.isabs(value):
        raise ValueError("expected an absolute path")
    return Path(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("expected a whole number above 0")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _rule(value: object) -> dict[str, Any]:
    """Return the fields of a :class:`Rule` that are given."""
    if not isinstance(value, dict):
        raise ValueError("expected a table")
    if unknown := value.keys() - set(Rule._fields):
        raise ValueError(f"expected {', '.join(Rule._fields)} in it, and no {sorted(unknown)[0]!r}")
    rule = {**value}
    if "blocked" in rule:
        _flag(rule["blocked"])
    if "mirrors" in rule:
        if not isinstance(rule["mirrors"], list):
            raise ValueError("expected a list of mirrors")
        rule["mirrors"] = tuple(_text(mirror) for mirror in rule["mirrors"])
    places = (*rule.get("mirrors", ()), *([_text(rule["location"])] if "location" in rule else []))
    if not all(map(_is_place, places)):
        raise ValueError(_PLACE)
    return rule


def _is_place(text: str) -> bool:
    """Say whether a text can be the beginning of an image's name with its host."""
    from swapbox.references import Reference

    try:
        return Reference.parse(f"{text}/x/x").name == f"{text}/x/x"
    except InvalidInput:
        return False


def _table(value: object) -> dict[str, str]:
    """Return driver options as the text that would be typed after ``--storage-opt NAME=``."""
    if not isinstance(value, dict):
        raise ValueError("expected a table")
    for name, item in value.items():
        if not isinstance(item, (str, int, float)):
            raise ValueError(f"expected a text, a number or a truth value for {name!r}")
    return {name: str(item).lower() if isinstance(item, bool) else str(item) for name, item in value.items()}


def _pools(value: object) -> tuple[tuple[str, int], ...]:
    """Return the address pools, written as Docker's ``default-address-pools`` are."""
    expected = 'expected tables such as {base = "10.10.0.0/16", size = 24}'
    if not isinstance(value, list):
        raise ValueError(expected)
    pools = []
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"base", "size"}:
            raise ValueError(expected)
        base, size = item["base"], item["size"]
        if not isinstance(base, str) or type(size) is not int:
            raise ValueError(expected)
        prefix, bits = _subnet(base)
        if not prefix <= size <= bits - 2:
            raise ValueError(f"expected a size from {prefix} to {bits - 2} for {base}")
        pools.append((base, size))
    return tuple(pools)


def _subnet(text: str) -> tuple[int, int]:
    """Return the prefix length of a subnet, and the bits of its addresses."""
    import _socket  # :mod:`ipaddress` would take 10 ms

    address, _, length = text.partition("/")
    family, bits = (_socket.AF_INET6, 128) if ":" in address else (_socket.AF_INET, 32)
    try:
        _socket.inet_pton(family, address)
        prefix = int(length)
    except (OSError, ValueError):
        prefix = -1
    if not 0 <= prefix <= bits or not (length.isascii() and length.isdigit()):
        raise ValueError("expected an address and a prefix length such as 10.10.0.0/16")
    return prefix, bits


_CHECKS: Mapping[SettingType, Callable[[object], Any]] = {
    "path": _path,
    "text": _text,
    "count": _count,
    "table": _table,
    "pools": _pools,
    "flag": _flag,
    "rule": _rule,
}

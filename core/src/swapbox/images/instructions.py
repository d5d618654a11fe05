"""Dockerfile instructions that change an image's configuration, as ``commit --change`` and ``import --change`` do.

The syntax is that of the Dockerfile reference: one instruction a line, a backslash at the end goes on on the next,
``#`` begins a comment line; arguments as a JSON list or as words; quotes, backslashes and ``$variables`` of the
image's own environment in all but commands.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from swapbox.durations import parse_duration
from swapbox.errors import InvalidInput
from swapbox.images.words import expand, json_list, words

_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)

Settings = MutableMapping[str, Any]
"""The ``config`` object of an image config (OCI image-spec, ``config.md``, and Docker's additions)."""


class Instruction(NamedTuple):
    """One instruction: its keyword in upper case, and all that follows."""

    keyword: str
    rest: str


def apply_changes(settings: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a configuration as instructions change it.

    :param changes: each of one or more lines.
    :raises InvalidInput: with Docker's words: not an instruction of this kind, or not its arguments.
    """
    if not changes:
        return dict(settings)
    result = json.loads(json.dumps(settings))  # a copy to the bottom
    instructions = list(parse("\n".join(changes)))
    if not instructions:
        raise InvalidInput("file with no instructions")
    for instruction in instructions:
        if instruction.keyword not in _INSTRUCTIONS:
            raise InvalidInput(f"{instruction.keyword.lower()} is not a valid change command")
    command_given = False
    for instruction in instructions:
        _INSTRUCTIONS[instruction.keyword](result, instruction.rest)
        command_given = command_given or instruction.keyword == "CMD"
        if instruction.keyword == "ENTRYPOINT" and not command_given:
            result.pop("Cmd", None)
    return {name: value for name, value in result.items() if value}


def parse(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a text, comments left out and continued lines joined."""
    line = ""
    for part in text.split("\n"):
        if part.lstrip().startswith("#") or (line and not part.strip()):
            continue
        line += part.strip() if not line else part.rstrip()
        if line.endswith("\\"):
            line = line[:-1]
            continue
        if line.strip():
            keyword, _, rest = line.strip().replace("\t", " ", 1).partition(" ")
            yield Instruction(keyword.upper(), rest.strip())
        line = ""
    if line.strip():
        keyword, _, rest = line.strip().partition(" ")
        yield Instruction(keyword.upper(), rest.strip())


# -- arguments ----------------------------------------------------------------------------------------------------


def _variables(settings: Settings) -> dict[str, str]:
    pairs = (item.partition("=") for item in settings.get("Env") or ())
    return {name: value for name, _, value in pairs}


def _pairs(keyword: str, text: str, variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Read ``name=value ...``, or the old form ``name value``."""
    if not text:
        raise InvalidInput(f"{keyword} requires at least one argument")
    parts = words(text)
    if "=" not in parts[0]:
        name, blank, value = text.partition(" ")
        if not blank:
            raise InvalidInput(f"{keyword} must have two arguments")
        return [(expand(name, variables), expand(value.strip(), variables))]
    for part in parts:
        if "=" not in part:
            raise InvalidInput(f'Syntax error - can\'t find = in "{part}". Must be of the form: name=value')
    split = (part.partition("=") for part in parts)
    return [(expand(name, variables), expand(value, variables)) for name, _, value in split]


# -- instructions -------------------------------------------------------------------------------------------------


def _command(settings: Settings, text: str) -> list[str]:
    found = json_list(text)
    if found is not None:
        return found
    return [*(settings.get("Shell") or _SHELL), *([text] if text else [])]


def _cmd(settings: Settings, text: str) -> None:
    settings["Cmd"] = _command(settings, text)


def _entrypoint(settings: Settings, text: str) -> None:
    settings["Entrypoint"] = _command(settings, text) if text else None


def _env(settings: Settings, text: str) -> None:
    found = _variables(settings) | dict(_pairs("ENV", text, _variables(settings)))
    settings["Env"] = [f"{name}={value}" for name, value in found.items()]


def _label(settings: Settings, text: str) -> None:
    settings["Labels"] = {**(settings.get("Labels") or {}), **dict(_pairs("LABEL", text, _variables(settings)))}


def _expose(settings: Settings, text: str) -> None:
    ports = dict(settings.get("ExposedPorts") or {})
    for word in _list("EXPOSE", settings, text):
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if found is None or not 0 <= first <= last <= 65535:
            raise InvalidInput(f"Invalid containerPort: {word.partition('/')[0]}")
        ports |= {f"{port}/{(found[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    settings["ExposedPorts"] = ports


def _volume(settings: Settings, text: str) -> None:
    volumes = dict(settings.get("Volumes") or {})
    for word in _list("VOLUME", settings, text):
        if not word.strip():
            raise InvalidInput("VOLUME specified can not be an empty string")
        volumes[word.strip()] = {}
    settings["Volumes"] = volumes


def _list(keyword: str, settings: Settings, text: str) -> list[str]:
    found = json_list(text)
    found = words(text) if found is None else found
    if not found:
        raise InvalidInput(f"{keyword} requires at least one argument")
    return [expand(word, _variables(settings)) for word in found]


def _user(settings: Settings, text: str) -> None:
    settings["User"] = _one("USER", settings, text)


def _workdir(settings: Settings, text: str) -> None:
    path = _one("WORKDIR", settings, text)
    settings["WorkingDir"] = (
        path
        if path.startswith("/")
        else posixpath.normpath(posixpath.join("/", settings.get("WorkingDir") or "", path))
    )


def _one(keyword: str, settings: Settings, text: str) -> str:
    if not text:
        raise InvalidInput(f"{keyword} requires exactly one argument")
    return expand(text, _variables(settings))


def _onbuild(settings: Settings, text: str) -> None:
    trigger = text.partition(" ")[0].upper()
    if not trigger:
        raise InvalidInput("ONBUILD requires at least one argument")
    if trigger == "ONBUILD":
        raise InvalidInput("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidInput(f"{trigger} isn't allowed as an ONBUILD trigger")
    settings["OnBuild"] = [*(settings.get("OnBuild") or []), text]


_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def _healthcheck(settings: Settings, text: str) -> None:
    if not text:
        raise InvalidInput("HEALTHCHECK requires at least one argument")
    check: dict[str, Any] = {}
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        text = text.strip()
        name, _, value = flag[2:].partition("=")
        if name == "retries":
            check["Retries"] = int(value) if value.isascii() and value.isdecimal() else _refuse_retries(value)
        elif name in _TIMES:
            check[_TIMES[name]] = parse_duration(value)
        else:
            raise InvalidInput(f"Unknown flag: {name}")
    kind, _, rest = text.partition(" ")
    settings["Healthcheck"] = check | {"Test": _test(kind.upper(), rest.strip())}


def _refuse_retries(value: str) -> int:
    raise InvalidInput(f'strconv.ParseInt: parsing "{value}": invalid syntax')


def _test(kind: str, text: str) -> list[str]:
    if kind == "NONE":
        if text:
            raise InvalidInput("HEALTHCHECK NONE takes no arguments")
        return ["NONE"]
    if kind != "CMD":
        raise InvalidInput(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not text:
        raise InvalidInput("Missing command after HEALTHCHECK CMD")
    found = json_list(text)
    return ["CMD-SHELL", text] if found is None else ["CMD", *found]


_INSTRUCTIONS: Mapping[str, Callable[[Settings, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}

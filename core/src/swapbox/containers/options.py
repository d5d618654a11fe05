"""The options of ``run`` and ``create`` in Docker's flag syntax, and Docker's words when one is wrong.

One group of flags has a module of its own, which also turns them into the OCI runtime spec:
:mod:`~swapbox.containers.mounts`, :mod:`~swapbox.containers.limits`, :mod:`~swapbox.containers.devices`,
:mod:`~swapbox.containers.security`. The rest is here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.errors import InvalidInput

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig

NAME_CHARACTERS = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_BLANKS = " \t"


def check_options(options: ContainerConfig) -> None:
    """Check each option that no parser could, and that they fit together.

    :raises InvalidInput: with Docker's words.
    """
    from swapbox.containers.limits import check_limits

    if options.hostname:
        check_hostname(options.hostname)
    if options.stop_signal:
        parse_signal(options.stop_signal)
    if options.workdir and not options.workdir.startswith("/"):
        raise InvalidInput(
            f"the working directory '{options.workdir}' is invalid, it needs to be an absolute path"
        )
    if options.userns == "private" and options.privileged:
        raise InvalidInput("privileged mode is incompatible with user namespaces")
    if options.logging == "none" and options.log_opts:
        raise InvalidInput("invalid logging opts for driver none")
    check_removal(options)
    targets = [*(mount.target for mount in options.mounts), *options.tmpfs]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidInput(f"Duplicate mount point: {target}")
    check_limits(options)


def check_removal(options: ContainerConfig) -> None:
    """Check that what is removed at its end is not to start again.

    :raises InvalidInput: with Docker's words.
    """
    if options.auto_remove and options.restart not in {"", "no"}:
        raise InvalidInput("conflicting options: cannot specify both --restart and --rm")


def parse_env(values: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Read ``-e``: ``NAME=value``, or ``NAME`` to take the value from ``environment``.

    A name that is not in ``environment`` stays without value, which takes the image's variable away.
    """
    return tuple(_env_item(value, environment) for value in values)


def _env_item(value: str, environment: Mapping[str, str]) -> str:
    name, equals, _ = value.partition("=")
    if not name:
        raise InvalidInput(f"invalid environment variable: {value}")
    return value if equals or name not in environment else f"{name}={environment[name]}"


def read_env_file(path: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Read ``--env-file``: lines as for ``-e``, quotes kept, ``#`` comments; an unknown bare name is left out."""

    def look_up(name: str) -> str | None:
        return f"{name}={environment[name]}" if name in environment else None

    return _read_key_values(path, look_up)


def read_label_file(path: Path) -> dict[str, str]:
    """Read ``--label-file``: one label a line, ``#`` comments; a key without value is left out."""
    return parse_map(_read_key_values(path, lambda _name: None))


def _read_key_values(path: Path, bare: Callable[[str], str | None]) -> tuple[str, ...]:
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode().split("\n")
    except IsADirectoryError:
        raise InvalidInput(f"invalid env file ({path}): read {path}: is a directory") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"invalid env file ({path}): invalid utf8 bytes") from None
    except OSError as error:
        raise InvalidInput(f"open {path}: {os.strerror(error.errno or 0).lower()}") from None
    items = []
    for line in (line.removesuffix("\r").lstrip() for line in lines):
        if not line or line.startswith("#"):
            continue
        name, equals, _ = line.partition("=")
        if not name:
            raise InvalidInput(f"invalid env file ({path}): no variable name on line '{line}'")
        if any(blank in name for blank in _BLANKS):
            raise InvalidInput(f"invalid env file ({path}): variable '{name}' contains whitespaces")
        items.append(line if equals else bare(name))
    return tuple(item for item in items if item is not None)


def parse_labels(values: Iterable[str]) -> dict[str, str]:
    """Read ``--label``: ``key=value``, or ``key`` for an empty value."""
    labels = list(values)
    for label in labels:
        key = label.partition("=")[0].lstrip(_BLANKS)
        if not key:
            raise InvalidInput(f"invalid label '{label}': empty name")
        if any(blank in key for blank in _BLANKS):
            raise InvalidInput(f"label '{key}' contains whitespaces")
    return parse_map(labels)


def parse_map(values: Iterable[str]) -> dict[str, str]:
    """Read ``--log-opt``, ``--annotation`` and the like: ``key=value``, or ``key`` for an empty value."""
    parts = (value.partition("=") for value in values)
    return {key: value for key, _, value in parts}


def parse_integer(text: str) -> int:
    """Read a whole number: ``--pids-limit``, ``--cpu-shares``, ``--oom-score-adj``, ``--stop-timeout``."""
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidInput(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise InvalidInput(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def parse_userns(text: str) -> str:
    """Read ``--userns``: ``host``, or ``private`` for a user namespace of the container's own."""
    if text not in {"", "host", "private"}:
        raise InvalidInput("--userns: invalid USER mode", hint="use host or private")
    return text


def check_name(name: str) -> None:
    """Check ``--name``; one leading slash is allowed, as Docker prints it."""
    text = name.removeprefix("/")
    rest = text.translate({ord(c): None for c in "_.-"})
    if len(text) < 2 or not text[0].isalnum() or not (text.isascii() and (rest.isalnum() or not rest)):
        raise InvalidInput(f"Invalid container name ({name}), only {NAME_CHARACTERS} are allowed")


def check_hostname(name: str) -> None:
    """Check ``--hostname``: what sethostname(2) takes and what fits into one word of /etc/hosts."""
    if len(name.encode()) > 64 or not name.isprintable() or any(c in "/# " for c in name):
        raise InvalidInput(f"invalid hostname format: {name}")


def parse_signal(text: str) -> int:
    """Read ``--stop-signal``, ``kill --signal``: a number, or a name with or without SIG, also ``RTMIN+n``."""
    import signal

    if text.isascii() and text.isdigit():
        number = int(text)
        if number > signal.SIGRTMAX:
            raise InvalidInput(f"the linux daemon does not support signal {text}")
    else:
        name = text.upper().removeprefix("SIG")
        base, sign, offset = name.partition("+" if "+" in name else "-")
        known = signal.__dict__.get(f"SIG{base}")
        number = int(known) if isinstance(known, signal.Signals) else 0
        if sign:
            number = _real_time(base, sign, offset)
    if not 0 < number <= signal.SIGRTMAX:
        raise InvalidInput(f"invalid signal: {text}")
    return number


def _real_time(base: str, sign: str, offset: str) -> int:
    from signal import SIGRTMAX, SIGRTMIN

    step = int(offset) if offset.isascii() and offset.isdigit() else -1
    if not 0 <= step <= SIGRTMAX - SIGRTMIN or (base, sign) not in {("RTMIN", "+"), ("RTMAX", "-")}:
        return 0
    return SIGRTMIN + step if sign == "+" else SIGRTMAX - step

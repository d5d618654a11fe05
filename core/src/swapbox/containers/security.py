"""Capabilities, ``--security-opt`` and ``--sysctl``: from Docker's syntax to what the OCI spec needs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from swapbox.containers.config import ContainerConfig
from swapbox.containers.defaults import CAPABILITIES
from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import caps

_IPC_SYSCTLS = "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced"
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


def parse_capabilities(values: Iterable[str], *, flag: Literal["--cap-add", "--cap-drop"]) -> tuple[str, ...]:
    """Read the capabilities given with ``flag``: in any case, ``CAP_`` optional, or ``ALL``."""
    return tuple(_capability(value, "CapAdd" if flag == "--cap-add" else "CapDrop") for value in values)


def _capability(text: str, what: str) -> str:
    name = text.strip().upper()
    if name == "ALL":
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in caps.NAMES:
        raise InvalidInput(f'invalid {what}: unknown capability: "{name}"')
    return name


def available_capabilities() -> frozenset[str]:
    """Return the capabilities this process can hand on: its bounding set (capabilities(7))."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        line = next((line for line in status if line.startswith("CapBnd:")), "CapBnd: 0")
    mask = int(line.split()[1], 16)
    return frozenset(name for bit, name in enumerate(caps.NAMES) if mask >> bit & 1)


def capabilities(config: ContainerConfig, *, available: frozenset[str] | None = None) -> tuple[str, ...]:
    """Return the bounding set: Docker's fourteen, less what is dropped, plus what is added.

    :param available: what the host can give; read from the host, and only when more than the default is asked for.
    :raises Unsupported: a capability asked for cannot be given here.
    """
    if not (config.privileged or config.cap_add):
        return () if "ALL" in config.cap_drop else _without(CAPABILITIES, config.cap_drop)
    if available is None:
        available = available_capabilities()
    everything = tuple(name for name in caps.NAMES if name in available)
    if config.privileged:
        return everything
    for name in config.cap_add:
        if name != "ALL" and name not in available:
            reason = "capability not supported by your kernel or not available in the current environment"
            raise Unsupported(f'invalid CapAdd: {reason}: "{name}"')
    if "ALL" in config.cap_add:
        return _without(everything, config.cap_drop)
    basis = () if "ALL" in config.cap_drop else _without(CAPABILITIES, config.cap_drop)
    return tuple(dict.fromkeys(basis + config.cap_add))


def _without(names: tuple[str, ...], dropped: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in dropped)


class SecurityOptions(NamedTuple):
    """``--security-opt`` taken apart; ``seccomp`` is ``builtin``, ``unconfined`` or a profile's JSON text."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    system_paths: bool = True


def parse_security_opts(values: Iterable[str]) -> tuple[str, ...]:
    """Read ``--security-opt``: check each one and put a seccomp file's content in the place of its path."""
    options = tuple(_with_profile(value) for value in values)
    security_options(options)
    return options


def _with_profile(option: str) -> str:
    key, value = _split(option)
    if key != "seccomp" or value in {"unconfined", "builtin"}:
        return option
    import json

    try:
        with open(value, "rb") as file:
            return f"seccomp={json.dumps(json.load(file), separators=(',', ':'))}"
    except OSError as error:
        reason = f"open {value}: {os.strerror(error.errno or 0).lower()}"
        raise InvalidInput(f"opening seccomp profile ({value}) failed: {reason}") from None
    except ValueError as error:
        raise InvalidInput(f"compacting json for seccomp profile ({value}) failed: {error}") from None


def _split(option: str) -> tuple[str, str]:
    """Split at ``=``, or at the ``:`` of old times; ``no-new-privileges`` may stand alone."""
    if option == "no-new-privileges":
        return option, "true"
    key, separator, value = option.partition("=" if "=" in option else ":")
    if not separator:
        raise InvalidInput(f'Invalid --security-opt: "{option}"')
    return key, value


def security_options(options: Iterable[str]) -> SecurityOptions:
    """Take apart what :func:`parse_security_opts` returned.

    :raises InvalidInput: an option or its value is unknown.
    :raises Unsupported: an SELinux label; this release sets none.
    """
    result = SecurityOptions()
    for option in options:
        key, value = _split(option)
        if key == "no-new-privileges" and value in _BOOLEANS:
            result = result._replace(no_new_privileges=_BOOLEANS[value])
        elif key == "seccomp":
            result = result._replace(seccomp=value)
        elif key == "apparmor":
            result = result._replace(apparmor=value)
        elif key == "systempaths" and value == "unconfined":
            result = result._replace(system_paths=False)
        elif key == "label" and value != "disable":
            raise Unsupported(f'--security-opt "{option}": SELinux labels are not supported yet')
        elif key != "label":
            raise InvalidInput(f'invalid --security-opt 2: "{option}"')
    return result


def parse_sysctls(values: Iterable[str]) -> dict[str, str]:
    """Read ``--sysctl name=value``; only those that belong to a namespace of the container."""
    allowed = {f"kernel.{name}" for name in _IPC_SYSCTLS.split()}
    settings = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not (name in allowed or name.startswith(("net.", "fs.mqueue."))):
            raise InvalidInput(f"sysctl '{text}' is not allowed")
        settings[name] = value
    return settings


def seccomp(config: ContainerConfig, options: SecurityOptions, names: Iterable[str]) -> dict[str, Any] | None:
    """Return ``linux.seccomp`` for a process with capabilities ``names``; None for an unconfined one."""
    wanted = options.seccomp or ("unconfined" if config.privileged else "builtin")
    if wanted == "unconfined":
        return None
    from swapbox.containers.seccomp_profile import custom_profile, default_profile

    arch = os.uname().machine
    if wanted == "builtin":
        return default_profile(frozenset(names), arch)
    import json

    return custom_profile(json.loads(wanted), frozenset(names), arch)

"""Mounts and device nodes of a ``config.json`` as values."""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import mounts, syscalls

# All that may be mounted below /proc (lxcfs offers them); anything else could hide what /proc protects.
_OVER_PROC = frozenset(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo"),
        *("net/dev", "sys/kernel/ns_last_pid"),
    )
)
_SUPER_FLAGS = ("sync", "dirsync", "mand", "lazytime")
_NOT_DONE = frozenset({"tmpcopyup", "idmap", "ridmap", "remount"})
_DEVICE_KINDS = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}


class MountStep(NamedTuple):
    """One mount.

    :param bind: copy the mount at ``source``, else make a file system of ``type``.
    :param recursive: with ``bind``: everything mounted below comes along.
    :param set: ``MOUNT_ATTR_*`` to set; ``clear`` those to clear; the ``recursive_`` ones on mounts below as well.
    :param propagation: ``MS_PRIVATE`` or one of its neighbours.
    :param options: for the file system: name and value, or None for a flag.
    """

    target: str
    type: str = ""
    source: str = ""
    bind: bool = False
    recursive: bool = False
    set: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = syscalls.MS_PRIVATE
    propagation_recursive: bool = True
    options: tuple[tuple[str, str | None], ...] = ()

    @property
    def over_proc(self) -> bool:
        """Whether it may be mounted on top of procfs."""
        return self.target in _OVER_PROC


class Device(NamedTuple):
    """A device node; ``mode`` holds its type too."""

    path: str
    mode: int
    major: int
    minor: int
    uid: int = 0
    gid: int = 0


DEFAULT_DEVICES: tuple[Device, ...] = tuple(
    Device(f"/dev/{name}", 0o020666, major, minor)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
"""What the runtime specification puts in every container's /dev."""

DEV_LINKS: tuple[tuple[str, str], ...] = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
)


def plan_mounts(
    items: Sequence[Mapping[str, Any]], *, gids: Sequence[tuple[int, int]] = ()
) -> tuple[MountStep, ...]:
    """Plan ``mounts`` of a ``config.json``.

    :param gids: first id and size of the mapped groups in the container's user namespace; empty when it has none.
    :raises InvalidInput: one has no destination, or would cover /proc.
    :raises Unsupported: one has an option that is not known here.
    """
    steps = tuple(_plan_mount(item, gids) for item in items)
    for step in steps:
        _check_proc(step)
    return steps


def _plan_mount(item: Mapping[str, Any], gids: Sequence[tuple[int, int]]) -> MountStep:
    target = _normal(item.get("destination") or "")
    options: Sequence[str] = item.get("options") or ()
    for option in options:
        if option in _NOT_DONE:
            raise Unsupported(f"the ns driver does not support the mount option {option!r} on {target}")
    parsed = mounts.parse_options(options)
    kind = item.get("type") or ""
    bind = bool(parsed.flags & syscalls.MS_BIND) or kind == "bind"
    if bind and not item.get("source"):
        raise InvalidInput(f"the bind mount on {target} has no source")
    on, off = mounts.attributes(parsed)
    recursive_on, recursive_off = mounts.recursive_attributes(options)
    return MountStep(
        target,
        type="" if bind else kind,
        source=item.get("source") or "",
        bind=bind,
        recursive=bool(parsed.flags & syscalls.MS_REC),
        set=on,
        clear=off,
        recursive_set=recursive_on,
        recursive_clear=recursive_off,
        propagation=parsed.propagation & ~syscalls.MS_REC or syscalls.MS_PRIVATE,
        propagation_recursive=not parsed.propagation or bool(parsed.propagation & syscalls.MS_REC),
        options=() if bind else _for_file_system(options, parsed.data, kind, gids),
    )


def _for_file_system(
    options: Sequence[str], data: str, kind: str, gids: Sequence[tuple[int, int]]
) -> tuple[tuple[str, str | None], ...]:
    result: list[tuple[str, str | None]] = [(name, None) for name in _SUPER_FLAGS if name in options]
    for option in filter(None, data.split(",")):
        name, equals, value = option.partition("=")
        if kind == "devpts" and name == "gid" and gids and not _is_mapped(value, gids):
            continue  # The kernel refuses an id that the user namespace does not have; the group is a nicety.
        result.append((name, value if equals else None))
    return tuple(result)


def _is_mapped(value: str, ids: Sequence[tuple[int, int]]) -> bool:
    return value.isdigit() and any(first <= int(value) < first + size for first, size in ids)


def _normal(path: str) -> str:
    if not path:
        raise InvalidInput("a mount without destination")
    return posixpath.normpath("//" + path).replace("//", "/")


def _check_proc(step: MountStep) -> None:
    if step.target == "/":
        raise InvalidInput(f"cannot mount {step.source or step.type} on the container's /")
    if step.target == "/proc" and (step.type == "proc" or (step.bind and _normal(step.source) == "/proc")):
        return
    if (step.target + "/").startswith("/proc/") and not step.over_proc:
        raise InvalidInput(f"{step.target} cannot be mounted because it is inside /proc")


def plan_devices(items: Sequence[Mapping[str, Any]]) -> tuple[Device, ...]:
    """Plan the default devices and ``linux.devices``; one of the latter replaces a default at the same path.

    :raises InvalidInput: a device has an unknown type.
    """
    devices = {device.path: device for device in DEFAULT_DEVICES}
    for item in items:
        kind, path = item.get("type"), _normal(item.get("path") or "")
        if kind not in _DEVICE_KINDS:
            raise InvalidInput(f"device {path} has an unknown type {kind!r}")
        mode = _DEVICE_KINDS[kind] | (item.get("fileMode", 0o666) & 0o7777)
        major, minor = item.get("major") or 0, item.get("minor") or 0
        devices[path] = Device(path, mode, major, minor, item.get("uid") or 0, item.get("gid") or 0)
    devices.pop("/dev/ptmx", None)  # always the link to the container's own
    return tuple(devices.values())

"""Devices: ``--device`` flags and host nodes as OCI ``linux.devices`` and ``linux.resources.devices``."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from swapbox.containers.config import ContainerConfig, DeviceSpec
from swapbox.errors import InvalidInput, NotFound

# What a privileged container does not get of the host's /dev: it has its own of each.
_OWN = frozenset({"pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"})

# Making any node, as CAP_MKNOD promises; zero, null, full, urandom, random, tty, console; ptmx and the ptys; tun.
_ALLOWED = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 1, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, None, "rwm"),
    ("c", 10, 200, "rwm"),
)

Device = dict[str, Any]
Rule = dict[str, Any]


def parse_devices(values: Iterable[str]) -> tuple[DeviceSpec, ...]:
    """Read ``--device host[:container][:permissions]``; a host path that ends in ``*`` is a pattern."""
    return tuple(device for value in values for device in _parse(value))


def _parse(text: str) -> Iterator[DeviceSpec]:
    source, *rest = text.split(":")
    if not source or len(rest) > 2:
        raise InvalidInput(f"bad format for path: {text}")
    permissions = "rwm"
    if len(rest) == 2 and not _is_mode(rest[1]):
        raise InvalidInput(f"bad mode specified: {rest[1]}")
    if rest and (len(rest) == 2 or _is_mode(rest[-1])):
        permissions = rest.pop()
    target = rest[0] if rest else source
    if not target.startswith("/"):
        raise InvalidInput(f"{target} is not an absolute path")
    if source.endswith("*"):
        from glob import glob

        if rest:
            raise InvalidInput(f"device with * suffix can't have dst: {text}")
        yield from (DeviceSpec(path, path, permissions) for path in sorted(glob(source)))
    else:
        yield DeviceSpec(posixpath.normpath(source), posixpath.normpath(target), permissions)


def _is_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def renamed(config: ContainerConfig) -> list[DeviceSpec]:
    """Return the devices that get another path in the container.

    In a user namespace no node can be made: an isolation driver binds the host's node of the same path instead, so
    one with another path has to be a mount.
    """
    return [spec for spec in config.devices if spec.source != spec.target]


def devices(config: ContainerConfig, *, user_namespace: bool = False) -> tuple[list[Device], list[Rule]]:
    """Return the nodes to make and the access rules; reads the nodes from the host.

    :param user_namespace: those that :func:`renamed` names are mounts.
    :raises NotFound: a device asked for is not there.
    :raises InvalidInput: it is not a device.
    """
    given = [node for spec in config.devices for node in _asked_for(spec)]
    mounted = (
        {node["path"] for spec in renamed(config) for node, _ in _asked_for(spec)} if user_namespace else set()
    )
    nodes = [node for node, _ in given if node["path"] not in mounted]
    if config.privileged:
        taken = {node["path"] for node, _ in given}
        nodes += [node for node in _walk("/dev", "/dev") if node["path"] not in taken]
        return nodes, [{"allow": True, "access": "rwm"}]
    rules = [{"allow": False, "access": "rwm"}]
    rules += [_rule(kind, major, minor, access) for kind, major, minor, access in _ALLOWED]
    rules += [_rule(node["type"], node["major"], node["minor"], access) for node, access in given]
    return nodes, rules


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> Rule:
    numbers = {"major": major, "minor": minor}
    given = {name: number for name, number in numbers.items() if number is not None}
    return {"allow": True, "type": kind, **given, "access": access}


def _asked_for(spec: DeviceSpec) -> Iterator[tuple[Device, str]]:
    start = f'error gathering device information while adding custom device "{spec.source}"'
    try:
        status = os.stat(spec.source)
    except OSError as error:
        raise NotFound(f"{start}: {os.strerror(error.errno or 0).lower()}") from None
    if stat.S_ISDIR(status.st_mode):
        found = list(_walk(spec.source, spec.target))
    else:
        node = _node(spec.target, status)
        found = [node] if node else []
    if not found:
        raise InvalidInput(f"{start}: not a device node")
    yield from ((node, spec.permissions) for node in found)


def _walk(source: str, target: str) -> Iterator[Device]:
    """Yield the nodes below a directory; what vanishes or may not be read meanwhile is left out."""
    with suppress(OSError):
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            path = posixpath.join(target, entry.name)
            if entry.name in _OWN or entry.is_symlink():
                continue
            if entry.is_dir():
                yield from _walk(entry.path, path)
            else:
                with suppress(OSError):
                    if node := _node(path, entry.stat()):
                        yield node


def _node(path: str, status: os.stat_result) -> Device | None:
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return None
    return {
        "path": path,
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }

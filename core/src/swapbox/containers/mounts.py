"""A container's mounts as the OCI runtime spec has them; :mod:`swapbox.containers.volumes` reads the flags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers import defaults, devices
from swapbox.containers.config import ContainerConfig, MountSpec
from swapbox.errors import InvalidInput

if TYPE_CHECKING:
    from swapbox.containers.files import RuntimeFiles

PROPAGATION = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev", "rprivate")
_TMPFS_VALUES = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
# Flags that undo one another share a name: the last one counts.
_TMPFS_FLAGS = {
    **dict.fromkeys(("exec", "noexec"), "exec"),
    **dict.fromkeys(("suid", "nosuid"), "suid"),
    **dict.fromkeys(("dev", "nodev"), "dev"),
    **dict.fromkeys(("atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime"), "atime"),
    **dict.fromkeys(("diratime", "nodiratime"), "diratime"),
    **dict.fromkeys(("sync", "async", "dirsync"), "sync"),
    **dict.fromkeys(("mand", "nomand"), "mand"),
    **dict.fromkeys(("ro", "rw"), "rw"),
    **dict.fromkeys((*PROPAGATION, "unbindable", "runbindable"), "propagation"),
}

# A read-only container still writes to these of the default mounts.
_ALWAYS_WRITABLE = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})

_BIND_FLAGS = {
    os.ST_RDONLY: "ro",
    os.ST_NOSUID: "nosuid",
    os.ST_NODEV: "nodev",
    os.ST_NOEXEC: "noexec",
    os.ST_NOATIME: "noatime",
    os.ST_NODIRATIME: "nodiratime",
    os.ST_RELATIME: "relatime",
}

Mount = dict[str, Any]


def tmpfs_options(given: str) -> list[str]:
    """Return the mount options of a tmpfs: Docker's safe ones, and what was given, which wins."""
    chosen: dict[str, str] = {}
    for option in (*_TMPFS_DEFAULTS, *(given.split(",") if given else ())):
        name, equals, _ = option.partition("=")
        if option == "defaults":
            continue
        key = name if equals and name in _TMPFS_VALUES else _TMPFS_FLAGS.get(option)
        if key is None:
            words = " ".join(f'"{part}"' for part in option.split("=", 1))
            raise InvalidInput(f"invalid tmpfs option [{words}]")
        chosen.pop(key, None)
        chosen[key] = option
    return list(chosen.values())


def oci_mounts(
    config: ContainerConfig, files: RuntimeFiles, *, user_namespace: bool, private_network: bool, init: Path | None
) -> list[Mount]:
    """Return the OCI ``mounts`` in their order: the defaults, then the rest from the root downwards."""
    own = [_files_mount(path, target, config) for path, target in zip(files, _FILE_TARGETS, strict=True)]
    own += [_tmpfs_mount(target, options) for target, options in config.tmpfs.items()]
    own += [_own_mount(spec, user_namespace=user_namespace) for spec in config.mounts]
    if user_namespace:
        own += [
            _mount(spec.target, "bind", spec.source, "bind", "nosuid", "noexec")
            for spec in devices.renamed(config)
        ]
    asked = {mount["destination"]: mount for mount in own}  # a later one takes the place of an earlier one
    base = _adapted(config, user_namespace=user_namespace, private_network=private_network)
    if init is not None:
        base.append(_mount(defaults.INIT_TARGET, "bind", str(init), "bind", "ro"))
    kept = [mount for mount in base if not _replaced(mount["destination"], asked)]
    return kept + sorted(asked.values(), key=lambda mount: mount["destination"].count("/"))


_FILE_TARGETS = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def _mount(destination: str, kind: str, source: str, *options: str) -> Mount:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _replaced(destination: str, asked: dict[str, Mount]) -> bool:
    return destination in asked or ("/dev" in asked and destination.startswith("/dev/"))


def _files_mount(path: Path, target: str, config: ContainerConfig) -> Mount:
    options = ("rbind", "rprivate", "ro") if config.read_only else ("rbind", "rprivate")
    return _mount(target, "bind", str(path), *options)


def _tmpfs_mount(target: str, options: str) -> Mount:
    return _mount(target, "tmpfs", "tmpfs", *tmpfs_options(options))


def _own_mount(spec: MountSpec, *, user_namespace: bool) -> Mount:
    if spec.type == "tmpfs":
        given = [f"{name}={value}" for name, value in spec.options.items()]
        return _tmpfs_mount(spec.target, ",".join([*["ro"] * spec.read_only, *given]))
    return _bind_mount(spec, user_namespace=user_namespace)


def _bind_mount(spec: MountSpec, *, user_namespace: bool) -> Mount:
    options = ["rbind" if spec.recursive else "bind", spec.propagation or "rprivate"]
    if spec.read_only:
        options.append("ro")
        if spec.submounts != "writable" and (_knows_recursive_attributes() or spec.submounts):
            options.append("rro")
    if user_namespace:
        # The kernel lets a user namespace change a bind mount only when it keeps the flags of the source.
        options += [flag for flag in _source_flags(spec.source) if flag not in options]
    return _mount(spec.target, "bind", spec.source, *options)


def _knows_recursive_attributes() -> bool:
    """Say whether the kernel has mount_setattr(2), that is Linux 5.12."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor.partition("-")[0])) >= (5, 12)


def _source_flags(source: str) -> list[str]:
    try:
        flags = os.statvfs(source).f_flag
    except OSError:
        return []  # it is made, or refused, later
    return [name for flag, name in _BIND_FLAGS.items() if flags & flag]


def _adapted(config: ContainerConfig, *, user_namespace: bool, private_network: bool) -> list[Mount]:
    """Return the default mounts as privilege, user namespace and a read-only root change them."""
    result = defaults.mounts(config.shm_size)
    writable = {"/sys", "/sys/fs/cgroup"} if config.privileged else set()
    if user_namespace:  # there the kernel refuses to remount it read-only
        writable.add("/sys/fs/cgroup")
    for mount in result:
        target, options = mount["destination"], mount["options"]
        if user_namespace and target == "/sys" and not private_network:
            # sysfs may be mounted only by who owns the network namespace it shows.
            mount.update(type="bind", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
        elif target in writable:
            options.remove("ro")
        elif target == "/dev/pts" and user_namespace and not _is_mapped(config, 5):
            options.remove("gid=5")
        if config.read_only and target not in _ALWAYS_WRITABLE and "ro" not in mount["options"]:
            options.append("ro")
    return result


def _is_mapped(config: ContainerConfig, gid: int) -> bool:
    """Say whether a group means something in the container's user namespace, its own or the engine's."""
    if not config.gid_mappings:
        from swapbox.linux.idmaps import maps_gid

        return maps_gid(gid)
    return any(item.container_id <= gid < item.container_id + item.size for item in config.gid_mappings)

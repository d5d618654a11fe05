"""A container's mounts as Docker's API tells of them: as they are, and as they were asked for."""

from __future__ import annotations

from typing import Any

from swapbox.containers.config import MountSpec


def mount_document(mount: MountSpec) -> dict[str, Any]:
    """Return one of ``Mounts``: what is mounted."""
    volume = {"Name": mount.name} if mount.type == "volume" else {}
    return {
        "Type": mount.type,
        **volume,
        "Source": mount.source,
        "Destination": mount.target,
        **({"Driver": mount.driver} if volume else {}),
        "Mode": mount.mode or _default_mode(mount),
        "RW": not mount.read_only,
        "Propagation": mount.propagation,
    }


def _default_mode(mount: MountSpec) -> str:
    """Return the mode that Docker shows where none was typed: it relabels volumes, if there is SELinux."""
    return "z" if mount.type == "volume" and mount.by in ("-v", "--mount") else ""


def bind_text(mount: MountSpec) -> str:
    """Return one of ``HostConfig.Binds``: what was typed after ``-v``."""
    return f"{mount.name or mount.source}:{mount.target}" + (f":{mount.mode}" if mount.mode else "")


def asked_mount(mount: MountSpec) -> dict[str, Any]:
    """Return one of ``HostConfig.Mounts``: what ``--mount`` has asked for."""
    source = mount.source if mount.type == "bind" else "" if mount.anonymous else mount.name
    options = _OPTIONS[mount.type](mount)
    return {
        "Type": mount.type,
        **({"Source": source} if source else {}),
        "Target": mount.target,
        **({"ReadOnly": True} if mount.read_only else {}),
        **({f"{mount.type.capitalize()}Options": options} if options else {}),
    }


def _bind_options(mount: MountSpec) -> dict[str, Any]:
    fields = {
        "Propagation": mount.propagation if mount.propagation != "rprivate" else "",
        "NonRecursive": not mount.recursive,
        "ReadOnlyNonRecursive": mount.submounts == "writable",
        "ReadOnlyForceRecursive": mount.submounts == "readonly",
    }
    return {name: value for name, value in fields.items() if value}


def _volume_options(mount: MountSpec) -> dict[str, Any]:
    fields = {
        "NoCopy": not mount.copy,
        "Labels": dict(mount.labels),
        "Subpath": mount.subpath,
        "DriverConfig": {"Options": dict(mount.options)} if mount.options else {},
    }
    given = {name: value for name, value in fields.items() if value}
    return {**given, "DriverConfig": fields["DriverConfig"]} if given else {}


def _tmpfs_options(mount: MountSpec) -> dict[str, Any]:
    size, mode = mount.options.get("size"), mount.options.get("mode")
    return {**({"SizeBytes": int(size)} if size else {}), **({"Mode": int(mode, 8)} if mode else {})}


_OPTIONS = {"bind": _bind_options, "volume": _volume_options, "tmpfs": _tmpfs_options}

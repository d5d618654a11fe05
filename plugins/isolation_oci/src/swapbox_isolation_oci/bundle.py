"""The ``config.json`` that the runtime is given: the caller's, fitted to what runtimes make of it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.drivers.cgroup import CgroupHandle
from swapbox.drivers.isolation import CreateRequest, Spec
from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import syscalls

_HIDEABLE = ("/mnt", "/media", "/srv", "/opt", "/home")
_EVERY_DEVICE = {"allow": True, "access": "rwm"}


class Bundle(NamedTuple):
    """A spec for the runtime; ``moved`` is where it finds the root file system of the caller, if elsewhere."""

    spec: Spec
    rootfs: str
    moved: str | None

    def prepare(self) -> None:
        """Put the root file system where the runtime finds it, in a mount namespace of the caller's own."""
        if self.moved is None:
            return
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        tree = syscalls.open_tree(
            self.rootfs, syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | syscalls.AT_RECURSIVE
        )
        syscalls.move_mount(tree, self.moved)
        os.close(tree)


def make_bundle(request: CreateRequest, *, keep: Iterable[Path]) -> Bundle:
    """Return the bundle for a request.

    :param keep: directories that the runtime needs.
    :raises InvalidInput: the request and its spec do not fit.
    """
    process = request.spec["process"]
    check_stdio(terminal=bool(process.get("terminal")), request=request)
    spec = copy.deepcopy(request.spec)
    rootfs = os.path.join(request.bundle, spec["root"]["path"])
    moved = None
    if _has_user_namespace(spec):
        moved = _hideable([rootfs, *map(os.fspath, keep), *_sources(spec)])
    spec["root"]["path"] = moved or rootfs
    linux = spec.setdefault("linux", {})
    _join(linux, request.cgroup)
    _set_domain(spec, linux)
    return Bundle(spec, rootfs, moved)


def check_stdio(*, terminal: bool, request: Any) -> None:
    """Check that a request has what its process' standard descriptors need.

    :raises InvalidInput: it has not.
    """
    if terminal and request.console is None:
        raise InvalidInput("process.terminal needs a console socket")
    if not terminal and request.stdio is None:
        raise InvalidInput("a process without terminal needs descriptors for its stdio")


def _join(linux: dict[str, Any], cgroup: CgroupHandle | None) -> None:
    """Name the group that the core has made, or leave the runtime to one of its own without limits.

    The resources stay: the runtime sets what is set already, and without them it would forbid devices that it
    does not know to be wanted.
    """
    path = cgroup.cgroups_path if cgroup is not None else None
    if path is None:
        linux.pop("cgroupsPath", None)
        linux["resources"] = {"devices": [dict(_EVERY_DEVICE)]}
        return
    linux["cgroupsPath"] = path
    linux.setdefault("resources", {}).setdefault("devices", [dict(_EVERY_DEVICE)])


def _set_domain(spec: Spec, linux: dict[str, Any]) -> None:
    """Set the NIS domain by its sysctl, as Docker does: runtimes of OCI 1.0 overlook the field."""
    if domain := spec.pop("domainname", ""):
        linux.setdefault("sysctl", {}).setdefault("kernel.domainname", domain)


def _has_user_namespace(spec: Spec) -> bool:
    namespaces = (spec.get("linux") or {}).get("namespaces") or ()
    return any(item["type"] == "user" for item in namespaces)


def _sources(spec: Spec) -> list[str]:
    return [mount["source"] for mount in spec.get("mounts") or () if str(mount.get("source", "")).startswith("/")]


def _hideable(used: Iterable[str]) -> str:
    """Return a directory of the host where a root file system can be mounted, out of sight of everybody else.

    Root of a user namespace mounts the root file system itself, and cannot reach it below a directory that is
    only for the host's root. What is mounted over must be needed by nobody, and reachable for everybody.
    """
    paths = [os.path.realpath(path) for path in used]
    for candidate in _HIDEABLE:
        free = not any(path == candidate or path.startswith(f"{candidate}/") for path in paths)
        if free and os.path.isdir(candidate) and not os.path.islink(candidate) and os.stat(candidate).st_mode & 1:
            return candidate
    raise Unsupported(
        f"a user namespace needs one of {', '.join(_HIDEABLE)} that nothing is mounted from",
        hint="choose --isolation ns",
    )

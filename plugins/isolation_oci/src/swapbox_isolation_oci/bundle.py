"""The ``config.json`` that the runtime is given: the caller's, fitted to what runtimes make of it."""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.drivers.isolation import CreateRequest, ExecRequest, Spec, Stdio
from swapbox.errors import InvalidInput, NotFound, Unsupported
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


def make_bundle(request: CreateRequest, *, keep: Iterable[Path], unprivileged: bool) -> Bundle:
    """Return the bundle for a request.

    :param keep: directories that the runtime needs.
    :param unprivileged: the runtime may not make groups where it likes.
    :raises InvalidInput: the request and its spec do not fit.
    """
    check_stdio(request.spec["process"], request)
    spec = copy.deepcopy(request.spec)
    rootfs = os.path.join(request.bundle, spec["root"]["path"])
    _check_spec(spec)
    _check_rootfs(rootfs)
    moved = None
    if "user" in _namespaces(spec):
        give_pipes(request.stdio, request.spec["process"], spec)
        moved = _hideable([rootfs, *map(os.fspath, keep), *_sources(spec)])
    spec["root"]["path"] = moved or rootfs
    linux = spec.setdefault("linux", {})
    _join(linux, request, unprivileged=unprivileged)
    _set_domain(spec, linux)
    return Bundle(spec, rootfs, moved)


def check_stdio(process: Mapping[str, Any], request: CreateRequest | ExecRequest) -> None:
    """Check that a request has what its process' standard descriptors need.

    :raises InvalidInput: it has not.
    """
    terminal = bool(process.get("terminal"))
    if terminal and request.console is None:
        raise InvalidInput("process.terminal needs a console socket")
    if not terminal and request.stdio is None:
        raise InvalidInput("a process without terminal needs descriptors for its stdio")


def give_pipes(stdio: Stdio | None, process: Mapping[str, Any], spec: Spec) -> None:
    """Let pipes belong to a mapped user, who could not reopen ``/dev/stdout`` otherwise.

    Runtimes try it from inside the user namespace, where a pipe of the host's root belongs to nobody.
    """
    uid = (process.get("user") or {}).get("uid", 0)
    for item in (spec.get("linux") or {}).get("uidMappings") or ():
        if 0 <= (offset := uid - item["containerID"]) < item["size"]:
            for fd in {fd for fd in stdio or () if stat.S_ISFIFO(os.fstat(fd).st_mode)}:
                with suppress(PermissionError):
                    os.fchown(fd, item["hostID"] + offset, -1)


def _check_spec(spec: Spec) -> None:
    """Refuse here what one runtime takes and another does not, or what Docker has words for."""
    if "mount" not in _namespaces(spec):
        raise Unsupported("a container needs a mount namespace of its own")
    if "user" in _namespaces(spec) and not spec["linux"].get("uidMappings"):
        raise InvalidInput("a user namespace needs linux.uidMappings and linux.gidMappings")
    for mount in spec.get("mounts") or ():
        options = mount.get("options") or ()
        is_bind = mount.get("type") == "bind" or "bind" in options or "rbind" in options
        if is_bind and not os.path.lexists(mount["source"]):
            raise NotFound(f"bind source path does not exist: {mount['source']}")


def _check_rootfs(rootfs: str) -> None:
    """Refuse links in place of the kernel's file systems.

    runc 1.1 mounts where ``/dev`` leads to inside the root, but then makes its links where it leads to outside.
    """
    for name in ("dev", "proc", "sys"):
        if os.path.islink(os.path.join(rootfs, name)):
            hint = "choose --isolation ns"
            raise Unsupported(f"/{name} of the image is a symbolic link, which leads runtimes astray", hint=hint)


def _join(linux: dict[str, Any], request: CreateRequest, *, unprivileged: bool) -> None:
    """Name the group that the core has made, or leave the runtime to one of its own without limits.

    The resources stay: the runtime sets what is set already. Without rules it would forbid devices by itself.
    """
    path = request.cgroup.cgroups_path if request.cgroup is not None else None
    if path is not None:
        linux["cgroupsPath"] = path
    else:
        linux["resources"] = {}
        if unprivileged:
            linux.pop("cgroupsPath", None)
        else:
            linux.setdefault("cgroupsPath", f"/swapbox/{request.id}")
    linux.setdefault("resources", {}).setdefault("devices", [dict(_EVERY_DEVICE)])


def _set_domain(spec: Spec, linux: dict[str, Any]) -> None:
    """Set the NIS domain by its sysctl, as Docker does: runtimes of OCI 1.0 overlook the field."""
    if domain := spec.pop("domainname", ""):
        linux.setdefault("sysctl", {}).setdefault("kernel.domainname", domain)


def _namespaces(spec: Spec) -> set[str]:
    return {item["type"] for item in (spec.get("linux") or {}).get("namespaces") or ()}


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

"""A bundle's ``config.json`` turned into values: everything a container needs, in the order it is done.

Pure functions: they read the spec and nothing else, so a test compares their result without root. ``rootfs.py``
and ``process.py`` carry the plan out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import syscalls
from swapbox_isolation_ns.idmap import IdMap
from swapbox_isolation_ns.plan_mounts import Device, MountStep, plan_devices, plan_mounts
from swapbox_isolation_ns.plan_process import ProcessPlan, plan_process

NAMESPACES: Mapping[str, int] = {
    "user": syscalls.CLONE_NEWUSER,
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}
"""OCI's names, and the flags of clone(2)."""

PROPAGATIONS: Mapping[str, int] = {
    "": 0,
    "private": syscalls.MS_PRIVATE,
    "slave": syscalls.MS_SLAVE,
    "shared": syscalls.MS_SHARED,
    "unbindable": syscalls.MS_UNBINDABLE,
}

# Parts of the specification that this driver does not carry out: refused, never ignored.
_REFUSED = (
    ("hooks",),
    ("process", "apparmorProfile"),
    ("process", "selinuxLabel"),
    ("process", "ioPriority"),
    ("process", "scheduler"),
    ("process", "execCPUAffinity"),
    ("linux", "mountLabel"),
    ("linux", "intelRdt"),
    ("linux", "personality"),
    ("linux", "timeOffsets"),
)
# Sysctls that belong to a namespace: prefix or name, and the namespace (runtime-spec, "sysctl").
_SYSCTLS = {
    "net/": "network",
    "fs/mqueue/": "ipc",
    "kernel/msgmax": "ipc",
    "kernel/msgmnb": "ipc",
    "kernel/msgmni": "ipc",
    "kernel/sem": "ipc",
    "kernel/shmall": "ipc",
    "kernel/shmmax": "ipc",
    "kernel/shmmni": "ipc",
    "kernel/shm_rmid_forced": "ipc",
    "kernel/domainname": "uts",
}


class Plan(NamedTuple):
    """Everything :func:`plan` found out.

    :param new: ``CLONE_NEW*`` of the namespaces that are made.
    :param joined: flag and path of those that are joined.
    :param sysctls: path below ``/proc/sys`` and value.
    """

    new: int
    joined: tuple[tuple[int, str], ...]
    uid_maps: tuple[IdMap, ...]
    gid_maps: tuple[IdMap, ...]
    rootfs: Path
    read_only: bool
    propagation: int
    mounts: tuple[MountStep, ...]
    devices: tuple[Device, ...]
    populate_dev: bool
    masked: tuple[str, ...]
    read_only_paths: tuple[str, ...]
    hostname: str
    domainname: str
    sysctls: tuple[tuple[str, str], ...]
    process: ProcessPlan

    @property
    def has_user_namespace(self) -> bool:
        """Whether the container gets a user namespace of its own."""
        return bool(self.new & syscalls.CLONE_NEWUSER)

    def owns(self, namespace: str) -> bool:
        """Say whether the container does not share ``namespace`` (an OCI name) with the caller."""
        flag = NAMESPACES[namespace]
        return bool(self.new & flag) or any(flag == joined for joined, _ in self.joined)


def plan(spec: Mapping[str, Any], bundle: Path) -> Plan:
    """Turn a runtime specification (version 1.1) into a plan.

    :raises InvalidInput: it contradicts itself or misses something.
    :raises Unsupported: it asks for what this driver does not do.
    """
    _refuse(spec)
    linux: Mapping[str, Any] = spec.get("linux") or {}
    root = spec.get("root") or {}
    if not root.get("path"):
        raise InvalidInput("root.path is missing in config.json")
    new, joined = _namespaces(linux)
    gid_maps = _id_maps(linux, "gidMappings")
    mounts = plan_mounts(spec.get("mounts") or [], gids=[(item.container, item.size) for item in gid_maps])
    result = Plan(
        new=new,
        joined=joined,
        uid_maps=_id_maps(linux, "uidMappings"),
        gid_maps=gid_maps,
        rootfs=bundle / root["path"],
        read_only=bool(root.get("readonly")),
        propagation=_propagation(linux.get("rootfsPropagation") or ""),
        mounts=mounts,
        devices=plan_devices(linux.get("devices") or []),
        populate_dev=not any(step.target == "/dev" and step.bind for step in mounts),
        masked=tuple(linux.get("maskedPaths") or ()),
        read_only_paths=tuple(linux.get("readonlyPaths") or ()),
        hostname=spec.get("hostname") or "",
        domainname=spec.get("domainname") or "",
        sysctls=tuple((_sysctl_path(name), value) for name, value in (linux.get("sysctl") or {}).items()),
        process=plan_process(spec.get("process") or {}),
    )
    _check(result)
    return result


def _refuse(spec: Mapping[str, Any]) -> None:
    for path in _REFUSED:
        value: Any = spec
        for name in path:
            value = (value or {}).get(name)
        if value:
            hint = "use --isolation with another driver, for example runc"
            raise Unsupported(f"the ns driver does not support {'.'.join(path)}", hint=hint)


def _namespaces(linux: Mapping[str, Any]) -> tuple[int, tuple[tuple[int, str], ...]]:
    new = 0
    joined: list[tuple[int, str]] = []
    for item in linux.get("namespaces") or []:
        kind, path = item.get("type"), item.get("path") or ""
        if kind not in NAMESPACES:
            raise Unsupported(f"the ns driver does not support {kind} namespaces")
        flag = NAMESPACES[kind]
        if new & flag or any(flag == other for other, _ in joined):
            raise InvalidInput(f"the {kind} namespace is given twice in linux.namespaces")
        if path and kind in ("user", "mount"):
            raise Unsupported(f"the ns driver cannot join the {kind} namespace {path}")
        if path:
            joined.append((flag, path))
        else:
            new |= flag
    if not new & syscalls.CLONE_NEWNS:
        raise Unsupported("the ns driver cannot run a container without a mount namespace of its own")
    return new, tuple(joined)


def _id_maps(linux: Mapping[str, Any], name: str) -> tuple[IdMap, ...]:
    return tuple(IdMap(item["containerID"], item["hostID"], item["size"]) for item in linux.get(name) or ())


def _propagation(name: str) -> int:
    kind = name.removeprefix("r")
    if kind not in PROPAGATIONS:
        raise InvalidInput(f"unknown rootfsPropagation {name!r}")
    return PROPAGATIONS[kind]


def _sysctl_path(name: str) -> str:
    """Return the path below /proc/sys: the first separator seen, ``.`` or ``/``, is the separator (sysctl(8))."""
    first = next((character for character in name if character in "./"), ".")
    path = name if first == "/" else name.translate({ord("."): "/", ord("/"): "."})
    if ".." in path.split("/"):
        raise InvalidInput(f"invalid sysctl {name!r}")
    return path


def _check(plan: Plan) -> None:
    if plan.has_user_namespace and not (plan.uid_maps and plan.gid_maps):
        raise InvalidInput("a user namespace needs linux.uidMappings and linux.gidMappings")
    if plan.uid_maps and not plan.has_user_namespace:
        raise InvalidInput("linux.uidMappings needs a user namespace in linux.namespaces")
    if (plan.hostname or plan.domainname) and not plan.owns("uts"):
        raise InvalidInput(f"cannot set the hostname {plan.hostname!r} without a uts namespace of its own")
    for path, _ in plan.sysctls:
        owner = next((owner for prefix, owner in _SYSCTLS.items() if _matches(path, prefix)), None)
        if owner is None:
            raise InvalidInput(f"sysctl {path.replace('/', '.')!r} does not belong to a namespace")
        if not plan.owns(owner):
            raise InvalidInput(f"sysctl {path.replace('/', '.')!r} is not allowed in the host's {owner} namespace")


def _matches(path: str, prefix: str) -> bool:
    return path.startswith(prefix) if prefix.endswith("/") else path == prefix

"""From a container's configuration to its OCI ``config.json`` (runtime-spec 1.1), with Docker's defaults.

The result is plain data: what runs it is an isolation driver's matter. Nothing is changed here; read are the root
file system's user files, and facts of the host that the container asks for (its devices, its name).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers import defaults, devices, limits, mounts, security
from swapbox.containers.config import ContainerConfig, IdMapping
from swapbox.containers.environment import environment
from swapbox.containers.users import User, resolve_user
from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import caps

if TYPE_CHECKING:
    from swapbox.containers.files import RuntimeFiles
    from swapbox.drivers.isolation import Spec


def build_spec(
    config: ContainerConfig,
    *,
    container_id: str,
    rootfs: Path,
    files: RuntimeFiles,
    private_network: bool,
    network_path: str = "",
    cgroup_path: str,
    unprivileged: bool = False,
    init_path: Path | None = None,
) -> Spec:
    """Return the whole ``config.json`` of a container; ``root.path`` is ``rootfs``, relative to the bundle.

    :param rootfs: the mounted root file system, for looking up users.
    :param files: generated files to bind over those in ``/etc``.
    :param private_network: the container gets a network namespace of its own.
    :param network_path: the network namespace that it joins; empty for its own or the host's.
    :param cgroup_path: relative to the hierarchy's mount point; empty for no cgroup.
    :param unprivileged: the engine itself lives in a user namespace, or is not root.
    :param init_path: the host's program that ``--init`` runs as pid 1.
    :raises NotFound: a user, group or device is not there.
    :raises InvalidInput: an option does not fit the network or the host.
    :raises Unsupported: the host lacks a capability, or a program for ``--init``.
    """
    user_namespace = unprivileged or bool(config.uid_mappings)
    options = security.security_options(config.security_opt)
    hostname = config.hostname or (container_id[:12] if private_network else os.uname().nodename)
    if config.init and init_path is None:
        hint = "install tini, catatonit or docker-init"
        raise Unsupported('exec: "docker-init": executable file not found in $PATH', hint=hint)
    process = _process(config, options, rootfs=rootfs, hostname=hostname)
    if unprivileged and not config.uid_mappings and not config.group_add:
        _leave_groups_out(process)
    spec: Spec = {
        "ociVersion": defaults.OCI_VERSION,
        "process": process,
        "root": {"path": "rootfs", "readonly": config.read_only},
        "hostname": hostname,
        "mounts": mounts.oci_mounts(
            config,
            files,
            user_namespace=user_namespace,
            private_network=private_network,
            init=init_path if config.init else None,
        ),
        "linux": _linux(
            config,
            options,
            bounding=process["capabilities"]["bounding"],
            private_network=private_network,
            user_namespace=user_namespace,
            cgroup_path=cgroup_path,
        ),
    }
    if network_path:
        spec["linux"]["namespaces"].append({"type": "network", "path": network_path})
    if config.domainname:
        spec["domainname"] = config.domainname
    if config.annotations:
        spec["annotations"] = dict(config.annotations)
    return spec


def _process(
    config: ContainerConfig, options: security.SecurityOptions, *, rootfs: Path, hostname: str
) -> dict[str, Any]:
    user = resolve_user(rootfs, config.user, group_add=config.group_add)
    prefix = (defaults.INIT_TARGET, "--") if config.init else ()
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids)},
        "args": [*prefix, *config.args],
        "env": environment(config, hostname=hostname, home=user.home),
        "cwd": posixpath.normpath("/" + config.workdir.lstrip("/")),
        "capabilities": _capability_sets(config, user),
        "noNewPrivileges": options.no_new_privileges,
    }
    if config.ulimits:
        process["rlimits"] = limits.rlimits(config)
    if config.oom_score_adj:
        process["oomScoreAdj"] = config.oom_score_adj
    if options.apparmor not in {"", "unconfined"}:
        process["apparmorProfile"] = options.apparmor
    return process


def _leave_groups_out(process: dict[str, Any]) -> None:
    """Do without the groups that the image gives its user, where setgroups(2) is not allowed."""
    from swapbox.linux.idmaps import may_set_groups

    if not may_set_groups():
        process["user"]["additionalGids"] = []


def _capability_sets(config: ContainerConfig, user: User) -> dict[str, list[str]]:
    """Return the five sets: nothing is inheritable or ambient, and only root has any from the start."""
    # A user namespace of its own holds every capability the kernel knows, whatever the engine has.
    available = frozenset(caps.NAMES) if config.uid_mappings else None
    bounding = security.capabilities(config, available=available)
    held = [] if user.uid else list(bounding)
    return {
        "bounding": list(bounding),
        "effective": held,
        "permitted": list(held),
        "inheritable": [],
        "ambient": [],
    }


def _linux(
    config: ContainerConfig,
    options: security.SecurityOptions,
    *,
    bounding: list[str],
    private_network: bool,
    user_namespace: bool,
    cgroup_path: str,
) -> dict[str, Any]:
    nodes, rules = devices.devices(config, user_namespace=user_namespace)
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in _namespaces(config, private_network=private_network)],
        "sysctl": _sysctls(config, private_network=private_network, user_namespace=user_namespace),
        "devices": nodes,
        "resources": {**limits.resources(config), "devices": rules},
    }
    if cgroup_path:
        linux["cgroupsPath"] = f"/{cgroup_path.lstrip('/')}"
    if config.uid_mappings:
        linux["uidMappings"] = _mappings(config.uid_mappings)
        linux["gidMappings"] = _mappings(config.gid_mappings)
    if options.system_paths and not config.privileged:
        linux["maskedPaths"] = defaults.masked_paths()
        linux["readonlyPaths"] = defaults.readonly_paths()
    if propagation := _root_propagation(config):
        linux["rootfsPropagation"] = propagation
    if (profile := security.seccomp(config, options, bounding)) is not None:
        linux["seccomp"] = profile
    return linux


def _namespaces(config: ContainerConfig, *, private_network: bool) -> Iterable[str]:
    yield from ("mount", "uts", "pid", "ipc", "cgroup")
    if private_network:
        yield "network"
    if config.uid_mappings:
        yield "user"


def _sysctls(config: ContainerConfig, *, private_network: bool, user_namespace: bool) -> dict[str, str]:
    given = dict(config.sysctls)
    if not private_network:
        for name in given:
            if name.startswith("net."):
                raise InvalidInput(f'sysctl "{name}" not allowed in host network namespace')
        return given
    settings = {"net.ipv4.ip_unprivileged_port_start": "0"}
    if not user_namespace:  # the range has group ids that a user namespace does not map
        settings["net.ipv4.ping_group_range"] = "0 2147483647"
    return {**settings, **given}


def _mappings(mappings: Iterable[IdMapping]) -> list[dict[str, int]]:
    return [{"containerID": item.container_id, "hostID": item.host_id, "size": item.size} for item in mappings]


def _root_propagation(config: ContainerConfig) -> str:
    """Return what the root mount needs so that mounts below it can propagate; empty for the default, private."""
    used = {spec.propagation.removeprefix("r") for spec in config.mounts}  # empty for volumes
    return "shared" if "shared" in used else "rslave" if "slave" in used else ""

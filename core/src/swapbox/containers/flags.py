"""From the texts of the options of ``run`` and ``create`` to what the user asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from swapbox.containers import devices, limits, options, security, volumes
from swapbox.containers.config import ContainerConfig, MountSpec
from swapbox.errors import InvalidInput


def asked_config(given: Mapping[str, Any], environment: Mapping[str, str], directory: Path) -> ContainerConfig:
    """Turn the command line's texts into what the user asks for.

    :param given: a value for each of the options, by its name with underscores.
    :param environment: where ``-e NAME`` takes values from.
    :param directory: what relative paths are relative to; it must be the working directory.
    :raises InvalidInput: with Docker's words.
    """
    mounts, tmpfs = _mounts(given, directory)
    integer = options.parse_integer
    return ContainerConfig(
        image=given["image"],
        cmd=tuple(given["command"]),
        entrypoint=None if given["entrypoint"] is None else (given["entrypoint"],),
        env=_environment(given, environment),
        workdir=given["workdir"],
        user=given["user"],
        hostname=given["hostname"],
        tty=given["tty"],
        stdin_open=given["interactive"],
        labels=options.parse_labels(given["label"]),
        stop_signal=given["stop_signal"],
        stop_timeout=integer(given["stop_timeout"]) if given["stop_timeout"] else None,
        mounts=mounts,
        tmpfs={**tmpfs, **volumes.parse_tmpfs(given["tmpfs"])},
        read_only=given["read_only"],
        privileged=given["privileged"],
        cap_add=security.parse_capabilities(given["cap_add"], flag="--cap-add"),
        cap_drop=security.parse_capabilities(given["cap_drop"], flag="--cap-drop"),
        security_opt=security.parse_security_opts(given["security_opt"]),
        ulimits=limits.parse_ulimits(given["ulimit"]),
        sysctls=security.parse_sysctls(given["sysctl"]),
        init=given["init"],
        memory=_optional(limits.parse_memory, given["memory"]),
        memory_swap=_optional(limits.parse_memory_swap, given["memory_swap"]),
        memory_reservation=_optional(limits.parse_memory, given["memory_reservation"]),
        nano_cpus=_optional(limits.parse_cpus, given["cpus"]),
        cpu_shares=_optional(integer, given["cpu_shares"]),
        cpuset_cpus=given["cpuset_cpus"],
        pids_limit=_optional(integer, given["pids_limit"]),
        shm_size=_optional(limits.parse_memory, given["shm_size"]),
        devices=devices.parse_devices(given["device"]),
        group_add=tuple(given["group_add"]),
        network=given["network"],
        auto_remove=given["auto_remove"],
        storage=given["storage"] or "",
        isolation=_isolation(given),
        cgroup=given["cgroup"] or "",
        logging=given["logging"] or "",
        log_opts=options.parse_map(given["log_opt"]),
        network_driver=given["network_driver"] or "",
    )


def _isolation(given: Mapping[str, Any]) -> str:
    """Return the isolation driver, which ``--runtime`` names too."""
    isolation, runtime = given["isolation"] or "", given.get("runtime") or ""
    if isolation and runtime and isolation != runtime:
        raise InvalidInput(f"conflicting options: --isolation {isolation} and --runtime {runtime}")
    return isolation or runtime


def _optional(parse: Callable[[str], int], text: str) -> int:
    return parse(text) if text else 0


def _environment(given: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables of the files, then those of ``-e``; of one name, the last counts."""
    items = [item for path in given["env_file"] for item in options.read_env_file(Path(path), environment)]
    return (*items, *options.parse_env(given["env"], environment))


def _mounts(given: Mapping[str, Any], directory: Path) -> tuple[tuple[MountSpec, ...], dict[str, str]]:
    binds = [volumes.parse_volume(text, directory) for text in given["volume"]]
    tmpfs: dict[str, str] = {}
    for text in given["mount"]:
        parsed = volumes.parse_mount(text)
        if isinstance(parsed, MountSpec):
            binds.append(parsed)
        else:
            tmpfs[parsed[0]] = parsed[1]
    return tuple(binds), tmpfs

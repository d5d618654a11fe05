"""What ``inspect`` shows of a container: the document of Docker's API, its fields in Docker's order.

What swapbox does not have has the value that Docker gives it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swapbox.cli.mount_document import asked_mount, bind_text, mount_document
from swapbox.cli.network_document import host_links, network_settings, port_bindings
from swapbox.cli.units import format_time
from swapbox.containers.defaults import masked_paths, readonly_paths
from swapbox.containers.execute import exec_ids
from swapbox.containers.exposed import exposed as exposed_ports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from swapbox.containers.config import ContainerConfig, Healthcheck
    from swapbox.containers.records import Container, Health
    from swapbox.engine import Engine

_NEVER = "0001-01-01T00:00:00Z"
_SHM_SIZE = 64 << 20


def container_document(engine: Engine, container: Container, *, size: bool = False) -> dict[str, Any]:
    """Return the document of a container.

    :param size: measure the files, too, which takes a walk over them.
    """
    config, directory = container.config, engine.paths.container(container.id)
    return {
        "Id": container.id,
        "Created": format_time(container.created),
        "Path": config.args[0],
        "Args": list(config.args[1:]),
        "State": _state(container),
        "Image": config.image_id,
        "ResolvConfPath": str(directory / "resolv.conf"),
        "HostnamePath": str(directory / "hostname"),
        "HostsPath": str(directory / "hosts"),
        "LogPath": str(directory / f"{container.id}-json.log") if config.logging == "json-file" else "",
        "Name": f"/{container.name}",
        "RestartCount": container.state.restart_count,
        "Driver": config.storage,
        "Platform": config.platform.partition("/")[0],
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": exec_ids(engine, container.id) or None,
        "HostConfig": _host_config(config, container.name),
        "GraphDriver": {"Data": None, "Name": config.storage},
        **(_sizes(engine, container) if size else {}),
        "Mounts": [mount_document(mount) for mount in config.mounts],
        "Config": _config(container),
        "NetworkSettings": network_settings(engine, container),
        "Drivers": {
            "Storage": config.storage,
            "Isolation": config.isolation,
            "Cgroup": config.cgroup,
            "Logging": config.logging,
            "Network": config.network_driver,
        },
    }


def _sizes(engine: Engine, container: Container) -> dict[str, int]:
    from swapbox.containers.sizes import own_size, total_size

    own = own_size(engine, container.id, container.config.storage)
    return {"SizeRw": own, "SizeRootFs": total_size(engine, container.config.image_id, own)}


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    document: dict[str, Any] = {
        "Status": state.status,
        "Running": state.running,
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.init.pid if state.running and state.init else 0,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": format_time(state.started) if state.started else _NEVER,
        "FinishedAt": format_time(state.finished) if state.finished else _NEVER,
    }
    if container.health is not None:
        document["Health"] = _health(container.health)
    return document


def _health(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status,
        "FailingStreak": health.streak,
        "Log": [
            {
                "Start": format_time(probe.start),
                "End": format_time(probe.end),
                "ExitCode": probe.exit_code,
                "Output": probe.output,
            }
            for probe in health.log
        ],
    }


def _host_config(config: ContainerConfig, name: str) -> dict[str, Any]:
    masked = not config.privileged and "systempaths=unconfined" not in config.security_opt
    return {
        "Binds": _or_none(map(bind_text, (m for m in config.mounts if m.by == "-v"))),
        "ContainerIDFile": "",
        "LogConfig": {"Type": config.logging, "Config": dict(config.log_opts)},
        "NetworkMode": config.network or config.network_driver,
        "PortBindings": port_bindings(config),
        "RestartPolicy": {"Name": config.restart or "no", "MaximumRetryCount": config.restart_retries},
        "AutoRemove": config.auto_remove,
        "VolumeDriver": config.volume_driver,
        "VolumesFrom": _or_none(config.volumes_from),
        "ConsoleSize": [0, 0],
        **({"Annotations": dict(config.annotations)} if config.annotations else {}),
        "CapAdd": _or_none(config.cap_add),
        "CapDrop": _or_none(config.cap_drop),
        "CgroupnsMode": "private",
        "Dns": list(config.dns),
        "DnsOptions": list(config.dns_options),
        "DnsSearch": list(config.dns_search),
        "ExtraHosts": _or_none(config.extra_hosts),
        "GroupAdd": _or_none(config.group_add),
        "IpcMode": "private",
        "Cgroup": "",
        "Links": host_links(config, name),
        "OomScoreAdj": config.oom_score_adj,
        "PidMode": "",
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": _or_none(config.security_opt),
        **({"Tmpfs": dict(config.tmpfs)} if config.tmpfs else {}),
        "UTSMode": "",
        "UsernsMode": config.userns,
        "ShmSize": config.shm_size or _SHM_SIZE,
        **({"Sysctls": dict(config.sysctls)} if config.sysctls else {}),
        "Runtime": config.isolation,
        "Isolation": "",
        **_resources(config),
        **({"Mounts": asked} if (asked := [asked_mount(m) for m in config.mounts if m.by == "--mount"]) else {}),
        "MaskedPaths": masked_paths() if masked else None,
        "ReadonlyPaths": readonly_paths() if masked else None,
        **({"Init": True} if config.init else {}),
    }


def _resources(config: ContainerConfig) -> dict[str, Any]:
    return {
        "CpuShares": config.cpu_shares,
        "Memory": config.memory,
        "NanoCpus": config.nano_cpus,
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": config.cpu_period,
        "CpuQuota": config.cpu_quota,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": config.cpuset_cpus,
        "CpusetMems": config.cpuset_mems,
        "Devices": [
            {"PathOnHost": d.source, "PathInContainer": d.target, "CgroupPermissions": d.permissions}
            for d in config.devices
        ],
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "MemoryReservation": config.memory_reservation,
        "MemorySwap": config.memory_swap or 2 * config.memory,
        "MemorySwappiness": None,
        "OomKillDisable": False if config.cgroup == "v1" else None,
        "PidsLimit": config.pids_limit or None,
        "Ulimits": [{"Name": u.name, "Hard": u.hard, "Soft": u.soft} for u in config.ulimits],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    fields = {
        "Test": list(check.test),
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {name: value for name, value in fields.items() if value}


def _config(container: Container) -> dict[str, Any]:
    config = container.config
    exposed: dict[str, Any] = {
        f"{number}/{protocol}": {} for protocol, number in exposed_ports(config.exposed_ports)
    }
    return {
        "Hostname": config.hostname or container.short_id,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": "stdin" in config.attach,
        "AttachStdout": "stdout" in config.attach,
        "AttachStderr": "stderr" in config.attach,
        **({"ExposedPorts": exposed} if exposed else {}),
        "Tty": config.tty,
        "OpenStdin": config.stdin_open,
        "StdinOnce": config.stdin_open and "stdin" in config.attach,
        "Env": list(config.env),
        "Cmd": _or_none(config.cmd),
        **({"Healthcheck": _healthcheck(config.healthcheck)} if config.healthcheck else {}),
        "Image": config.image,
        "Volumes": {volume: {} for volume in config.volumes} or None,
        "WorkingDir": config.workdir,
        "Entrypoint": _or_none(config.entrypoint or ()),
        "OnBuild": None,
        "Labels": dict(config.labels),
        **({"StopSignal": config.stop_signal} if config.stop_signal else {}),
        **({"StopTimeout": config.stop_timeout} if config.stop_timeout is not None else {}),
        **({"Shell": list(config.shell_form)} if config.shell_form else {}),
    }


def _or_none(items: Iterable[str]) -> list[str] | None:
    """Return a list as Go's JSON has it, where an empty one is null."""
    return list(items) or None

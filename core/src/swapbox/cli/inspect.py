"""``swapbox inspect``: containers and images as Docker's JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import engine_of
from swapbox.cli.units import format_time
from swapbox.containers.execute import exec_ids
from swapbox.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from swapbox.containers.config import Healthcheck
    from swapbox.containers.records import Container, Health
    from swapbox.engine import Engine
    from swapbox.images.service import Image

_NEVER = "0001-01-01T00:00:00Z"


@click.command(epilog="Example: swapbox inspect --type container web")
@click.option(
    "--type", "kind", type=click.Choice(["container", "image"]), help="Look at objects of this type only."
)
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID [NAME|ID...]")
@click.pass_context
def inspect(ctx: click.Context, names: tuple[str, ...], *, kind: str | None) -> int:
    """Return low-level information on containers and images."""
    found, errors = [], []
    for name in names:
        try:
            found.append(_look_up(engine_of(ctx), name, kind))
        except NotFound as error:
            errors.append(error.message)
    click.echo(json.dumps(found, indent=4))
    for message in errors:
        click.echo(f"error: {message}", err=True)
    return 1 if errors else 0


def _look_up(engine: Engine, name: str, kind: str | None) -> dict[str, Any]:
    if kind != "image":
        try:
            return container_document(engine, engine.containers.find(name))
        except NotFound:
            if kind == "container":
                raise
    try:
        return image_document(engine.images.find(name))
    except (NotFound, InvalidInput):
        what = "image" if kind else "object"
        raise NotFound(f"no such {what}: {name}") from None


def container_document(engine: Engine, container: Container) -> dict[str, Any]:
    """Return what Docker's API says of a container, as far as swapbox knows it."""
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
        "ExecIDs": exec_ids(engine, container.id) or None,
        "HostConfig": _host_config(container),
        "Mounts": [
            {
                "Type": "bind",
                "Source": mount.source,
                "Destination": mount.target,
                "Mode": mount.mode,
                "RW": not mount.read_only,
                "Propagation": mount.propagation,
            }
            for mount in config.mounts
        ],
        "Config": _config(container),
        "Drivers": {
            "Storage": config.storage,
            "Isolation": config.isolation,
            "Cgroup": config.cgroup,
            "Logging": config.logging,
            "Network": config.network_driver,
        },
    }


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


def _host_config(container: Container) -> dict[str, Any]:
    config = container.config
    return {
        "Binds": [f"{m.source}:{m.target}" + (f":{m.mode}" if m.mode else "") for m in config.mounts] or None,
        "LogConfig": {"Type": config.logging, "Config": dict(config.log_opts)},
        "NetworkMode": config.network or config.network_driver,
        "RestartPolicy": {"Name": config.restart or "no", "MaximumRetryCount": config.restart_retries},
        "AutoRemove": config.auto_remove,
        "CapAdd": list(config.cap_add) or None,
        "CapDrop": list(config.cap_drop) or None,
        "GroupAdd": list(config.group_add) or None,
        "Privileged": config.privileged,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": list(config.security_opt) or None,
        "Tmpfs": dict(config.tmpfs) or None,
        "UsernsMode": config.userns,
        "ShmSize": config.shm_size or 67108864,
        "Sysctls": dict(config.sysctls) or None,
        "Init": config.init or None,
        "Runtime": config.isolation,
        "Memory": config.memory,
        "MemoryReservation": config.memory_reservation,
        "MemorySwap": config.memory_swap,
        "NanoCpus": config.nano_cpus,
        "CpuShares": config.cpu_shares,
        "CpusetCpus": config.cpuset_cpus,
        "PidsLimit": config.pids_limit or None,
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in config.ulimits] or None,
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
    health = {"Healthcheck": _healthcheck(config.healthcheck)} if config.healthcheck else {}
    return {
        **health,
        "Hostname": config.hostname or container.short_id,
        "Domainname": config.domainname,
        "User": config.user,
        "Tty": config.tty,
        "OpenStdin": config.stdin_open,
        "Env": list(config.env),
        "Cmd": list(config.cmd) or None,
        "Image": config.image,
        "Volumes": {volume: {} for volume in config.volumes} or None,
        "WorkingDir": config.workdir,
        "Entrypoint": list(config.entrypoint or ()) or None,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal or "SIGTERM",
        "StopTimeout": config.stop_timeout,
    }


def image_document(image: Image) -> dict[str, Any]:
    """Return what Docker's API says of an image."""
    references = image.references
    return {
        "Id": image.id,
        "RepoTags": [reference.familiar for reference in references if reference.tag],
        "RepoDigests": [reference.familiar for reference in references if reference.digest],
        "Created": image.config.get("created", ""),
        "Author": image.config.get("author", ""),
        "Architecture": image.config.get("architecture", ""),
        "Variant": image.config.get("variant", ""),
        "Os": image.config.get("os", ""),
        "Size": image.size,
        "Config": image.config.get("config") or {},
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Metadata": {"LastTagTime": format_time(int(image.pulled * 1e9))},
    }

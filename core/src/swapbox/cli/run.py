"""``swapbox run``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import FLAG_ERROR, driver_options, engine_of, print_error
from swapbox.cli.detach import DEFAULT_KEYS, parse_keys
from swapbox.containers.spawn import spawn
from swapbox.drivers.common import Kind
from swapbox.errors import CommandNotExecutable, Conflict, InvalidInput, NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.containers.options import RunOptions
    from swapbox.containers.records import Container
    from swapbox.engine import Engine
    from swapbox.images.service import Image


class NoTerminal(InvalidInput):
    """``-it`` needs a terminal on stdin; Docker ends with 1 here, unlike for other wrong options."""


def _many(*names: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make an option that may be given several times."""
    return click.option(*names, multiple=True, **settings)


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Example: swapbox run --rm -it -e GREETING=hello -v /srv/data:/data:ro alpine sh",
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background and print the container's id.")
@click.option("-i", "--interactive", is_flag=True, help="Keep stdin open.")
@click.option("-t", "--tty", is_flag=True, help="Give the container a terminal.")
@click.option("--rm", "auto_remove", is_flag=True, help="Remove the container when it has ended.")
@_many("-e", "--env", metavar="NAME[=VALUE]", help="Set a variable, or pass the host's on.")
@_many("--env-file", type=click.Path(path_type=Path), help="Read variables from a file.")
@click.option("-w", "--workdir", default="", help="Working directory in the container.")
@click.option("-u", "--user", default="", metavar="NAME|UID[:GROUP|GID]", help="User to run as.")
@_many("-v", "--volume", metavar="SOURCE:TARGET[:MODE]", help="Bind mount a host directory or file.")
@_many("--mount", metavar="type=bind|tmpfs,...", help="Mount, the long way.")
@_many("--tmpfs", metavar="TARGET[:OPTIONS]", help="Mount a tmpfs.")
@click.option("--name", default="", help="Name of the container.")
@click.option("-h", "--hostname", default="", help="Host name in the container.")
@click.option("--entrypoint", help="Replace the image's entrypoint.")
@click.option("--read-only", is_flag=True, help="Mount the root file system read-only.")
@click.option("--privileged", is_flag=True, help="Give every capability and device; no confinement.")
@click.option("-m", "--memory", default="", metavar="BYTES", help="Memory limit, such as 512m.")
@click.option("--memory-swap", default="", metavar="BYTES", help="Limit of memory plus swap; -1 for none.")
@click.option("--memory-reservation", default="", metavar="BYTES", help="Memory soft limit.")
@click.option("--cpus", default="", metavar="NUMBER", help="Number of CPUs, such as 1.5.")
@click.option("-c", "--cpu-shares", default="", metavar="NUMBER", help="CPU weight against other containers.")
@click.option("--cpuset-cpus", default="", metavar="LIST", help="CPUs to run on, such as 0-2,7.")
@click.option("--pids-limit", default="", metavar="NUMBER", help="Limit of processes; -1 for none.")
@_many("--cap-add", metavar="NAME", help="Add a capability.")
@_many("--cap-drop", metavar="NAME", help="Drop a capability.")
@_many("--security-opt", metavar="OPTION", help="no-new-privileges, seccomp=FILE|unconfined, ...")
@_many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Set a resource limit.")
@_many("--sysctl", metavar="NAME=VALUE", help="Set a namespaced kernel parameter.")
@_many("--device", metavar="HOST[:CONTAINER[:rwm]]", help="Add a host device.")
@_many("--group-add", metavar="GROUP", help="Add a supplementary group.")
@_many("-l", "--label", metavar="KEY[=VALUE]", help="Set a label.")
@click.option("--shm-size", default="", metavar="BYTES", help="Size of /dev/shm.")
@click.option("--stop-signal", default="", metavar="SIGNAL", help="Signal that 'stop' sends.")
@click.option("--stop-timeout", default="", metavar="SECONDS", help="How long 'stop' waits.")
@click.option("--userns", default="", metavar="host|private", help="User namespace of the container.")
@click.option("--init", is_flag=True, help="Run an init that reaps and forwards signals.")
@_many("--log-opt", metavar="NAME=VALUE", help="Option of the log driver.")
@click.option("--network", "--net", default="", metavar="NAME", help="Network: none or host.")
@click.option("--detach-keys", default=DEFAULT_KEYS, metavar="KEYS", help="Keys that leave it running.")
@click.option("--cidfile", type=click.Path(path_type=Path), help="Write the container's id to this file.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Platform to pull when the image is not here.")
@click.option("--dry-run", is_flag=True, help="Print the OCI config.json instead of running.")
@driver_options()
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> int:
    """Create and start a container from an image."""
    engine = engine_of(ctx)
    try:
        return _run(engine, given)
    except CommandNotExecutable as error:
        _print_run_error(error)
        return error.exit_code
    except NoTerminal as error:
        _print_run_error(error)
        return 1
    except SwapboxError as error:
        _print_run_error(error)
        return FLAG_ERROR


def _print_run_error(error: SwapboxError) -> None:
    print_error(error, prefix="swapbox: ")
    click.echo("\nRun 'swapbox run --help' for more information", err=True)


def _run(engine: Engine, given: dict[str, Any]) -> int:
    if given["dry_run"]:
        options = run_options(given, os.environ, Path.cwd())
        image = _image(engine, options, platform=given["platform"], registry=given["registry"])
        click.echo(json.dumps(engine.containers.plan(options, image=image), indent=2))
        return 0
    monitor = spawn(engine, drivers=_named_drivers(given))
    try:
        options = run_options(given, os.environ, Path.cwd())
        _check_terminal(options, detach=given["detach"])
        detach_keys = parse_keys(given["detach_keys"])
        container = _create(engine, options, given)
        if given["detach"]:
            engine.containers.start(container, monitor=monitor).close()
            click.echo(container.id)
            return 0
        from swapbox.cli.attach import run_attached

        return run_attached(engine, container, monitor=monitor, detach_keys=detach_keys)
    finally:
        monitor.cancel()


def _named_drivers(given: dict[str, Any]) -> dict[Kind, str]:
    names: dict[Kind, str | None] = {
        "isolation": given["isolation"],
        "cgroup": given["cgroup"],
        "logging": given["logging"],
        "network": given["network_driver"] or given["network"],
    }
    return {kind: name for kind, name in names.items() if name}


def _create(engine: Engine, options: RunOptions, given: dict[str, Any]) -> Container:
    image = _image(engine, options, platform=given["platform"], registry=given["registry"])
    with _cidfile(given["cidfile"]) as write_id:
        container = engine.containers.create(options, image=image)
        write_id(container.id)
    return container


def _check_terminal(options: RunOptions, *, detach: bool) -> None:
    if options.tty and options.stdin_open and not detach and not os.isatty(0):
        raise NoTerminal(
            "cannot attach stdin to a TTY-enabled container because stdin is not a terminal",
            hint="leave out -t, or -i",
        )


def _image(engine: Engine, options: RunOptions, *, platform: str | None, registry: str | None) -> Image:
    """Return the image, pulled when it is not here; what the pull says goes to stderr."""
    try:
        return engine.images.find(options.image)
    except NotFound as error:
        from swapbox.cli.images import report_pull
        from swapbox.cli.progress import Lines
        from swapbox.references import Reference

        try:
            reference = Reference.parse(options.image).with_default_tag()
        except InvalidInput:
            raise error from None
        click.echo(f"Unable to find image '{reference.familiar}' locally", err=True)
        return report_pull(
            engine,
            options.image,
            progress=Lines(err=True),
            platform=platform,
            registry=registry,
            storage=options.storage or None,
        )


@contextmanager
def _cidfile(path: Path | None) -> Iterator[Any]:
    """Write an id to a new file; the file is gone again when the container could not be created."""
    if path is None:
        yield lambda _id: None
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Conflict(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from None
    except OSError as error:
        raise InvalidInput(f"failed to create the container ID file {path}: {error.strerror}") from None
    try:
        yield lambda id: os.write(fd, id.encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def run_options(given: dict[str, Any], environment: Any, directory: Path) -> RunOptions:
    """Turn the command line's texts into options.

    :raises InvalidInput: with Docker's words.
    """
    from swapbox.containers import devices, limits, options, security, volumes

    mounts, tmpfs = _mounts(given, directory)
    integer = options.parse_integer
    return options.RunOptions(
        image=given["image"],
        command=tuple(given["command"]),
        name=given["name"],
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
        userns=options.parse_userns(given["userns"]),
        auto_remove=given["auto_remove"],
        storage=given["storage"] or "",
        isolation=given["isolation"] or "",
        cgroup=given["cgroup"] or "",
        logging=given["logging"] or "",
        log_opts=options.parse_map(given["log_opt"]),
        network_driver=given["network_driver"] or "",
    )


def _optional(parse: Any, text: str) -> int:
    value: int = parse(text) if text else 0
    return value


def _environment(given: dict[str, Any], environment: Any) -> tuple[str, ...]:
    """Return the variables of the files, then those of ``-e``; of one name, the last counts."""
    from swapbox.containers import options

    items = [item for path in given["env_file"] for item in options.read_env_file(path, environment)]
    return (*items, *options.parse_env(given["env"], environment))


def _mounts(given: dict[str, Any], directory: Path) -> tuple[tuple[Any, ...], dict[str, str]]:
    from swapbox.containers import volumes
    from swapbox.containers.config import MountSpec

    binds = [volumes.parse_volume(text, directory) for text in given["volume"]]
    tmpfs: dict[str, str] = {}
    for text in given["mount"]:
        parsed = volumes.parse_mount(text)
        if isinstance(parsed, MountSpec):
            binds.append(parsed)
        else:
            tmpfs[parsed[0]] = parsed[1]
    return tuple(binds), tmpfs

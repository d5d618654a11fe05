"""``swapbox run``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import FLAG_ERROR, driver_options, engine_of, monitor_of, print_error
from swapbox.cli.attach import SignalProxy, attach, terminal_size
from swapbox.cli.detach import DEFAULT_KEYS, parse_keys
from swapbox.errors import CommandNotExecutable, Conflict, InvalidInput, NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.containers.spawn import Monitor
    from swapbox.engine import Engine


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
@_many("--env-file", type=click.Path(), help="Read variables from a file.")
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
@click.option("--init", is_flag=True, help="Run an init that reaps and forwards signals.")
@_many("--log-opt", metavar="NAME=VALUE", help="Option of the log driver.")
@click.option("--network", "--net", default="", metavar="NAME", help="Network: none or host.")
@click.option("--detach-keys", default=DEFAULT_KEYS, metavar="KEYS", help="Keys that leave it running.")
@click.option("--cidfile", type=click.Path(), help="Write the container's id to this file.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="Platform to pull when the image is not here.")
@click.option("--dry-run", is_flag=True, help="Print the OCI config.json instead of running.")
@click.option("--runtime", default="", metavar="NAME", help="Docker's word for --isolation.")
@driver_options()
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> int:
    """Create and run a new container from an image."""
    monitor: Monitor | None = None
    try:
        monitor = monitor_of(ctx)
        return _run(engine_of(ctx), monitor, given)
    except CommandNotExecutable as error:
        _print_run_error(error)
        return error.exit_code
    except NoTerminal as error:
        _print_run_error(error)
        return 1
    except SwapboxError as error:
        _print_run_error(error)
        return FLAG_ERROR
    finally:
        if monitor is not None:
            monitor.cancel()


def _print_run_error(error: SwapboxError) -> None:
    print_error(error, prefix="swapbox: ")
    click.echo("\nRun 'swapbox run --help' for more information", err=True)


def _run(engine: Engine, monitor: Monitor, given: dict[str, Any]) -> int:
    _check_terminal(given)
    keys = parse_keys(given["detach_keys"])
    if given["dry_run"]:
        return _dry_run(engine, given)
    size = terminal_size(1) if given["tty"] and not given["detach"] else None
    with SignalProxy().installed() as proxy, _cidfile(given["cidfile"]) as write_id:

        def get_image() -> None:
            with proxy.lifted():
                _pull(engine, given)

        started = monitor.run(
            engine,
            given,
            attach=not given["detach"],
            console_size=size,
            missing=get_image,
            created=write_id,
        )
        if given["detach"]:
            click.echo(started.container_id)
            return 0
        return attach(
            engine,
            started,
            proxy=proxy,
            terminal=given["tty"],
            stdin=given["interactive"],
            detach_keys=keys,
        )


def _dry_run(engine: Engine, given: dict[str, Any]) -> int:
    import json

    from swapbox.containers.flags import asked_config

    asked = asked_config(given, engine.environment, Path.cwd())
    try:
        image = engine.images.find(asked.image)
    except NotFound:
        _pull(engine, given)
        image = engine.images.find(asked.image)
    click.echo(json.dumps(engine.containers.plan(asked, image=image), indent=2))
    return 0


def _check_terminal(given: dict[str, Any]) -> None:
    if given["tty"] and given["interactive"] and not given["detach"] and not os.isatty(0):
        raise NoTerminal(
            "cannot attach stdin to a TTY-enabled container because stdin is not a terminal",
            hint="leave out -t, or -i",
        )


def _pull(engine: Engine, given: dict[str, Any]) -> None:
    """Get the image; what the pull says goes to stderr."""
    from swapbox.cli.images import report_pull
    from swapbox.cli.progress import Lines
    from swapbox.references import Reference

    reference = Reference.parse(given["image"]).with_default_tag()
    click.echo(f"Unable to find image '{reference.familiar}' locally", err=True)
    report_pull(
        engine,
        given["image"],
        progress=Lines(err=True),
        platform=given["platform"],
        registry=given["registry"],
        storage=given["storage"],
    )


@contextmanager
def _cidfile(path: str | None) -> Iterator[Any]:
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
    finally:
        if not os.fstat(fd).st_size:
            Path(path).unlink(missing_ok=True)
        os.close(fd)

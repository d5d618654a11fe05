"""``swapbox start`` and ``swapbox attach``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from swapbox.cli.app import ClientError, engine_of, for_each, monitor_of, print_error
from swapbox.cli.attach import SignalProxy, check_terminal, terminal_size
from swapbox.cli.attach import attach as carry
from swapbox.cli.detach import chosen_keys
from swapbox.containers.events import happened
from swapbox.errors import AlreadyRunning, Conflict, SwapboxError

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.containers.spawn import Monitor
    from swapbox.engine import Engine


@click.command(epilog="Example: swapbox start -ai worker")
@click.option("-a", "--attach", is_flag=True, help="Show its output and pass signals on.")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("--detach-keys", default="", metavar="KEYS", help="Keys that leave it running.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def start(
    ctx: click.Context, containers: tuple[str, ...], *, attach: bool, interactive: bool, detach_keys: str
) -> int:
    """Start one or more stopped containers."""
    engine = engine_of(ctx)
    keys = chosen_keys(detach_keys, engine.environment)
    if not (attach or interactive):
        return _start_all(ctx, engine, containers)
    if len(containers) > 1:
        raise ClientError("you cannot start and attach multiple containers at once")
    container = engine.containers.find(containers[0])
    if container.state.running:
        return _attach_to(engine, container, stdin=interactive, detach_keys=keys, of_start=True)
    monitor = monitor_of(ctx)
    try:
        return _start_attached(engine, monitor, container, stdin=interactive, detach_keys=keys)
    except SwapboxError as error:
        print_error(error)
        return 1
    finally:
        monitor.cancel()


def _start_all(ctx: click.Context, engine: Engine, names: tuple[str, ...]) -> int:
    failed = []

    def start_one(name: str) -> None:
        try:
            container = engine.containers.find(name)
            if container.state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if not container.state.running:
                _start_detached(ctx, engine, container)
        except SwapboxError:
            failed.append(name)
            raise

    code = for_each(names, start_one)
    if failed:
        click.echo(f"Error: failed to start containers: {', '.join(failed)}", err=True)
    return code


def _start_detached(ctx: click.Context, engine: Engine, container: Container) -> None:
    monitor = monitor_of(ctx)
    try:
        monitor.start(engine, container.id).sock.close()
    except AlreadyRunning:  # another command was quicker
        return
    finally:
        monitor.cancel()


def _start_attached(
    engine: Engine, monitor: Monitor, container: Container, *, stdin: bool, detach_keys: bytes
) -> int:
    config = container.config
    size = terminal_size(1) if config.tty else None
    with SignalProxy(leaves=config.tty).installed() as proxy:
        started = monitor.start(engine, container.id, attach=True, console_size=size)
        return carry(
            engine,
            started,
            proxy=proxy,
            terminal=config.tty,
            stdin=stdin and config.stdin_open,
            detach_keys=detach_keys,
            size=size,
        )


@click.command(epilog="Example: swapbox attach --detach-keys ctrl-x web")
@click.option("--no-stdin", is_flag=True, help="Do not pass stdin on.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on.")
@click.option("--detach-keys", default="", metavar="KEYS", help="Keys that leave it running.")
@click.argument("container")
@click.pass_context
def attach(ctx: click.Context, container: str, *, no_stdin: bool, sig_proxy: bool, detach_keys: str) -> int:
    """Attach local standard input, output, and error streams to a running container."""
    engine = engine_of(ctx)
    keys = chosen_keys(detach_keys, engine.environment)
    found = engine.containers.find(container)
    return _attach_to(engine, found, stdin=not no_stdin, sig_proxy=sig_proxy, detach_keys=keys)


def _attach_to(
    engine: Engine,
    container: Container,
    *,
    stdin: bool,
    sig_proxy: bool = True,
    detach_keys: bytes,
    of_start: bool = False,
) -> int:
    """Attach to a container that runs; return its exit code.

    :param of_start: ``start`` may be left by a signal or by keys, which for ``attach`` is a failure.
    :raises ClientError: it does not run.
    """
    status, config = container.state.status, container.config
    if status == "paused":
        raise ClientError("You cannot attach to a paused container, unpause it first")
    if status == "restarting":
        raise ClientError("You cannot attach to a restarting container, wait until it is running")
    if status != "running" or container.state.init is None:
        raise ClientError("You cannot attach to a stopped container, start it first")
    if stdin:
        check_terminal(tty=config.tty)
    from swapbox.containers.connect import connect
    from swapbox.containers.spawn import Started

    try:
        started = Started(connect(engine, container.id), container.id, container.state.init.pid)
    except OSError as error:
        if not engine.containers.refresh(container).state.running:
            raise ClientError("You cannot attach to a stopped container, start it first") from None
        raise Conflict(f"container {container.name} has no monitor to attach to: {error.strerror}") from error
    happened(engine, container, "attach")
    leaves = of_start and config.tty
    with SignalProxy(forward=leaves or (sig_proxy and not config.tty), leaves=leaves).installed() as proxy:
        return carry(
            engine,
            started,
            proxy=proxy,
            terminal=config.tty,
            stdin=stdin and config.stdin_open,
            detach_keys=detach_keys,
            detach_fails=not of_start,
        )

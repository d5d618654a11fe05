"""What happens to containers that exist: stop, restart, kill, pause, wait, rm, rename, update, port."""

from __future__ import annotations

from typing import Any

import click

from swapbox.cli.app import engine_of, for_each, print_error
from swapbox.cli.container_options import resource_options
from swapbox.errors import InvalidInput, NotFound

_STOP_OPTIONS = (
    click.option("-s", "--signal", "signal_name", default="", metavar="SIGNAL", help="Signal to send."),
    click.option("-t", "--timeout", "--time", type=int, metavar="SECONDS", help="Kill after so long; -1: never."),
)


def _stop_options(function: Any) -> Any:
    for option in _STOP_OPTIONS:
        function = option(function)
    return function


@click.command(epilog="Example: swapbox stop -t 30 web db")
@_stop_options
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def stop(ctx: click.Context, containers: tuple[str, ...], *, timeout: int | None, signal_name: str) -> int:
    """Stop one or more running containers."""
    service = engine_of(ctx).containers
    return for_each(
        containers, lambda name: service.stop(service.find(name), timeout=timeout, signal_name=signal_name)
    )


@click.command(epilog="Example: swapbox kill -s HUP web")
@click.option("-s", "--signal", "signal_name", default="KILL", metavar="SIGNAL", help="Signal to send.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def kill(ctx: click.Context, containers: tuple[str, ...], *, signal_name: str) -> int:
    """Kill one or more running containers."""
    from swapbox.containers.options import parse_signal

    service, number = engine_of(ctx).containers, parse_signal(signal_name)
    return for_each(containers, lambda name: service.kill(service.find(name), number))


@click.command(epilog="Example: swapbox rm -f web")
@click.option("-f", "--force", is_flag=True, help="Kill a running container first.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def rm(ctx: click.Context, containers: tuple[str, ...], *, force: bool, volumes: bool) -> int:
    """Remove one or more containers."""
    service = engine_of(ctx).containers

    def remove(name: str) -> None:
        try:
            service.remove(service.find(name), force=force, volumes=volumes)
        except NotFound as error:  # perhaps another's removal came first
            if not force:
                raise
            print_error(error)
            return
        click.echo(name)

    if any(not name for name in containers):
        raise InvalidInput("container name cannot be empty")
    return for_each(containers, remove, echo=False)


@click.command(epilog="Example: swapbox restart -t 30 web")
@_stop_options
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def restart(ctx: click.Context, containers: tuple[str, ...], *, timeout: int | None, signal_name: str) -> int:
    """Restart one or more containers."""
    service = engine_of(ctx).containers
    return for_each(
        containers, lambda name: service.restart(service.find(name), timeout=timeout, signal_name=signal_name)
    )


@click.command(epilog="Example: swapbox pause web")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def pause(ctx: click.Context, containers: tuple[str, ...]) -> int:
    """Pause all processes within one or more containers."""
    service = engine_of(ctx).containers
    return for_each(containers, lambda name: service.pause(service.find(name)))


@click.command(epilog="Example: swapbox unpause web")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def unpause(ctx: click.Context, containers: tuple[str, ...]) -> int:
    """Unpause all processes within one or more containers."""
    service = engine_of(ctx).containers
    return for_each(containers, lambda name: service.unpause(service.find(name)))


@click.command(epilog="Example: swapbox wait job1 job2")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def wait(ctx: click.Context, containers: tuple[str, ...]) -> int:
    """Block until one or more containers stop, then print their exit codes."""
    service = engine_of(ctx).containers
    return for_each(containers, lambda name: click.echo(service.wait(service.find(name))), echo=False)


@click.command(epilog="Example: swapbox rename web old-web")
@click.argument("container")
@click.argument("new_name")
@click.pass_context
def rename(ctx: click.Context, container: str, new_name: str) -> None:
    """Rename a container."""
    if not container or not new_name:
        raise InvalidInput("Error: Neither old nor new names may be empty")
    service = engine_of(ctx).containers
    service.rename(service.find(container), new_name)


@click.command(epilog="Example: swapbox update --memory 512m --restart always web")
@resource_options
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def update(ctx: click.Context, /, containers: tuple[str, ...], **given: str) -> int:
    """Update configuration of one or more containers."""
    if not any(given.values()):
        raise InvalidInput("you must provide one or more flags when using this command")
    service = engine_of(ctx).containers
    return for_each(containers, lambda name: service.update(service.find(name), given))


@click.command(epilog="Example: swapbox port web 80/tcp")
@click.argument("container")
@click.argument("private_port", required=False, metavar="[PRIVATE_PORT[/PROTO]]")
@click.pass_context
def port(ctx: click.Context, container: str, private_port: str | None) -> None:
    """List port mappings or a specific mapping for the container."""
    found = engine_of(ctx).containers.find(container)
    if private_port is not None:
        number, _, protocol = private_port.partition("/")
        raise NotFound(f"no public port '{number}/{protocol or 'tcp'}' published for {found.name}")

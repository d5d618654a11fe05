"""What happens to containers that exist: stop, restart, kill, pause, wait, rm, rename, update, port."""

from __future__ import annotations

from typing import Any

import click

from swapbox.cli.app import ClientError, about, engine_of, for_each, print_error
from swapbox.cli.container_options import resource_options
from swapbox.cli.groups import bad_value
from swapbox.errors import InvalidFlag, NotFound, SwapboxError


def _old_name(ctx: click.Context, _param: click.Parameter, value: int | None) -> None:
    if value is not None:
        click.echo("Flag --time has been deprecated, use --timeout instead")
        ctx.params["timeout"] = value


_STOP_OPTIONS = (
    click.option("--time", type=int, hidden=True, expose_value=False, callback=_old_name, help="See --timeout."),
    click.option("-s", "--signal", "signal_name", default="", metavar="SIGNAL", help="Signal to send."),
    click.option("-t", "--timeout", type=int, metavar="SECONDS", help="Kill after so long; -1: never."),
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

    def stop_one(name: str) -> None:
        container = service.find(name)
        with about(f"cannot stop container: {name}"):
            service.stop(container, timeout=timeout, signal_name=signal_name)

    return for_each(containers, stop_one)


@click.command(epilog="Example: swapbox kill -s HUP web")
@click.option("-s", "--signal", "signal_name", default="KILL", metavar="SIGNAL", help="Signal to send.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def kill(ctx: click.Context, containers: tuple[str, ...], *, signal_name: str) -> int:
    """Kill one or more running containers."""
    from swapbox.containers.options import parse_signal

    service = engine_of(ctx).containers

    def kill_one(name: str) -> None:
        with about(f"cannot kill container: {name}"):
            number = parse_signal(signal_name)
            service.kill(service.find(name), number)

    return for_each(containers, kill_one)


@click.command(epilog="Example: swapbox rm -f web")
@click.option("-f", "--force", is_flag=True, help="Kill a running container first.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def rm(ctx: click.Context, containers: tuple[str, ...], *, force: bool, volumes: bool) -> int:
    """Remove one or more containers."""
    service = engine_of(ctx).containers

    def remove(name: str) -> None:
        if not (bare := name.strip("/")):
            raise ClientError("container name cannot be empty")
        try:
            service.remove(service.find(bare), force=force, volumes=volumes)
        except NotFound as error:  # perhaps another's removal came first
            if not force:
                raise
            print_error(error)
            return
        click.echo(name)

    return for_each(containers, remove, echo=False)


@click.command(epilog="Example: swapbox restart -t 30 web")
@_stop_options
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def restart(ctx: click.Context, containers: tuple[str, ...], *, timeout: int | None, signal_name: str) -> int:
    """Restart one or more containers."""
    service = engine_of(ctx).containers

    def restart_one(name: str) -> None:
        container = service.find(name)
        with about(f"Cannot restart container {name}"):
            service.restart(container, timeout=timeout, signal_name=signal_name)

    return for_each(containers, restart_one)


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
    old, new = container.strip(), new_name.strip()
    if not old or not new:
        raise ClientError("Error: Neither old nor new names may be empty")
    service = engine_of(ctx).containers
    try:
        service.rename(service.find(old), new)
    except SwapboxError as error:
        print_error(error)
        raise ClientError(f"Error: failed to rename container named {old}") from None


@click.command(epilog="Example: swapbox update --memory 512m --restart always web")
@resource_options
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def update(ctx: click.Context, /, containers: tuple[str, ...], **given: str) -> int:
    """Update configuration of one or more containers."""
    if not any(given.values()):
        raise ClientError("you must provide one or more flags when using this command")
    from swapbox.containers.flags import check_resources

    try:
        check_resources(given)
    except InvalidFlag as error:
        raise bad_value(ctx, error) from None
    service = engine_of(ctx).containers
    return for_each(containers, lambda name: service.update(service.find(name), given))


@click.command(epilog="Example: swapbox port web 80/tcp")
@click.argument("container")
@click.argument("private_port", required=False, metavar="[PRIVATE_PORT[/PROTO]]")
@click.pass_context
def port(ctx: click.Context, container: str, private_port: str | None) -> None:
    """List port mappings or a specific mapping for the container."""
    from swapbox.cli.ports import address_text

    engine = engine_of(ctx)
    found = engine.containers.find(container)
    published = engine.networks.records.published((found.id,)) if found.config.has_endpoints else {}
    ports = published.get(found.id, [])
    if private_port is None:
        for port in sorted(ports, key=lambda port: (port.private, port.protocol, ":" in port.address)):
            click.echo(f"{port.private}/{port.protocol} -> {address_text(port.address, port.public)}")
        return
    wanted, _, protocol = private_port.partition("/")
    chosen = [port for port in ports if (str(port.private), port.protocol) == (wanted, protocol or "tcp")]
    for port in chosen:
        click.echo(address_text(port.address, port.public))
    if not chosen:
        number = wanted
        if not (number.isascii() and number.isdigit()):
            reason = f'strconv.ParseUint: parsing "{number}": invalid syntax'
            raise ClientError(f"Error: invalid port ({number}): {reason}")
        raise ClientError(f"Error: No public port '{private_port}' published for {container}")

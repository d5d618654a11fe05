"""``top``."""

from __future__ import annotations

import click

from swapbox.cli.app import engine_of


@click.command(
    epilog="Example: swapbox top web -o pid,cmd",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("container", metavar="CONTAINER")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[ps OPTIONS]")
@click.pass_context
def top(ctx: click.Context, container: str, options: tuple[str, ...]) -> None:
    """Display the running processes of a container"""
    from swapbox.cli.tabwriter import align
    from swapbox.containers import top as work

    if container.startswith("-"):
        raise click.NoSuchOption(container, ctx=ctx)
    engine = engine_of(ctx)
    titles, rows = work.top(engine, engine.containers.find(container), options)
    text = "".join("\t".join(cells) + "\n" for cells in (titles, *rows))
    click.echo(align(text, minimum=20), nl=False)

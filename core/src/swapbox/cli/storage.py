"""``storage migrate``: everything, or single containers, from one storage driver to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from swapbox.cli.app import engine_of, print_error
from swapbox.cli.units import human_size
from swapbox.errors import SwapboxError

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.migration.plan import Plan, Step
    from swapbox.migration.service import Migration

_SHORT = 12


@click.command(epilog="Example: swapbox storage migrate overlay vfs")
@click.argument("source")
@click.argument("target")
@click.option(
    "--container", "containers", multiple=True, metavar="CONTAINER", help="Move this one only; repeat it for more."
)
@click.option("--dry-run", is_flag=True, help="Show what would be moved.")
@click.pass_context
def migrate(ctx: click.Context, /, source: str, target: str, containers: tuple[str, ...], dry_run: bool) -> None:
    """Move everything from one storage driver to another, and prove the trees equal.

    Containers must not run. Every tree is hashed on both drivers before anything is removed; what is printed is
    that hash.
    """
    from swapbox.migration.service import Migration

    engine = engine_of(ctx)
    steps: list[Step] = []

    def tell(step: Step) -> None:
        steps.append(step)
        _show_step(step, target)

    migration = Migration(engine, source, target, tell=tell)
    if dry_run:
        missing = _show(migration, migration.plan(containers))
        click.echo(
            f"Would move {_counted(len(missing.layers), len(missing.containers))} from {source} to {target}"
        )
        return
    migration.run(containers)
    layers, moved = (sum(step.done and step.kind == kind for step in steps) for kind in ("layer", "container"))
    click.echo(f"Moved {_counted(layers, moved)} from {source} to {target}; every tree is equal")
    if not containers:
        _say_what_is_next(engine, target)


def _show_step(step: Step, target: str) -> None:
    name = _short(step.name) if step.kind == "layer" else step.name
    done = ("copied" if step.kind == "layer" else "moved") if step.done else f"already on {target}"
    click.echo(f"{step.kind.title()} {name}: {done}" + f", tree {step.digest}" * bool(step.digest))


def _show(migration: Migration, plan: Plan) -> Plan:
    """Show a plan, and return what of it is still to be moved."""
    missing = migration.missing(plan)
    there = f"already on {migration.target_choice.name}"
    for chain in plan.layers:
        size = human_size(migration.source.usage(chain).size) if chain in missing.layers else there
        click.echo(f"Layer {_short(chain)}: {size}")
    for container in plan.containers:
        size = human_size(migration.source.usage(container.id).size) if container in missing.containers else there
        click.echo(f"Container {container.name}: {size}")
    return missing


def _counted(layers: int, containers: int) -> str:
    counts = ((layers, "layer"), (containers, "container"))
    return " and ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)


def _short(chain: str) -> str:
    return chain.partition(":")[2][:_SHORT]


def _say_what_is_next(engine: Engine, target: str) -> None:
    """Say so when new containers are not made with the target: a variable goes before what the store has."""
    try:
        choice = engine.selector.choose("storage")
    except SwapboxError as error:
        print_error(error)
        return
    if choice.name != target:
        click.echo(
            f"hint: new containers are still made with {choice.name} ({choice.reason}); for {target} everywhere,"
            f' set drivers.storage = "{target}" in the configuration and drop {choice.reason}',
            err=True,
        )

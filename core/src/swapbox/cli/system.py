"""``version``, ``info`` and ``plugins``."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import click

from swapbox import __version__
from swapbox.cli.app import engine_of
from swapbox.cli.groups import Group
from swapbox.drivers.common import API_VERSION, KINDS, Broken, Kind, Supported, Unsupported
from swapbox.errors import SwapboxError

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.plugins.selection import Candidate


@click.command(epilog="Example: swapbox version")
def version() -> None:
    """Show the swapbox version information."""
    rows = (
        ("Version", __version__),
        ("Driver API", ".".join(map(str, API_VERSION))),
        ("Python", platform.python_version()),
        ("Kernel", os.uname().release),
        ("OS/Arch", f"linux/{os.uname().machine}"),
    )
    click.echo("swapbox:\n" + "".join(f" {name + ':':<12} {value}\n" for name, value in rows), nl=False)


@click.command(epilog="Example: swapbox info --why")
@click.option(
    "--why", is_flag=True, help="Explain for every kind which driver is chosen, and what was passed over."
)
@click.pass_context
def info(ctx: click.Context, *, why: bool) -> None:
    """Display system-wide information."""
    engine = engine_of(ctx)
    if why:
        for kind in KINDS:
            _explain(engine, kind)
        return
    states = [container.state.status for container in engine.containers.all()]
    running = states.count("running")
    rows = [
        ("Containers", str(len(states))),
        (" Running", str(running)),
        (" Stopped", str(len(states) - running)),
        ("Images", str(len(engine.images.all()))),
        *((_TITLES[kind], _chosen(engine, kind)) for kind in KINDS),
        ("Runtimes", " ".join(_runtimes(engine))),
        ("Default Runtime", _chosen(engine, "isolation")),
        ("Root", str(engine.paths.root)),
        ("Run Root", str(engine.paths.run_root)),
        ("Rootless", str(engine.unprivileged).lower()),
        ("Kernel Version", os.uname().release),
        ("Architecture", os.uname().machine),
        ("CPUs", str(os.cpu_count())),
    ]
    for name, value in rows:
        click.echo(f"{name}: {value}")
    for findings in engine.plugins.notify("swapbox_doctor", warn=engine.warn):
        for finding in findings:
            click.echo(
                f"{finding.level.upper()}: {finding.message}" + (f" ({finding.hint})" if finding.hint else "")
            )


_TITLES = {
    "registry": "Registry Driver",
    "storage": "Storage Driver",
    "isolation": "Isolation Driver",
    "cgroup": "Cgroup Controller",
    "logging": "Logging Driver",
    "network": "Network Driver",
    "volume": "Volume Driver",
}


def _chosen(engine: Engine, kind: Kind) -> str:
    try:
        return engine.selector.choose(kind).name
    except SwapboxError as error:
        return f"none: {error.message}"


def _runtimes(engine: Engine) -> list[str]:
    """Return the isolation drivers that work here, which Docker calls runtimes."""
    _, candidates = engine.selector.explain("isolation")
    return sorted(one.offer.spec.name for one in candidates if isinstance(one.result, Supported))


def _explain(engine: Engine, kind: Kind) -> None:
    chosen, candidates = engine.selector.explain(kind)
    if isinstance(chosen, SwapboxError):
        click.echo(f"{_TITLES[kind]}: none: {chosen.message}")
    else:
        click.echo(f"{_TITLES[kind]}: {chosen.name} ({chosen.reason})")
    for candidate in candidates:
        spec = candidate.offer.spec
        click.echo(
            f"  {spec.name:<12} priority {spec.priority:<3} {_result(candidate)} [{candidate.offer.distribution}]"
        )


def _result(candidate: Candidate) -> str:
    if isinstance(candidate.result, Unsupported):
        return f"unsupported: {candidate.result.reason}"
    if isinstance(candidate.result, Broken):
        return f"broken: {candidate.result.error}"
    return "supported" if candidate.result is not None else "not asked"


@click.group(cls=Group)
def plugins() -> None:
    """Manage plugins."""


@plugins.command("ls", epilog="Example: swapbox plugins ls")
@click.pass_context
def plugins_ls(ctx: click.Context) -> None:
    """List drivers on offer, and plugins in quarantine."""
    from swapbox.cli.tables import table

    found = engine_of(ctx).plugins
    found.check()
    rows = [
        (kind, offer.spec.name, offer.distribution, offer.spec.summary)
        for kind in KINDS
        for offer in sorted(found.offers(kind), key=lambda offer: offer.spec.name)
    ]
    click.echo(table(("KIND", "NAME", "DISTRIBUTION", "SUMMARY"), rows), nl=False)
    for bad in found.quarantined:
        click.echo(f"quarantined: plugin {bad.name!r} of {bad.distribution} {bad.version}: {bad.error}", err=True)
    for entry in found.left_out:
        click.echo(f"left out: plugin {entry.name!r} of {entry.distribution}", err=True)

"""``version`` and ``info``."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from swapbox import __version__
from swapbox.cli.app import ClientError, engine_of
from swapbox.drivers.common import API_VERSION, KINDS, Broken, Kind, Unsupported
from swapbox.errors import SwapboxError

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.plugins.selection import Candidate


_FORMAT = click.option("-f", "--format", default="", metavar="TEMPLATE", help="A Go template, or json.")


@click.command(epilog="Example: swapbox version --format '{{.Server.Version}}'")
@_FORMAT
def version(*, format: str) -> None:
    """Show the swapbox version information."""
    if format:
        from swapbox.cli.host_documents import version_document

        _show(format, "system.versionInfo", version_document, name="version")
        return
    rows = (
        ("Version", __version__),
        ("Driver API", ".".join(map(str, API_VERSION))),
        ("Python", platform.python_version()),
        ("Kernel", os.uname().release),
        ("OS/Arch", f"linux/{os.uname().machine}"),
    )
    click.echo("swapbox:\n" + "".join(f" {name + ':':<12} {value}\n" for name, value in rows), nl=False)


def _show(format: str, type: str, document: Callable[[], dict[str, Any]], *, name: str = "") -> None:
    """Print a document of Docker's API through a template."""
    from swapbox.cli.objects import ObjectFormat, structs

    template = ObjectFormat(format, name=name)
    try:
        click.echo(template.render(structs(document(), type)))
    except ClientError:
        click.echo()  # Docker ends the line that it has begun
        raise


@click.command(epilog="Example: swapbox info --why")
@click.option(
    "--why", is_flag=True, help="Explain for every kind which driver is chosen, and what was passed over."
)
@_FORMAT
@click.pass_context
def info(ctx: click.Context, *, why: bool, format: str) -> None:
    """Display system-wide information."""
    engine = engine_of(ctx)
    if why:
        for kind in KINDS:
            _explain(engine, kind)
        return
    from swapbox.cli.host_documents import chosen_name, counts, info_document, rules, runtimes

    if format:
        _show(format, "system.dockerInfo", lambda: info_document(engine))
        return
    found = counts(engine)
    rows = [
        ("Containers", str(found["Containers"])),
        (" Running", str(found["ContainersRunning"])),
        (" Paused", str(found["ContainersPaused"])),
        (" Stopped", str(found["ContainersStopped"])),
        ("Images", str(len(engine.images.all()))),
        *((_TITLES[kind], chosen_name(engine, kind)) for kind in KINDS),
        *rules(engine),
        ("Runtimes", " ".join(runtimes(engine))),
        ("Default Runtime", chosen_name(engine, "isolation")),
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


def _explain(engine: Engine, kind: Kind) -> None:
    chosen, candidates = engine.selector.explain(kind)
    if isinstance(chosen, SwapboxError):
        click.echo(f"{_TITLES[kind]}: none: {chosen.message}")
    else:
        click.echo(f"{_TITLES[kind]}: {chosen.name} ({chosen.reason})")
    width = max([12, *(len(candidate.offer.spec.name) for candidate in candidates)])
    for candidate in candidates:
        spec, source = candidate.offer.spec, candidate.offer.distribution
        click.echo(f"  {spec.name:<{width}} priority {spec.priority:<3} {_result(candidate)} [{source}]")


def _result(candidate: Candidate) -> str:
    if isinstance(candidate.result, Unsupported):
        return f"unsupported: {candidate.result.reason}"
    if isinstance(candidate.result, Broken):
        return f"broken: {candidate.result.error}"
    return "supported" if candidate.result is not None else "not asked"

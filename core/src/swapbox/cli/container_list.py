"""``ps``: the containers as Docker lists them, their fields and filters."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import engine_of
from swapbox.cli.filters import Filters, filter_option
from swapbox.cli.formatting import IGNORED, Field, Listing, View
from swapbox.cli.tables import command_text, quote, shorten, size_text, status_text, zoned_time
from swapbox.cli.units import age
from swapbox.images.names import ImageNames

if TYPE_CHECKING:
    from swapbox.containers.listing import Listed
    from swapbox.drivers.network import PublishedPort
    from swapbox.engine import Engine

_COMMAND_WIDTH = 20
_MOUNT_WIDTH = 15


class Places:
    """What the database has of the networks and ports of all containers, read when it is first asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @cached_property
    def networks(self) -> dict[str, list[str]]:
        """The names of each container's networks."""
        return self._engine.networks.records.names()

    @cached_property
    def ports(self) -> dict[str, list[PublishedPort]]:
        """Each container's published ports."""
        return self._engine.networks.records.published()


class Row:
    """One line of ``ps``: a container, and what only the engine can tell of it."""

    def __init__(self, container: Listed, engine: Engine, names: ImageNames, places: Places) -> None:
        self.container = container
        self._engine = engine
        self._names = names
        self._places = places

    @property
    def size(self) -> str:
        """The bytes of its own files, and with those of its image."""
        from swapbox.containers.sizes import own_size, total_size

        own = own_size(self._engine, self.container.id, self.container.storage)
        return size_text(own, total_size(self._engine, self.container.image_id, own))

    @property
    def image(self) -> str:
        """The name it was made with, or the image's id when the name means another image today."""
        name, image_id = str(self.container.config.get("image") or ""), self.container.image_id
        bare = name.removeprefix("sha256:")
        return name if bare != image_id.removeprefix("sha256:") and self._names.mean(name, image_id) else image_id

    @property
    def mounts(self) -> list[str]:
        """The names of volumes and the sources of bind mounts."""
        return [mount.get("name") or mount["source"] for mount in self.container.config.get("mounts", ())]

    @property
    def volumes(self) -> int:
        """How many local volumes it uses."""
        return sum(bool(mount.get("name")) for mount in self.container.config.get("mounts", ()))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        labels: dict[str, str] = self.container.config.get("labels") or {}
        return labels

    @property
    def networks(self) -> list[str]:
        """The names of its networks."""
        config = self.container.config
        if config.get("has_endpoints"):
            return self._places.networks.get(self.container.id, [])
        name = config.get("network") or config.get("network_driver") or "default"
        return [] if name.startswith("container:") else [name]

    @property
    def ports(self) -> str:
        """Its published ports, and its exposed ones."""
        texts = self.container.config.get("exposed_ports", ())
        has_endpoints = self.container.config.get("has_endpoints")
        if not self.container.running or not has_endpoints:
            return ""
        from swapbox.cli.ports import Port, ports_text
        from swapbox.containers.exposed import exposed

        public = self._places.ports.get(self.container.id, ())
        ports = [Port(port.protocol, port.private, port.address, port.public) for port in public]
        published = {(port.protocol, port.private) for port in ports}
        ports += [Port(*port) for port in exposed(texts) if port not in published]
        return ports_text(ports)


def _id(row: Row, view: View) -> str:
    return row.container.id[:12] if view.truncate else row.container.id


def _image(row: Row, view: View) -> str:
    image = row.image
    return image.removeprefix("sha256:")[:12] if view.truncate and image.startswith("sha256:") else image


def _command(row: Row, view: View) -> str:
    config = row.container.config
    text = command_text([*(config.get("entrypoint") or ()), *config.get("cmd", ())])
    return quote(shorten(text, _COMMAND_WIDTH) if view.truncate else text)


def _status(row: Row, view: View) -> str:
    state, health = row.container.state, row.container.health
    return status_text(
        state.status,
        now=view.now,
        started=state.started,
        finished=state.finished,
        exit_code=state.exit_code,
        health="" if health == "none" else health,
    )


def _mounts(row: Row, view: View) -> str:
    return ",".join(shorten(mount, _MOUNT_WIDTH) if view.truncate else mount for mount in row.mounts)


def _platform(_row: Row, _view: View) -> Any:
    """Be what Docker's client has here for a daemon that says nothing of platforms: a nil pointer."""
    from swapbox.templates.values import Nil

    return Nil("*v1.Platform")


CONTAINERS = Listing[Row](
    name="ContainerContext",
    fields={
        "ID": Field("CONTAINER ID", _id),
        "Names": Field("NAMES", lambda row, _view: row.container.name),
        "Image": Field("IMAGE", _image),
        "Command": Field("COMMAND", _command),
        "CreatedAt": Field("CREATED AT", lambda row, _view: zoned_time(row.container.created // 10**9)),
        "RunningFor": Field("CREATED", lambda row, view: age(view.now - row.container.created)),
        "Ports": Field("PORTS", lambda row, _view: row.ports),
        "State": Field("STATE", lambda row, _view: row.container.state.status),
        "Status": Field("STATUS", _status),
        "Size": Field(
            "SIZE", lambda row, view: row.size if "Size" in view.table or ".Size" in view.format else "0B"
        ),
        "Labels": Field("LABELS", lambda row, _view: ",".join(f"{k}={v}" for k, v in sorted(row.labels.items()))),
        "Mounts": Field("MOUNTS", _mounts),
        "LocalVolumes": Field("LOCAL VOLUMES", lambda row, _view: str(row.volumes)),
        "Networks": Field("NETWORKS", lambda row, _view: ",".join(row.networks)),
        "Platform": Field("PLATFORM", _platform),
    },
    table=("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
    quiet="ID",
    config="psFormat",
    tried=True,
    methods={"Label": lambda row, name: row.labels.get(name, "")},
    raw=(
        "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n"
        "state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n"
        "labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
    ),
    raw_quiet="container_id: {{.ID}}",
)


@click.command(epilog="Example: swapbox ps -a --filter status=exited --format '{{.Names}}: {{.Status}}'")
@click.option("-a", "--all", "everything", is_flag=True, help="Show containers that do not run, too.")
@filter_option("Show only those that fit, such as status=exited, label=KEY=VALUE or name=web.")
@click.option("--format", default="", metavar="TEMPLATE", help="A Go template, or table, json or raw.")
@click.option("-n", "--last", type=int, default=-1, metavar="NUMBER", help="Show the last NUMBER created ones.")
@click.option("-l", "--latest", is_flag=True, help="Show the last created one.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten anything.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.option("-s", "--size", is_flag=True, help="Show how much disk they use.")
@click.pass_context
def ps(
    ctx: click.Context, /, *, everything: bool, filters: Filters, last: int, latest: bool, **shown: Any
) -> None:
    """List containers."""
    engine = engine_of(ctx)
    names = ImageNames(engine.database)
    if shown["quiet"] and shown["format"]:
        click.echo(IGNORED, err=True)
    last = 1 if latest and last == -1 else last
    if filters:
        from swapbox.containers.queries import query

        found = query(engine, filters, everything=everything, last=last)
    else:
        from swapbox.containers.listing import listed

        found = listed(engine, everything=everything or last > 0)
        found = (container for container, _ in zip(found, range(last), strict=False)) if last > 0 else found
    places = Places(engine)
    rows = (Row(container, engine, names, places) for container in found)
    click.echo(CONTAINERS.render(rows, _view(shown)), nl=False)


def _view(shown: dict[str, Any]) -> View:
    return View(
        format=shown["format"],
        quiet=shown["quiet"],
        truncate=not shown["no_trunc"],
        table=(*CONTAINERS.table, *["Size"] * shown["size"]),
        raw=CONTAINERS.raw + "size: {{- pad .Size 1 0}}\n" * shown["size"],
    )

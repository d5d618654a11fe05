"""``manifest inspect``."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import ClientError, driver_options, engine_of
from swapbox.descriptors import DOCKER_INDEX, INDEXES, OCI_INDEX, OCI_MANIFEST, Descriptor
from swapbox.errors import SwapboxError

if TYPE_CHECKING:
    from swapbox.images.remote import Document

_UNSHOWN = re.compile("[\x7f-\x9f\ud800-\udfff]")


@click.command(epilog="Example: swapbox manifest inspect -v alpine:3.20")
@click.option("-v", "--verbose", is_flag=True, help="Output additional info including layers and platform.")
@driver_options("registry")
@click.argument("first", metavar="[MANIFEST_LIST]")
@click.argument("second", metavar="MANIFEST", required=False)
@click.pass_context
def inspect(ctx: click.Context, first: str, second: str | None, *, verbose: bool, registry: str | None) -> None:
    """Display an image manifest, or manifest list."""
    from swapbox.images.remote import Remote

    if second is not None:
        raise ClientError(f"No such manifest: {first}", hint="there are no lists of manifests but in registries")
    try:
        remote = Remote(engine_of(ctx), first, registry=registry)
        found = remote.document()
        if found.descriptor.media_type not in INDEXES:
            click.echo(_tabbed(_described(remote.with_platform(found)) if verbose else found.value))
            return
        children = remote.children(found)
        click.echo(_tabbed([_described(one) for one in children]) if verbose else _index(children))
    except SwapboxError as error:  # Docker's client asks the registry itself
        raise ClientError(error.message, hint=error.hint) from error


def _tabbed(value: Any) -> str:
    return _json(value, indent="\t")


def _json(value: Any, *, indent: int | str) -> str:
    """Return JSON without what a terminal would obey, and without halves of surrogate pairs: no UTF-8 has them."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _index(children: list[Document]) -> str:
    """Return an index with only the fields that Docker shows, laid out as it does."""
    types = {one.descriptor.media_type for one in children[:1]}
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX if types == {OCI_MANIFEST} else DOCKER_INDEX,
        "manifests": [_entry(one.descriptor, ("mediaType", "size", "digest")) for one in children],
    }
    return _json(value, indent=3)


def _described(one: Document) -> dict[str, Any]:
    kind = "OCIManifest" if one.descriptor.media_type == OCI_MANIFEST else "SchemaV2Manifest"
    return {
        "Ref": str(one.reference),
        "Descriptor": _entry(one.descriptor, ("mediaType", "digest", "size")),
        "Raw": base64.b64encode(one.data).decode(),
        kind: one.value,
    }


def _entry(descriptor: Descriptor, fields: tuple[str, ...]) -> dict[str, Any]:
    value = descriptor.to_json()
    platform = dict(sorted((descriptor.platform or {}).items()))
    return {**{name: value[name] for name in fields}, **({"platform": platform} if platform else {})}

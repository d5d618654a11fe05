"""``docker commit``: what a container has changed becomes one more layer, and the whole an image."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.containers.diff import changes
from swapbox.containers.events import happened
from swapbox.containers.inside import image_opened, opened
from swapbox.containers.standstill import standing_still
from swapbox.descriptors import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
)
from swapbox.errors import Conflict
from swapbox.images.events import image_event
from swapbox.images.instructions import apply_changes
from swapbox.images.lease import Lease
from swapbox.images.manifests import parse_manifest
from swapbox.images.packing import OWN_LAYERS, PackedLayer, created_now
from swapbox.images.rooted import RootedTree
from swapbox.images.tarwriter import TarWriter
from swapbox.references import Reference
from swapbox.store.staging import StagedBlob

if TYPE_CHECKING:
    from swapbox.containers.config import Healthcheck
    from swapbox.containers.records import Container
    from swapbox.drivers.storage import Change
    from swapbox.engine import Engine
    from swapbox.images.service import Image

_WHITEOUT = ".wh."


class CommitOptions(NamedTuple):
    """What ``commit`` takes.

    :param reference: the new image's name; empty for none.
    :param changes: Dockerfile instructions.
    :param pause: a container that runs stands still meanwhile.
    """

    reference: str = ""
    author: str = ""
    comment: str = ""
    changes: Sequence[str] = ()
    pause: bool = True


class _NewLayer(NamedTuple):
    descriptor: Descriptor
    diff_id: str


def commit(engine: Engine, container: Container, options: CommitOptions) -> Image:
    """Make an image of a container.

    :raises InvalidInput: the reference or a change is wrong.
    :raises NotFound: the image that the container was made from is gone.
    :raises Conflict: the container is being removed.
    """
    names = [str(Reference.parse_name(options.reference).with_default_tag())] if options.reference else []
    if container.state.status in ("removing", "dead"):
        what = "Dead" if container.state.status == "dead" else "being removed"
        raise Conflict(f"You cannot commit container {container.id} which is {what}")
    parent = engine.images.find(container.config.image_id)
    settings = _settings(container, options.changes)
    manifest = parse_manifest(engine.content.read(parent.manifest))
    docker = manifest.media_type == DOCKER_MANIFEST
    with Lease(engine) as lease:
        for digest in (manifest.config.digest, *(layer.digest for layer in manifest.layers)):
            lease.take(digest)
        layer, container = _write_layer(engine, container, options, lease, docker=docker)
        config = lease.content.put(_json(_config(container, parent, settings, layer, options)))
        layers = [*manifest.layers, *([layer.descriptor] if layer else [])]
        size = engine.content.size(config)
        document = {
            "schemaVersion": 2,
            "mediaType": manifest.media_type,
            "config": Descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, config, size).to_json(),
            "layers": [one.to_json() for one in layers],
        }
        data = _json(document)
        descriptor = Descriptor(DOCKER_MANIFEST if docker else OCI_MANIFEST, lease.content.put(data), len(data))
        image = engine.images.adopt(
            descriptor, names=names, storage=container.config.storage, lease=lease, limits=OWN_LAYERS
        )
    name = Reference.parse(names[0]).familiar if names else ""
    if name:
        image_event(engine, image, "tag", name=name)
    happened(engine, container, "commit", comment=options.comment, imageID=image.id, imageRef=name)
    return image


# -- the layer ----------------------------------------------------------------------------------------------------


def _write_layer(
    engine: Engine, container: Container, options: CommitOptions, lease: Lease, *, docker: bool
) -> tuple[_NewLayer | None, Container]:
    """Store the layer; None when the container has changed nothing. Return its record as it was then, too."""
    with StagedBlob(engine.paths.content) as blob:
        packed = PackedLayer(blob)
        with standing_still(engine, container) if options.pause else contextlib.nullcontext():
            with opened(engine, container) as (root, now), image_opened(engine, now) as image:
                archive = TarWriter(packed.write)
                _write_root(archive, root, image)
                _write_changes(archive, root, changes(engine, now, root), engine)
        if not archive.size:
            return None, now
        archive.finish()
        packed.finish()
        lease.take(blob.digest)
        blob.publish()
        media_type = DOCKER_LAYER if docker else f"{OCI_LAYER}+gzip"
        return _NewLayer(Descriptor(media_type, blob.digest, blob.size), packed.digest), now


def _write_root(archive: TarWriter, root: int, image: int) -> None:
    """Write an entry for the root directory when its own owner or mode is another than the image's."""
    now, before = os.fstat(root), os.fstat(image)
    if (now.st_mode, now.st_uid, now.st_gid) != (before.st_mode, before.st_uid, before.st_gid):
        archive.add(b"./", root, b".", now)


def _write_changes(archive: TarWriter, root: int, found: Iterator[Change], engine: Engine) -> None:
    with RootedTree(Path(f"/proc/self/fd/{root}")) as tree:
        for change in found:
            directory, _, name = change.path[1:].rpartition("/")
            if name.startswith(_WHITEOUT):
                engine.warn(f"{change.path} is left out: in a layer such a name marks a deletion")
            elif f"/{_WHITEOUT}" in change.path:  # below one that is left out
                continue
            elif change.kind == "D":
                archive.mark(os.fsencode(f"{directory}/{_WHITEOUT}{name}".lstrip("/")))
            else:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # gone meanwhile
                    parent = tree.open(os.fsencode(directory))
                    base = os.fsencode(name)
                    info = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
                    archive.add(os.fsencode(change.path[1:]), parent.fd, base, info)


# -- the configuration --------------------------------------------------------------------------------------------


def _settings(container: Container, instructions: Sequence[str]) -> dict[str, Any]:
    """Return the ``config`` object: the container's own, changed as asked for."""
    config = container.config
    own: dict[str, Any] = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Env": [item for item in config.env if "=" in item],
        "Entrypoint": list(config.entrypoint or ()),
        "Cmd": list(config.cmd),
        "Volumes": {volume: {} for volume in config.volumes},
        "WorkingDir": config.workdir,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "Healthcheck": _healthcheck(config.healthcheck),
        "Shell": list(config.shell_form),
    }
    changed = apply_changes(own, instructions)
    if not changed.get("Entrypoint") and not changed.get("Cmd"):
        changed["Cmd"] = own["Cmd"]
    return {name: value for name, value in changed.items() if value}


def _healthcheck(check: Healthcheck | None) -> dict[str, Any]:
    """Return a health check as images have it; times in nanoseconds."""
    if check is None:
        return {}
    fields = {name.title().replace("_", ""): value for name, value in check._asdict().items()}
    return {name: list(value) if name == "Test" else value for name, value in fields.items() if value}


def _config(
    container: Container,
    parent: Image,
    settings: Mapping[str, Any],
    layer: _NewLayer | None,
    options: CommitOptions,
) -> dict[str, Any]:
    """Return the new image's config document."""
    created = created_now()
    history: dict[str, Any] = {"created": created, "created_by": " ".join(container.config.cmd)}
    history |= {"author": options.author} if options.author else {}
    history |= {"comment": options.comment} if options.comment else {}
    history |= {} if layer else {"empty_layer": True}
    config = {key: value for key, value in parent.config.items() if key in _KEPT}
    config |= {"author": options.author} if options.author else {}
    diff_ids = [*parent.diff_ids, *([layer.diff_id] if layer else [])]
    return {
        **config,
        "created": created,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [*(parent.config.get("history") or []), history],
    }


_KEPT = frozenset({"architecture", "os", "os.version", "os.features", "variant"})


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()

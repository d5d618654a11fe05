"""What can be done with images: pull, push, find, list, tag, remove, unpack."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.errors import InvalidInput, NotFound, SwapboxError
from swapbox.images.names import stored_name
from swapbox.references import Reference

if TYPE_CHECKING:
    import sqlite3

    from swapbox.config import Limits
    from swapbox.descriptors import Descriptor
    from swapbox.engine import Engine
    from swapbox.images.layers import Layer
    from swapbox.images.lease import Lease
    from swapbox.images.platforms import Platform
    from swapbox.images.progress import Progress
    from swapbox.images.pull import Pulled
    from swapbox.images.removal import Removed
    from swapbox.store.content import ContentStore


class Image(NamedTuple):
    """An image in the store.

    :param id: digest of its config.
    :param manifest: digest of its manifest; ``target`` of what its reference named, perhaps an index.
    :param config: the OCI image config.
    :param size: bytes of the files in all layers.
    :param names: canonical references that name it: tags and digests.
    """

    id: str
    manifest: str
    target: str
    top_chain: str
    config: dict[str, Any]
    size: int
    pulled: float
    names: tuple[str, ...]

    @property
    def references(self) -> list[Reference]:
        """The names, parsed."""
        return [Reference.parse(name) for name in self.names]

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the uncompressed layers, the lowest first."""
        return list(self.config["rootfs"]["diff_ids"])


class Images:
    """The images of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._database = engine.database

    # -- looking ------------------------------------------------------------------------------------------------

    def find(self, text: str, *, platform: str | None = None) -> Image:
        """Return an image by reference, id or unique beginning of its id.

        :param platform: what the image must be for, if that matters. Where images of one index are here for
            several platforms, a name means the one that was pulled last, and with a platform each of them.
        :raises NotFound: there is none, or none for the platform.
        :raises InvalidInput: the text is no reference, or the beginning of several ids.
        """
        wanted = None if platform is None else _parsed(platform)
        row = self._by_reference(text) or self._by_id(text)
        if row is None:
            raise NotFound(f"No such image: {_with_tag(text)}")
        image = self._image(row)
        return image if wanted is None else self._for_platform(image, text, wanted)

    def siblings(self, image: Image) -> list[Image]:
        """Return the other images that are here of the index that an image came from."""
        rows = self._database.rows("SELECT * FROM images WHERE target = ? AND id != ?", (image.target, image.id))
        return [self._image(row) for row in rows]

    def _for_platform(self, image: Image, text: str, wanted: Platform) -> Image:
        """Return the image, or another one of the same index, that is best for a platform."""
        from swapbox.images import platforms

        order = platforms.acceptable(wanted)
        found = [(platforms.of(one.config), one) for one in (image, *self.siblings(image))]
        fitting = [(order.index(actual), one) for actual, one in found if actual in order]
        if not fitting:
            raise NotFound(
                f"image with reference {_with_tag(text)} was found but does not provide the specified platform: "
                f"wanted {wanted}, actual {', '.join(sorted(str(actual) for actual, _ in found))}"
            )
        return min(fitting, key=lambda pair: pair[0])[1]

    def _by_reference(self, text: str) -> sqlite3.Row | None:
        try:
            name = stored_name(text)
        except InvalidInput:
            # 64 hex digits are no reference but may be an id; anything else is the user's mistake.
            if self._looks_like_id(text):
                return None
            raise
        return self._database.row(
            "SELECT images.* FROM images JOIN image_names ON image = id WHERE name = ?", (name,)
        )

    @staticmethod
    def _looks_like_id(text: str) -> bool:
        digits = text.removeprefix("sha256:")
        return 0 < len(digits) <= 64 and not digits.strip("0123456789abcdef")

    def _by_id(self, text: str) -> sqlite3.Row | None:
        if not self._looks_like_id(text):
            return None
        prefix = f"sha256:{text.removeprefix('sha256:')}"
        rows = self._database.rows("SELECT * FROM images WHERE id >= ? AND id < ? LIMIT 2", (prefix, prefix + "g"))
        if len(rows) > 1:
            raise InvalidInput(f"image id {text} is ambiguous", hint="type more of it")
        return rows[0] if rows else None

    def all(self) -> list[Image]:
        """Return every image, the newest created first."""
        names: dict[str, list[str]] = {}
        for row in self._database.rows("SELECT name, image FROM image_names ORDER BY name"):
            names.setdefault(row["image"], []).append(row["name"])
        images = [_image(row, names.get(row["id"], [])) for row in self._database.rows("SELECT * FROM images")]
        return sorted(images, key=lambda image: str(image.config.get("created") or ""), reverse=True)

    def _image(self, row: sqlite3.Row) -> Image:
        names = self._database.rows("SELECT name FROM image_names WHERE image = ? ORDER BY name", (row["id"],))
        return _image(row, [name["name"] for name in names])

    # -- pulling ------------------------------------------------------------------------------------------------

    def pull(
        self,
        text: str,
        *,
        platform: str | None = None,
        registry: str | None = None,
        storage: str | None = None,
        progress: Progress | None = None,
    ) -> tuple[Image, bool]:
        """Fetch an image and unpack it; return it, and whether anything about it is new here.

        :param registry: the registry driver to use instead of the default one; ``storage`` likewise.
        :raises SwapboxError: see :func:`swapbox.images.pull.pull` and :func:`swapbox.images.unpack.unpack_layers`.
        """
        from swapbox.images.events import image_event
        from swapbox.images.lease import Lease
        from swapbox.images.progress import Silent
        from swapbox.images.pull import pull
        from swapbox.images.registries import source

        engine, progress = self._engine, progress or Silent()
        reference = Reference.parse(text).with_default_tag()
        choice = engine.selector.choose("storage", name=storage)
        with Lease(engine) as lease:
            pulled = pull(
                reference,
                registry=source(engine, reference.transport or registry),
                content=lease.content,
                platform=platform,
                progress=progress,
                verify=self._verify,
                consume=lambda layers: self._unpack(layers, storage=choice.name, progress=progress, lease=lease),
            )
            names = [] if reference.digest else [str(reference)]  # as in Docker, a tag beside a digest is no name
            names.append(f"{reference.name}@{pulled.target.digest}")
            new = self._register(names, pulled, storage=choice.name)
        image = self.find(pulled.config_digest)
        image_event(engine, image, "pull", id=reference.familiar, name=reference.familiar_name)
        self.collect_garbage()
        return image, new

    def _verify(self, reference: Reference, descriptor: Descriptor) -> None:
        self._engine.plugins.notify(
            "swapbox_verify_image", warn=self._engine.warn, reference=reference, descriptor=descriptor
        )

    def _unpack(
        self,
        layers: Sequence[Layer],
        *,
        storage: str,
        progress: Progress,
        lease: Lease | None = None,
        limits: Limits | None = None,
    ) -> None:
        from swapbox.images.extract import Rules
        from swapbox.images.unpack import chain_ids, unpack_layers
        from swapbox.store.claims import Claims

        engine = self._engine
        driver = engine.selector.open("storage", name=storage)
        if lease is not None:
            lease.take_chains(driver, chain_ids([layer.diff_id for layer in layers]))
        choice = engine.selector.choose("storage", name=storage)
        with Claims(engine.paths.root / "claims.lock", kind=choice.name) as claims:
            unpack_layers(
                driver,
                layers,
                capabilities=choice.offer.spec.capabilities,
                progress=progress,
                rules=Rules(limits or engine.config.limits, engine.unprivileged),
                warn=engine.warn,
                claims=claims,
            )

    def _register(self, names: Sequence[str], pulled: Pulled, *, storage: str) -> bool:
        """Write the image's rows, and say whether one is new; the blobs and snapshots they name are all there."""
        from swapbox.images.unpack import SIZE_LABEL, chain_ids

        chains = chain_ids(pulled.config["rootfs"]["diff_ids"])
        driver = self._engine.selector.open("storage", name=storage)
        size = sum(int(driver.stat(chain).labels.get(SIZE_LABEL, 0)) for chain in chains)
        blobs = {pulled.target.digest, pulled.manifest.digest, pulled.config_digest}
        blobs |= {layer.digest for layer in pulled.layers}
        database, marks = self._database, ",".join("?" * len(names))
        with database.transaction():
            known = database.rows(f"SELECT name, image FROM image_names WHERE name IN ({marks})", names)
            database.execute(
                "INSERT INTO images VALUES (?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE"
                " SET manifest = excluded.manifest, target = excluded.target",
                (
                    pulled.config_digest,
                    pulled.manifest.digest,
                    pulled.target.digest,
                    chains[-1] if chains else "",
                    json.dumps(pulled.config),
                    size,
                    time.time(),
                ),
            )
            self._name(names, pulled.config_digest)
            database.executemany(
                "INSERT OR IGNORE INTO image_blobs VALUES (?,?)", ((pulled.config_digest, blob) for blob in blobs)
            )
            database.executemany(
                "INSERT OR IGNORE INTO image_chains VALUES (?,?)",
                ((pulled.config_digest, chain) for chain in chains),
            )
        return {row["name"] for row in known if row["image"] == pulled.config_digest} != set(names)

    def name(self, image: Image, names: Iterable[str]) -> Image:
        """Let canonical references name an image, and no other; return it with its names."""
        self._name(names, image.id)
        return self.find(image.id)

    def _name(self, names: Iterable[str], image_id: str) -> None:
        self._database.executemany(
            "INSERT INTO image_names VALUES (?,?) ON CONFLICT (name) DO UPDATE SET image = excluded.image",
            ((name, image_id) for name in names),
        )

    def push(
        self,
        text: str,
        *,
        platform: str | None = None,
        registry: str | None = None,
        progress: Progress | None = None,
    ) -> Descriptor:
        """Send an image to the registry that its name says; return what is there now: a manifest or an index.

        :param platform: send the manifest for this platform only.
        :param registry: the registry driver to use instead of the default one.
        :raises SwapboxError: see :func:`swapbox.images.push.push_image`.
        """
        from swapbox.images.push import push_image

        reference = Reference.parse(text).with_default_tag()
        return push_image(self._engine, reference, platform=platform, registry=registry, progress=progress)

    def from_host(
        self, text: str, programs: Sequence[str], *, output: Path | None = None, storage: str | None = None
    ) -> Image:
        """Build an image from the host's own programs and the libraries they need.

        :param output: an OCI image layout directory to write, too.
        :raises NotFound: there is no such program.
        """
        import tempfile

        from swapbox.images import from_host
        from swapbox.images.lease import Lease

        reference = Reference.parse_name(text).with_default_tag()
        with tempfile.TemporaryDirectory() as directory, Lease(self._engine) as lease:
            image = from_host.image_from_host(programs, layer=Path(directory) / "layer.tar.gz")
            if output is not None:
                from_host.write_layout(output, image, name=reference.familiar)
            descriptor = from_host.write_image(lease.content, image)
            names = [str(reference), f"{reference.name}@{descriptor.digest}"]
            return self.adopt(descriptor, names=names, storage=storage, lease=lease)

    def adopt(
        self,
        descriptor: Descriptor,
        *,
        names: Sequence[str],
        lease: Lease,
        storage: str | None = None,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> Image:
        """Unpack and register an image whose blobs are in the content store already, under a lease.

        :param descriptor: of its manifest.
        :param names: canonical references that are to name it; none for an image without a name.
        :param storage: the driver to unpack for, instead of the default one.
        :param limits: what its layers may ask of this host, instead of what the configuration says.
        """
        from swapbox.images.manifests import parse_config, parse_manifest
        from swapbox.images.progress import Silent
        from swapbox.images.pull import Pulled

        content = self._engine.content
        manifest = parse_manifest(content.read(descriptor.digest))
        config = parse_config(content.read(manifest.config.digest))
        choice = self._engine.selector.choose("storage", name=storage)
        layers = _stored_layers(content, manifest.layers, config.diff_ids)
        self._unpack(layers, storage=choice.name, progress=progress or Silent(), lease=lease, limits=limits)
        digest = manifest.config.digest
        self._register(
            names, Pulled(descriptor, descriptor, config.value, digest, manifest.layers), storage=choice.name
        )
        return self.find(digest)

    def ensure_unpacked(self, image: Image, *, storage: str) -> None:
        """Unpack an image for a storage driver that does not have it yet, from the blobs in the content store."""
        driver = self._engine.selector.open("storage", name=storage)
        with contextlib.suppress(NotFound):
            driver.stat(image.top_chain)
            return
        from swapbox.images.manifests import parse_manifest
        from swapbox.images.progress import Silent

        content = self._engine.content
        manifest = parse_manifest(content.read(image.manifest))
        layers = _stored_layers(content, manifest.layers, image.diff_ids)
        self._unpack(layers, storage=storage, progress=Silent())

    # -- naming and removing ------------------------------------------------------------------------------------

    def tag(self, source: str, target: str) -> None:
        """Give an image one more name.

        :raises InvalidInput: the target has a digest.
        """
        from swapbox.images.events import image_event

        image = self.find(source)
        reference = Reference.parse_name(target)
        if reference.digest:
            raise InvalidInput("refusing to create a tag with a digest reference")
        self._name([str(reference.with_default_tag())], image.id)
        image_event(self._engine, image, "tag", name=reference.with_default_tag().familiar)

    def remove(self, text: str, *, force: bool = False, platforms: Sequence[str] = ()) -> Removed:
        """Take a name from an image; with its last name the image goes, and what nothing needs any more.

        :param force: also when it has several tags and an id was given, or stopped containers use it.
        :param platforms: remove only the images of its index that are for these; the name stays with the others.
        :raises NotFound: there is no such image.
        :raises Conflict: a container uses it, or an id was given and it has several tags.
        """
        from swapbox.images.removal import remove_image, remove_platforms

        if platforms:
            removed = remove_platforms(self._engine, text, platforms, force=force)
        else:
            removed = remove_image(self._engine, text, force=force)
        self.collect_garbage()
        return removed

    def collect_garbage(self) -> None:
        """Remove what crashes have left; that it fails is no failure of what has just been done."""
        from swapbox.images import garbage

        try:
            garbage.collect(self._engine)
        except SwapboxError as error:
            self._engine.warn(f"cannot remove what a crash has left: {error}")


def _image(row: sqlite3.Row, names: Sequence[str]) -> Image:
    return Image(
        id=row["id"],
        manifest=row["manifest"],
        target=row["target"],
        top_chain=row["top_chain"],
        config=json.loads(row["config"]),
        size=row["size"],
        pulled=row["pulled"],
        names=tuple(names),
    )


def _stored_layers(content: ContentStore, layers: Sequence[Descriptor], diff_ids: Sequence[str]) -> list[Layer]:
    """Return layers to unpack whose blobs are all there."""
    from swapbox.images.layers import Feed, Layer

    feeds = [Feed.stored(layer, content.path(layer.digest)) for layer in layers]
    return [Layer.of(feed, diff_id) for feed, diff_id in zip(feeds, diff_ids, strict=True)]


def _parsed(platform: str) -> Platform:
    from swapbox.images.platforms import Platform

    return Platform.parse(platform)


def _with_tag(text: str) -> str:
    with contextlib.suppress(InvalidInput):
        return Reference.parse(text).with_default_tag().familiar
    return text

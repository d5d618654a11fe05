"""From layers to committed snapshots, verified by diffID, one chainID per layer (OCI image-spec, ``config.md``).

A layer is written into an active snapshot and committed under its chainID only when its digest is right. Whatever
goes wrong, the active snapshot is removed; after ``kill -9`` it stays, under a key that begins with
:data:`EXTRACT_PREFIX` and that nobody waits for, until :mod:`swapbox.images.garbage` finds its owner gone.

A driver with the capability ``direct`` is written to without a mount. A layer that refers to layers below (it adds
to a directory that it does not describe, or links to a file that it does not have) goes through a mount all the
same: only there the kernel shows what it refers to, and the result is the same on every driver.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from swapbox.config import Limits
from swapbox.drivers.storage import DirectWriter, LayerTarget, Mount, StorageDriver
from swapbox.errors import AlreadyExists, DataError, NotFound, SwapboxError, from_os_error
from swapbox.images import progress as words
from swapbox.images.apply import NeedsLower, apply_layer
from swapbox.images.compression import ByteSource, Decompressed, decompress
from swapbox.images.layers import Layer
from swapbox.images.progress import Progress
from swapbox.images.readahead import ReadAhead
from swapbox.images.rooted import RootedTree, clear
from swapbox.linux import mounts, syscalls
from swapbox.store.owners import OWNER_LABEL, owner

EXTRACT_PREFIX = "extract-"
"""What the keys of snapshots begin with that a layer is being written to."""

SIZE_LABEL = "swapbox.layer-size"
"""The label of a committed snapshot that says how many bytes the files of its layer have."""

_DEFAULT_LIMITS = Limits()
_REPORT_EVERY = 1024 * 1024
_PATIENCE = 2.0


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chainID of each layer, from the diffIDs of the layers up to it."""
    chains: list[str] = []
    for diff_id in diff_ids:
        if chains:
            algorithm = diff_id.partition(":")[0]
            text = f"{chains[-1]} {diff_id}".encode()
            chains.append(f"{algorithm}:{hashlib.new(algorithm, text).hexdigest()}")
        else:
            chains.append(diff_id)
    return chains


def _ignore(_message: str) -> None:
    """Drop a warning."""


def unpack_layers(
    storage: StorageDriver,
    layers: Sequence[Layer],
    *,
    capabilities: frozenset[str],
    progress: Progress,
    limits: Limits = _DEFAULT_LIMITS,
    unprivileged: bool = False,
    warn: Callable[[str], None] = _ignore,
) -> str:
    """Unpack what the driver does not have yet, the lowest layer first; return the topmost chainID.

    :param layers: at least one; those the driver has are not opened.
    :param capabilities: the driver's, from its spec.
    :param unprivileged: see :func:`swapbox.images.apply.apply_layer`.
    :param warn: told, once, that the owners of files are left out.
    :raises DataError: a layer is malformed or not what its diffID promises.
    :raises Unavailable: the disk is full, or a layer cannot be read.
    """
    parent: str | None = None
    unpacker = _Unpacker(storage, capabilities, progress, limits, unprivileged, warn)
    for layer, chain in zip(layers, chain_ids([layer.diff_id for layer in layers]), strict=True):
        if not _has(storage, chain):
            unpacker.unpack(layer, chain, parent)
        parent = chain
    if parent is None:
        raise DataError("image has no layers")
    return parent


class _Unpacker:
    def __init__(
        self,
        storage: StorageDriver,
        capabilities: frozenset[str],
        progress: Progress,
        limits: Limits,
        unprivileged: bool,
        warn: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._direct = cast(DirectWriter, storage) if "direct" in capabilities else None
        self._progress = progress
        self._limits = limits
        self._unprivileged = unprivileged
        self._warn: Callable[[str], None] | None = warn

    def unpack(self, layer: Layer, chain: str, parent: str | None) -> None:
        """Make the committed snapshot ``chain``."""
        self._progress.layer(layer.descriptor.digest, words.EXTRACTING, 0, layer.descriptor.size)
        try:
            try:
                self._attempt(layer, chain, parent, direct=self._direct)
            except NeedsLower:
                self._attempt(layer, chain, parent, direct=None)
        except DataError as error:
            digest = layer.descriptor.digest
            if digest in error.message:
                raise
            raise DataError(f"layer {digest}: {error.message}", hint=error.hint) from error
        self._progress.layer(layer.descriptor.digest, words.PULLED)

    def _attempt(self, layer: Layer, chain: str, parent: str | None, *, direct: DirectWriter | None) -> None:
        key = f"{EXTRACT_PREFIX}{os.urandom(8).hex()} {chain}"
        try:
            made = self._storage.prepare(key, parent, labels={OWNER_LABEL: owner()})
            if direct is None:
                size = self._write(layer, lambda ahead, source: self._apply_mounted(ahead, source, made))
            else:
                target, has_lower = direct.layer_target(key), parent is not None
                size = self._write(layer, lambda _, source: self._apply(source, target, has_lower=has_lower))
            self._storage.commit(chain, key, labels={SIZE_LABEL: str(size)})
        except BaseException as error:
            self._discard(key)
            # Another process that unpacks the same image may have been faster.
            if not (isinstance(error, AlreadyExists) and _has(self._storage, chain)):
                raise

    def _discard(self, key: str) -> None:
        """Remove an active snapshot, its files first: on a full disk, forgetting it needs the room they take."""
        if self._direct is not None:
            with (
                contextlib.suppress(SwapboxError, OSError),
                RootedTree(self._direct.layer_target(key).path) as tree,
            ):
                clear(tree.open(b"").fd, b".")
        with contextlib.suppress(SwapboxError):
            self._storage.remove(key)

    def _write(self, layer: Layer, write: Callable[[ReadAhead, ByteSource], int]) -> int:
        """Write the uncompressed layer and check its digest; return the bytes of its files."""
        blob = layer.open()
        plain = decompress(blob, layer.descriptor.media_type, max_ratio=self._limits.max_ratio)
        algorithm = layer.diff_id.partition(":")[0]
        with ReadAhead(plain, algorithm=algorithm, release=blob.close) as ahead:
            size = write(ahead, _Reported(ahead, plain, layer, self._progress))
            if ahead.digest != layer.diff_id:
                name = layer.descriptor.digest
                raise DataError(f"layer {name} unpacks to {ahead.digest}, its image config says {layer.diff_id}")
            return size

    def _apply(self, source: ByteSource, target: LayerTarget, *, has_lower: bool) -> int:
        return apply_layer(
            source,
            target,
            limits=self._limits,
            unprivileged=self._unprivileged,
            has_lower=has_lower,
            warn=self._warn_once,
        )

    def _warn_once(self, message: str) -> None:
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(message)

    def _apply_mounted(self, ahead: ReadAhead, source: ByteSource, made: Sequence[Mount]) -> int:
        """Mount the snapshot where nobody else sees it: in the mount namespace of a thread of our own."""
        import tempfile

        sizes: list[int] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                with _mounted(made, Path(directory)):
                    sizes.append(self._apply(source, LayerTarget(Path(directory), "remove"), has_lower=False))
            except BaseException as error:
                errors.append(error)

        with tempfile.TemporaryDirectory(prefix="swapbox-") as directory:
            thread = threading.Thread(target=run, name="swapbox-unpack", daemon=True)
            thread.start()
            try:
                thread.join()
            except BaseException:
                ahead.cancel()
                thread.join(_PATIENCE)
                raise
        if errors:
            raise errors[0]
        return sizes[0]


class _Reported:
    """Tells the progress how much of the compressed layer was taken, whenever that is another mebibyte."""

    def __init__(self, ahead: ReadAhead, plain: Decompressed, layer: Layer, progress: Progress) -> None:
        self._ahead = ahead
        self._plain = plain
        self._layer = layer.descriptor
        self._progress = progress
        self._told = 0

    def read(self, size: int, /) -> bytes:
        piece = self._ahead.read(size)
        taken = self._plain.compressed_bytes
        if taken - self._told >= _REPORT_EVERY:
            self._told = taken
            self._progress.layer(self._layer.digest, words.EXTRACTING, taken, self._layer.size)
        return piece


@contextlib.contextmanager
def _mounted(made: Sequence[Mount], directory: Path) -> Iterator[None]:
    """Mount a snapshot in a mount namespace that is the calling thread's alone and ends with it."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        mounts.apply(made, directory)
    except OSError as error:
        raise from_os_error(error, f"mount a snapshot at {directory}") from error
    try:
        yield
    finally:
        syscalls.umount(directory, syscalls.MNT_DETACH)


def _has(storage: StorageDriver, chain: str) -> bool:
    try:
        return storage.stat(chain).kind == "committed"
    except NotFound:
        return False

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
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from swapbox.drivers.storage import DirectWriter, LayerTarget, Mount, StorageDriver
from swapbox.errors import AlreadyExists, DataError, NotFound, SwapboxError, from_os_error
from swapbox.images import progress as words
from swapbox.images.apply import NeedsLower
from swapbox.images.compression import ByteSource
from swapbox.images.extract import Rules, Work, extract, write_layer
from swapbox.images.layers import Layer
from swapbox.images.progress import Progress
from swapbox.images.readahead import ReadAhead
from swapbox.images.rooted import RootedTree, clear
from swapbox.linux import mounts, syscalls
from swapbox.store.claims import Claims
from swapbox.store.owners import OWNER_LABEL, owner

EXTRACT_PREFIX = "extract-"
"""What the keys of snapshots begin with that a layer is being written to."""

SIZE_LABEL = "swapbox.layer-size"
"""The label of a committed snapshot that says how many bytes the files of its layer have."""

CLAIM_POLL = 0.05
"""Seconds until it is looked again whether another process has done a layer."""

_MOUNTPOINT = Path("/sys")
"""Where a thread mounts a snapshot for itself alone. Every host has it, no storage is below it, and nothing has to
be made that ``kill -9`` would leave.
"""

_DEFAULT_RULES = Rules()
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
    rules: Rules = _DEFAULT_RULES,
    warn: Callable[[str], None] = _ignore,
    claims: Claims | None = None,
) -> str:
    """Unpack what the driver does not have yet; return the topmost chainID.

    :param layers: at least one, the lowest first; those the driver has are not opened.
    :param capabilities: the driver's, from its spec.
    :param warn: told, once, that the owners of files are left out.
    :param claims: lets several processes that unpack the same layers share the work.
    :raises DataError: a layer is malformed or not what its diffID promises.
    :raises Unavailable: the disk is full, or a layer cannot be read.
    """
    from swapbox.images import parallel

    steps: list[Step] = []
    parent: str | None = None
    for layer, chain in zip(layers, chain_ids([layer.diff_id for layer in layers]), strict=True):
        steps.append(Step(layer, chain, parent))
        parent = chain
    if parent is None:
        raise DataError("image has no layers")
    unpacker = Unpacker(storage, capabilities, progress, rules, warn, claims)
    missing = [step for step in steps if not unpacker.has(step)]
    size = parallel.crew_size([step.layer for step in missing], capabilities)
    if size > 1:
        parallel.unpack(unpacker, missing, size=size)
    else:
        for step in missing:
            unpacker.unpack(step)
    return parent


class Step(NamedTuple):
    """A layer that becomes a snapshot.

    :param chain: its chainID, the committed snapshot's name.
    :param parent: that of the layers below it.
    """

    layer: Layer
    chain: str
    parent: str | None


class Unpacker:
    """Makes committed snapshots, one after the other; :mod:`swapbox.images.parallel` uses its parts."""

    def __init__(
        self,
        storage: StorageDriver,
        capabilities: frozenset[str],
        progress: Progress,
        rules: Rules,
        warn: Callable[[str], None],
        claims: Claims | None,
    ) -> None:
        self.rules = rules
        self.progress = progress
        self._storage = storage
        self._direct = cast(DirectWriter, storage) if "direct" in capabilities else None
        self._warn: Callable[[str], None] | None = warn
        self._claims = claims

    def has(self, step: Step) -> bool:
        """Say whether the snapshot is there, committed."""
        try:
            return self._storage.stat(step.chain).kind == "committed"
        except NotFound:
            return False

    def claim(self, step: Step) -> bool:
        """Claim a step; return False while another process is at it."""
        return self._claims is None or self._claims.take(step.chain)

    def give_up(self, step: Step) -> None:
        """Let other processes have a step that is done."""
        if self._claims is not None:
            self._claims.give_up(step.chain)

    def unpack(self, step: Step) -> None:
        """Make the committed snapshot, or wait until another process has."""
        self._await_claim(step)
        self.begin(step)
        if not self.has(step):
            try:
                self._attempt(step, direct=self._direct)
            except NeedsLower:
                self.unpack_mounted(step)
        self.end(step)

    def _await_claim(self, step: Step) -> None:
        if not self.claim(step):
            self.progress.layer(step.layer.descriptor.digest, words.LEFT)
            while not self.claim(step):
                time.sleep(CLAIM_POLL)

    def begin(self, step: Step) -> None:
        """Tell that a layer is being unpacked."""
        self.progress.layer(step.layer.descriptor.digest, words.EXTRACTING, 0, step.layer.descriptor.size)

    def end(self, step: Step) -> None:
        """Tell that a layer is unpacked."""
        self.give_up(step)
        self.progress.layer(step.layer.descriptor.digest, words.PULLED)

    def unpack_mounted(self, step: Step) -> None:
        """Make a committed snapshot where all layers below it show."""
        self._attempt(step, direct=None)

    def prepare(self, step: Step, parent: str | None) -> tuple[str, tuple[Mount, ...]]:
        """Make an active snapshot for a layer; return its key and its mounts."""
        key = f"{EXTRACT_PREFIX}{os.urandom(8).hex()} {step.chain}"
        try:
            return key, tuple(self._storage.prepare(key, parent, labels={OWNER_LABEL: owner()}))
        except BaseException:
            self.discard(key)
            raise

    def target(self, key: str) -> LayerTarget:
        """Return where the files of an active snapshot go; only of drivers that can be written to directly."""
        assert self._direct is not None
        return self._direct.layer_target(key)

    def commit(self, step: Step, key: str, size: int, *, parent: str | None = None) -> None:
        """Commit an active snapshot with the bytes of its layer's files.

        :param parent: where the snapshot was prepared without one.
        """
        more = {} if parent is None else {"parent": parent}
        try:
            self._storage.commit(step.chain, key, labels={SIZE_LABEL: str(size)}, **more)
        except AlreadyExists:
            # Another process that unpacks the same image may have been faster.
            self.discard(key)
            if not self.has(step):
                raise

    def _attempt(self, step: Step, *, direct: DirectWriter | None) -> None:
        key, made = self.prepare(step, step.parent)
        layer = step.layer
        try:
            if direct is None:
                size = self._write(layer, lambda ahead, source: self._apply_mounted(ahead, source, made))
            else:
                target, has_lower = direct.layer_target(key), step.parent is not None
                size = self._write(layer, lambda _, source: self._apply(source, target, has_lower=has_lower))
            self.commit(step, key, size)
        except BaseException:
            self.discard(key)
            raise

    def _write(self, layer: Layer, write: Callable[[ReadAhead, ByteSource], int]) -> int:
        digest, size = layer.descriptor.digest, layer.descriptor.size
        return extract(
            layer.open(),
            Work(layer.descriptor, layer.diff_id, self.rules),
            write,
            report=lambda taken: self.progress.layer(digest, words.EXTRACTING, taken, size),
        )

    def discard(self, key: str) -> None:
        """Remove an active snapshot, its files first: on a full disk, forgetting it needs the room they take."""
        if self._direct is not None:
            with (
                contextlib.suppress(SwapboxError, OSError),
                RootedTree(self._direct.layer_target(key).path) as tree,
            ):
                clear(tree.open(b"").fd, b".")
        with contextlib.suppress(SwapboxError):
            self._storage.remove(key)

    def _apply(self, source: ByteSource, target: LayerTarget, *, has_lower: bool) -> int:
        return write_layer(source, target, self.rules, has_lower=has_lower, warn=self.warn)

    def warn(self, message: str) -> None:
        """Pass on the first warning."""
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(message)

    def _apply_mounted(self, ahead: ReadAhead, source: ByteSource, made: Sequence[Mount]) -> int:
        """Mount the snapshot where nobody else sees it: in the mount namespace of a thread of our own."""
        sizes: list[int] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                with _mounted(made, _MOUNTPOINT):
                    sizes.append(self._apply(source, LayerTarget(_MOUNTPOINT, "remove"), has_lower=False))
            except BaseException as error:
                errors.append(error)

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

"""The drivers ``oci``, ``oci-archive`` and ``docker-archive``: which image of a path a reference means."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from swapbox.descriptors import INDEXES, Descriptor, digest_of
from swapbox.errors import DataError, InvalidInput, InvalidReference, NotFound
from swapbox.layouts import Found, docker_images, oci_images
from swapbox.references import DEFAULT_TAG, Reference
from swapbox_registry_layout.archive import Archive
from swapbox_registry_layout.directory import Directory
from swapbox_registry_layout.parts import Part

_DEPTH = 4

Source = Directory | Archive


class _Layout:
    """What is at one path, as it was when it was opened.

    :param stamp: changes when the file does; None for a directory, which is looked at each time.
    """

    def __init__(self, source: Source, found: list[Found], stamp: tuple[int, ...] | None) -> None:
        self.source = source
        self.found = found
        self.stamp = stamp


class Driver:
    """Keeps :class:`swapbox.drivers.registry.RegistryDriver`; safe to use from several threads.

    :param transport: its own name.
    :param scratch: a directory for temporary files, made when needed.
    """

    def __init__(self, transport: str, *, scratch: Path) -> None:
        self._transport = transport
        self._scratch = scratch
        self._layouts: dict[str, _Layout] = {}
        self._lock = threading.Lock()

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor of what the reference names."""
        layout = self._layout(reference)
        if reference.digest:
            found = [one for one in _all(layout) if one.digest == reference.digest]
        else:
            found = _named(layout.found, reference.tag or DEFAULT_TAG)
        if not found:
            names = ", ".join(_tags(layout.found))
            raise NotFound(
                f"manifest for {reference.familiar} not found: manifest unknown",
                hint=f"there are: {names}" if names else None,
            )
        if len({one.digest for one in found}) > 1:
            raise InvalidInput(
                f"{reference.familiar} could be several images", hint=f"choose of {', '.join(_tags(layout.found))}"
            )
        return found[0]

    def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return the manifest or index, verified."""
        layout = self._layout(reference)
        made = {one.descriptor.digest: one.document for one in layout.found}.get(descriptor.digest)
        try:
            data = layout.source.read(layout.source.blob(descriptor.digest)) if made is None else made
        except NotFound as error:
            raise NotFound(
                f"manifest {descriptor.digest} of {reference.familiar_name} not found: manifest unknown"
            ) from error
        if digest_of(data, descriptor.digest.partition(":")[0]) != descriptor.digest:
            raise DataError(f"manifest verification failed for digest {descriptor.digest}")
        return data

    def open_blob(self, reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> Part:
        """Start reading a blob."""
        source = self._layout(reference).source
        try:
            part = source.part(source.blob(descriptor.digest))
        except NotFound as error:
            raise NotFound(
                f"blob {descriptor.digest} of {reference.familiar_name} not found: blob unknown"
            ) from error
        if part.size != descriptor.size:
            part.close()
            raise DataError(f"blob {descriptor.digest} has {part.size} bytes instead of {descriptor.size}")
        return part.at(offset)

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield what can stand behind the path: tags, or whole names where images share a tag."""
        yield from _tags(self._layout(reference).found)

    def close(self) -> None:
        """Close the archives; calling it twice is fine."""
        with self._lock:
            while self._layouts:
                self._layouts.popitem()[1].source.close()

    def _layout(self, reference: Reference) -> _Layout:
        """Return what is at the reference's path now."""
        if reference.transport != self._transport:
            raise InvalidInput(
                f"registry driver {self._transport!r} cannot find {reference.familiar}",
                hint=f"it reads references such as {self._transport}:/path:tag",
            )
        path = Path(reference.path)
        with self._lock:
            known = self._layouts.get(reference.path)
            if known is not None and known.stamp == _stamp(path):
                return known
            if known is not None:
                known.source.close()
            made = self._layouts[reference.path] = self._open(path, reference)
            return made

    def _open(self, path: Path, reference: Reference) -> _Layout:
        if self._transport == "oci":
            source: Source = Directory(path)
            stamp = None
        else:
            stamp = _stamp(path)
            source = Archive(path, scratch=self._scratch)
        try:
            found = docker_images(source) if self._transport == "docker-archive" else oci_images(source)
        except NotFound as error:
            source.close()
            raise NotFound(
                f"repository {reference.familiar_name} not found: {error.message}", hint=error.hint
            ) from error
        except BaseException:
            source.close()
            raise
        return _Layout(source, found, stamp)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does; nothing that equals a directory's None."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _all(layout: _Layout) -> Iterator[Descriptor]:
    """Yield the descriptors of all manifests and indexes, each once however often it is named."""
    level: Iterable[Descriptor] = (one.descriptor for one in layout.found)
    seen: set[str] = set()
    for _ in range(_DEPTH):
        indexes = []
        for one in level:
            if one.digest in seen:
                continue
            seen.add(one.digest)
            yield one
            if one.media_type in INDEXES:
                indexes.append(one)
        level = (below for index in indexes for below in _below(layout.source, index))


def _below(source: Source, index: Descriptor) -> list[Descriptor]:
    """Return what is in an index; the core parses with care what it then pulls."""
    try:
        entries = json.loads(source.read(source.blob(index.digest)))["manifests"]
        return [Descriptor.from_json(entry) for entry in entries]
    except (NotFound, ValueError, TypeError, KeyError, RecursionError):
        return []


def _named(found: list[Found], wanted: str) -> list[Descriptor]:
    """Return the images that are called so; the only one is ``latest`` where none is called that."""
    names = [one.descriptor for one in found if any(wanted in _keys(name) for name in one.names)]
    if not names and (whole := _familiar(wanted)):
        names = [one.descriptor for one in found if any(whole in _keys(name) for name in one.names)]
    return [found[0].descriptor] if not names and wanted == DEFAULT_TAG and len(found) == 1 else names


def _keys(name: str) -> set[str]:
    """Return by what an image with this name can be asked for: all of it, in either form, or its tag."""
    familiar = _familiar(name)
    return {name, familiar, _tag(name)} if familiar else {name}


def _is_short(name: str) -> bool:
    return ":" not in name and "/" not in name


def _familiar(name: str) -> str:
    """Return a whole name as Docker shows it; empty for what is none."""
    try:
        return Reference.parse_name(name).with_default_tag().familiar
    except InvalidReference:
        return ""


def _tag(name: str) -> str:
    return name if _is_short(name) else Reference.parse_name(name).tag or DEFAULT_TAG


def _tags(found: list[Found]) -> list[str]:
    """Return for each image the shortest that means it and no other."""
    tags: dict[str, None] = {}
    for one in found:
        for name in one.names:
            tag = _tag(name) if _familiar(name) else name
            is_clear = len({other.digest for other in _named(found, tag)}) == 1
            tags[tag if is_clear else name] = None
    return list(tags)

"""A registry in a thread: pull and push as the distribution-spec has them, with faults to order.

    with RegistryServer() as server:
        server.add_image("demo/app", "latest", layers=[layer_tar_gz])
        server.faults.truncate = 1000
        ...                             # pull from f"{server.host}/demo/app:latest"

``python -m swapbox.testing.registry_server --dir LAYOUT --port 5000`` serves an OCI image layout, read-only.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from swapbox.descriptors import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    digest_of,
)
from swapbox.references import Reference
from swapbox.testing.registry_handler import Handler

Source = bytes | Path


class Faults:
    """What goes wrong, and how often; set the attributes before the request.

    :ivar delay: seconds before each answer.
    :ivar truncate: bytes of a blob after which the connection breaks; None for never.
    :ivar truncate_times: how many blob answers that befalls; None for all.
    :ivar stall: bytes of a blob after which nothing more comes; None for never.
    :ivar corrupt: blobs arrive with one bit changed.
    :ivar missing: every manifest and blob is 404.
    :ivar refuse: this status, so many times: ``[429, 429]`` or ``[500] * 3``; consumed from the left.
    :ivar retry_after: seconds in the header of what ``refuse`` gives.
    :ivar say: the message of what ``refuse`` gives.
    :ivar auth: ``basic`` or ``bearer``: anonymous requests are 401.
    :ivar users: name to password; with ``bearer`` and no users, anybody gets a token.
    :ivar token_life: seconds; what the token service says.
    :ivar redirect_blobs: ``http://host:port`` that blobs are redirected to.
    :ivar ranges: answer ``Range`` requests; otherwise with the whole blob.
    :ivar bad_ranges: answer ``Range`` requests with 416.
    :ivar head: answer ``HEAD`` for manifests; otherwise 405.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.truncate: int | None = None
        self.truncate_times: int | None = None
        self.stall: int | None = None
        self.corrupt = False
        self.missing = False
        self.refuse: list[int] = []
        self.retry_after: int | None = None
        self.say = ""
        self.auth = ""
        self.users: dict[str, str] = {}
        self.token_life = 300
        self.redirect_blobs = ""
        self.ranges = True
        self.bad_ranges = False
        self.head = True


class Request(NamedTuple):
    """One request that was received; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


class Manifest(NamedTuple):
    """A manifest as it was pushed."""

    media_type: str
    data: bytes


class RegistryServer:
    """A context manager: the server runs inside it.

    :param layout: an OCI image layout to serve; None for an empty registry in memory.
    :param port: 0 for a free one.
    :param writable: takes pushes.
    :ivar host: ``127.0.0.1:port``.
    :ivar requests: what was received so far.
    :ivar page: tags per page at most.
    """

    def __init__(self, layout: Path | None = None, *, port: int = 0, writable: bool = True) -> None:
        self.faults = Faults()
        self.writable = writable
        self.requests: list[Request] = []
        self.blobs: dict[str, Source] = {}
        self.manifests: dict[tuple[str, str], Manifest] = {}
        self.uploads: dict[str, bytearray] = {}
        self.tokens: set[str] = set()
        self.connections: set[socket.socket] = set()
        self.page = 1000
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.registry = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        if layout is not None:
            self.serve_layout(layout)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Break every connection and refuse new ones. Calling it twice is fine."""
        if not self.closing.is_set():
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connections that clients keep open; new ones are welcome."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()

    def reference(self, repository: str, tag: str = "latest") -> Reference:
        """Return the reference of a tag in this registry."""
        return Reference(self.host, repository, tag)

    def add_blob(self, source: Source) -> str:
        """Add a blob; return its digest."""
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            digest = _file_digest(file)
        self.blobs[digest] = source
        return digest

    def add_manifest(self, repository: str, tag: str | None, media_type: str, data: bytes) -> Descriptor:
        """Add a manifest or index under its digest, and under a tag if there is one."""
        digest = digest_of(data)
        for name in filter(None, (digest, tag)):
            self.manifests[repository, name] = Manifest(media_type, data)
        return Descriptor(media_type, digest, len(data))

    def add_image(
        self,
        repository: str,
        tag: str | None = "latest",
        *,
        layers: Sequence[Source] = (),
        config: Mapping[str, Any] | None = None,
        docker: bool = False,
    ) -> Descriptor:
        """Add an image of gzip-compressed (or plain) tar layers; return its manifest's descriptor.

        :param config: fields that replace those of the config made for the layers.
        :param docker: use Docker's media types instead of OCI's.
        """
        layer_type = DOCKER_LAYER if docker else f"{OCI_LAYER}+gzip"
        entries = [Descriptor(layer_type, self.add_blob(layer), _length(layer)).to_json() for layer in layers]
        made = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": [_diff_id(layer) for layer in layers]},
        }
        text = json.dumps({**made, **(config or {})}).encode()
        manifest_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        manifest = {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": Descriptor(
                DOCKER_CONFIG if docker else OCI_CONFIG, self.add_blob(text), len(text)
            ).to_json(),
            "layers": entries,
        }
        return self.add_manifest(repository, tag, manifest_type, json.dumps(manifest).encode())

    def add_index(
        self, repository: str, tag: str | None, manifests: Sequence[Descriptor], *, docker: bool = False
    ) -> Descriptor:
        """Add an index of manifests that carry their ``platform``."""
        media_type = DOCKER_INDEX if docker else OCI_INDEX
        index = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [manifest.to_json() for manifest in manifests],
        }
        return self.add_manifest(repository, tag, media_type, json.dumps(index).encode())

    def serve_layout(self, layout: Path) -> None:
        """Add everything of an OCI image layout; names are ``org.opencontainers.image.ref.name`` annotations.

        A name ``repository:tag`` is served as that, with or without Docker Hub's host and ``library/``.
        """
        for blob in (layout / "blobs" / "sha256").iterdir():
            self.blobs[f"sha256:{blob.name}"] = blob
        for entry in json.loads((layout / "index.json").read_text())["manifests"]:
            descriptor = Descriptor.from_json(entry)
            name = descriptor.annotations.get("org.opencontainers.image.ref.name", "")
            for repository, tag in _names(name):
                self._add_tree(layout, repository, tag, descriptor)

    def _add_tree(self, layout: Path, repository: str, tag: str | None, descriptor: Descriptor) -> None:
        """Add a manifest, or an index and every manifest of it that the layout has."""
        path = layout / "blobs" / Path(*descriptor.digest.split(":"))
        if not path.is_file():
            return  # another platform's, which was not copied
        data = path.read_bytes()
        self.add_manifest(repository, tag, descriptor.media_type, data)
        for child in json.loads(data).get("manifests", []):
            self._add_tree(layout, repository, None, Descriptor.from_json(child))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: RegistryServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away; tests break connections on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _names(name: str) -> set[tuple[str, str]]:
    if not name:
        return set()
    reference = Reference.parse(name).with_default_tag()
    tag = reference.tag or "latest"
    return {(reference.path, tag), (reference.path.removeprefix("library/"), tag)}


def _length(source: Source) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _file_digest(file: IO[bytes] | gzip.GzipFile) -> str:
    digest = hashlib.sha256()
    while data := file.read(1 << 20):
        digest.update(data)
    return f"sha256:{digest.hexdigest()}"


def _diff_id(source: Source) -> str:
    """Return the digest of a layer's tar; of its bytes as they are when they are not gzip."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _file_digest(file)
        with gzip.open(file) as tar:
            return _file_digest(tar)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a layout until interrupted."""
    parser = argparse.ArgumentParser(prog="swapbox.testing.registry_server", description=main.__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="OCI image layout")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 for a free one")
    options = parser.parse_args(arguments)
    with RegistryServer(options.dir, port=options.port, writable=False) as server:
        sys.stdout.write(f"serving {options.dir} on {server.host}\n")
        sys.stdout.flush()
        try:
            server.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()

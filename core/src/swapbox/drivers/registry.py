"""Registries: where images come from.

A driver turns a :class:`~swapbox.references.Reference` into a descriptor, and descriptors into bytes. It verifies
that a manifest has the digest it was asked for; the *caller* verifies blobs while it streams them, since a resumed
blob can only be verified as a whole. The caller also goes on with a blob that breaks off, so a driver tries again
only what has given nothing yet. It waits in between with :func:`swapbox.drivers.waiting.pause`.

A pull is: ``resolve`` the reference, ``manifest`` once or (with an index) twice, then ``open_blob`` for the config
and for three layers at a time, *from several threads at once*.

A push is: ``has_blob`` and ``push_blob`` for every blob, *from several threads at once*, then ``push_manifest``
for each manifest, and for the index if there is one: what names something comes after it. As with a pull, the
caller goes on with a blob that breaks off: it calls ``push_blob`` once more.

A reference with a transport, ``oci:/path:tag``, goes to the driver of that name, whatever driver is usual:
``host`` is empty then, and ``path`` and ``tag`` mean what that driver says they do (docs/decisions/0014). A driver
that finds nothing else has the capability ``by-name``, and is never the usual one.

Optional powers, named in ``RegistrySpec.capabilities``: ``push`` is :class:`PushDriver`, ``login`` is
:class:`LoginDriver`; ``local`` says that the driver asks nobody else: it is used offline too, and the
configuration's rules about registries are not for it; ``search`` is :class:`SearchDriver`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

from swapbox.descriptors import Descriptor
from swapbox.drivers.common import DriverSpec
from swapbox.references import Reference


class BlobReader(Protocol):
    """A blob being received; a context manager that closes the connection. One thread reads."""

    offset: int
    """Where the bytes really start: the offset asked for, or 0 when the source cannot resume."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end.

        :raises Unavailable: the connection broke or timed out; the caller may open again at its new offset.
        """
        ...

    def close(self) -> None:
        """End the transfer; calling it twice is fine.

        May be called from another thread than the one that reads, whose ``read`` then ends at once: by raising
        ``Unavailable``, or with what it has.
        """
        ...

    def __enter__(self) -> BlobReader: ...

    def __exit__(self, *_exc: object) -> None: ...


class RegistryDriver(Protocol):
    """A source of images.

    Every method may be called from several threads at once, and raises ``NotFound`` (no such image, tag or blob),
    ``PermissionDenied`` (401, 403: log in), ``Unavailable`` (down, slow, 429, 5xx: after its own retries),
    ``Unsupported`` (other refusals) or ``DataError`` (the answer is not what it claims to be).
    """

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor of the manifest or index that the reference names."""
        ...

    def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return the manifest or index, byte for byte, verified against the descriptor's digest."""
        ...

    def open_blob(self, reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> BlobReader:
        """Start receiving a blob of the reference's repository, at ``offset`` bytes if the source can."""
        ...

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags of the reference's repository."""
        ...

    def close(self) -> None:
        """Close connections; calling it twice is fine."""
        ...


class LoginDriver(Protocol):
    """Capability ``login``: the driver keeps who the user is, for the host of a reference (``docker.io``)."""

    def hosts(self) -> list[str]:
        """Return the hosts that something is kept for."""
        ...

    def kept(self, host: str) -> tuple[str, str]:
        """Return the user name and the password that are kept for a host, empty where there are none."""
        ...

    def log_in(self, host: str, *, username: str, password: str) -> str:
        """Let the registry check a user name and password, and keep them or what it gives for them.

        :returns: what the user should know about how they are kept; empty when that is nothing.
        :raises PermissionDenied: the registry does not take them; nothing is kept.
        :raises Unavailable: it is out of reach, or they cannot be kept.
        """
        ...

    def log_out(self, host: str) -> None:
        """Forget what is kept for a host; that it is nothing is no error.

        :raises SwapboxError: it cannot be forgotten.
        """
        ...


class PushDriver(RegistryDriver, Protocol):
    """Capability ``push``: images can be put there, too. Raises as :class:`RegistryDriver`."""

    def has_blob(self, reference: Reference, descriptor: Descriptor) -> bool:
        """Say whether the reference's repository has a blob."""
        ...

    def push_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        sent: Callable[[int], object] = lambda _offset: None,
    ) -> str | None:
        """Put a blob into the reference's repository; go on where an earlier call broke off, if possible.

        :param open_at: gives the blob's bytes from an offset on; called again for what has to be sent once more.
        :param mount_from: paths of repositories on the same host that may have the blob already.
        :param sent: told how many bytes are sent; may raise to end the transfer.
        :returns: the repository whose blob is used here too; None when the bytes were sent.
        :raises Unavailable: the connection broke; what was sent may still be there for the next call.
        """
        ...

    def push_manifest(self, reference: Reference, descriptor: Descriptor, data: bytes) -> None:
        """Put a manifest or index under the reference's digest, or its tag, once all that it names is there."""
        ...


class Repository(NamedTuple):
    """What a search has found.

    :param name: what can be pulled, without the host where that is Docker Hub's.
    :param stars: how many users like it.
    :param official: it is one of those that the registry's owner looks after.
    """

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False


class SearchDriver(Protocol):
    """Capability ``search``."""

    def search(self, host: str, term: str, *, limit: int) -> list[Repository]:
        """Return repositories of a registry (``docker.io``) that a term describes, in the registry's order.

        :param limit: how many at most; a registry may return more all the same.
        :raises Unsupported: the registry has no search.
        :raises Unavailable: it is out of reach.
        """
        ...


class RegistrySpec(DriverSpec[RegistryDriver]):
    """Offer a registry driver; see :class:`swapbox.drivers.common.DriverSpec`."""

    kind = "registry"
    __slots__ = ()

"""Image references in the grammar of distribution/reference: ``[host[:port]/]path[:tag][@digest]``.

And those of images in files, ``transport:/path[:tag][@digest]``, which no other reference looks like.
"""

import posixpath
import re
from typing import NamedTuple

from swapbox.errors import InvalidReference

DEFAULT_HOST = "docker.io"
HUB_HOSTS = frozenset({DEFAULT_HOST, "index.docker.io", "registry-1.docker.io"})
DEFAULT_TAG = "latest"

_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HTTPS_PORT = "443"
_PATH_LIMIT = 255
_TRANSPORT = re.compile(r"([a-z][a-z0-9-]*):(/(?!/)[^:@\0-\37]*)(?::([^@\s\0-\37]+))?(?:@(.*))?", re.DOTALL)
_FILE_LIMIT = 4095
_HEX64 = re.compile(r"[0-9a-f]{64}")


class Reference(NamedTuple):
    """A normalized reference: the host is always there; a name without tag and digest has neither.

    :param host: registry host with optional port; ``docker.io`` when none was typed.
    :param path: repository path; ``library/`` is put before a single-part Docker Hub name.
    :param transport: the registry driver that finds the image in a file; then ``host`` is empty, ``path``
        absolute, and ``tag`` what the image is called there, perhaps a whole reference. Empty for others.
    """

    host: str
    path: str
    tag: str | None = None
    digest: str | None = None
    transport: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read what a user typed.

        :raises InvalidReference: it does not follow the grammar; the hint says where.
        """
        if found := _TRANSPORT.fullmatch(text):
            return cls._in_file(*found.groups())
        if _HEX64.fullmatch(text):
            raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise _invalid(f"{text!r} has an invalid digest {digest!r}")
        host, remainder = _split_host(rest)
        if not _HOST.fullmatch(host):
            raise _invalid(f"{text!r} has an invalid host {host!r}")
        path, colon, tag = remainder.partition(":")
        if host == DEFAULT_HOST and "/" not in path:
            path = f"library/{path}"
        if path != path.lower():
            raise InvalidReference(f"invalid reference format: repository name ({path}) must be lowercase")
        if not _PATH.fullmatch(path):
            raise _invalid(f"{text!r} is not [HOST[:PORT]/]PATH[:TAG][@DIGEST]")
        if len(path) > _PATH_LIMIT:
            raise InvalidReference(f"repository name must not be more than {_PATH_LIMIT} characters: {text!r}")
        if colon and not _TAG.fullmatch(tag):
            raise _invalid(f"{text!r} has an invalid tag {tag!r}")
        return cls(host, path, tag or None, digest or None)

    @classmethod
    def _in_file(cls, transport: str, path: str, tag: str | None, digest: str | None) -> "Reference":
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise _invalid(f"{transport}:{path} has an invalid digest {digest!r}")
        if len(path) > _FILE_LIMIT:
            raise _invalid(f"the path of a reference has more than {_FILE_LIMIT} characters")
        return cls("", f"/{posixpath.normpath(path).strip('/')}", tag, digest, transport)

    @classmethod
    def parse_name(cls, text: str) -> "Reference":
        """Read the name that an image is to get, which is that of no file.

        :raises InvalidReference: as :meth:`parse`, or it is.
        """
        reference = cls.parse(text)
        if reference.transport:
            raise _invalid(f"{text!r} is an image in a file, which is only read: swapbox save writes one")
        return reference

    def with_default_tag(self) -> "Reference":
        """Return the reference with ``:latest`` when it has neither tag nor digest."""
        return self if self.tag or self.digest else self._replace(tag=DEFAULT_TAG)

    @property
    def name(self) -> str:
        """Host and path: ``docker.io/library/alpine``."""
        if self.transport:
            return f"{self.transport}:{self.path}"
        return f"{self.host}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """Host and path as Docker shows them: ``alpine``."""
        if self.host != DEFAULT_HOST:
            return self.name
        short = self.path.removeprefix("library/")
        return self.path if "/" in short else short

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """The whole reference as Docker shows it: ``alpine:3.20``."""
        return self.familiar_name + self._suffix()

    def __str__(self) -> str:
        """Return the canonical form: ``docker.io/library/alpine:3.20``."""
        return self.name + self._suffix()


def is_host(text: str) -> bool:
    """Say whether a text is a host with an optional port."""
    return _HOST.fullmatch(text) is not None


def canonical_host(host: str) -> str:
    """Return a registry's host in small letters, without the usual port, and ``docker.io`` for Docker Hub's."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):  # an IPv6 address without a port
        name, port = host.lower(), ""
    port = port.lstrip("0")
    if port in ("", _HTTPS_PORT):
        return DEFAULT_HOST if name in HUB_HOSTS else name
    return f"{name}:{port}"


def _invalid(what: str) -> InvalidReference:
    return InvalidReference("invalid reference format", hint=what)


def _split_host(name: str) -> tuple[str, str]:
    """Split off the host: a first part with a dot, a colon or a capital, or ``localhost``."""
    head, slash, tail = name.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost" or head != head.lower()):
        return DEFAULT_HOST, name
    return (DEFAULT_HOST if head == "index.docker.io" else head), tail

"""Requests and answers, free of sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple, Protocol

from swapbox.distribution.store import Source


class Body(Protocol):
    """The body of a request, read once."""

    length: int | None
    """Bytes, if the client has said so beforehand."""

    def chunks(self) -> Iterator[bytes]:
        """Yield what is left of the bytes.

        :raises ConnectionError: it ended early.
        """
        ...


class Request(NamedTuple):
    """One request that was received; header names in lower case.

    :param path: as it was sent, with its query.
    """

    method: str
    path: str
    headers: Mapping[str, str]


class Call(NamedTuple):
    """A request, taken apart.

    :param query: the last value of each parameter.
    :param connection: what it came by.
    """

    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body
    connection: socket.socket | None = None


class Answer(NamedTuple):
    """What is answered: a small body, or a part of a blob."""

    status: HTTPStatus
    headers: Mapping[str, str] = {}
    body: bytes = b""
    blob: Source | None = None
    start: int = 0
    length: int = 0

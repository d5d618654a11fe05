"""What a registry says when it does not do what it was asked (distribution-spec, "Error Codes")."""

from __future__ import annotations

import json
from http import HTTPStatus

from swapbox.errors import PermissionDenied, Unavailable, Unsupported
from swapbox.references import Reference


def detail(body: bytes) -> str:
    """Return ``manifest unknown: the manifest is not known`` from an error body; empty when it has none."""
    try:
        errors = json.loads(body)["errors"]
        first = errors[0]
        code, message = str(first.get("code") or ""), str(first.get("message") or "")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""
    words = code.lower().replace("_", " ")
    return clean(": ".join(filter(None, (words, message))))


def clean(text: str) -> str:
    """Return remote text as something a terminal can be shown: one line, printable, not endless."""
    return printable(text[:300]).strip()


def printable(text: str) -> str:
    """Return remote text in one line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)


class Denied(PermissionDenied):
    """Nobody, or somebody without a right, has asked.

    :ivar body: what the registry or its token service says.
    """

    def __init__(self, reference: Reference, body: bytes) -> None:
        said = detail(body) or "denied: requested access to the resource is denied"
        super().__init__(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'docker login': {said}",
            hint=f"check the name, or log in: swapbox login {reference.host}",
        )
        self.body = body


def push_denied(reference: Reference, body: bytes, *, anonymous: bool = False) -> PermissionDenied:
    """Return the error for the same in a push, in the registry's words as Docker has it.

    :param anonymous: a password was wanted, and there is none.
    """
    usual = "no basic auth credentials" if anonymous else "denied: requested access to the resource is denied"
    return PermissionDenied(
        detail(body) or usual,
        hint=f"may you push to {reference.familiar_name}? To log in: swapbox login {reference.host}",
    )


def login_failed(host: str, body: bytes, *, at: str) -> PermissionDenied:
    """Return the error for a user name and password that the token service does not take, in Docker's words.

    :param at: the address of the registry.
    """
    said = detail(body) or "unauthorized: incorrect username or password"
    return PermissionDenied(f'Get "{at}": {said}', hint=f"log in again: swapbox login {host}")


def login_refused(url: str, status: int) -> PermissionDenied | Unavailable:
    """Return the error for a log-in that a registry does not answer with 200."""
    message = f"login attempt to {url} failed with status: {status} {_phrase(status)}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return PermissionDenied(message)
    return Unavailable(message)


def not_taken(reference: Reference, status: int, body: bytes) -> Unsupported:
    """Return the error for a blob or manifest that cannot be pushed, whoever asks."""
    said = detail(body) or f"received unexpected HTTP status: {status} {_phrase(status)}"
    return Unsupported(f"registry {reference.host} does not take {reference.familiar_name}: {said}")


def failing(host: str, status: int, body: bytes, *, limit: str = "") -> Unavailable | Unsupported:
    """Return the error for 429, 5xx and what else is not expected.

    :param limit: what the registry says of its limit of requests.
    """
    said = detail(body)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Unavailable(
            f"registry {host}: {said or 'toomanyrequests: too many requests'}{limit and f' ({limit})'}",
            hint=f"wait a while, or log in for a higher limit: swapbox login {host}",
        )
    message = (
        f"registry {host}: received unexpected HTTP status: {status} {_phrase(status)}{said and f' ({said})'}"
    )
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Unsupported(
            message, hint="send layers in smaller parts: set the option part of the registry driver"
        )
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unsupported(message)
    return Unavailable(message, hint="the fault is the registry's: try again later")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""

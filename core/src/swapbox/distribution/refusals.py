"""What a registry says when it does not do what it was asked (distribution-spec, "Error Codes")."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from http import HTTPStatus

from swapbox.errors import SwapboxError


class Refusal(Exception):
    """A request is answered with an error.

    :param code: one of the specification's codes.
    """

    def __init__(
        self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def name_unknown() -> Refusal:
    """Return the refusal for a repository that is not there."""
    return Refusal(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry")


def manifest_unknown() -> Refusal:
    """Return the refusal for a manifest that is not there."""
    return Refusal(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")


def blob_unknown() -> Refusal:
    """Return the refusal for a blob that is not there."""
    return Refusal(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")


def upload_unknown() -> Refusal:
    """Return the refusal for an upload that is not, or no longer, there."""
    return Refusal(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")


def target_invalid() -> Refusal:
    """Return the refusal for a request of what is no address."""
    return Refusal(HTTPStatus.BAD_REQUEST, "NAME_INVALID", "invalid request target")


def digest_invalid() -> Refusal:
    """Return the refusal for bytes that do not have their digest."""
    return Refusal(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "provided digest did not match uploaded content")


def manifest_invalid(why: str) -> Refusal:
    """Return the refusal for a manifest that is none."""
    return Refusal(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", why)


def failing(error: OSError | SwapboxError) -> Refusal:
    """Return the refusal for what this machine cannot do; the message has nothing of its paths."""
    cause = error if isinstance(error, OSError) else error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    full = number in (errno.ENOSPC, errno.EDQUOT)
    status = HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.INTERNAL_SERVER_ERROR
    return Refusal(status, "UNKNOWN", os.strerror(number).lower() if number else "internal error")


def unsupported(what: str) -> Refusal:
    """Return the refusal for what this registry does not do."""
    return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", what)

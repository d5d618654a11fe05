"""Credential helpers: programs ``docker-credential-NAME`` that keep log-ins (docker-credential-helpers).

A helper is called with one word, ``get``, ``store``, ``erase`` or ``list``, and reads the server's address or a
document from its standard input. What it says of an error is on its standard output.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from swapbox.errors import InvalidInput, NotFound, Unavailable

TOKEN_USER = "<token>"
"""The user name that says: the secret is an identity token."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_NOT_FOUND = "credentials not found"
_TIMEOUT = 30.0


class Helper:
    """One credential helper.

    :param name: what ``credsStore`` or ``credHelpers`` says, without ``docker-credential-``.
    """

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self.program = f"docker-credential-{name}"
        self._valid = _NAME.fullmatch(name) is not None
        self._environ = environ

    def get(self, server: str) -> tuple[str, str] | None:
        """Return the user name and the secret for a server, None when the helper has none.

        :raises Unavailable: the helper cannot be run, or fails; likewise for the methods below.
        :raises InvalidInput: its name cannot be one.
        """
        try:
            answer = self._document(self._call("get", server))
        except NotFound:
            return None
        username, secret = answer.get("Username"), answer.get("Secret")
        return (username, secret) if isinstance(username, str) and isinstance(secret, str) and secret else None

    def store(self, server: str, username: str, secret: str) -> None:
        """Keep a log-in, in place of the one for the same server."""
        self._call("store", json.dumps({"ServerURL": server, "Username": username, "Secret": secret}))

    def erase(self, server: str) -> None:
        """Forget a log-in; that there is none is no error."""
        try:
            self._call("erase", server)
        except NotFound:
            return

    def list(self) -> dict[str, str]:
        """Return the user name for each server that the helper has a log-in for."""
        return {key: name for key, name in self._document(self._call("list", "")).items() if isinstance(name, str)}

    def _call(self, word: str, sent: str) -> str:
        if not self._valid:
            raise InvalidInput(f"invalid credential helper {self.program.removeprefix('docker-credential-')!r}")
        try:
            done = subprocess.run(
                [self.program, word],
                input=sent,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                env=dict(self._environ),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
            raise Unavailable(f"cannot run {self.program}: {error}") from None  # its words would have the secret
        if done.returncode == 0:
            return done.stdout
        said = (done.stdout.strip() or done.stderr.strip())[:200]
        if _NOT_FOUND in said:
            raise NotFound(said)
        raise Unavailable(f"{self.program} {word} failed: {said or f'exit code {done.returncode}'}")

    def _document(self, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Unavailable(f"{self.program} sent no JSON object")
        return value

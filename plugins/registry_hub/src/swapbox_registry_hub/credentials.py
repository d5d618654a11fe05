"""Log-ins as Docker keeps them, read only: ``config.json``, credential helpers, ``DOCKER_AUTH_CONFIG``."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOST = "docker.io"
_HELPER = re.compile(r"[A-Za-z0-9_.-]+")
_NOT_FOUND = "credentials not found"
_HELPER_TIMEOUT = 30.0


class Credentials(NamedTuple):
    """Who we are for one registry. ``identity_token`` buys access tokens; ``registry_token`` is one."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


class Keyring:
    """Finds the log-in for a host; what it cannot read it warns about, and goes on anonymously as Docker does."""

    def __init__(self, *, environ: Mapping[str, str] = os.environ, warn: Callable[[str], None]) -> None:
        self._environ = environ
        self._warn = warn

    def get(self, host: str) -> Credentials | None:
        """Return the log-in for a host (``docker.io``, ``127.0.0.1:5000``), None when there is none."""
        text = self._environ.get("DOCKER_AUTH_CONFIG")
        if text and (found := _from_auths(self._parsed(text, "DOCKER_AUTH_CONFIG"), host)):
            return found
        path = self._path()
        try:
            config = self._parsed(path.read_text(), str(path))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            self._warn(f"cannot read {path}: {error}")
            return None
        if helper := _helper_for(config, host):
            return self._ask(helper, host)
        return _from_auths(config, host)

    def _path(self) -> Path:
        directory = self._environ.get("DOCKER_CONFIG")
        home = Path(self._environ.get("HOME") or Path("~").expanduser())
        return (Path(directory) if directory else home / ".docker") / "config.json"

    def _parsed(self, text: str, where: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            self._warn(f"error loading config file: {where}: {error}")
            return {}
        return value if isinstance(value, dict) else {}

    def _ask(self, helper: str, host: str) -> Credentials | None:
        """Run ``docker-credential-<helper> get`` (docker-credential-helpers protocol)."""
        program = f"docker-credential-{helper}"
        if not _HELPER.fullmatch(helper):
            self._warn(f"invalid credential helper {helper!r}")
            return None
        try:
            done = subprocess.run(
                [program, "get"],
                input=HUB_KEY if host == _HUB_HOST else host,
                capture_output=True,
                text=True,
                timeout=_HELPER_TIMEOUT,
                env=dict(self._environ),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
            self._warn(f"cannot run {program}: {error}")
            return None
        if done.returncode != 0:
            if _NOT_FOUND not in done.stdout + done.stderr:
                self._warn(f"{program} failed for {host}: {(done.stdout + done.stderr).strip()[:200]}")
            return None
        answer = self._parsed(done.stdout, program)
        username, secret = _text(answer, "Username"), _text(answer, "Secret")
        if not secret:
            return None
        return Credentials(identity_token=secret) if username == "<token>" else Credentials(username, secret)


def _helper_for(config: Mapping[str, Any], host: str) -> str:
    helpers = config.get("credHelpers")
    if isinstance(helpers, dict):
        for key in _keys(host):
            if named := _text(helpers, key):
                return named
    return _text(config, "credsStore")


def _from_auths(config: Mapping[str, Any], host: str) -> Credentials | None:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    for key in (*_keys(host), *(key for key in auths if _host_of(key) in _keys(host))):
        entry = auths.get(key)
        if isinstance(entry, dict) and (found := _from_entry(entry)):
            return found
    return None


def _from_entry(entry: Mapping[str, Any]) -> Credentials | None:
    username, password = _text(entry, "username"), _text(entry, "password")
    try:
        decoded = base64.b64decode(_text(entry, "auth"), validate=True).decode()
    except (binascii.Error, ValueError):
        decoded = ""
    if decoded:
        username, _, password = decoded.partition(":")
    found = Credentials(
        username=username,
        password=password.rstrip("\0"),
        identity_token=_text(entry, "identitytoken"),
        registry_token=_text(entry, "registrytoken"),
    )
    return found if any(found[1:]) else None


def _keys(host: str) -> tuple[str, ...]:
    if host == _HUB_HOST:
        return (HUB_KEY, "index.docker.io", "docker.io", "registry-1.docker.io")
    return (host,)


def _host_of(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""

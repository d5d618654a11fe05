"""Log-ins as Docker keeps them: ``DOCKER_AUTH_CONFIG``, then credential helpers or ``config.json``."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.errors import SwapboxError
from swapbox_registry_hub import json_edit
from swapbox_registry_hub.docker_config import change, config_path
from swapbox_registry_hub.helpers import TOKEN_USER, Helper

HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOST = "docker.io"


class Credentials(NamedTuple):
    """Who we are for one registry. ``identity_token`` buys access tokens; ``registry_token`` is one."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


class Fixed(NamedTuple):
    """One log-in for every host: the one that is being tried."""

    credentials: Credentials

    def get(self, _host: str) -> Credentials:
        """Return the log-in."""
        return self.credentials


class Keyring:
    """Finds, keeps and forgets log-ins by host (``docker.io``, ``127.0.0.1:5000``).

    What it cannot read it warns about, and goes on anonymously as Docker does.
    """

    def __init__(self, *, environ: Mapping[str, str] = os.environ, warn: Callable[[str], None]) -> None:
        self._environ = environ
        self._warn = warn

    @property
    def path(self) -> Path:
        """Docker's configuration file."""
        return config_path(self._environ)

    def get(self, host: str) -> Credentials | None:
        """Return the log-in for a host, None when there is none."""
        text = self._environ.get("DOCKER_AUTH_CONFIG")
        if text and (found := _from_auths(self._parsed(text, "DOCKER_AUTH_CONFIG"), host)):
            return found
        config = self._config()
        if name := _helper_for(config, host):
            return self._ask(Helper(name, self._environ), host)
        return _from_auths(config, host)

    def hosts(self) -> list[str]:
        """Return the hosts that there are log-ins for, by the lists of the helpers and the file."""
        config = self._config()
        auths, helpers = (_mapping(config, key) for key in ("auths", "credHelpers"))
        keys = {key for key, entry in auths.items() if isinstance(entry, dict) and _from_entry(entry)}
        for name in {_text(config, "credsStore"), *(_text(helpers, key) for key in helpers)} - {""}:
            try:
                listed = Helper(name, self._environ).list()
            except SwapboxError as error:
                self._warn(error.message)
                continue
            keys |= {key for key in listed if _helper_for(config, _host_of(key)) == name}
        return sorted({_host_of(key) for key in keys})

    def store(self, host: str, credentials: Credentials) -> bool:
        """Keep a log-in: with the helper that the configuration names for the host, else in the file.

        :returns: whether a password was newly written into the file as it is.
        :raises SwapboxError: it cannot be kept.
        """
        key = HUB_KEY if host == _HUB_HOST else host
        entry: dict[str, str] = {}
        if name := _helper_for(self._config(), host):
            username = TOKEN_USER if credentials.identity_token else credentials.username
            secret = credentials.identity_token or credentials.password
            Helper(name, self._environ).store(key, username, secret)
        else:
            pair = f"{credentials.username}:{credentials.password}"
            entry["auth"] = base64.b64encode(pair.encode(errors="surrogateescape")).decode()
            if credentials.identity_token:
                entry["identitytoken"] = credentials.identity_token

        def edit(text: str) -> str:
            before = json.loads(text).get("auths")
            same = isinstance(before, dict) and before.get(key) == entry
            return text if same else json_edit.put(text, ("auths", key), entry)

        return change(self.path, edit) and bool(credentials.password) and not name

    def erase(self, host: str) -> None:
        """Forget the log-in for a host, under each of the names that it is found under.

        :raises SwapboxError: the helper or the file refuses.
        """
        if name := _helper_for(self._config(), host):
            Helper(name, self._environ).erase(HUB_KEY if host == _HUB_HOST else host)
        if self.path.exists():
            change(self.path, lambda text: json_edit.remove(text, ("auths",), lambda key: _is_for(key, host)))

    def _config(self) -> dict[str, Any]:
        path = self.path
        try:
            return self._parsed(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            self._warn(f"cannot read {path}: {error}")
            return {}

    def _parsed(self, text: str, where: str) -> dict[str, Any]:
        try:
            value = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            self._warn(f"error loading config file: {where}: {error}")
            return {}
        return value if isinstance(value, dict) else {}

    def _ask(self, helper: Helper, host: str) -> Credentials | None:
        try:
            found = helper.get(HUB_KEY if host == _HUB_HOST else host)
        except SwapboxError as error:
            self._warn(error.message)
            return None
        if found is None:
            return None
        username, secret = found
        return Credentials(identity_token=secret) if username == TOKEN_USER else Credentials(username, secret)


def _helper_for(config: Mapping[str, Any], host: str) -> str:
    helpers = _mapping(config, "credHelpers")
    return next(filter(None, (_text(helpers, key) for key in _keys(host))), _text(config, "credsStore"))


def _from_auths(config: Mapping[str, Any], host: str) -> Credentials | None:
    auths = _mapping(config, "auths")
    for key in (*_keys(host), *(key for key in auths if _is_for(key, host))):
        entry = auths.get(key)
        if isinstance(entry, dict) and (found := _from_entry(entry)):
            return found
    return None


def _from_entry(entry: Mapping[str, Any]) -> Credentials | None:
    username, password = _text(entry, "username"), _text(entry, "password")
    try:
        decoded = base64.b64decode(_text(entry, "auth"), validate=True).decode(errors="surrogateescape")
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


def _is_for(key: str, host: str) -> bool:
    """Say whether a key, an address or a host alone, is for a host."""
    return _host_of(key) == host


def _host_of(key: str) -> str:
    """Return the host of a key, Docker Hub's under its usual name."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return _HUB_HOST if host in _keys(_HUB_HOST) else host


def _mapping(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""

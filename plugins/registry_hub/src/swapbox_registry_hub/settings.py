"""From the options a user gave to what the parts of the driver need."""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path

from swapbox.errors import InvalidInput
from swapbox_registry_hub.hosts import Hosts
from swapbox_registry_hub.patience import Patience

DEFAULTS: Mapping[str, str] = {
    "timeout": "60",
    "retries": "3",
    "longest-wait": "60",
    "certificates": "/etc/docker/certs.d:/etc/swapbox/certs.d",
}


def hosts(options: Mapping[str, str]) -> Hosts:
    """Read ``insecure``, ``certificates`` and the proxies.

    :raises InvalidInput: a value is wrong.
    """
    directories = options.get("certificates", DEFAULTS["certificates"])
    return Hosts(
        insecure=frozenset(filter(None, map(str.strip, options.get("insecure", "").split(",")))),
        certificates=[Path(text).expanduser() for text in directories.split(":") if text],
        proxies={
            scheme: _proxy(options[f"{scheme}-proxy"])
            for scheme in ("http", "https")
            if options.get(f"{scheme}-proxy")
        },
        no_proxy=options.get("no-proxy", ""),
    )


def patience(options: Mapping[str, str], *, warn: Callable[[str], None]) -> Patience:
    """Read ``retries`` and ``longest-wait``.

    :raises InvalidInput: a value is wrong.
    """
    text = options.get("retries", DEFAULTS["retries"])
    if not (text.isascii() and text.isdecimal()) or len(text) > 3:
        raise InvalidInput(f"invalid retries {text!r} of the registry driver hub", hint="give a number below 1000")
    return Patience(retries=int(text), longest=seconds(options, "longest-wait", least=0.0), warn=warn)


def part(options: Mapping[str, str]) -> int | None:
    """Read ``part``; 64 KiB are the least, since each part costs a request.

    :raises InvalidInput: it is no number of bytes.
    """
    text = options.get("part", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < 65536:
        raise InvalidInput(
            f"invalid part {text!r} of the registry driver hub", hint="give it in bytes, 65536 or more"
        )
    return int(text)


def seconds(options: Mapping[str, str], name: str, *, least: float) -> float:
    """Read a number of seconds, a day at most.

    :raises InvalidInput: it is none.
    """
    text = options.get(name, DEFAULTS[name])
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < 86400:
        raise InvalidInput(f"invalid {name} {text!r} of the registry driver hub", hint="give it in seconds")
    return value


def _proxy(text: str) -> str:
    """Return the address of a proxy; one without a scheme speaks HTTP.

    :raises InvalidInput: it is no address.
    """
    address = text if "://" in text else f"http://{text}"
    try:
        parts = urllib.parse.urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidInput(
            f"invalid proxy {text!r} of the registry driver hub", hint="write http://proxy.example:3128"
        )
    return address

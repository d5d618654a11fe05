"""Platforms of images: what this host runs, and which manifest of an index fits best.

The names are Go's (OCI image-spec, ``image-index.md``); the order of preference is that of containerd: the very
platform first, then older variants of the processor, then the 32-bit sibling that the same processor runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from swapbox.descriptors import INDEXES, MANIFESTS, Descriptor
from swapbox.errors import InvalidInput

NOT_PARSED = "error parsing specified platform: "
"""What the message about a malformed platform begins with."""

_RULE = "^[A-Za-z0-9_.-]+$"
_PART = re.compile(_RULE[1:-1])
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armhf": "arm/v7",
    "armel": "arm/v6",
    "armv5l": "arm/v5",
    "armv6l": "arm/v6",
    "armv7l": "arm/v7",
    "armv8l": "arm/v7",
    "loongarch64": "loong64",
    "mips64el": "mips64le",
}
_DEFAULT_VARIANTS = {"arm": "v7", "arm64": "v8"}
_UNKNOWN = "unknown"
_ATTESTATION = "vnd.docker.reference.type"


class Platform(NamedTuple):
    """Operating system, architecture and variant, normalized; ``str`` gives ``linux/arm64/v8``."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, self))

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os[/architecture[/variant]]``, or an architecture alone.

        :raises InvalidInput: it is not of that form.
        """
        parts = text.split("/")
        if len(parts) > 3:
            raise _not_parsed(f'"{text}": cannot parse platform specifier')
        if (wrong := next((part for part in parts if not _PART.fullmatch(part)), None)) is not None:
            raise _not_parsed(
                f'"{wrong}" is an invalid component of "{text}": platform specifier component must match "{_RULE}"'
            )
        if len(parts) == 1:
            parts = ["linux", *parts] if parts[0].lower() != "linux" else ["linux", default().architecture]
        return _normal(*parts)


def default() -> Platform:
    """Return this host's platform."""
    return _normal("linux", os.uname().machine)


def of(value: Mapping[str, Any]) -> Platform | None:
    """Read a platform object, or an image config, which has the same fields; None when it names no platform."""
    fields = [value.get(key) or "" for key in ("os", "architecture", "variant")]
    if not all(isinstance(field, str) for field in fields) or not (fields[0] and fields[1]):
        return None
    return _normal(*fields)


def ranked(wanted: Platform, descriptors: Iterable[Descriptor]) -> list[Descriptor]:
    """Return the manifests of an index that can run on ``wanted``, best first.

    Attestations are left out. Nested indexes and manifests that name no platform come last: their content decides.
    """
    order = acceptable(wanted)
    found = []
    for descriptor in descriptors:
        if descriptor.media_type not in INDEXES | MANIFESTS or _ATTESTATION in descriptor.annotations:
            continue
        platform = of(descriptor.platform) if descriptor.platform else None
        if platform in order:
            found.append((order.index(platform), descriptor))
        elif platform is None:
            found.append((len(order), descriptor))
    return [descriptor for _, descriptor in sorted(found, key=lambda pair: pair[0])]


def acceptable(wanted: Platform) -> list[Platform]:
    """Return every platform that ``wanted`` runs, best first."""
    siblings = {"amd64": "386", "arm64": "arm"}
    order = [wanted, *_older(wanted)]
    if sibling := siblings.get(wanted.architecture):
        variant = "v8" if sibling == "arm" else ""
        below = Platform(wanted.os, sibling, variant)
        order += [below, *_older(below)]
    return order


def _older(platform: Platform) -> list[Platform]:
    """Return the lower variants, then the one without."""
    lowest = {"arm": 5, "arm64": 8, "amd64": 1}.get(platform.architecture)
    number = platform.variant.removeprefix("v")
    if lowest is None or not number.isdecimal():
        return []
    order = [platform._replace(variant=f"v{n}") for n in range(min(int(number), 9) - 1, lowest - 1, -1)]
    return [*order, platform._replace(variant="")] if platform.architecture == "amd64" else order


def _not_parsed(why: str) -> InvalidInput:
    return InvalidInput(f"{NOT_PARSED}{why}: invalid argument", hint="give it as linux/arm64 or linux/arm/v7")


def _normal(os_name: str, architecture: str = "", variant: str = "") -> Platform:
    architecture = architecture.lower()
    architecture, _, implied = _ARCHITECTURES.get(architecture, architecture).partition("/")
    variant = variant.lower() or implied or _DEFAULT_VARIANTS.get(architecture, "")
    if variant.isdecimal():
        variant = f"v{variant}"
    if (architecture, variant) == ("amd64", "v1"):
        variant = ""
    return Platform("linux" if os_name.lower() == "linux" else os_name.lower(), architecture, variant)

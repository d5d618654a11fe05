"""How overlayfs reads paths in its mount options (the kernel's Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

import re


def escape_layer(path: str) -> str:
    """Return a path as overlay wants it in ``lowerdir=``, ``upperdir=`` and ``workdir=``."""
    return re.sub(r"([\\:,])", r"\\\1", path)


def split_layers(value: str) -> list[str]:
    """Return the paths in a ``lowerdir=`` value, as they were before :func:`escape_layer`."""
    return [re.sub(r"\\(.)", r"\1", layer) for layer in re.findall(r"(?:\\.|[^:\\])+", value)]

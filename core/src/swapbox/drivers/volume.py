"""Volumes: directories of data that outlive the containers that use them.

A *volume* has a name and a driver, which keeps its data. Which volumes there are, their labels and who uses them
is the core's business; a driver knows names and options.

Three uses:

1. ``volume create``: ``create(Volume(name, options))``. From then on the data is there, empty.
2. A container starts: ``mounts(name)``, which the container's monitor mounts in its own mount namespace
   (``swapbox.linux.mounts.apply``) and binds into the container. As a storage driver, a volume driver *returns*
   mounts and never makes any: nothing appears on the host, and a killed process leaves nothing mounted.
3. ``volume rm``: ``remove(name)``.

Methods may be called from several processes at once, and any of them may be killed at any time. Every method can
be called again after that: a volume is there as a whole or not at all. The core calls ``create`` and ``remove`` of
one name one after another. A name is ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``, at most 255 bytes, and so may be part of a
path; a name that begins with a dot is no volume's and can be used for the driver's own purposes. Options are a
user's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from swapbox.drivers.common import DriverSpec
from swapbox.drivers.storage import Mount, Usage


class Volume(NamedTuple):
    """One volume as the user asked for it.

    :param options: from ``volume create --opt`` or ``--mount volume-opt=``.
    """

    name: str
    options: Mapping[str, str] = {}


class VolumeInfo(NamedTuple):
    """What a driver knows of one volume.

    :param mountpoint: the directory of its data on the host, for ``volume inspect``; a driver whose data is
        somewhere else names the directory that stands for it.
    """

    name: str
    options: Mapping[str, str]
    mountpoint: Path


class VolumeDriver(Protocol):
    """Keeps volumes. Methods that take the name of one raise ``NotFound`` when it is not there."""

    def create(self, volume: Volume) -> None:
        """Make a volume, empty, its root directory root's with mode 0755; one that is there is left alone.

        :raises InvalidInput: an option is wrong; nothing is left behind.
        :raises Unsupported: this host cannot do what an option asks for.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a volume and its data; one that is gone already is fine. It is not in use."""
        ...

    def mounts(self, name: str) -> tuple[Mount, ...]:
        """Return what to mount, one on top of the other, to have the volume's root directory at a place.

        Every call shows the same data, at several places at once, too, as far as the file system allows.
        """
        ...

    def inspect(self, name: str) -> VolumeInfo:
        """Return what is known of a volume."""
        ...

    def usage(self, name: str) -> Usage:
        """Return the disk space and inodes of the volume's data on this host."""
        ...

    def walk(self) -> Iterator[VolumeInfo]:
        """Yield every volume, in any order."""
        ...

    def cleanup(self) -> int:
        """Remove what killed processes left of volumes that are not there; return how many things were removed."""
        ...

    def close(self) -> None:
        """Release what the driver holds open; calling it twice is fine."""
        ...


class VolumeDriverSpec(DriverSpec[VolumeDriver]):
    """Offer a volume driver; see :class:`swapbox.drivers.common.DriverSpec`."""

    kind = "volume"
    __slots__ = ()

"""swapbox: a container engine for Linux in which every backend can be swapped.

A map for three readers:

- **Plugin authors**: :mod:`swapbox.hookspecs` is the whole extension surface; ``swapbox.drivers.<kind>`` is the
  manual of each kind; :mod:`swapbox.testing` has the suite a driver has to pass; copy ``plugins/storage_vfs``.
- **Programs**: :class:`swapbox.Engine` is what the command line itself is built on.
- **Readers of the code**: ``docs/architecture.md``, then ``engine.py``, ``containers/`` and ``images/``.

Names below are imported when first used, so ``from swapbox import hookimpl`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from swapbox.descriptors import Descriptor as Descriptor
    from swapbox.drivers.cgroup import CgroupController as CgroupController
    from swapbox.drivers.cgroup import CgroupControllerSpec as CgroupControllerSpec
    from swapbox.drivers.cgroup import CgroupHandle as CgroupHandle
    from swapbox.drivers.common import Broken as Broken
    from swapbox.drivers.common import DriverContext as DriverContext
    from swapbox.drivers.common import DriverSpec as DriverSpec
    from swapbox.drivers.common import Option as Option
    from swapbox.drivers.common import ProbeResult as ProbeResult
    from swapbox.drivers.common import Supported as Supported
    from swapbox.drivers.common import Unsupported as Unsupported
    from swapbox.drivers.isolation import IsolationDriver as IsolationDriver
    from swapbox.drivers.isolation import IsolationDriverSpec as IsolationDriverSpec
    from swapbox.drivers.logging import LogDriver as LogDriver
    from swapbox.drivers.logging import LogDriverSpec as LogDriverSpec
    from swapbox.drivers.logging import LogWriter as LogWriter
    from swapbox.drivers.network import NetworkDriver as NetworkDriver
    from swapbox.drivers.network import NetworkDriverSpec as NetworkDriverSpec
    from swapbox.drivers.registry import RegistryDriver as RegistryDriver
    from swapbox.drivers.registry import RegistrySpec as RegistrySpec
    from swapbox.drivers.storage import Mount as Mount
    from swapbox.drivers.storage import StorageDriver as StorageDriver
    from swapbox.drivers.storage import StorageDriverSpec as StorageDriverSpec
    from swapbox.drivers.volume import VolumeDriver as VolumeDriver
    from swapbox.drivers.volume import VolumeDriverSpec as VolumeDriverSpec
    from swapbox.engine import Engine as Engine
    from swapbox.errors import SwapboxError as SwapboxError
    from swapbox.hookspecs import Finding as Finding
    from swapbox.images.compression import decompress as decompress
    from swapbox.images.tarstream import TarStream as TarStream
    from swapbox.plugins.markers import hookimpl as hookimpl
    from swapbox.references import Reference as Reference
    from swapbox.store.events import Event as Event

_HOMES = {
    "swapbox.descriptors": ("Descriptor",),
    "swapbox.drivers.cgroup": ("CgroupController", "CgroupControllerSpec", "CgroupHandle"),
    "swapbox.drivers.common": (
        "Broken",
        "DriverContext",
        "DriverSpec",
        "Option",
        "ProbeResult",
        "Supported",
        "Unsupported",
    ),
    "swapbox.drivers.isolation": ("IsolationDriver", "IsolationDriverSpec"),
    "swapbox.drivers.logging": ("LogDriver", "LogDriverSpec", "LogWriter"),
    "swapbox.drivers.network": ("NetworkDriver", "NetworkDriverSpec"),
    "swapbox.drivers.registry": ("RegistryDriver", "RegistrySpec"),
    "swapbox.drivers.storage": ("Mount", "StorageDriver", "StorageDriverSpec"),
    "swapbox.drivers.volume": ("VolumeDriver", "VolumeDriverSpec"),
    "swapbox.engine": ("Engine",),
    "swapbox.errors": ("SwapboxError",),
    "swapbox.hookspecs": ("Finding",),
    "swapbox.images.compression": ("decompress",),
    "swapbox.images.tarstream": ("TarStream",),
    "swapbox.plugins.markers": ("hookimpl",),
    "swapbox.references": ("Reference",),
    "swapbox.store.events": ("Event",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME_OF[name]), name)

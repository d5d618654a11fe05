"""What ``info --format`` and ``version --format`` look at: Docker's documents, as far as swapbox has their fields.

swapbox has no daemon: client and server are the same.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from swapbox import __version__
from swapbox.cli.units import format_time
from swapbox.config import Rule
from swapbox.drivers.common import API_VERSION, KINDS, Kind, Supported
from swapbox.errors import SwapboxError
from swapbox.images.registries import is_offline
from swapbox.references import DEFAULT_HOST

if TYPE_CHECKING:
    from swapbox.engine import Engine

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def version_document() -> dict[str, Any]:
    """Return the document of ``version``."""
    api = ".".join(map(str, API_VERSION))
    host = os.uname()
    both = {"Version": __version__, "ApiVersion": api}
    build = {
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": _ARCHITECTURES.get(host.machine, host.machine),
    }
    python = {"Name": "Python", "Version": platform.python_version(), "Details": {}}
    return {
        "Client": {**both, "DefaultAPIVersion": api, **build, "BuildTime": "", "Context": "default"},
        "Server": {
            "Platform": {"Name": "swapbox"},
            "Components": [{"Name": "Engine", "Version": __version__, "Details": {"ApiVersion": api}}, python],
            **both,
            "MinAPIVersion": api,
            **build,
            "KernelVersion": host.release,
            "BuildTime": "",
        },
    }


def info_document(engine: Engine) -> dict[str, Any]:
    """Return the document of ``info``."""
    host, chosen = os.uname(), {kind: chosen_name(engine, kind) for kind in KINDS}
    return {
        "ID": "",
        **counts(engine),
        "Images": len(engine.images.all()),
        "Driver": chosen["storage"],
        "DriverStatus": [],
        "Plugins": {
            "Volume": offered(engine, "volume"),
            "Network": offered(engine, "network"),
            "Authorization": None,
            "Log": offered(engine, "logging"),
        },
        "SystemTime": format_time(time.time_ns()),
        "LoggingDriver": chosen["logging"],
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": chosen["cgroup"].removeprefix("v"),
        "KernelVersion": host.release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": host.machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registries(engine),
        "NCPU": os.cpu_count() or 0,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "DockerRootDir": str(engine.paths.root),
        "Name": host.nodename,
        "Labels": [],
        "ServerVersion": __version__,
        "Runtimes": {name: {"path": ""} for name in runtimes(engine)},
        "DefaultRuntime": chosen["isolation"],
        "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False},
        "LiveRestoreEnabled": True,
        "SecurityOptions": ["name=seccomp,profile=builtin", *["name=rootless"] * engine.unprivileged],
        "Warnings": None,
        "ClientInfo": {"Version": __version__, "Context": "default", "Plugins": [], "Warnings": None},
    }


def _registries(engine: Engine) -> dict[str, Any]:
    """Return what Docker says of Docker Hub's mirrors, the only ones that it has."""
    mirrors = list(engine.config.registries.get(DEFAULT_HOST, Rule()).mirrors)
    hub = {"Name": DEFAULT_HOST, "Mirrors": mirrors, "Secure": True, "Official": True}
    return {"Mirrors": mirrors, "IndexConfigs": {DEFAULT_HOST: hub}}


def rules(engine: Engine) -> list[tuple[str, str]]:
    """Return the rules about registries in words, and whether any may be asked at all."""
    found = [("Offline", "true")] if is_offline(engine) else []
    for prefix, rule in engine.config.registries.items():
        words = ["blocked"] if rule.blocked else []
        words += [f"mirror {mirror}" for mirror in rule.mirrors]
        words += [f"at {rule.location}"] if rule.location else []
        found.append((f"Registry {prefix}", ", ".join(words) or "as it is"))
    return found


def counts(engine: Engine) -> dict[str, int]:
    """Return how many containers there are, and in which states."""
    from swapbox.containers.listing import listed

    states = Counter(container.state.status for container in listed(engine, everything=True))
    running = states["running"] + states["restarting"]
    return {
        "Containers": states.total(),
        "ContainersRunning": running,
        "ContainersPaused": states["paused"],
        "ContainersStopped": states.total() - running - states["paused"],
    }


def chosen_name(engine: Engine, kind: Kind) -> str:
    """Return the name of the driver in use, or why there is none."""
    try:
        return engine.selector.choose(kind).name
    except SwapboxError as error:
        return f"none: {error.message}"


def runtimes(engine: Engine) -> list[str]:
    """Return the isolation drivers that work here, which Docker calls runtimes."""
    _, candidates = engine.selector.explain("isolation")
    return sorted(one.offer.spec.name for one in candidates if isinstance(one.result, Supported))


def offered(engine: Engine, kind: Kind) -> list[str]:
    """Return the names of all drivers of a kind."""
    return sorted(offer.spec.name for offer in engine.plugins.offers(kind))


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"

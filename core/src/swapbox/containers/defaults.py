"""Docker's defaults for a Linux container, as OCI runtime-spec 1.1 values (moby's ``oci.DefaultLinuxSpec``, v28).

Functions, not constants, where the value is a list that a caller goes on to edit.
"""

from __future__ import annotations

import os
from typing import Any

OCI_VERSION = "1.1.0"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHM_SIZE = 64 * 1024 * 1024
INIT_TARGET = "/sbin/docker-init"
STOP_SIGNAL = "SIGTERM"
STOP_TIMEOUT = 10
"""Seconds."""

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)


def mounts(shm_size: int) -> list[dict[str, Any]]:
    """Return the mounts every container has, in order; ``shm_size`` in bytes."""
    safe = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", *safe),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        _mount("/sys", "sysfs", "sysfs", *safe, "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "ro"),
        _mount("/dev/mqueue", "mqueue", "mqueue", *safe),
        _mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", f"size={shm_size or SHM_SIZE}"),
    ]


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def masked_paths() -> list[str]:
    """Return what a container must not see: it tells about the host, or times its other work."""
    paths = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ]
    throttle = "/sys/devices/system/cpu/cpu{}/thermal_throttle"
    if os.path.exists(throttle.format(0)):
        paths += [throttle.format(number) for number in range(os.cpu_count() or 1)]
    return paths


def readonly_paths() -> list[str]:
    """Return what a container may read and not write."""
    return ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

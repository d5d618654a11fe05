"""Capabilities by name and by bit (capabilities(7), linux/capability.h)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swapbox.linux import syscalls

_SHORT = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES: tuple[str, ...] = tuple(f"CAP_{name}" for name in _SHORT.split())
"""Every capability; the index is its number."""

BITS: Mapping[str, int] = {name: 1 << number for number, name in enumerate(NAMES)}
SYS_ADMIN = BITS["CAP_SYS_ADMIN"]


def mask(names: Iterable[str]) -> int:
    """Return the bit mask of some capabilities.

    :raises KeyError: a name is not known.
    """
    result = 0
    for name in names:
        result |= BITS[name]
    return result


def names(mask: int) -> list[str]:
    """Return the names in a bit mask, by number."""
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


def bounding() -> int:
    """Return the calling process's bounding set: what neither it nor its children can exceed."""
    result = 0
    for number in range(len(NAMES)):
        try:
            result |= syscalls.prctl(syscalls.PR_CAPBSET_READ, number) << number
        except OSError:  # EINVAL: this kernel ends before
            break
    return result

"""What happens in the clone of a container's init: it builds its root, then becomes the command."""

from __future__ import annotations

import _socket  # socket itself costs 3 ms to import
import fcntl
import struct
from typing import NoReturn

from swapbox.linux import syscalls
from swapbox_isolation_ns.child import Inherited, become_root, finish, hide, new_session
from swapbox_isolation_ns.failures import Report, doing
from swapbox_isolation_ns.plan import Plan
from swapbox_isolation_ns.rootfs import Trees, build

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1


def run_init(plan: Plan, trees: Trees, inherited: Inherited, report: Report) -> NoReturn:
    """Set a container up as its first process."""
    if plan.has_user_namespace:
        become_root()
    hide()
    if inherited.cgroup is not None:
        with doing("join the cgroup"):
            inherited.cgroup.join()
    if plan.new & syscalls.CLONE_NEWCGROUP:  # After joining: where it is made is the root that it shows.
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    new_session(inherited.id)
    _name_host(plan)
    if plan.new & syscalls.CLONE_NEWNET:
        _raise_loopback()
    terminal = build(plan, trees)
    finish(plan.process, inherited, terminal, report)


def _name_host(plan: Plan) -> None:
    with doing(f"set the hostname {plan.hostname!r}"):
        if plan.hostname:
            syscalls.sethostname(plan.hostname)
        if plan.domainname:
            syscalls.setdomainname(plan.domainname)


def _raise_loopback() -> None:
    """Switch ``lo`` on (netdevice(7)), as every other runtime does in a new network namespace."""
    with doing("switch the loopback device on"):
        control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        finally:
            control.close()

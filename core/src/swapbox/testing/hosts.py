"""Hosts for tests of networks: network namespaces, so that links and rules of the real host are never touched."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator

from swapbox.linux import syscalls
from swapbox.testing.process import Result

_NUMBERS = itertools.count(1)


class Host:
    """A network namespace with loopback up, kept by a process that does nothing.

    :param pid: of that process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.enter = ("nsenter", f"--net=/proc/{pid}/ns/net")

    def __call__(self, *argv: str, stdin: bytes = b"") -> Result:
        """Run a program in the namespace."""
        command = (*self.enter, *argv)
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
        return Result(command, done.returncode, done.stdout, done.stderr)

    def ok(self, *argv: str, stdin: bytes = b"") -> str:
        """Run a program in the namespace that has to succeed, and return its output."""
        return self(*argv, stdin=stdin).check().out

    def ip(self, command: str) -> str:
        """Run ip(8)."""
        return self.ok("ip", *command.split())

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a program in the namespace."""
        return subprocess.Popen((*self.enter, *argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def sysctl(self, name: str, value: str) -> None:
        """Set a kernel parameter of the namespace: ``net/ipv4/ip_forward``."""
        self.ok("sh", "-c", f"echo {value} > /proc/sys/{name}")

    def links(self) -> set[str]:
        """Return the names of the links but loopback."""
        lines = self.ip("-o link").splitlines()
        return {line.split(": ")[1].partition("@")[0] for line in lines} - {"lo"}

    def tables(self) -> set[str]:
        """Return the names of the tables of rules that swapbox has made."""
        words = [line.split() for line in self.ok("nft", "list", "tables").splitlines()]
        return {line[2] for line in words if line[2].startswith("swapbox")}


@contextlib.contextmanager
def host() -> Iterator[Host]:
    """Make a host that is connected to nothing; needs root."""
    ready, told = os.pipe()
    stay, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        syscalls.unshare(syscalls.CLONE_NEWNET)
        os.write(told, b".")
        os.read(stay, 1)
        os._exit(0)
    os.read(ready, 1)
    try:
        made = Host(pid)
        made.ip("link set lo up")
        yield made
    finally:
        for fd in (ready, told, stay, go):
            os.close(fd)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def entered(pid: int | None = None) -> Iterator[None]:
    """Let the calling thread live in the network namespace of a process meanwhile, or in a new one."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if pid is None:
            syscalls.unshare(syscalls.CLONE_NEWNET)
        else:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(fd, syscalls.CLONE_NEWNET)
            os.close(fd)
        yield
    finally:
        syscalls.setns(own, syscalls.CLONE_NEWNET)
        os.close(own)


def join(one: Host, other: Host, subnet: str = "10.231.7", *, wide: str = "fd31:7") -> None:
    """Connect two hosts by a cable: the first gets ``.1`` (and ``::1``) of the subnets, the other ``.2``."""
    number = next(_NUMBERS)
    name, peer = f"cable{number}", f"plug{number}"
    one.ip(f"link add {name} type veth peer name {peer} netns {other.pid}")
    for last, (end, link) in enumerate(((one, name), (other, peer)), 1):
        end.ip(f"addr add {subnet}.{last}/24 dev {link}")
        end.ip(f"addr add {wide}::{last}/64 dev {link} nodad")
        end.ip(f"link set {link} up")

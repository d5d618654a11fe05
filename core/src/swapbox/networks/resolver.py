"""The name server of one network: a process that lives as long as somebody is connected.

It answers for the names in the network and passes all other questions on, as they are, to the name servers of the
host, or of ``--dns``. Questions are hostile input: whatever cannot be read is dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from dnslib import (  # type: ignore[import-untyped]
    AAAA,
    PTR,
    QTYPE,
    RCODE,
    RR,
    A,
    DNSBuffer,
    DNSError,
    DNSHeader,
    DNSQuestion,
    DNSRecord,
)

from swapbox.linux import syscalls
from swapbox.networks.addresses import text
from swapbox.networks.names import Names
from swapbox.networks.resolving import bound, note
from swapbox.store.database import Database

LINGER = 5.0
"""Seconds after which it looks whether anybody is left."""

PORT = 53
"""Where other name servers listen."""

_TTL = 600
_PATIENCE = 4.0
_THREADS = 64
_SHARE = 8
"""How many questions of one client are worked on at the same time."""

_LARGEST = 65535
_LONGEST_QUESTION = 4096


def main(
    db: str,
    network: str,
    run_root: str,
    addresses: Sequence[str],
    lock: int,
    fds: Sequence[int],
    upstream: Sequence[str] = (),
) -> None:
    """Be the name server of a network.

    :param db: the path of the database.
    :param addresses: where it listens, port 53.
    :param lock: a descriptor that holds the network's lock, and lets go of it when this process ends.
    :param fds: bound sockets: for each address one of UDP and one of TCP.
    :param upstream: name servers that the network's driver has chosen.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    syscalls.prctl_name("swapbox-dns")
    os.chdir("/")
    _close_others((lock, *fds))
    _leave_mounts(run_root)
    note(lock, str(os.getpid()), addresses)
    names = Names(Database(Path(db)), network)
    server = Resolver(names, own=addresses, alive=_same_file(db), upstream=upstream)
    sockets = [socket.socket(fileno=fd) for fd in fds]
    while True:
        server.serve(sockets)
        for sock in sockets:
            sock.close()
        fcntl.flock(lock, fcntl.LOCK_UN)
        # Whoever has connected meanwhile found the lock held, but its lease was written before: look once more.
        if not server.in_use():
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        sockets = [socket.socket(fileno=sock.detach()) for address in addresses for sock in bound(address)]


def _same_file(path: str) -> Callable[[], bool]:
    """Return what says whether a file is the one that is there now: a root directory may be thrown away."""

    def identity() -> tuple[int, int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    first = identity()
    return lambda: first is not None and identity() == first


def _close_others(kept: Sequence[int]) -> None:
    """Close what whoever has started this got from its own caller: a lock, or a pipe that would never end."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                os.close(int(name))


def _leave_mounts(run_root: str) -> None:
    """Leave the mount namespace of the monitor that has started this: its container's files are mounted there."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for target in reversed([one for one in targets if one.startswith(f"{run_root}/")]):
        with contextlib.suppress(OSError):
            syscalls.umount(target, syscalls.MNT_DETACH)


class Resolver:
    """Answers questions.

    :param own: its own addresses: no question is passed on to them.
    :param alive: says whether anybody can be connected yet.
    :param upstream: to whom questions are passed on, instead of to the host's name servers.
    """

    def __init__(
        self,
        names: Names,
        *,
        own: Sequence[str],
        alive: Callable[[], bool] = lambda: True,
        upstream: Sequence[str] = (),
    ) -> None:
        self._names = names
        self._alive = alive
        self._own = own
        self._upstream = [one for one in upstream if one not in own]
        self._lock = threading.Lock()
        self._busy = Counter[str]()

    def in_use(self) -> bool:
        """Say whether anybody is connected to the network."""
        return self._alive() and self._names.in_use()

    def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Answer until nobody is connected any more."""
        with selectors.DefaultSelector() as selector:
            for sock in sockets:
                sock.setblocking(False)  # noqa: FBT003
                selector.register(sock, selectors.EVENT_READ)
            while True:
                ready = selector.select(LINGER)
                if not ready and not self.in_use():
                    return
                for key, _ in ready:
                    with contextlib.suppress(OSError):
                        self._accept(key.fileobj)  # type: ignore[arg-type]

    def _accept(self, sock: socket.socket) -> None:
        if sock.type == socket.SOCK_STREAM:
            connection, peer = sock.accept()
            if not self._start(peer[0], lambda: self._converse(connection, peer[0])):
                connection.close()
            return
        question, peer = sock.recvfrom(_LARGEST)

        def reply() -> None:
            if (answer := self.answer(question, peer[0], udp=True)) is not None:
                sock.sendto(answer, peer)

        self._start(peer[0], reply)

    def _start(self, client: str, work: Callable[[], None]) -> bool:
        """Do something in a thread of its own; False in a flood of questions: who asks will ask again."""
        with self._lock:
            if self._busy.total() >= _THREADS or self._busy[client] >= _SHARE:
                return False
            self._busy[client] += 1

        def run() -> None:
            try:
                with contextlib.suppress(OSError):
                    work()
            finally:
                with self._lock:
                    self._busy[client] -= 1
                    self._busy += Counter()  # forget those that are done

        threading.Thread(target=run, daemon=True).start()
        return True

    def _converse(self, connection: socket.socket, peer: str) -> None:
        with connection:
            while (
                self._names.knows(peer.partition("%")[0])
                and (question := _received(connection, _LONGEST_QUESTION)) is not None
            ):
                answer = self.answer(question, peer, udp=False)
                if answer is None:
                    return
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def answer(self, question: bytes, client: str, *, udp: bool) -> bytes | None:
        """Return the answer to a question; None for what is none."""
        client = client.partition("%")[0]
        if len(question) > _LONGEST_QUESTION or not self._names.knows(client):
            return None  # somebody outside has found a way to the bridge's address
        try:
            buffer = DNSBuffer(question)
            header = DNSHeader.parse(buffer)
            if header.qr or header.q != 1:
                return None
            request = DNSRecord(header, questions=[DNSQuestion.parse(buffer)])  # whatever follows is not looked at
            name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE.get(request.q.qtype)
            own = self._own_answer(request, name, str(kind), client)
            if own is None:
                return self._forwarded(request, question, client, udp=udp)
            return bytes(own.pack())
        except (DNSError, UnicodeError, ValueError, KeyError, IndexError):
            return None

    def _own_answer(self, request: DNSRecord, name: str, kind: str, client: str) -> DNSRecord | None:
        """Return the answer about a name or an address of the network; None when it is about something else."""
        if kind == "PTR" and (found := self._names.name(client, _address(name))):
            reply = request.reply()
            reply.add_answer(RR(request.q.qname, QTYPE.PTR, rdata=PTR(found), ttl=_TTL))
            return reply
        # No mail is received for a neighbour by another host, RFC 5321, 5.1: a mail's client must hear that here.
        addresses = self._names.addresses(client, name) if kind in ("A", "AAAA", "MX") else None
        if addresses is None:
            return None
        reply = request.reply()
        for address in addresses:
            wide = ":" in address
            if kind == ("AAAA" if wide else "A"):
                data = AAAA(address) if wide else A(address)
                reply.add_answer(RR(request.q.qname, request.q.qtype, rdata=data, ttl=_TTL))
        return reply

    def _forwarded(self, request: DNSRecord, question: bytes, client: str, *, udp: bool) -> bytes:
        for server in self._names.servers(client, self._upstream or host_servers()):
            if server not in self._own:
                with contextlib.suppress(OSError):
                    return _asked(server, question, udp=udp)
        reply = request.reply()
        reply.header.rcode = RCODE.SERVFAIL
        return bytes(reply.pack())


def host_servers() -> list[str]:
    """Return the name servers of the host; those on its loopback are within reach from here."""
    try:
        lines = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _asked(server: str, question: bytes, *, udp: bool) -> bytes:
    """Pass a question on and return the answer, of which only the number is looked at."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect((server, PORT))
        if not udp:
            sock.sendall(len(question).to_bytes(2, "big") + question)
            answer = _received(sock, _LARGEST)
            if answer is None:
                raise OSError("no answer")
            return answer
        sock.send(question)
        while True:
            answer = sock.recv(_LARGEST)
            if answer[:2] == question[:2]:
                return answer


def _received(sock: socket.socket, most: int) -> bytes | None:
    """Return one message of TCP (RFC 1035, 4.2.2) of at most so many bytes; None at the end.

    :raises TimeoutError: it has not come as a whole in time.
    """
    deadline = time.monotonic() + _PATIENCE
    length = int.from_bytes(_exactly(sock, 2, deadline), "big")
    return _exactly(sock, length, deadline) if 0 < length <= most else None


def _exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        more = sock.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


def _address(name: str) -> str:
    """Return the address that a name of ``in-addr.arpa`` or ``ip6.arpa`` is about; empty for others."""
    labels = name.split(".")
    if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
        return ".".join(reversed(labels[:4]))
    if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
        return text(int("".join(reversed(labels[:32])), 16), 128)
    return ""

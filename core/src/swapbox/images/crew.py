"""Layers unpacked in parallel, each in a process of its own: in threads, Python would write one file at a time.

The processes are fresh interpreters, not forks: this one has threads that download, and much memory that a fork
would have too. They die with this one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from swapbox.errors import SwapboxError, Unavailable, from_os_error
from swapbox.images.layers import Feed
from swapbox.images.unpacker import MESSAGE, Job, failed

_PROGRAM = "import sys; sys.path[:] = {path}; from swapbox.images.unpacker import main; main({fd})"


class Outcome(NamedTuple):
    """How an unpacking ended.

    :param size: bytes of the layer's files; None when it refers to layers below, see
        :class:`swapbox.images.apply.NeedsLower`.
    """

    key: str
    size: int | None


class Crew:
    """Processes that unpack; a context manager that ends them.

    :param size: how many.
    :param report: told the digest of a layer and how many of its bytes were taken.
    :param warn: told what a user should know.
    """

    def __init__(self, size: int, *, report: Callable[[str, int], object], warn: Callable[[str], object]) -> None:
        self._report = report
        self._warn = warn
        self._selector = selectors.DefaultSelector()
        self._grown = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._grown, selectors.EVENT_READ)
        self._members: list[_Member] = []
        self._feeds: list[Feed] = []
        self._failed: BaseException | None = None
        try:
            for _ in range(size):
                self._add()
        except BaseException:
            self.close()
            raise

    @property
    def idle(self) -> bool:
        """Another layer can be started."""
        return any(member.feed is None for member in self._members)

    def watch(self, feeds: Iterable[Feed]) -> None:
        """Let :meth:`wait` return when one of these grows."""
        for feed in feeds:
            self._feeds.append(feed)
            feed.watch(self._note)

    def start(self, key: str, job: Job, feed: Feed) -> None:
        """Unpack a layer that has begun to arrive, in a process that is idle.

        :param key: names it in its outcome.
        """
        member = next(member for member in self._members if member.feed is None)
        member.start(key, job, feed)

    def wait(self, seconds: float | None = None) -> list[Outcome]:
        """Return what has ended, when anything has happened or after so many seconds.

        :raises SwapboxError: what a layer has failed with, after what has ended before was returned; those that
            are under way go on.
        """
        outcomes: list[Outcome] = []
        for event, _ in self._selector.select(seconds) if self._failed is None else ():
            if event.data is None:
                os.eventfd_read(self._grown)
            else:
                with self._failure_kept():
                    outcomes += self._heard(event.data)
        for member in self._members:
            with self._failure_kept():
                member.answer()
        if self._failed is not None and not outcomes:
            raise self._failed
        return outcomes

    @contextlib.contextmanager
    def _failure_kept(self) -> Iterator[None]:
        """Keep the first error for the end of :meth:`wait`."""
        try:
            yield
        except Exception as error:
            self._failed = self._failed or error

    def close(self) -> None:
        """End the processes, wherever they are; calling it twice is fine."""
        for feed in self._feeds:
            feed.watch(None)  # its thread may go on
        for member in self._members:
            member.end()
        self._feeds.clear()
        self._members.clear()
        self._selector.close()
        if self._grown >= 0:
            os.close(self._grown)
            self._grown = -1

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _add(self) -> None:
        member = _Member()
        self._members.append(member)
        self._selector.register(member.socket, selectors.EVENT_READ, member)

    def _note(self) -> None:
        os.eventfd_write(self._grown, 1)

    def _heard(self, member: _Member) -> Iterator[Outcome]:
        kind, *values = member.receive()
        if kind == "wait":
            member.asked = values[0]
        elif kind == "taken":
            self._report(member.digest, values[0])
        elif kind == "warn":
            self._warn(values[0])
        elif kind == "failed":
            raise failed(*values)
        elif kind == "broken":
            raise Unavailable(f"layer {member.digest} cannot be unpacked: {values[0]}")
        elif kind == "done":
            yield Outcome(member.key, values[0])
            member.rest()
        else:  # it may still wait for bytes of the layer that it has given up
            yield Outcome(member.key, None)
            self._selector.unregister(member.socket)
            self._members.remove(member)
            member.end()
            self._add()


class _Member:
    """One process.

    :ivar feed: what it unpacks; None when it is idle.
    :ivar asked: the position behind which it waits for bytes.
    """

    def __init__(self) -> None:
        self.feed: Feed | None = None
        self.asked: int | None = None
        self.key = ""
        try:
            self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = _process(theirs)
        except OSError as error:
            raise from_os_error(error, "start a process that unpacks layers") from error

    @property
    def digest(self) -> str:
        """The digest of the layer that is unpacked."""
        return self.feed.descriptor.digest if self.feed else ""

    def start(self, key: str, job: Job, feed: Feed) -> None:
        self.key, self.feed = key, feed  # first: errors name the layer
        with feed.open_raw() as file:
            self._send(job, [file.fileno()])

    def answer(self) -> None:
        """Say how many bytes there are, if that is more than the process knows.

        :raises SwapboxError: the rest will not come.
        """
        if self.asked is not None and self.feed is not None and (there := self.feed.there(self.asked)) is not None:
            self.asked = None
            self._send(there)

    def receive(self) -> tuple[Any, ...]:
        try:
            data = self.socket.recv(MESSAGE)
        except ConnectionResetError as error:
            raise self._died() from error
        if not data:
            raise self._died()
        message: tuple[Any, ...] = pickle.loads(data)
        return message

    def rest(self) -> None:
        """Be idle."""
        self.feed = self.asked = None

    def end(self) -> None:
        """Kill the process; what it was about to write is left as it is."""
        self.rest()
        self._process.kill()
        self._process.wait()
        self.socket.close()

    def _send(self, message: object, fds: list[int] | None = None) -> None:
        try:
            socket.send_fds(self.socket, [pickle.dumps(message)], fds or [])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._died() from error
        except OSError as error:
            raise from_os_error(error, f"have layer {self.digest} unpacked") from error

    def _died(self) -> SwapboxError:
        code = self._process.wait()
        what = f"layer {self.digest}" if self.feed else "layers"
        return Unavailable(f"the process that unpacks {what} ended with {code}", hint="is there enough memory?")


def _process(theirs: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM.format(path=sys.path, fd=theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # an interrupt from the terminal is for this process, which ends that one
    )

"""Run a function in a forked child, alone in a mount namespace if need be, so that no mount outlives a test."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from swapbox.drivers.storage import Mount
from swapbox.linux import mounts, syscalls

ResultT = TypeVar("ResultT")


class Forked(Generic[ResultT]):
    """A function at work in a child process; what it returns has to be picklable.

    The child has the parent's open files, but for a database connection it must open its own.
    """

    def __init__(self, function: Callable[[], ResultT]) -> None:
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _report(function, writer)
        os.close(writer)

    def result(self) -> ResultT:
        """Wait for the end and return what the function returned.

        :raises AssertionError: it raised something; the message is its traceback. Or the child was killed.
        """
        with open(self._reader, "rb") as pipe:
            answer = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if not answer:
            raise AssertionError(f"the child ended with {status}")
        failed, value = pickle.loads(answer)
        if failed:
            raise AssertionError(value)
        result: ResultT = value
        return result


def _report(function: Callable[[], object], writer: int) -> None:
    try:
        answer = pickle.dumps((False, function()))
    except BaseException:
        answer = pickle.dumps((True, traceback.format_exc()))
    try:
        with open(writer, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def in_mount_namespace(function: Callable[[], ResultT]) -> ResultT:
    """Run a function where it may mount as it likes, and return what it returned; needs root."""

    def alone() -> ResultT:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        return function()

    return Forked(alone).result()


def mounted(plan: Sequence[Mount], action: Callable[[Path], ResultT]) -> ResultT:
    """Mount in a child, act on the mounted tree there, and return what the action returned."""

    def act() -> ResultT:
        # A tmpfs of its own, so that no directory has to be made or removed anywhere.
        place = Path("/mnt")
        mounts.apply([Mount("tmpfs", "tmpfs")], place)
        (place / "tree").mkdir()
        mounts.apply(plan, place / "tree")
        return action(place / "tree")

    return in_mount_namespace(act)

"""What a container has changed against its image, told as ``docker diff`` tells it.

A storage driver with the capability ``changes`` knows it. For any other both trees are walked side by side, and
the answer is the same: a directory counts as changed when something in it is, and its size and time never matter.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from swapbox.containers.files import RUNTIME_FILES
from swapbox.containers.inside import image_opened, opened
from swapbox.drivers.storage import Change, ChangeLister
from swapbox.linux.descent import Descent
from swapbox.linux.syscalls import RESOLVE_IN_ROOT, openat2

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine

_RUNTIME_DIRECTORIES = frozenset(path for path, kind in RUNTIME_FILES.items() if kind == "directory")


def diff(engine: Engine, container: Container) -> Iterator[Change]:
    """Yield what a container has changed, parents before children, without what swapbox itself put there.

    :raises SwapboxError: its files cannot be read.
    """
    with ExitStack() as stack:
        root, container = stack.enter_context(opened(engine, container))
        yield from changes(engine, container, root)


def changes(engine: Engine, container: Container, root: int) -> Iterator[Change]:
    """Do the same for a container whose root directory is open already, as :func:`opened` has found it."""
    name = container.config.storage
    choice = engine.selector.choose("storage", made_with=name)
    with ExitStack() as stack:
        found: Iterable[Change]
        if "changes" in choice.offer.spec.capabilities:
            driver = cast(ChangeLister, engine.selector.open("storage", made_with=name))
            found = driver.changes(container.id)
        else:
            found = compare(stack.enter_context(image_opened(engine, container)), root)
        yield from without_runtime_files(found, lambda path: _is_itself_changed(engine, container, root, path))


def without_runtime_files(found: Iterable[Change], is_itself_changed: Callable[[str], bool]) -> Iterator[Change]:
    """Leave out what swapbox has made, and directories that changed only by that.

    :param is_itself_changed: says whether a directory's own owner, mode or attributes changed.
    """
    waiting: list[Change] = []
    for change in found:
        while waiting and not change.path.startswith(waiting[-1].path + "/"):
            yield from _settled(waiting.pop(), is_itself_changed)
        if change.path in _RUNTIME_DIRECTORIES and change.kind != "D":
            waiting.append(change)
        elif change.kind != "A" or change.path not in RUNTIME_FILES:
            for parent in waiting:
                yield Change("C", parent.path)
            waiting.clear()
            yield change
    while waiting:
        yield from _settled(waiting.pop(), is_itself_changed)


def _settled(change: Change, is_itself_changed: Callable[[str], bool]) -> Iterator[Change]:
    """Yield a directory in which nothing has changed if it has itself."""
    if change.kind == "C" and is_itself_changed(change.path):
        yield change


def _is_itself_changed(engine: Engine, container: Container, root: int, path: str) -> bool:
    with image_opened(engine, container) as image:
        with ExitStack() as stack:
            fds = [openat2(tree, path, os.O_PATH, resolve=RESOLVE_IN_ROOT) for tree in (image, root)]
            for fd in fds:
                stack.callback(os.close, fd)
            return not same(*map(os.fstat, fds)) or len(set(map(_attributes, fds))) > 1


def compare(image: int, container: int) -> Iterator[Change]:
    """Yield the differences of two trees, parents before children and names in order.

    :param image: descriptor of the root of what was before; ``container`` of what is now.
    """
    with Descent(image) as before, Descent(container) as now:
        yield from _Comparison(before, now).run()


class _Level:
    """One directory on the way down.

    :ivar names: what is left to look at, the next one last.
    :ivar is_new: the image has no such directory.
    :ivar told: the directory itself has been told of, or need not be.
    """

    def __init__(self, path: str, names: Iterable[bytes], *, is_new: bool, told: bool) -> None:
        self.path = path
        self.names = sorted(names, reverse=True)
        self.is_new = is_new
        self.told = told


class _Comparison:
    def __init__(self, before: Descent, now: Descent) -> None:
        self._before = before
        self._now = now
        self._levels = [_Level("", {*before.names(), *now.names()}, is_new=False, told=True)]

    def run(self) -> Iterator[Change]:
        while self._levels:
            level = self._levels[-1]
            if level.names:
                yield from self._one(level, level.names.pop())
            else:
                self._leave()

    def _leave(self) -> None:
        level = self._levels.pop()
        if self._levels:
            self._now.leave()
            if not level.is_new:
                self._before.leave()

    def _one(self, level: _Level, name: bytes) -> Iterator[Change]:
        path = f"{level.path}/{os.fsdecode(name)}"
        old = None if level.is_new else self._before.look(name)
        new = self._now.look(name)
        if new is None:
            if old is not None:
                yield from self._tell(Change("D", path))
            return
        told = old is None or not same(old, new) or self._attributes_differ(name)
        if told:
            yield from self._tell(Change("A" if old is None else "C", path))
        if stat.S_ISDIR(new.st_mode):
            self._enter(name, path, is_new=old is None or not stat.S_ISDIR(old.st_mode), told=told)

    def _enter(self, name: bytes, path: str, *, is_new: bool, told: bool) -> None:
        if not self._now.enter(name):
            return
        names = set(self._now.names())
        if not is_new:
            is_new = not self._before.enter(name)
            names |= set() if is_new else set(self._before.names())
        self._levels.append(_Level(path, names, is_new=is_new, told=told))

    def _tell(self, change: Change) -> Iterator[Change]:
        for level in self._levels:
            if not level.told:
                level.told = True
                yield Change("C", level.path)
        yield change

    def _attributes_differ(self, name: bytes) -> bool:
        places = (b"/proc/self/fd/%d/%b" % (place.fd, name) for place in (self._before, self._now))
        return len(set(map(_attributes, places))) > 1


def same(old: os.stat_result, new: os.stat_result) -> bool:
    """Say whether a file looks as it did before."""
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return False
    return stat.S_ISDIR(new.st_mode) or (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns)


def _attributes(file: int | bytes) -> frozenset[tuple[str, bytes]]:
    if isinstance(file, int):  # of O_PATH, which fgetxattr(2) refuses
        file = b"/proc/self/fd/%d/." % file
    try:
        names = [name for name in os.listxattr(file, follow_symlinks=False) if ".overlay." not in name]
        return frozenset((name, os.getxattr(file, name, follow_symlinks=False)) for name in names)
    except OSError:  # gone meanwhile, or the file system has none
        return frozenset()

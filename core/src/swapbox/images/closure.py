"""The files that programs of this host need to run elsewhere, every link on the way included."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from swapbox.errors import InvalidInput, NotFound
from swapbox.images import elf

_LINKS = 40  # as many as the kernel follows
_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_DIRECTORIES = {"/dev": 0o755, "/etc": 0o755, "/proc": 0o755, "/root": 0o700, "/sys": 0o755, "/tmp": 0o1777}
_ACCOUNTS = {
    "/etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
}
_SEARCHED_BY_DEFAULT = re.compile(r"(/usr)?/lib(32|64|x32)?(/[^/]+-linux-[^/]+)?")
_LIBRARY_CACHE = "/etc/ld.so.cache"


class Node(NamedTuple):
    """What is at one path: a directory, a link with a target, or a file with a source or with data of its own."""

    mode: int
    target: str | None = None
    source: Path | None = None
    data: bytes = b""


class Closure:
    """Collects paths; ``nodes`` maps each absolute path to what is there."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._programs: set[str] = set()
        for path, mode in _DIRECTORIES.items():
            self.nodes[path] = Node(stat.S_IFDIR | mode)
        for path, data in _ACCOUNTS.items():
            self.nodes[path] = Node(stat.S_IFREG | 0o644, data=data)
        for path in _MERGED:
            if Path(path).is_symlink():
                self.add(path)
        if Path("/etc/os-release").exists():
            self.add("/etc/os-release")

    def add(self, path: str) -> Path:
        """Take a path of this host, with the links and directories that lead to it; return the file in the end.

        :raises NotFound: it leads nowhere.
        """
        done, left, links = "", path.split("/")[::-1], 0
        while left:
            part = left.pop()
            if part == "..":
                done = done.rpartition("/")[0]
            elif part not in ("", "."):
                here = f"{done}/{part}"
                try:
                    target = self._add_one(here)
                except (FileNotFoundError, NotADirectoryError) as error:
                    raise NotFound(f"no such file: {path}") from error
                if target is None:
                    done = here
                    continue
                links += 1
                if links > _LINKS:
                    raise NotFound(f"{path} is a loop of links")
                left += target.split("/")[::-1]
                done = "" if target.startswith("/") else done
        return Path(done or "/")

    def _add_one(self, path: str) -> str | None:
        """Take one path; return its target when it is a link."""
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            target = os.readlink(path)
            self.nodes[path] = Node(stat.S_IFLNK | 0o777, target=target)
            return target
        if stat.S_ISDIR(mode):
            self.nodes.setdefault(path, Node(stat.S_IFDIR | 0o755))
        elif stat.S_ISREG(mode):
            permissions = 0o755 if mode & 0o111 else 0o644  # set-id programs lose their power
            self.nodes.setdefault(path, Node(stat.S_IFREG | permissions, source=Path(path)))
        else:
            raise InvalidInput(f"{path} is neither a file nor a directory")
        return None

    def add_program(self, path: str) -> None:
        """Take a program and what it needs: libraries and loader, or the interpreter of a script.

        :raises NotFound: it, or something it needs, is not here.
        :raises InvalidInput: it is neither an ELF file nor a script.
        """
        program = self.add(path)
        if path in self._programs:
            return
        self._programs.add(path)
        if not program.is_file():
            raise InvalidInput(f"{path} is not a program")
        with open(program, "rb") as file:
            head = file.read(256)
        if head.startswith(elf.MAGIC):
            self._add_libraries(program)
        elif head.startswith(b"#!"):
            self._add_interpreter(path, os.fsdecode(head[2:].partition(b"\n")[0]))
        else:
            raise InvalidInput(f"{path} is neither an ELF program nor a script")

    def _add_libraries(self, program: Path) -> None:
        loader = elf.interpreter(program)
        if loader is None:
            return
        self.add(loader)
        for library in elf.libraries(loader, program):
            self.add(library)
            if not _SEARCHED_BY_DEFAULT.fullmatch(library.rpartition("/")[0]) and Path(_LIBRARY_CACHE).exists():
                self.add(_LIBRARY_CACHE)

    def _add_interpreter(self, script: str, line: str) -> None:
        words = line.split()
        if not words or not words[0].startswith("/"):
            raise InvalidInput(f"script {script} names no interpreter by an absolute path")
        self.add_program(words[0])
        if words[0].rpartition("/")[2] == "env":
            names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            for name in names[:1]:
                self.add_program(find(name))


def find(name: str) -> str:
    """Return the absolute path of a program: a path as it is, a name from ``PATH``.

    :raises NotFound: there is no such program.
    """
    if "/" in name:
        return os.path.abspath(name)
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and Path(path).is_file():
            return os.path.abspath(path)
    raise NotFound(f"program {name} is not in PATH", hint="install it, or give its path")

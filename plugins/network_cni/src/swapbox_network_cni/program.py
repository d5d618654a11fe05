"""Running a plugin: a program that reads its configuration and says a result or an error, both JSON.

Without :mod:`subprocess`, which a monitor has no time to import.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

from swapbox.errors import InvalidInput, NotFound, SwapboxError, Unavailable, Unsupported

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"


class UnknownContainer(NotFound):
    """A plugin knows nothing of a container: so it has nothing to undo."""


_CLASSES: Mapping[int, type[SwapboxError]] = {
    1: Unsupported,
    2: InvalidInput,
    3: UnknownContainer,
    4: InvalidInput,
    6: InvalidInput,
    7: InvalidInput,
}
"""By the codes of the specification, section 5."""
_TRY_AGAIN = 11
_SECONDS = 120.0
"""How long a plugin may take: one that asks for an address by DHCP takes a minute."""
_SHOWN = 2000
"""Characters of what a plugin says that is no JSON."""


class Plugins(NamedTuple):
    """Where the programs are.

    :param directories: separated by colons, as in ``CNI_PATH``.
    """

    directories: str

    def find(self, kind: str) -> str:
        """Return the path of a plugin's program.

        :raises NotFound: it is not there.
        """
        for directory in self.directories.split(":"):
            path = f"{directory}/{kind}"
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
        raise NotFound(
            f"CNI plugin {kind} not found in {self.directories}",
            hint="install it (Debian: containernetworking-plugins), or set bin-dir in [options.network.cni]",
        )

    def call(
        self,
        command: str,
        config: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        lock: int | None = None,
        out: int | None = None,
    ) -> Any:
        """Run a plugin and return what it says, None when it says nothing.

        :param command: ``ADD`` and so on.
        :param environment: more parameters, see the specification, section 2.
        :param lock: a descriptor that the program holds open as long as it runs, whoever has started it.
        :param out: an empty file for its standard output.
        :raises SwapboxError: the class is that of the plugin's error.
        """
        kind = str(config["type"])
        variables = {
            "PATH": _PATH,
            "CNI_COMMAND": command,
            "CNI_PATH": self.directories,
            **(environment or {}),
        }
        who = f"CNI plugin {kind} of network {config['name']}"
        code, said, err = _run(self.find(kind), variables, json.dumps(config), lock, out)
        answer = _read(said)
        if code:
            raise _failure(f"{who}: {command} failed", answer, (err or said).strip(), code)
        if said.strip() and answer is None:
            raise Unavailable(f"{who}: {command} said no JSON: {_shorten(said)}")
        return answer

    def versions(self, kind: str, network: str) -> tuple[str, ...]:
        """Return the versions of the specification that a plugin speaks."""
        answer = self.call("VERSION", {"type": kind, "name": network, "cniVersion": "1.0.0"})
        found = answer.get("supportedVersions") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise Unavailable(f"CNI plugin {kind} of network {network}: VERSION said no versions")
        return tuple(map(str, found))


def _failure(what: str, answer: Any, said: str, code: int) -> SwapboxError:
    if not isinstance(answer, dict) or "msg" not in answer:
        return Unavailable(f"{what}: {_shorten(said) or f'exit code {code}'}")
    number = answer.get("code")
    details = f"; {answer['details']}" if answer.get("details") else ""
    kind = _CLASSES.get(number, Unavailable) if isinstance(number, int) else Unavailable
    hint = "try again in a moment" if number == _TRY_AGAIN else None
    return kind(f"{what}: {answer['msg']}{details} (code {number})", hint=hint)


def _shorten(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _run(
    path: str, environment: Mapping[str, str], text: str, lock: int | None, out: int | None
) -> tuple[int, str, str]:
    """Run a program; return its exit code, output and errors."""
    files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
    try:
        os.write(files[0], text.encode())
        os.lseek(files[0], 0, os.SEEK_SET)
        given = [files[0], files[1] if out is None else out, files[2], *([] if lock is None else [lock])]
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(given)]
        try:
            pid = os.posix_spawn(path, [path], environment, file_actions=actions, setpgroup=0, setsigmask=())
        except OSError as error:
            raise Unavailable(f"cannot run CNI plugin {path}: {error.strerror}") from error
        code = _ended(pid, f"CNI plugin {path}: {environment['CNI_COMMAND']}")
        return code, _content(given[1]), _content(files[2])
    finally:
        for fd in files:
            os.close(fd)


def _ended(pid: int, what: str) -> int:
    """Wait for a program, the leader of its process group, and return its exit code.

    :raises Unavailable: it takes too long, and was killed with all that it had started.
    """
    fd = os.pidfd_open(pid)
    try:
        ends = select.poll()
        ends.register(fd, select.POLLIN)
        in_time = bool(ends.poll(_SECONDS * 1000))
    finally:
        os.close(fd)
    if not in_time:
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not in_time:
        raise Unavailable(f"{what} has not ended within {_SECONDS:g} seconds")
    return code


def _content(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")

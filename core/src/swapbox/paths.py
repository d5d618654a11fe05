"""Where swapbox keeps things: the root on disk, the run root on tmpfs, and what lies where below them.

Directories are made when they are first needed, with mode 0700: images and logs are nobody else's business.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from swapbox.drivers.common import Kind
from swapbox.errors import InvalidInput, PermissionDenied, Unavailable

ROOT_VARIABLE = "SWAPBOX_ROOT"
RUN_ROOT_VARIABLE = "SWAPBOX_RUN_ROOT"
USER_VARIABLE = "_SWAPBOX_UID"
"""The user whose processes these are: set by :mod:`swapbox.rootless`, since in its namespace everybody is root."""


class Paths(NamedTuple):
    """The directories of one engine.

    :param root: survives a reboot.
    :param run_root: sockets, pid files, locks; may be gone after a reboot.
    """

    root: Path
    run_root: Path

    @property
    def db(self) -> Path:
        """The SQLite file with all metadata."""
        return self.root / "db.sqlite"

    @property
    def content(self) -> Path:
        """The content store: ``blobs/`` and ``ingest/``."""
        return self.root / "content"

    @property
    def containers(self) -> Path:
        """The parent of every container's directory."""
        return self.root / "containers"

    def container(self, id: str) -> Path:
        """What a container keeps on disk: its bundle, logs, volumes without a name."""
        return self.containers / id

    def container_run(self, id: str) -> Path:
        """What lives as long as a container runs: sockets, pid files."""
        return self.run_root / "containers" / id

    @property
    def events(self) -> Path:
        """What has happened since the last reboot."""
        return self.run_root / "events"

    def driver(self, kind: Kind, name: str) -> Path:
        """The directory on disk that belongs to one driver alone."""
        return self.root / kind / name

    def driver_run(self, kind: Kind, name: str) -> Path:
        """The directory on tmpfs that belongs to one driver alone."""
        return self.run_root / kind / name

    def place(self) -> str:
        """Return a word for where the root directory is: its path, and the directory that it lies in.

        The same word when it was thrown away and made anew, another one where something else is mounted in its
        stead, or in a container which has a directory of this path, too.
        """
        import hashlib

        above, own = _mounted(self.root.parent), _mounted(self.root)
        words = [str(self.root), *map(str, above[1:])]
        if own[0] not in (above[0], -1):  # it is a mount point
            words += map(str, own[1:])
        return hashlib.sha256(os.fsencode(" ".join(words))).hexdigest()[:12]

    def make(self, path: Path) -> Path:
        """Make a directory below the root or the run root, with its parents; return it.

        :raises PermissionDenied: the root is another user's, open to others, or cannot be written.
        """
        top = self.run_root if path.is_relative_to(self.run_root) else self.root
        try:
            if not path.is_dir():
                make_private(top)
                check_private(top)
                make_private(path)
        except PermissionError as error:
            raise PermissionDenied(f"cannot create {path}: {error.strerror}", hint=_HINT) from error
        except OSError as error:
            raise Unavailable(f"cannot create {path}: {error.strerror}", hint=_HINT) from error
        return path

    def check(self) -> None:
        """Refuse directories that another user owns or may write to; those that do not exist yet are fine.

        :raises PermissionDenied: names the directory and what is wrong with it.
        """
        for directory in (self.root, self.run_root):
            check_private(directory)


_HINT = f"choose another place with --root and --run-root, or {ROOT_VARIABLE} and {RUN_ROOT_VARIABLE}"


def _mounted(directory: Path) -> tuple[int, int, int]:
    """Return the numbers of a directory's mount, file system and inode; -1 for one that is not there."""
    try:
        fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return -1, -1, -1
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            number = next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))
        found = os.fstat(fd)
        return number, found.st_dev, found.st_ino
    finally:
        os.close(fd)


def resolve(
    *,
    environment: Mapping[str, str],
    root: Path | None = None,
    run_root: Path | None = None,
    configured_root: Path | None = None,
    configured_run_root: Path | None = None,
    cwd: Path | None = None,
) -> Paths:
    """Return the paths to use: flag, environment, configuration file, then the default for this user.

    The default run root goes with the default root. Another root has its run root inside (``<root>/run``), so that
    two roots never share sockets and pid files.

    :param root: from ``--root``.
    :param run_root: from ``--run-root``.
    :param cwd: what relative paths are relative to; the process's own working directory when not given.
    :raises InvalidInput: this user has no default root.
    """
    default, default_run = _defaults(environment)
    chosen = root or _path(environment, ROOT_VARIABLE) or configured_root or default
    if chosen is None:
        raise InvalidInput("neither HOME nor XDG_DATA_HOME is set", hint=_HINT)
    chosen_run = run_root or _path(environment, RUN_ROOT_VARIABLE) or configured_run_root
    if chosen_run is None:
        chosen_run = default_run if chosen == default else chosen / "run"
    return Paths(_absolute(chosen, cwd), _absolute(chosen_run, cwd))


def cache_dir(environment: Mapping[str, str]) -> Path | None:
    """Return where to keep what can be made again: an XDG directory, or for root ``/var/cache/swapbox``."""
    if cache := _base_directory(environment, "XDG_CACHE_HOME"):
        return cache / "swapbox"
    if _user(environment) == 0:
        return Path("/var/cache/swapbox")
    home = _path(environment, "HOME")
    return home / ".cache/swapbox" if home else None


def config_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where configuration files are looked for; a later one overrides an earlier one."""
    system = Path("/etc/swapbox/config.toml")
    home = _path(environment, "HOME")
    base = _base_directory(environment, "XDG_CONFIG_HOME") or (home / ".config" if home else None)
    return (system, base / "swapbox/config.toml") if base else (system,)


def is_unprivileged() -> bool:
    """Say whether this process lacks root's powers over the host: another user, or a user namespace."""
    if os.geteuid() != 0:
        return True
    try:
        with open("/proc/self/uid_map", "rb") as file:
            return file.read().split() != [b"0", b"0", b"4294967295"]
    except FileNotFoundError:  # a kernel without user namespaces
        return False


def check_private(directory: Path) -> None:
    """Refuse a directory that another user owns or may write to; one that does not exist is fine.

    :raises PermissionDenied: names the directory and what is wrong with it.
    """
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PermissionDenied(f"cannot look at {directory}: {error.strerror}", hint=_HINT) from error
    if stat.S_ISLNK(status.st_mode):  # the owner of the link is as free to move it as the owner of a directory
        check_private(directory.resolve())
    if status.st_uid != os.geteuid():
        raise PermissionDenied(f"{directory} belongs to user {status.st_uid}, not to {os.geteuid()}", hint=_HINT)
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o022:
        mode = stat.S_IMODE(status.st_mode)
        raise PermissionDenied(f"{directory} can be written by others (mode {mode:04o})", hint=_HINT)


def make_private(directory: Path) -> None:
    """Make a directory and its parents with mode 0700 (``Path.mkdir`` gives parents the default mode)."""
    if not directory.is_dir():
        if not directory.parent.is_dir():
            make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def sync_directory(directory: Path) -> None:
    """Make what was made or renamed in a directory survive a crash (fsync(2)).

    :raises OSError: the disk does not take it.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _defaults(environment: Mapping[str, str]) -> tuple[Path | None, Path]:
    """Return the default root, if this user has one, and run root."""
    if (uid := _user(environment)) == 0:
        return Path("/var/lib/swapbox"), Path("/run/swapbox")
    home = _path(environment, "HOME")
    data = _base_directory(environment, "XDG_DATA_HOME") or (home / ".local/share" if home else None)
    return data / "swapbox" if data else None, user_run_root(environment, uid)


def user_run_root(environment: Mapping[str, str], uid: int) -> Path:
    """Return the default run root of an ordinary user."""
    runtime = _base_directory(environment, "XDG_RUNTIME_DIR") or Path(f"/run/user/{uid}")
    return runtime / "swapbox" if runtime.is_dir() else Path(f"/tmp/swapbox-{uid}")


def _user(environment: Mapping[str, str]) -> int:
    uid = environment.get(USER_VARIABLE, "")
    return int(uid) if uid.isdecimal() else os.geteuid()


def _path(environment: Mapping[str, str], variable: str) -> Path | None:
    return Path(value) if (value := environment.get(variable)) else None


def _base_directory(environment: Mapping[str, str], variable: str) -> Path | None:
    """Return an XDG directory; the specification has relative ones ignored."""
    path = _path(environment, variable)
    return path if path and path.is_absolute() else None


def _absolute(path: Path, cwd: Path | None) -> Path:
    return path if path.is_absolute() else (cwd or Path.cwd()) / path


def cgroup_path(container_id: str) -> str:
    """Return the path of a container's cgroup below the hierarchy's mount point."""
    return f"swapbox/{container_id}"

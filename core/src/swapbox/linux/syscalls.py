"""Kernel calls that Python 3.11's ``os`` lacks, by ctypes; each function is one call of the man page it names.

Every function raises ``OSError`` with the kernel's errno and, where there is one, the path.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from ctypes import c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = c_long

# Syscall numbers above 423 are the same on every architecture (the kernel's unified table since 5.1).
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_CLOSE_RANGE = 436
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_MACHINE = os.uname().machine
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(_MACHINE, 41)
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(_MACHINE, 220)
_SYS_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}.get(_MACHINE, 134)
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}.get(_MACHINE, 91)
_SYS_CAPGET = {"x86_64": 125, "aarch64": 90}.get(_MACHINE, 90)
_SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(_MACHINE, 219)
_SYS_EXECVEAT = {"x86_64": 322, "aarch64": 281}.get(_MACHINE, 281)
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(_MACHINE, 277)

# mount(2)
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000
MS_LAZYTIME = 0x2000000
MNT_FORCE = 0x1
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

# clone(2), unshare(2), setns(2)
CLONE_PIDFD = 0x1000
CLONE_PARENT = 0x8000
CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# fsconfig(2), fsmount(2), move_mount(2), open_tree(2), mount_setattr(2)
FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSMOUNT_CLOEXEC = 1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

# keyctl(2), seccomp(2)
KEYCTL_JOIN_SESSION_KEYRING = 1
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 0x1
SECCOMP_FILTER_FLAG_LOG = 0x2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 0x4

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _failed(path: Path | None = None) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), None if path is None else os.fsdecode(path))


def _call(function: Callable[..., int], *args: object, path: Path | None = None) -> int:
    result = function(*args)
    if result == -1:
        raise _failed(path)
    return result


_libc.mount.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_libc.umount2.argtypes = (c_char_p, c_int)
_libc.unshare.argtypes = (c_int,)
_libc.setns.argtypes = (c_int, c_int)
_libc.signal.argtypes = (c_int, c_void_p)
_libc.prctl.argtypes = (c_int, c_ulong, c_ulong, c_ulong, c_ulong)


def mount(
    source: Path | None, target: Path, fstype: str | None = None, flags: int = 0, data: str | None = None
) -> None:
    """Call mount(2); ``data`` may not be longer than a page."""
    kind = None if fstype is None else fstype.encode()
    options = None if data is None else os.fsencode(data)
    _call(_libc.mount, _bytes(source), _bytes(target), kind, flags, options, path=target)


def umount(target: Path, flags: int = 0) -> None:
    """Call umount2(2)."""
    _call(_libc.umount2, _bytes(target), flags, path=target)


def pivot_root(new_root: Path, put_old: Path) -> None:
    """Call pivot_root(2)."""
    _call(_syscall, c_long(_SYS_PIVOT_ROOT), c_char_p(_bytes(new_root)), c_char_p(_bytes(put_old)), path=new_root)


def unshare(flags: int) -> None:
    """Call unshare(2)."""
    _call(_libc.unshare, flags)


def setns(fd: int, flags: int = 0) -> None:
    """Call setns(2)."""
    _call(_libc.setns, fd, flags)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """Call prctl(2) with integer arguments."""
    return _call(_libc.prctl, option, arg2, arg3, arg4, arg5)


def sethostname(name: str) -> None:
    """Call sethostname(2)."""
    raw = name.encode()
    _call(_libc.sethostname, c_char_p(raw), ctypes.c_size_t(len(raw)))


def setdomainname(name: str) -> None:
    """Call setdomainname(2)."""
    raw = name.encode()
    _call(_libc.setdomainname, c_char_p(raw), ctypes.c_size_t(len(raw)))


def clone(flags: int) -> int:
    """Fork the calling process into new namespaces: clone(2) without shared memory, SIGCHLD at exit.

    Returns 0 in the child and the child's pid in the parent, like ``os.fork``. Neither libc's fork handlers run,
    nor those of ``os.register_at_fork`` before it: the caller must be single-threaded, and the child uses nothing
    that the parent had open and executes soon.
    """
    import signal

    python = ctypes.pythonapi
    # PyDLL keeps the GIL during the call, which the child needs to go on in Python.
    raw = ctypes.PyDLL(None, use_errno=True).syscall
    raw.restype = c_long
    pid: int = raw(c_long(_SYS_CLONE), c_ulong(flags | signal.SIGCHLD), c_long(0), c_long(0), c_long(0), c_long(0))
    code = ctypes.get_errno()
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    if pid < 0:
        raise OSError(code, os.strerror(code))
    return pid


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_OPENAT2_ATTEMPTS = 100


def openat2(dir_fd: int, path: Path, flags: int, *, mode: int = 0, resolve: int = RESOLVE_IN_ROOT) -> int:
    """Call openat2(2): open ``path`` below ``dir_fd`` with restricted resolution; O_CLOEXEC is added.

    A rename or mount anywhere on the host at the same time lets the kernel give up on a path with ``..``: such a
    call is made again, up to 100 times.

    :raises BlockingIOError: it was so each time.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    arguments = (c_long(_SYS_OPENAT2), c_int(dir_fd), c_char_p(_bytes(path)), ctypes.byref(how))
    for attempt in range(_OPENAT2_ATTEMPTS):
        try:
            return _call(_syscall, *arguments, ctypes.c_size_t(ctypes.sizeof(how)), path=path)
        except BlockingIOError:
            if attempt + 1 == _OPENAT2_ATTEMPTS:
                raise
    raise AssertionError


def fsopen(fstype: str, flags: int = FSOPEN_CLOEXEC) -> int:
    """Call fsopen(2)."""
    return _call(_syscall, c_long(_SYS_FSOPEN), c_char_p(fstype.encode()), c_uint(flags))


def fsconfig(fd: int, command: int, key: str | None = None, value: Path | None = None) -> None:
    """Call fsconfig(2) with a flag, a string or a command."""
    name = c_char_p(None if key is None else key.encode())
    _call(_syscall, c_long(_SYS_FSCONFIG), c_int(fd), c_uint(command), name, c_char_p(_bytes(value)), c_int(0))


def fsmount(fd: int, flags: int = FSMOUNT_CLOEXEC, attributes: int = 0) -> int:
    """Call fsmount(2)."""
    return _call(_syscall, c_long(_SYS_FSMOUNT), c_int(fd), c_uint(flags), c_uint(attributes))


def move_mount(from_fd: int, target: Path | int) -> None:
    """Call move_mount(2): attach the detached mount ``from_fd`` at a path, or at what a descriptor refers to."""
    onto_fd = isinstance(target, int)
    _call(
        _syscall,
        c_long(_SYS_MOVE_MOUNT),
        c_int(from_fd),
        c_char_p(b""),
        c_int(target if isinstance(target, int) else AT_FDCWD),
        c_char_p(b"" if isinstance(target, int) else _bytes(target)),
        c_uint(MOVE_MOUNT_F_EMPTY_PATH | (MOVE_MOUNT_T_EMPTY_PATH if onto_fd else 0)),
        path=None if isinstance(target, int) else target,
    )


def open_tree(path: Path | int, flags: int = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) -> int:
    """Call open_tree(2): a detached copy of the mount at a path, or at what a descriptor refers to."""
    directory, name, flags = _at(path, flags)
    return _call(_syscall, c_long(_SYS_OPEN_TREE), directory, name, c_uint(flags), path=_shown(path))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(
    path: Path | int, *, flags: int = 0, set: int = 0, clear: int = 0, propagation: int = 0, userns_fd: int = 0
) -> None:
    """Call mount_setattr(2) on a path, or on what a descriptor refers to; ``flags`` may hold AT_RECURSIVE."""
    directory, name, flags = _at(path, flags)
    attributes = _MountAttr(set, clear, propagation, userns_fd)
    _call(
        _syscall,
        c_long(_SYS_MOUNT_SETATTR),
        directory,
        name,
        c_uint(flags),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
        path=_shown(path),
    )


def _at(path: Path | int, flags: int) -> tuple[c_int, c_char_p, int]:
    """Return the three arguments by which the ``*at`` calls take a path or a descriptor."""
    if isinstance(path, int):
        return c_int(path), c_char_p(b""), flags | AT_EMPTY_PATH
    return c_int(AT_FDCWD), c_char_p(_bytes(path)), flags


def _shown(path: Path | int) -> Path | None:
    return None if isinstance(path, int) else path


def syncfs(fd: int) -> None:
    """Call syncfs(2): what was written to the file system of an open file is on its disk afterwards."""
    _call(_libc.syncfs, c_int(fd))


def reset_signals() -> None:
    """Call rt_sigaction(2) with SIG_DFL for every signal: ignored ones would stay ignored after execve(2).

    Not by libc, which keeps 32 and 33 for itself and leaves them ignored in what posix_spawn(3) starts. Handlers
    that Python knows of are forgotten without its knowledge, so this is for a child about to execve.
    """
    default = bytes(32)  # struct sigaction of the kernel, all zero
    for number in range(1, 65):
        _syscall(c_long(_SYS_RT_SIGACTION), c_int(number), c_char_p(default), None, c_ulong(8))


def execve(program: Path | int, arguments: Sequence[str | bytes], environment: Sequence[str | bytes]) -> None:
    """Call execve(2), or execveat(2) with AT_EMPTY_PATH on a descriptor; returns only by raising.

    Unlike ``os.execve`` it passes the environment on as it is: twice the same name, and items without ``=``.
    """
    argv, envp = _strings(arguments), _strings(environment)
    if isinstance(program, int):
        _call(_syscall, c_long(_SYS_EXECVEAT), c_int(program), c_char_p(b""), argv, envp, c_int(AT_EMPTY_PATH))
    else:
        _call(_libc.execve, c_char_p(_bytes(program)), argv, envp, path=program)


def _strings(items: Sequence[str | bytes]) -> ctypes.Array[c_char_p]:
    return (c_char_p * (len(items) + 1))(*(os.fsencode(item) for item in items), None)


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Call close_range(2): close every descriptor from ``first`` to ``last``."""
    _call(_syscall, c_long(_SYS_CLOSE_RANGE), c_uint(first), c_uint(last), c_uint(0))


def join_session_keyring(name: str) -> None:
    """Call keyctl(KEYCTL_JOIN_SESSION_KEYRING): leave the caller's keyring for the one called ``name``."""
    _call(_syscall, c_long(_SYS_KEYCTL), c_int(KEYCTL_JOIN_SESSION_KEYRING), c_char_p(name.encode()))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", c_void_p))


def set_seccomp_filter(program: bytes, flags: int = 0) -> None:
    """Call seccomp(SECCOMP_SET_MODE_FILTER) with a BPF program: an array of struct sock_filter, 8 bytes each."""
    buffer = ctypes.create_string_buffer(program, len(program))
    argument = _FilterProgram(len(program) // 8, ctypes.addressof(buffer))
    _call(_syscall, c_long(_SYS_SECCOMP), c_uint(SECCOMP_SET_MODE_FILTER), c_uint(flags), ctypes.byref(argument))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Call capset(2) for the calling thread; each set is a bit mask by capability number."""
    header = _CapHeader(0x20080522, 0)
    masks = (effective, permitted, inheritable)
    data = (_CapData * 2)(
        _CapData(*(mask & 0xFFFFFFFF for mask in masks)), _CapData(*(mask >> 32 for mask in masks))
    )
    _call(_syscall, c_long(_SYS_CAPSET), ctypes.byref(header), ctypes.byref(data))


def prctl_name(name: str) -> None:
    """Set the calling thread's name (PR_SET_NAME), cut to 15 bytes; ``ps`` and ``top`` show it."""
    raw = ctypes.create_string_buffer(name.encode()[:15])
    _call(_libc.prctl, PR_SET_NAME, ctypes.addressof(raw), 0, 0, 0)


def capget() -> tuple[int, int, int]:
    """Call capget(2) for the calling thread; return the masks effective, permitted, inheritable."""
    header = _CapHeader(0x20080522, 0)
    data = (_CapData * 2)()
    _call(_syscall, c_long(_SYS_CAPGET), ctypes.byref(header), ctypes.byref(data))
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )

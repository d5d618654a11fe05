"""Find out by a real mount whether overlay works on the file system of the driver's root.

The mount is made by a forked child in a mount namespace of its own, so it is gone when the child is. A yes is
remembered in the run directory until the next boot. A no is asked again: the administrator may load the module.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from swapbox.drivers.common import DriverContext, ProbeResult, Supported, Unsupported
from swapbox.linux.overlayfs import escape_layer
from swapbox.linux.trees import remove_tree

_WHITEOUTS_FAIL = 255


def probe(context: DriverContext) -> ProbeResult:
    """Say whether overlay can be mounted over the driver's root."""
    place = _existing(context.root)
    verdict = f"{os.uname().release} {place.stat().st_dev} {os.geteuid()} {context.unprivileged}\n"
    remembered = context.run_root / "probed"
    with suppress(OSError):
        if remembered.read_text() == verdict:
            return Supported()
    reason = _try_mount(place, userxattr=context.unprivileged)
    if reason:
        return Unsupported(reason)
    with suppress(OSError):  # it only saves time
        context.run_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        remembered.write_text(verdict)
    return Supported()


def _existing(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path


def _try_mount(place: Path, *, userxattr: bool) -> str | None:
    """Return why not, or None."""
    scratch = place / f".overlay-probe-{os.urandom(8).hex()}"
    try:
        scratch.mkdir(mode=0o700)
    except OSError as error:
        return f"cannot write to {place}: {error.strerror}"
    try:
        for name in ("one", "two", "upper", "work", "merged"):
            (scratch / name).mkdir()
        (scratch / "one" / "file").touch()
        child = os.fork()
        if child == 0:
            _exit_with_verdict(scratch, userxattr=userxattr)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        remove_tree(scratch)
    return _reason(code, place) if code else None


def _exit_with_verdict(scratch: Path, *, userxattr: bool) -> None:
    from swapbox.linux import syscalls

    code = _WHITEOUTS_FAIL
    try:
        if os.geteuid() != 0:
            _enter_user_namespace()
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        at = escape_layer(str(scratch))
        data = f"lowerdir={at}/one:{at}/two,upperdir={at}/upper,workdir={at}/work"
        data += ",userxattr" if userxattr else ""
        syscalls.mount("overlay", scratch / "merged", "overlay", 0, data)
        # Where directory entries have no type (xfs with ftype=0) the mount succeeds and whiteouts shine through.
        (scratch / "merged" / "file").unlink()
        code = _WHITEOUTS_FAIL if os.listdir(scratch / "merged") else 0
    except OSError as error:
        code = error.errno or _WHITEOUTS_FAIL
    finally:
        os._exit(code)


def _enter_user_namespace() -> None:
    from swapbox.linux import syscalls

    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _reason(code: int, place: Path) -> str:
    if code == errno.ENODEV:
        return "this kernel has no overlay file system"
    if code in (errno.EPERM, errno.EACCES):
        return "mounting overlay is not permitted"
    if code == errno.EINVAL:
        return f"the file system of {place} cannot carry overlay"
    if code in errno.errorcode:
        return f"cannot mount overlay on {place}: {os.strerror(code)}"
    return f"deletions do not work in overlay on {place}"

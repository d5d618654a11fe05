"""What containers do to file systems, layer by layer: on any storage driver the same steps give the same tree.

Each layering is a list of steps. A step changes the tree it is given; a driver commits a snapshot after each. The
cases are those of containerd's snapshot test suite and of the issues it cites, and some of our own.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from swapbox.drivers.storage import WhiteoutStyle

Step = Callable[[Path], object]


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _chown(root: Path, *names: str, uid: int = 1) -> None:
    for name in names:
        os.chown(root / name, uid, uid, follow_symlinks=False)


def nothing(root: Path) -> None:
    """Leave the tree as it is."""


def _hosts(root: Path) -> None:
    _write(root / "etc/hosts", "10.0.0.1 mydomain")
    _write(root / "etc/profile", "PATH=/usr/bin")
    (root / "etc").chmod(0o700)


def _hosts_again(root: Path) -> None:
    _write(root / "etc/hosts", "10.0.0.2 mydomain")
    _write(root / "etc/profile", "PATH=/usr/bin", 0o666)
    _write(root / "root/.bashrc", "PATH=/usr/sbin:/usr/bin")


def _hidden(root: Path) -> None:
    _write(root / "lib/deep/hidden", "")


def _replace_directory(root: Path) -> None:
    shutil.rmtree(root / "lib")
    _write(root / "lib/deep/shown", "")


def _into_replaced(root: Path) -> None:
    _write(root / "lib/deep/new", "")


def _opt(root: Path) -> None:
    _write(root / "opt/a/b/file", "hello")


def _chown_opt(root: Path) -> None:
    _chown(root, "opt", "opt/a", "opt/a/b", "opt/a/b/file")


def _directories(root: Path) -> None:
    for number in range(1, 6):
        (root / f"dir{number}").mkdir(mode=0o700)
    _write(root / "dir4/file", "...")
    _write(root / "dir5/file", "...")
    _chown(root, "dir1", "dir2", "dir3", "dir5", "dir5/file")


def _chown_directories(root: Path) -> None:
    _chown(root, "dir2", uid=0)
    (root / "dir3").rmdir()
    _chown(root, "dir4", "dir4/file")


def _remake_directories(root: Path) -> None:
    (root / "dir3").mkdir(mode=0o750)
    shutil.rmtree(root / "dir5")
    (root / "dir5").mkdir(mode=0o711)
    _chown(root, "dir3", "dir5", uid=2)


def _two_files(root: Path) -> None:
    _write(root / "kept", "kept", 0o777)
    _write(root / "gone", "gone")
    _write(root / "deep/er/gone", "gone")


def _delete_files(root: Path) -> None:
    (root / "gone").unlink()
    (root / "deep/er/gone").unlink()


def _restore_files(root: Path) -> None:
    _write(root / "gone", "back", 0o600)
    shutil.rmtree(root / "deep")


def _movable(root: Path) -> None:
    _write(root / "one/moved", "moved")
    _write(root / "two/linked", "linked")


def _move(root: Path) -> None:
    _write(root / "three/moved", "moved")
    shutil.rmtree(root / "one")
    (root / "three/linked").hardlink_to(root / "two/linked")
    (root / "two/linked").unlink()


def _renamable(root: Path) -> None:
    _write(root / "files/first", "was here first")
    _write(root / "files/second", "plain")
    _write(root / "directory/inside", "inside")


def _rename(root: Path) -> None:
    _write(root / "files/new", "new content")
    (root / "files/new").rename(root / "files/first")
    (root / "files/second").rename(root / "files/third")
    # As mv does: overlay refuses to rename a directory of a lower layer, and then it is copied.
    shutil.move(root / "directory", root / "moved")


def _text(root: Path) -> None:
    for name in ("truncated", "shortened", "appended", "holed"):
        _write(root / name, "0123456789" * 1000)


def _edit(root: Path) -> None:
    os.truncate(root / "truncated", 0)
    os.truncate(root / "shortened", 5)
    os.truncate(root / "holed", 1 << 20)
    with (root / "appended").open("a") as file:
        file.write("more")


def _types(root: Path) -> None:
    _write(root / "file", "file")
    _write(root / "directory/inside", "inside")
    (root / "link").symlink_to("directory")
    (root / "dangling").symlink_to("/no/such/place")


def _change_types(root: Path) -> None:
    (root / "file").unlink()
    _write(root / "file/now", "a directory")
    shutil.rmtree(root / "directory")
    _write(root / "directory", "now a file")
    (root / "link").unlink()
    _write(root / "link/inside", "now a directory")
    (root / "dangling").unlink()
    (root / "dangling").symlink_to("elsewhere")


def _change_types_back(root: Path) -> None:
    shutil.rmtree(root / "file")
    (root / "directory").unlink()
    shutil.rmtree(root / "link")
    (root / "dangling").unlink()
    _types(root)


def _hard_links(root: Path) -> None:
    _write(root / "one", "same")
    (root / "sub").mkdir()
    (root / "two").hardlink_to(root / "one")
    (root / "sub/three").hardlink_to(root / "one")


def _specials(root: Path) -> None:
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 0))
    _write(root / "su", "set-user-ID", 0o4755)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    _write(root / "closed", "no permission", 0)
    _chown(root, "su", "fifo", uid=3)
    (root / "su").chmod(0o4755)


def _replace_specials(root: Path) -> None:
    (root / "fifo").unlink()
    (root / "null").unlink()
    _write(root / "null", "")
    (root / "tmp").chmod(0o755)


def _attributes(root: Path) -> None:
    _write(root / "ping", "ping", 0o755)
    # cap_net_raw=ep, as setcap writes it (linux/capability.h, struct vfs_cap_data)
    os.setxattr(root / "ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    (root / "directory").mkdir()
    os.setxattr(root / "directory", "user.note", b"\0binary")


def _more_attributes(root: Path) -> None:
    os.setxattr(root / "directory", "user.more", b"more")
    os.setxattr(root / "ping", "user.note", b"note")


def _odd_names(root: Path) -> None:
    for name in ("a:b,c\\d", " ", "line\nbreak", os.fsdecode(b"\xff\xfe"), "-rf", "é"):
        _write(root / name / name, name.encode("utf-8", "surrogateescape").hex())


def _delete_odd_names(root: Path) -> None:
    (root / "a:b,c\\d/a:b,c\\d").unlink()
    shutil.rmtree(root / "line\nbreak")


LAYERINGS: Mapping[str, Sequence[Step]] = {
    "a file is written again": (_hosts, _hosts_again),
    "a directory is removed and made again": (_hidden, _replace_directory, _into_replaced),
    "a tree changes its owner": (_opt, _chown_opt),
    "directories change owner and mode": (_directories, _chown_directories, _remake_directories),
    "files are deleted and come back": (_two_files, _delete_files, nothing, _restore_files),
    "files move from a lower layer": (_movable, _move),
    "files and directories are renamed": (_renamable, _rename),
    "files are truncated and appended to": (_text, _edit),
    "files become directories and back": (_types, _change_types, _change_types_back),
    "hard links stay together": (_hard_links, nothing),
    "special files and mode bits": (_specials, nothing, _replace_specials),
    "extended attributes": (_attributes, nothing, _more_attributes),
    "odd names": (_odd_names, nothing, _delete_odd_names),
}


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    """Return by path what has to be equal: type and mode, owner, content, links, attributes; not the times."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in (".", *names, *files) if directory == os.fspath(root) else (*names, *files):
            path = Path(directory, name)
            found[os.path.relpath(path, root)] = _describe_one(path)
    return found


def write_all(root: Path, *names: str) -> None:
    """Write small files and the directories on the way to them."""
    for name in names:
        _write(root / name, name)


def delete(path: Path, whiteouts: WhiteoutStyle) -> None:
    """Record the deletion of a file in a layer's directory."""
    if whiteouts == "remove":
        path.unlink()
    else:
        os.mknod(path, stat.S_IFCHR, 0)


def make_opaque(path: Path, whiteouts: WhiteoutStyle, *, keep: Collection[str]) -> None:
    """Record that of a directory's files only those the layer brings are left."""
    if whiteouts == "remove":
        for old in set(path.iterdir()) - {path / name for name in keep}:
            old.unlink()
    else:
        prefix = "trusted" if whiteouts == "overlay" else "user"
        os.setxattr(path, f"{prefix}.overlay.opaque", b"y")


def _describe_one(path: Path) -> tuple[object, ...]:
    info = path.lstat()
    content: object = info.st_rdev
    if stat.S_ISREG(info.st_mode):
        content = (info.st_nlink, path.read_bytes())
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    names = [name for name in os.listxattr(path, follow_symlinks=False) if ".overlay." not in name]
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    return (oct(info.st_mode), info.st_uid, info.st_gid, content, attributes)

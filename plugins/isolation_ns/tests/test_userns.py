"""Containers in a user namespace: mapped by root, and made by an engine that is itself in one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.linux import syscalls
from swapbox.testing.box import Box

pytestmark = pytest.mark.root

FIRST, SIZE = 200000, 65536


MAPPING = [{"containerID": 0, "hostID": FIRST, "size": SIZE}]


def give_away(folder: Path) -> None:
    """Let all below a folder belong to the mapped root."""
    for directory, _, files in os.walk(folder):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            os.lchown(path, FIRST, FIRST)


@pytest.fixture
def mapped(box: Box) -> Box:
    """A box whose ids 0 to 65535 are the host's 200000 to 265535; its files belong to them."""
    give_away(box.rootfs)
    box.spec["linux"] |= {"uidMappings": MAPPING, "gidMappings": MAPPING}
    box.spec["linux"]["namespaces"].append({"type": "user"})
    return box


class TestMapped:
    def test_a_user_that_is_not_mapped_is_refused(self, mapped: Box) -> None:
        mapped.spec["process"]["user"] = {"uid": SIZE + 1, "gid": 0}
        assert f"become user {SIZE + 1}" in mapped.fails(Unsupported).message

    def test_sysfs_of_the_hosts_network_is_bound_read_only(self, mapped: Box) -> None:
        mapped.namespace("network")
        assert mapped.sh("ls -d /sys/class; grep ' /sys ' /proc/self/mountinfo").split()[6].startswith("ro")

    def test_the_hosts_network_namespace_can_be_joined_by_path(self, mapped: Box) -> None:
        mapped.namespace("network", "/proc/self/ns/net")
        assert mapped.sh("readlink /proc/self/ns/net") == os.readlink("/proc/self/ns/net")


class TestUnprivilegedEngine:
    """The whole engine in a user namespace, as it is when an ordinary user runs it."""

    @pytest.fixture
    def engine(self, box: Box) -> Iterator[Box]:
        """A box for a monitor that is root in a user namespace only; pytest's own folder is closed to others."""
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        folder.chmod(0o755)
        engine = Box(folder, box.factory)
        give_away(folder)
        engine.context = engine.context._replace(unprivileged=True)
        engine.driver = engine.factory(engine.context)
        yield engine
        shutil.rmtree(folder)

    def test_a_container_runs(self, engine: Box) -> None:
        assert self._inside(engine, "id -u; hostname; stat -c %t:%T /dev/null; echo $$") == "0\nbox\n1:3\n1\n"

    def test_own_cgroups_are_shown_as_far_as_possible(self, engine: Box) -> None:
        engine.mount("/sys/fs/cgroup", "cgroup", "ro", "nosuid", type="cgroup")
        assert self._inside(engine, "ls -d /sys/fs/cgroup") == "/sys/fs/cgroup\n"

    def _inside(self, engine: Box, script: str) -> str:
        def act() -> str:
            ready, go = os.pipe()
            child = os.getpid()
            if os.fork() == 0:
                # Outside of the new namespace: only here may a whole range be mapped.
                os.read(ready, 1)
                for name in ("gid_map", "uid_map"):
                    Path(f"/proc/{child}/{name}").write_text(f"0 {FIRST} {SIZE}\n")
                os._exit(0)
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            os.write(go, b"x")
            os.wait()
            os.close(go)
            os.close(ready)
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            output = engine.run_here("/bin/sh", "-ec", script)
            assert output.code == 0, output
            return str(output.out)

        result: str = engine.monitored(act)
        return result

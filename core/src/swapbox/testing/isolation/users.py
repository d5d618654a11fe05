"""A user namespace of the container's own, made by root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swapbox.drivers.isolation import ExecRequest, Stdio
from swapbox.errors import InvalidInput
from swapbox.testing.box import Box, wait
from swapbox.testing.isolation.base import Base

FIRST, SIZE = 200000, 65536
MAPPING = [{"containerID": 0, "hostID": FIRST, "size": SIZE}]


def give_away(folder: Path) -> None:
    """Let all below a folder belong to the mapped root."""
    for directory, _, files in os.walk(folder):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            os.lchown(path, FIRST, FIRST)


class Users(Base):
    """A mapped container."""

    @pytest.fixture
    def mapped(self, box: Box) -> Box:
        """A box whose ids 0 to 65535 are the host's 200000 to 265535; its files belong to them."""
        give_away(box.rootfs)
        box.spec["linux"] |= {"uidMappings": MAPPING, "gidMappings": MAPPING}
        box.spec["linux"]["namespaces"].append({"type": "user"})
        return box

    def test_root_is_another_user_outside(self, mapped: Box) -> None:
        out = mapped.sh("id -u; cat /proc/self/uid_map; echo > /made; stat -c %u /made")
        assert out.split() == ["0", "0", str(FIRST), str(SIZE), "0"]
        assert (mapped.rootfs / "made").stat().st_uid == FIRST

    def test_paths_that_only_the_hosts_root_can_walk_are_no_obstacle(self, mapped: Box) -> None:
        secret = mapped.folder / "secret"
        secret.mkdir(mode=0o700)
        (secret / "volume").mkdir()
        (secret / "volume/file").write_text("x")
        mapped.bundle.chmod(0o700)
        mapped.mount("/volume", secret / "volume", "rbind", "ro")
        assert mapped.sh("ls /volume") == "file"

    def test_devices_work_though_they_cannot_be_made(self, mapped: Box) -> None:
        assert mapped.sh(
            "stat -c %t:%T /dev/null /dev/urandom; echo x > /dev/null; head -c 3 /dev/zero"
        ).split() == [
            "1:3",
            "1:9",
            "\0\0\0",
        ]

    def test_capabilities_count_only_inside(self, mapped: Box) -> None:
        mapped.spec["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
        mapped.spec["process"]["capabilities"]["effective"] = ["CAP_SYS_ADMIN"]
        assert mapped.run("/bin/sh", "-c", "echo 1 > /proc/sys/kernel/panic").code != 0

    def test_another_user(self, mapped: Box) -> None:
        mapped.spec["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7]}
        assert mapped.sh("id -u; id -G").split() == ["1000", "1000", "7"]

    def test_exec_joins_the_user_namespace_too(self, mapped: Box) -> None:
        def act(pid: int) -> tuple[str, str]:
            out = mapped.exec_here("/bin/sh", "-c", "id -u; readlink /proc/self/ns/user").out
            return out, os.readlink(f"/proc/{pid}/ns/user")

        out, namespace = mapped.while_running(act)
        assert out.split() == ["0", namespace]

    @pytest.mark.parametrize("uid", [0, 1000])
    def test_a_pipe_of_the_host_can_be_reopened(self, mapped: Box, uid: int) -> None:
        def act(_pid: int) -> bytes:
            reading, writing = os.pipe()
            process = {**mapped.spec["process"], "args": ["/bin/sh", "-c", "echo again > /dev/stdout"]}
            process["user"] = {"uid": uid, "gid": uid}
            pid = mapped.driver.exec(ExecRequest(mapped.id, process, Stdio(0, writing, 2)))
            os.close(writing)
            with open(reading, "rb") as pipe:
                said = pipe.read()
            wait(pid)
            return said

        assert mapped.while_running(act) == b"again\n"

    def test_a_user_namespace_needs_mappings(self, mapped: Box) -> None:
        del mapped.spec["linux"]["uidMappings"]
        assert "uidMappings" in mapped.fails(InvalidInput).message

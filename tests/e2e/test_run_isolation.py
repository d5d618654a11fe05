"""A container sees and reaches nothing of the host that it was not given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from swapbox.testing import hostile, images, publish
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


def test_every_namespace_but_the_users_is_new(swapbox: Sandbox) -> None:
    kinds = ("ipc", "mnt", "net", "pid", "uts")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    inside = swapbox.ok("run", "--rm", "--network", "none", "busybox", "sh", "-c", script).split()
    host = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert [i.partition(":")[0] for i in inside] == list(kinds)
    assert set(inside).isdisjoint(host)


def test_the_host_network_is_the_hosts(swapbox: Sandbox) -> None:
    inside = swapbox.ok("run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net")
    assert inside == os.readlink("/proc/self/ns/net")


def test_the_host_networks_hostname_is_the_hosts(swapbox: Sandbox) -> None:
    assert swapbox.ok("run", "--rm", "--network", "host", "busybox", "hostname") == os.uname().nodename


def test_without_a_network_there_is_only_lo(swapbox: Sandbox) -> None:
    script = "ls /sys/class/net; ping -c1 -w1 127.0.0.1 >/dev/null && echo up; ip route | wc -l"
    assert swapbox.ok("run", "--rm", "--network", "none", "busybox", "sh", "-c", script).split() == [
        "lo",
        "up",
        "0",
    ]


def test_no_descriptor_of_the_caller_gets_inside(swapbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    with secret.open() as file:
        done = subprocess.run(
            swapbox.argv("run", "--rm", "busybox", "ls", "/proc/self/fd", "/proc/1/fd"),
            env=swapbox.environment,
            pass_fds=[file.fileno()],
            capture_output=True,
            check=True,
        )
    assert set(done.stdout.split()) <= {b"/proc/self/fd:", b"/proc/1/fd:", b"0", b"1", b"2", b"3"}


@pytest.mark.parametrize("fd", range(3, 12))
def test_a_working_directory_is_no_way_out(swapbox: Sandbox, fd: int) -> None:
    # CVE-2024-21626: a working directory by way of a descriptor that the engine still holds open.
    marker = swapbox.directory / "marker"
    marker.touch()
    script = f"ls -d ../../../../../../../..{marker} ..{marker}"
    result = swapbox("run", "--rm", "-w", f"/proc/self/fd/{fd}", "busybox", "sh", "-c", script)
    assert result.code != 0
    assert str(marker) not in result.out


def test_links_of_an_image_lead_the_engine_nowhere(empty_swapbox: Sandbox, registry: str, tmp_path: Path) -> None:
    """Whatever the engine makes or mounts in the root file system, it resolves inside of it."""
    victim = tmp_path / "victim"
    victim.mkdir()
    names = ("hostname", "hosts", "resolv.conf")
    layer = images.layer_of(
        [
            *(images.symlink(f"etc/{name}", f"{victim}/{name}") for name in names),
            images.symlink("out", str(victim)),
            images.symlink("up", "../../../../../../../../../.." + str(victim)),
        ]
    )
    reference = publish.push(registry, "links", "latest", images.busybox_image(extra=[layer]))
    options = ("-w", "/out/work", "-v", f"{tmp_path}:/up/volume", "--tmpfs", "/out/tmpfs")
    for driver in ("overlay", "vfs"):
        empty_swapbox("run", "--rm", "--storage-driver", driver, *options, reference, "true")
        assert list(victim.iterdir()) == []


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "dev/shm", "dev/pts"])
def test_a_link_in_place_of_a_kernel_mount_leads_nowhere(
    empty_swapbox: Sandbox, registry: str, tmp_path: Path, name: str
) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    layer = images.layer_of([images.whiteout(name), images.symlink(name, str(tmp_path))])
    reference = publish.push(
        registry, f"link-{name.replace('/', '-')}", "latest", images.busybox_image(extra=[layer])
    )
    empty_swapbox("run", "--rm", reference, "true")
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text().removeprefix(before)


def test_the_hosts_processes_cannot_be_signalled(swapbox: Sandbox) -> None:
    result = swapbox("run", "--rm", "busybox", "kill", "-0", str(os.getpid()))
    assert result.code == 1


def test_the_engine_makes_its_directories_private(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "busybox", "sleep", "1000")
    assert swapbox.root.stat().st_mode & 0o077 == 0
    assert swapbox.run_root.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_a_user_may_run_what_root_prepared(swapbox: Sandbox, driver: str) -> None:
    script = "touch /home/app/x /tmp/x && ! touch /etc/x 2>/dev/null && id -u"
    assert (
        swapbox.ok("run", "--rm", "--storage-driver", driver, "-u", "app", "busybox", "sh", "-c", script) == "1000"
    )


@pytest.mark.parametrize("cgroup", ["", "none"])
def test_a_device_of_the_host_is_not_opened(empty_swapbox: Sandbox, registry: str, cgroup: str) -> None:
    """With a cgroup its rules refuse; without one there is no node to open, of the image or a new one."""
    layer = hostile.devices()
    reference = publish.push(registry, "node", "latest", images.busybox_image(extra=[layer]))
    options = ("--cgroup", cgroup) if cgroup else ()
    script = (
        "mknod /made b 7 0; mknod /dev/made b 7 0; cat /made /dev/made /node/loop0 | wc -c; echo ok > /dev/null"
    )
    result = empty_swapbox("run", "--rm", *options, reference, "sh", "-c", f"{script} && echo ok")
    assert result.out.split() == ["0", "ok"]
    assert result.err.count("cat: can't open") == 3

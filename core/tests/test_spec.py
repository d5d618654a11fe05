"""The OCI ``config.json`` has docker's defaults, and what the user asked for."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swapbox.containers import defaults, security
from swapbox.containers.config import ContainerConfig, DeviceSpec, IdMapping, MountSpec, Ulimit
from swapbox.containers.files import RuntimeFiles
from swapbox.containers.spec import build_spec
from swapbox.errors import InvalidInput, NotFound, Unsupported

ID = "4f1c3e0d9a2b" + "0" * 52
FILES = RuntimeFiles(Path("/run/c/hosts"), Path("/run/c/hostname"), Path("/run/c/resolv.conf"))
RANGE = (IdMapping(0, 524_288, 65_536),)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:root\nwheel:x:10:app\n")
    return tmp_path


class Build:
    """Builds the spec of a container that runs ``/bin/true`` and was asked for ``fields``."""

    def __init__(self, rootfs: Path) -> None:
        self._rootfs = rootfs

    def __call__(
        self,
        *,
        private_network: bool = True,
        unprivileged: bool = False,
        init_path: Path | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        return build_spec(
            ContainerConfig("x", cmd=("/bin/true",), **fields),
            container_id=ID,
            rootfs=self._rootfs,
            files=FILES,
            private_network=private_network,
            cgroup_path=f"swapbox/{ID}",
            unprivileged=unprivileged,
            init_path=init_path,
        )


@pytest.fixture
def build(rootfs: Path) -> Build:
    return Build(rootfs)


def mount_at(spec: dict[str, Any], target: str) -> dict[str, Any]:
    """Return the one mount with that destination."""
    (mount,) = (mount for mount in spec["mounts"] if mount["destination"] == target)
    found: dict[str, Any] = mount
    return found


def test_the_default_mounts_are_dockers_in_dockers_order(build: Build) -> None:
    spec = build()
    assert [mount["destination"] for mount in spec["mounts"]] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/dev/shm",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ]
    assert mount_at(spec, "/dev")["options"] == ["nosuid", "strictatime", "mode=755", "size=65536k"]
    assert {"newinstance", "ptmxmode=0666", "gid=5"} <= set(mount_at(spec, "/dev/pts")["options"])
    assert mount_at(spec, "/dev/shm")["options"][-2:] == ["mode=1777", "size=67108864"]
    assert all("ro" in mount_at(spec, target)["options"] for target in ("/sys", "/sys/fs/cgroup"))
    assert mount_at(spec, "/etc/hosts") == {
        "destination": "/etc/hosts",
        "type": "bind",
        "source": "/run/c/hosts",
        "options": ["rbind", "rprivate"],
    }


def test_the_default_process_is_dockers(build: Build) -> None:
    process = build()["process"]
    assert process["args"] == ["/bin/true"]
    assert process["cwd"] == "/"
    assert process["env"] == [f"PATH={defaults.PATH}", "HOSTNAME=4f1c3e0d9a2b", "HOME=/root"]
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert len(process["capabilities"]["bounding"]) == 14
    assert process["capabilities"]["effective"] == process["capabilities"]["bounding"]
    assert process["capabilities"]["ambient"] == process["capabilities"]["inheritable"] == []
    assert process["noNewPrivileges"] is False
    assert {"rlimits", "oomScoreAdj", "apparmorProfile"}.isdisjoint(process)


def test_the_default_isolation_is_dockers(build: Build) -> None:
    spec = build()
    linux = spec["linux"]
    assert {item["type"] for item in linux["namespaces"]} == {"mount", "uts", "pid", "ipc", "cgroup", "network"}
    assert linux["cgroupsPath"] == f"/swapbox/{ID}"
    assert linux["sysctl"] == {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    assert {"/proc/kcore", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"} < set(
        linux["maskedPaths"]
    )
    assert linux["readonlyPaths"] == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert linux["resources"].keys() == {"devices"}
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert spec["root"] == {"path": "rootfs", "readonly": False}
    assert spec["hostname"] == ID[:12]


def test_the_environment_has_each_name_once_and_the_containers_wins(build: Build) -> None:
    env = build(tty=True, env=("A=1", "PATH=/mine", "A=2", "HOSTNAME", "HOME=/h"))["process"]["env"]
    assert env == ["PATH=/mine", "TERM=xterm", "A=2", "HOME=/h"]


def test_another_user_has_its_home_and_groups_and_no_capability_until_it_executes_one(build: Build) -> None:
    process = build(user="app", group_add=("5",))["process"]
    assert process["user"] == {"uid": 1000, "gid": 1001, "additionalGids": [1001, 10, 5]}
    assert "HOME=/home/app" in process["env"]
    assert process["capabilities"]["effective"] == process["capabilities"]["permitted"] == []
    assert len(process["capabilities"]["bounding"]) == 14


def test_an_unknown_user_is_refused(build: Build) -> None:
    with pytest.raises(NotFound, match="unable to find user eve: no matching entries in passwd file"):
        build(user="eve")


def test_dropping_chroot_also_shuts_the_call(build: Build) -> None:
    spec = build(cap_drop=("CAP_SYS_CHROOT",))
    assert "CAP_SYS_CHROOT" not in spec["process"]["capabilities"]["bounding"]
    assert "chroot" not in spec["linux"]["seccomp"]["syscalls"][0]["names"]


def test_user_mounts_come_from_the_root_downwards_and_replace_the_defaults(build: Build) -> None:
    spec = build(
        mounts=(
            MountSpec("/h/deep", "/a/b/c", read_only=True),
            MountSpec("/h", "/a"),
            MountSpec("/s", "/dev/shm"),
        ),
        tmpfs={"/a/b": "size=1m"},
    )
    targets = [mount["destination"] for mount in spec["mounts"]]
    assert targets[-7:] == ["/a", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/a/b", "/dev/shm", "/a/b/c"]
    assert mount_at(spec, "/a/b/c")["options"] == ["rbind", "rprivate", "ro", "rro"]
    assert mount_at(spec, "/dev/shm")["source"] == "/s"
    assert mount_at(spec, "/a/b")["options"] == ["noexec", "nosuid", "nodev", "rprivate", "size=1m"]


def test_a_mounted_dev_brings_all_below_it(build: Build) -> None:
    targets = {mount["destination"] for mount in build(mounts=(MountSpec("/dev", "/dev"),))["mounts"]}
    assert targets.isdisjoint({"/dev/pts", "/dev/shm", "/dev/mqueue"})


def test_a_mounted_hosts_file_replaces_the_generated_one(build: Build) -> None:
    spec = build(mounts=(MountSpec("/my/hosts", "/etc/hosts"),))
    assert mount_at(spec, "/etc/hosts")["source"] == "/my/hosts"


@pytest.mark.parametrize(("mode", "root"), [("rshared", "shared"), ("slave", "rslave"), ("rprivate", None)])
def test_a_propagating_mount_opens_the_root_mount(build: Build, mode: str, root: str | None) -> None:
    assert build(mounts=(MountSpec("/a", "/b", propagation=mode),))["linux"].get("rootfsPropagation") == root


def test_a_read_only_container_writes_to_its_own_devices_only(build: Build) -> None:
    spec = build(read_only=True, tmpfs={"/tmp": ""})
    assert spec["root"]["readonly"] is True
    writable = {mount["destination"] for mount in spec["mounts"] if "ro" not in mount["options"]}
    assert writable == {"/proc", "/dev", "/dev/pts", "/dev/mqueue", "/dev/shm", "/tmp"}


def test_limits_are_converted_as_docker_does(build: Build) -> None:
    resources = build(
        memory=64 << 20,
        memory_reservation=32 << 20,
        nano_cpus=1_500_000_000,
        cpu_shares=512,
        cpuset_cpus="0",
        pids_limit=100,
    )["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20}
    assert resources["cpu"] == {"shares": 512, "quota": 150_000, "period": 100_000, "cpus": "0"}
    assert resources["pids"] == {"limit": 100}


def test_unlimited_swap_and_pids_are_no_limit(build: Build) -> None:
    resources = build(memory=64 << 20, memory_swap=-1, pids_limit=-1)["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20}
    assert "pids" not in resources


def test_ulimits_and_the_oom_score_are_the_process(build: Build) -> None:
    process = build(ulimits=(Ulimit("nofile", 5, -1),), oom_score_adj=-500)["process"]
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2**64 - 1}]
    assert process["oomScoreAdj"] == -500


def test_a_device_is_made_and_allowed_as_asked(build: Build) -> None:
    linux = build(devices=(DeviceSpec("/dev/full", "/dev/mine", "r"),))["linux"]
    (node,) = linux["devices"]
    assert (node["path"], node["type"], node["major"], node["minor"]) == ("/dev/mine", "c", 1, 7)
    assert linux["resources"]["devices"][-1] == {
        "allow": True,
        "type": "c",
        "major": 1,
        "minor": 7,
        "access": "r",
    }


def test_a_device_that_is_none_is_refused(build: Build, tmp_path: Path) -> None:
    start = "error gathering device information while adding custom device"
    with pytest.raises(NotFound, match=f'{start} "/nonexistent": no such file or directory'):
        build(devices=(DeviceSpec("/nonexistent", "/dev/x"),))
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="not a device node"):
        build(devices=(DeviceSpec(f"{tmp_path}/file", "/dev/x"),))


def test_the_hosts_network_brings_its_name_and_no_network_settings(build: Build) -> None:
    spec = build(private_network=False, sysctls={"kernel.shmmax": "1"})
    assert spec["hostname"] == os.uname().nodename
    assert {"type": "network"} not in spec["linux"]["namespaces"]
    assert spec["linux"]["sysctl"] == {"kernel.shmmax": "1"}
    with pytest.raises(InvalidInput, match=r'sysctl "net\.core\.somaxconn" not allowed in host network namespace'):
        build(private_network=False, sysctls={"net.core.somaxconn": "1"})


def test_a_given_sysctl_replaces_the_default(build: Build) -> None:
    sysctl = build(sysctls={"net.ipv4.ip_unprivileged_port_start": "1024"})["linux"]["sysctl"]
    assert sysctl["net.ipv4.ip_unprivileged_port_start"] == "1024"


def test_names_and_annotations_are_passed_on(build: Build) -> None:
    spec = build(hostname="web", domainname="example", annotations={"a": "b"}, workdir="//srv/./x/")
    assert (spec["hostname"], spec["domainname"], spec["annotations"]) == ("web", "example", {"a": "b"})
    assert "HOSTNAME=web" in spec["process"]["env"]
    assert spec["process"]["cwd"] == "/srv/x"


def test_init_runs_the_command(build: Build) -> None:
    spec = build(init=True, init_path=Path("/usr/bin/tini-static"))
    assert spec["process"]["args"] == ["/sbin/docker-init", "--", "/bin/true"]
    assert mount_at(spec, "/sbin/docker-init")["source"] == "/usr/bin/tini-static"
    assert mount_at(spec, "/sbin/docker-init")["options"] == ["bind", "ro"]
    with pytest.raises(Unsupported, match="docker-init"):
        build(init=True)


def test_a_privileged_container_has_everything(build: Build) -> None:
    spec = build(privileged=True)
    linux = spec["linux"]
    assert {"seccomp", "maskedPaths", "readonlyPaths"}.isdisjoint(linux)
    assert set(spec["process"]["capabilities"]["bounding"]) == security.available_capabilities()
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    paths = {node["path"] for node in linux["devices"]}
    assert "/dev/null" in paths
    assert "/dev/console" not in paths
    assert not any(path.startswith("/dev/pts") for path in paths)
    assert "ro" not in mount_at(spec, "/sys")["options"]
    assert "ro" not in mount_at(spec, "/sys/fs/cgroup")["options"]


def test_security_options_change_the_process(build: Build) -> None:
    spec = build(
        security_opt=(
            "no-new-privileges",
            'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',
            "apparmor=mine",
            "systempaths=unconfined",
        )
    )
    assert spec["process"]["noNewPrivileges"] is True
    assert spec["process"]["apparmorProfile"] == "mine"
    assert spec["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ALLOW"
    assert {"maskedPaths", "readonlyPaths"}.isdisjoint(spec["linux"])
    assert "seccomp" not in build(security_opt=("seccomp=unconfined",))["linux"]


def test_a_privileged_container_can_still_have_a_seccomp_profile(build: Build) -> None:
    assert "seccomp" in build(privileged=True, security_opt=("seccomp=builtin",))["linux"]


def test_a_user_namespace_maps_its_ids(build: Build) -> None:
    linux = build(userns="private", uid_mappings=RANGE, gid_mappings=RANGE)["linux"]
    assert {"type": "user"} in linux["namespaces"]
    assert linux["uidMappings"] == linux["gidMappings"] == [{"containerID": 0, "hostID": 524_288, "size": 65_536}]
    assert linux["sysctl"] == {"net.ipv4.ip_unprivileged_port_start": "0"}


def test_a_user_namespace_on_the_hosts_network_cannot_mount_sysfs(build: Build) -> None:
    spec = build(private_network=False, uid_mappings=RANGE, gid_mappings=RANGE)
    assert mount_at(spec, "/sys") == {
        "destination": "/sys",
        "type": "bind",
        "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
    }


def test_a_user_namespace_without_gid_5_has_ptys_of_root(build: Build) -> None:
    spec = build(uid_mappings=(IdMapping(0, 1000, 1),), gid_mappings=(IdMapping(0, 1000, 1),))
    assert "gid=5" not in mount_at(spec, "/dev/pts")["options"]


@pytest.mark.parametrize("given", [{"uid_mappings": RANGE}, {"unprivileged": True}])
def test_in_a_user_namespace_a_bind_keeps_the_flags_of_its_source(
    build: Build, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    """The kernel refuses to remount it without them (mount_namespaces(7), locked flags)."""
    flags = SimpleNamespace(f_flag=os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    monkeypatch.setattr(os, "statvfs", lambda _path: flags)
    options = mount_at(build(mounts=(MountSpec("/a", "/b"),), **given), "/b")["options"]
    assert options == ["rbind", "rprivate", "nosuid", "nodev", "noexec"]

"""A ``config.json`` as values: no root, no kernel."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from swapbox.errors import InvalidInput, SwapboxError, Unsupported
from swapbox.linux import caps, syscalls
from swapbox_isolation_ns.idmap import IdMap
from swapbox_isolation_ns.plan import plan
from swapbox_isolation_ns.plan_mounts import DEFAULT_DEVICES, Device, MountStep, plan_devices, plan_mounts
from swapbox_isolation_ns.plan_process import UNLIMITED, CapabilityPlan, Limit, plan_process

BUNDLE = Path("/bundle")
SPEC: dict[str, Any] = {
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/"},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}


def changed(**parts: Any) -> dict[str, Any]:
    spec = copy.deepcopy(SPEC)
    for name, value in parts.items():
        spec[name] = {**spec[name], **value} if isinstance(spec.get(name), dict) else value
    return spec


class TestPlan:
    def test_the_root_is_relative_to_the_bundle(self) -> None:
        assert plan(SPEC, BUNDLE).rootfs == Path("/bundle/rootfs")
        assert plan(changed(root={"path": "/elsewhere"}), BUNDLE).rootfs == Path("/elsewhere")

    def test_namespaces_are_made_joined_or_shared(self) -> None:
        kinds = [{"type": "mount"}, {"type": "network", "path": "/run/netns/x"}, {"type": "user"}]
        linux = {"namespaces": kinds, "uidMappings": [{"containerID": 0, "hostID": 9, "size": 2}]}
        linux["gidMappings"] = linux["uidMappings"]
        result = plan(changed(linux=linux), BUNDLE)
        assert result.new == syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUSER
        assert result.joined == ((syscalls.CLONE_NEWNET, "/run/netns/x"),)
        assert result.uid_maps == (IdMap(0, 9, 2),)
        assert [result.owns(kind) for kind in ("mount", "network", "ipc")] == [True, True, False]

    @pytest.mark.parametrize(
        ("namespaces", "kind", "message"),
        [
            ([], Unsupported, "without a mount namespace"),
            ([{"type": "mount"}, {"type": "time"}], Unsupported, "does not support time namespaces"),
            ([{"type": "mount"}, {"type": "pid"}, {"type": "pid"}], InvalidInput, "pid namespace is given twice"),
            (
                [{"type": "mount"}, {"type": "user", "path": "/x"}],
                Unsupported,
                "cannot join the user namespace /x",
            ),
            ([{"type": "mount"}, {"type": "user"}], InvalidInput, "needs linux.uidMappings"),
        ],
    )
    def test_namespaces_that_cannot_be(
        self, namespaces: list[Any], kind: type[SwapboxError], message: str
    ) -> None:
        with pytest.raises(kind, match=message):
            plan(changed(linux={"namespaces": namespaces}), BUNDLE)

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ],
    )
    def test_sysctl_names_are_read_as_sysctl_8_does(self, name: str, path: str) -> None:
        linux = {"namespaces": [{"type": "mount"}, {"type": "network"}], "sysctl": {name: "1"}}
        assert plan(changed(linux=linux), BUNDLE).sysctls == ((path, "1"),)

    def test_a_hostname_needs_a_uts_namespace(self) -> None:
        with pytest.raises(InvalidInput, match="uts namespace"):
            plan(changed(hostname="x"), BUNDLE)

    def test_dev_from_the_host_is_not_populated(self) -> None:
        bind = [{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}]
        assert not plan(changed(mounts=bind), BUNDLE).populate_dev
        assert plan(SPEC, BUNDLE).populate_dev

    @pytest.mark.parametrize(
        "parts",
        [
            {"hooks": {"prestart": [{"path": "/x"}]}},
            {"process": {"apparmorProfile": "x"}},
            {"process": {"selinuxLabel": "x"}},
            {"linux": {"intelRdt": {"closID": "x"}}},
        ],
    )
    def test_what_is_not_done_is_refused_by_name(self, parts: dict[str, Any]) -> None:
        with pytest.raises(Unsupported, match="ns driver does not support") as caught:
            plan(changed(**parts), BUNDLE)
        assert caught.value.hint


class TestMounts:
    def one(self, **item: Any) -> MountStep:
        (step,) = plan_mounts([{"destination": "/x", **item}], gids=item.pop("gids", ()))
        return step

    def test_a_bind_mount(self) -> None:
        step = self.one(type="bind", source="/src", options=["rbind", "ro", "nosuid", "rslave"])
        assert step == MountStep(
            "/x",
            source="/src",
            bind=True,
            recursive=True,
            set=syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID,
            propagation=syscalls.MS_SLAVE,
        )

    def test_recursive_attributes(self) -> None:
        step = self.one(type="bind", source="/src", options=["rbind", "rro", "rdev"])
        assert (step.set, step.recursive_set, step.recursive_clear) == (
            0,
            syscalls.MOUNT_ATTR_RDONLY,
            syscalls.MOUNT_ATTR_NODEV,
        )

    def test_a_file_system_with_options_of_its_own(self) -> None:
        step = self.one(type="tmpfs", source="shm", options=["nosuid", "size=64k", "sync", "huge=never", "quota"])
        assert step.set == syscalls.MOUNT_ATTR_NOSUID
        assert step.options == (("sync", None), ("size", "64k"), ("huge", "never"), ("quota", None))

    def test_devpts_gets_no_group_that_is_not_mapped(self) -> None:
        item = {"destination": "/dev/pts", "type": "devpts", "options": ["gid=5", "mode=620"]}
        assert plan_mounts([item], gids=[(0, 1)])[0].options == (("mode", "620"),)
        assert plan_mounts([item], gids=[(0, 6)])[0].options == (("gid", "5"), ("mode", "620"))
        assert plan_mounts([item])[0].options == (("gid", "5"), ("mode", "620"))

    def test_destinations_are_cleaned(self) -> None:
        assert plan_mounts([{"destination": "a/../b//c/", "type": "tmpfs"}])[0].target == "/b/c"

    @pytest.mark.parametrize("path", ["/proc/cpuinfo", "/proc/uptime", "/proc/net/dev"])
    def test_some_files_of_proc_may_be_covered(self, path: str) -> None:
        assert plan_mounts([{"destination": path, "source": "/f", "options": ["bind"]}])[0].over_proc

    @pytest.mark.parametrize("path", ["/proc/self", "/proc/sys/kernel", "/proc/1/attr", "/x/../proc/keys"])
    def test_nothing_else_below_proc_may(self, path: str) -> None:
        with pytest.raises(InvalidInput, match="inside /proc"):
            plan_mounts([{"destination": path, "source": "/f", "options": ["bind"]}])

    def test_proc_itself_takes_procfs_only(self) -> None:
        with pytest.raises(InvalidInput, match="inside /proc"):
            plan_mounts([{"destination": "/proc", "type": "tmpfs"}])

    @pytest.mark.parametrize("option", ["tmpcopyup", "idmap", "remount"])
    def test_options_that_are_not_done_are_refused(self, option: str) -> None:
        with pytest.raises(Unsupported, match=option):
            self.one(type="tmpfs", options=[option])


class TestDevices:
    def test_given_ones_replace_defaults(self) -> None:
        devices = plan_devices([{"path": "/dev/null", "type": "c", "major": 9, "minor": 8, "fileMode": 0o600}])
        assert devices[0] == Device("/dev/null", 0o020600, 9, 8)
        assert devices[1:] == DEFAULT_DEVICES[1:]

    def test_an_unknown_type(self) -> None:
        with pytest.raises(InvalidInput, match="unknown type 'x'"):
            plan_devices([{"path": "/dev/y", "type": "x"}])


class TestProcess:
    def test_defaults(self) -> None:
        process = plan_process({"args": ["sh"], "cwd": "/"})
        assert (process.uid, process.gid, process.groups, process.umask) == (0, 0, (), 0o022)
        assert process.capabilities == CapabilityPlan()

    def test_ambient_capabilities_have_to_be_inheritable(self) -> None:
        sets = {
            "permitted": ["CAP_KILL", "CAP_CHOWN"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL", "CAP_CHOWN"],
        }
        process = plan_process({"args": ["sh"], "cwd": "/", "capabilities": sets})
        assert process.capabilities.ambient == caps.mask(["CAP_KILL"])

    def test_an_unknown_capability(self) -> None:
        with pytest.raises(Unsupported, match="CAP_WHAT"):
            plan_process({"args": ["sh"], "cwd": "/", "capabilities": {"bounding": ["CAP_WHAT"]}})

    def test_limits(self) -> None:
        import resource

        items = [
            {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1},
            {"type": "RLIMIT_CORE", "soft": -1, "hard": -1},
        ]
        assert plan_process({"args": ["sh"], "cwd": "/", "rlimits": items}).limits == (
            Limit("RLIMIT_NOFILE", resource.RLIMIT_NOFILE, 1, UNLIMITED),
            Limit("RLIMIT_CORE", resource.RLIMIT_CORE, UNLIMITED, UNLIMITED),
        )

    @pytest.mark.parametrize(
        ("process", "message"),
        [
            ({"args": [], "cwd": "/"}, "process.args is empty"),
            ({"args": ["x"]}, "not an absolute path"),
            ({"args": ["x"], "cwd": "/", "rlimits": [{"type": "NOFILE", "soft": 1, "hard": 1}]}, "'NOFILE'"),
            (
                {"args": ["x"], "cwd": "/", "rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
                "soft limit 2",
            ),
        ],
    )
    def test_what_is_wrong_is_said(self, process: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            plan_process(process)

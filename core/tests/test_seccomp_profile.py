"""The default seccomp policy is Docker's; a profile file may have Docker's form or OCI's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swapbox.containers.defaults import CAPABILITIES
from swapbox.containers.seccomp_profile import custom_profile, default_profile
from swapbox.errors import InvalidInput
from swapbox.linux.caps import NAMES as KNOWN_CAPABILITIES

DEFAULT = frozenset(CAPABILITIES)
CONTAINERS_COMMON = Path("/usr/share/containers/seccomp.json")


def allowed(*capabilities: str, arch: str = "amd64") -> set[str]:
    """Return the names that are let through whatever their arguments are."""
    rules = default_profile(DEFAULT | set(capabilities), arch)["syscalls"]
    return {
        name
        for rule in rules
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }


def rules_for(name: str, *capabilities: str, arch: str = "amd64") -> list[dict[str, Any]]:
    return [
        rule for rule in default_profile(DEFAULT | set(capabilities), arch)["syscalls"] if name in rule["names"]
    ]


def test_what_is_not_named_fails_with_eperm() -> None:
    profile = default_profile(DEFAULT, "x86_64")
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]


def test_docker_allows_361_calls_always_and_ptrace_since_linux_4_8() -> None:
    on_amd64 = {"arch_prctl", "modify_ldt"}
    traced = {"ptrace", "process_vm_readv", "process_vm_writev"}
    assert traced <= allowed()
    assert len(allowed() - on_amd64 - traced - {"chroot"}) == 361


@pytest.mark.parametrize(
    "name",
    [
        "mount",
        "setns",
        "unshare",
        "bpf",
        "keyctl",
        "io_uring_setup",
        "kexec_load",
        "userfaultfd",
        "reboot",
        "swapon",
    ],
)
def test_what_could_reach_the_host_is_shut(name: str) -> None:
    assert rules_for(name) == []


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        (
            "CAP_SYS_ADMIN",
            {"mount", "umount2", "setns", "unshare", "clone", "clone3", "bpf", "sethostname", "fsopen"},
        ),
        ("CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd", "process_madvise"}),
        ("CAP_BPF", {"bpf"}),
        ("CAP_PERFMON", {"perf_event_open"}),
        ("CAP_SYS_TIME", {"settimeofday", "clock_settime", "clock_settime64", "stime"}),
        ("CAP_DAC_READ_SEARCH", {"open_by_handle_at"}),
        ("CAP_SYS_BOOT", {"reboot"}),
        ("CAP_SYS_MODULE", {"init_module", "finit_module", "delete_module"}),
        ("CAP_SYS_PACCT", {"acct"}),
        ("CAP_SYS_RAWIO", {"iopl", "ioperm"}),
        ("CAP_SYS_TTY_CONFIG", {"vhangup"}),
        ("CAP_SYS_NICE", {"mbind", "get_mempolicy", "set_mempolicy", "set_mempolicy_home_node"}),
        ("CAP_SYSLOG", {"syslog"}),
    ],
)
def test_a_capability_opens_its_calls(capability: str, names: set[str]) -> None:
    assert names <= allowed(capability) - allowed()


def test_without_sys_admin_clone_makes_no_namespace_and_clone3_is_unknown() -> None:
    argument = {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    assert rules_for("clone") == [{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [argument]}]
    assert rules_for("clone3") == [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    assert rules_for("clone", arch="s390x")[0]["args"][0]["index"] == 1
    assert "clone3" in allowed("CAP_SYS_ADMIN")


def test_every_socket_family_but_alg_and_vsock_is_open() -> None:
    def matches(family: int) -> bool:
        tests = {"SCMP_CMP_LT": int.__lt__, "SCMP_CMP_EQ": int.__eq__, "SCMP_CMP_GT": int.__gt__}
        arguments = [rule["args"][0] for rule in rules_for("socket")]
        return any(tests[argument["op"]](family, argument["value"]) for argument in arguments)

    assert [family for family in range(46) if not matches(family)] == [38, 40]


def test_only_harmless_personalities_are_open() -> None:
    assert [rule["args"][0]["value"] for rule in rules_for("personality")] == [0, 8, 0x20000, 0x20008, 0xFFFFFFFF]


@pytest.mark.parametrize(
    ("arch", "architectures", "name"),
    [
        ("aarch64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], "set_tls"),
        ("riscv64", ["SCMP_ARCH_RISCV64"], "riscv_flush_icache"),
        ("ppc64le", ["SCMP_ARCH_PPC64LE"], "swapcontext"),
        ("s390x", ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"], "s390_runtime_instr"),
    ],
)
def test_an_architecture_has_its_own_calls(arch: str, architectures: list[str], name: str) -> None:
    profile = default_profile(DEFAULT, arch)
    assert profile["architectures"] == architectures
    assert name in profile["syscalls"][0]["names"]
    assert name not in allowed(arch="amd64")


@pytest.mark.debian
@pytest.mark.skipif(not CONTAINERS_COMMON.exists(), reason="needs golang-github-containers-common")
def test_what_podman_allows_and_this_does_not_is_known() -> None:
    """Podman's list is of the same descent: a difference that is not one of these is a slip of the pen."""
    rules = json.loads(CONTAINERS_COMMON.read_text())["syscalls"]
    podman = {
        name
        for rule in rules
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }
    everything = set().union(
        *(allowed(*KNOWN_CAPABILITIES, arch=arch) for arch in ("amd64", "arm64", "s390x", "ppc64le"))
    )
    obsolete = {"query_module", "readdir", "sigaction", "signal", "sigpending", "sigsuspend", "syscall", "timerfd"}
    assert podman - everything == obsolete | {"keyctl", "pivot_root", "socket"}


DOCKER_FORM = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
    ],
    "syscalls": [
        {
            "names": ["read"],
            "action": "SCMP_ACT_ALLOW",
            "args": [],
            "comment": "always",
            "includes": {},
            "excludes": {},
        },
        {"name": "write", "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm", "arm64"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["s390x"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
    ],
}


def test_a_profile_of_dockers_form_is_made_plain() -> None:
    profile = custom_profile(DOCKER_FORM, DEFAULT, "x86_64")
    assert profile["defaultErrnoRet"] == 38
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [(rule["names"], rule["action"]) for rule in profile["syscalls"]] == [
        (["read"], "SCMP_ACT_ALLOW"),
        (["write"], "SCMP_ACT_ALLOW"),
        (["mount"], "SCMP_ACT_ERRNO"),
        (["clone"], "SCMP_ACT_ALLOW"),
        (["ptrace"], "SCMP_ACT_ALLOW"),
    ]
    assert set().union(*profile["syscalls"]) <= {"names", "action", "args", "errnoRet"}


def test_a_profile_follows_the_capabilities() -> None:
    profile = custom_profile(DOCKER_FORM, DEFAULT | {"CAP_SYS_ADMIN"}, "x86_64")
    assert {"names": ["mount"], "action": "SCMP_ACT_ALLOW"} in profile["syscalls"]


def test_a_profile_of_ocis_form_stays_as_it_is() -> None:
    plain = default_profile(DEFAULT, "amd64")
    assert custom_profile(plain, DEFAULT, "amd64") == plain


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}],
        },
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ["read"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "", "includes": {"minKernel": "new"}}]},
    ],
)
def test_what_is_no_profile_is_refused(broken: object) -> None:
    with pytest.raises(InvalidInput, match="seccomp profile"):
        custom_profile(broken, DEFAULT, "amd64")

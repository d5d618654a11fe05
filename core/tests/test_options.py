"""Docker's flag syntax is read as docker reads it, and refused in docker's words."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swapbox.containers import limits, options, security
from swapbox.containers.config import ContainerConfig, DeviceSpec, MountSpec, Ulimit
from swapbox.containers.defaults import CAPABILITIES
from swapbox.containers.devices import parse_devices
from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import caps

M = 1024 * 1024


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidInput) as caught:
        call()
    return caught.value.message


def test_a_variable_has_a_value_or_takes_it_from_the_environment() -> None:
    given = options.parse_env(["A=1", "B=", "HOST", "GONE", "C=x=y"], {"HOST": "h"})
    assert given == ("A=1", "B=", "HOST=h", "GONE", "C=x=y")


def test_an_env_file_keeps_quotes_and_leaves_out_comments_and_unknown_names(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b'\xef\xbb\xbfA=1\r\n# comment\n\n  B="q" \nHOST\nGONE\nC=a=b\n')
    assert options.read_env_file(file, {"HOST": "h"}) == ("A=1", 'B="q" ', "HOST=h", "C=a=b")


def test_labels_have_a_key_and_may_have_a_value() -> None:
    assert options.parse_labels(["a=1", "b", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}
    assert refusal(lambda: options.parse_labels(["=x"])) == "invalid label '=x': empty name"
    assert refusal(lambda: options.parse_labels(["a b=c"])) == "label 'a b' contains whitespaces"


def test_a_label_file_has_a_label_on_each_line(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("# ours\na=1\nb\n")
    assert options.read_label_file(tmp_path / "labels") == {"a": "1"}


@pytest.mark.parametrize("name", ["ab", "A.b-c_d", "/web", "0_", "a--"])
def test_a_container_name_docker_accepts(name: str) -> None:
    options.check_name(name)


@pytest.mark.parametrize("name", ["a", "", "/", "-a", "_a", "a b", "a/b", "ü2", "aü", "a\n"])
def test_a_container_name_docker_refuses(name: str) -> None:
    assert refusal(lambda: options.check_name(name)) == (
        f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )


@pytest.mark.parametrize("name", ["x" * 65, "a b", "a\nb", "a/b", "x#y"])
def test_a_host_name_fits_the_kernel_and_the_hosts_file(name: str) -> None:
    assert refusal(lambda: options.check_hostname(name)) == f"invalid hostname format: {name}"
    options.check_hostname("web-1.example")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", signal.SIGTERM),
        ("term", signal.SIGTERM),
        ("9", 9),
        ("RTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-2", signal.SIGRTMAX - 2),
    ],
)
def test_a_signal_is_a_name_or_a_number(text: str, number: int) -> None:
    assert options.parse_signal(text) == number


@pytest.mark.parametrize("text", ["FOO", "0", "", "-1", "SIG", "RTMIN+99", "RTMIN-1", "TERM+1", "_DFL", "SIG_IGN"])
def test_an_unknown_signal_is_refused(text: str) -> None:
    assert refusal(lambda: options.parse_signal(text)) == f"invalid signal: {text}"


def test_a_signal_that_linux_has_not_is_refused() -> None:
    assert refusal(lambda: options.parse_signal("65")) == "the linux daemon does not support signal 65"


def test_userns_is_host_or_private() -> None:
    assert [options.parse_userns(text) for text in ("", "host", "private")] == ["", "host", "private"]
    assert refusal(lambda: options.parse_userns("foo")) == "--userns: invalid USER mode"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 * M),
        ("1g", 1024 * M),
        ("1.5G", 1536 * M),
        ("64kb", 65536),
        ("1KiB", 1024),
        ("100", 100),
        ("100b", 100),
        ("5 m", 5 * M),
        ("1tib", 1 << 40),
    ],
)
def test_a_memory_size_has_binary_units(text: str, size: int) -> None:
    assert limits.parse_memory(text) == size


def test_swap_may_be_unlimited() -> None:
    assert limits.parse_memory_swap("-1") == -1


@pytest.mark.parametrize(("text", "nano"), [("1.5", 1_500_000_000), ("3/2", 1_500_000_000), ("0.000000001", 1)])
def test_cpus_are_a_decimal_number_or_a_fraction(text: str, nano: int) -> None:
    assert limits.parse_cpus(text) == nano


def test_an_ulimit_has_a_soft_and_a_hard_limit() -> None:
    assert limits.parse_ulimits(["nofile=1024:2048", "core=0", "nofile=5", "memlock=-1:-1"]) == (
        Ulimit("core", 0, 0),
        Ulimit("memlock", -1, -1),
        Ulimit("nofile", 5, 5),
    )


CPUS = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": 6 * M - 1}, "Minimum memory limit allowed is 6MB"),
        (
            {"memory": 10 * M, "memory_swap": 9 * M},
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        ({"memory_swap": 9 * M}, "You should always set the Memory limit when using Memoryswap limit, see usage"),
        ({"memory_reservation": 1}, "Minimum memory reservation allowed is 6MB"),
        (
            {"memory": 10 * M, "memory_reservation": 11 * M},
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            {"nano_cpus": (CPUS + 1) * 10**9},
            f"Range of CPUs is from 0.01 to {CPUS}.00, as there are only {CPUS} CPUs available",
        ),
        (
            {"nano_cpus": 1, "cpu_period": 5000},
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        ({"nano_cpus": 1, "cpu_quota": 5000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        (
            {"cpu_period": 999},
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        ({"cpu_quota": 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        ({"cpu_shares": -1}, "shares: invalid argument"),
        ({"cpuset_cpus": "0-"}, "Invalid value 0- for cpuset cpus"),
        ({"cpuset_mems": "2-1"}, "Invalid value 2-1 for cpuset mems"),
        ({"oom_score_adj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        ({"workdir": "app"}, "the working directory 'app' is invalid, it needs to be an absolute path"),
        ({"stop_signal": "FOO"}, "invalid signal: FOO"),
        ({"mounts": (MountSpec("/a", "/x"),), "tmpfs": {"/x": ""}}, "Duplicate mount point: /x"),
        ({"logging": "none", "log_opts": {"a": "b"}}, "invalid logging opts for driver none"),
        ({"userns": "private", "privileged": True}, "privileged mode is incompatible with user namespaces"),
    ],
)
def test_options_that_cannot_be_are_refused_with_dockers_words(given: dict[str, Any], message: str) -> None:
    assert refusal(lambda: options.check_options(ContainerConfig("x", **given))) == message


def test_a_bad_name_is_refused_with_dockers_words() -> None:
    message = "Invalid container name (!), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    assert refusal(lambda: options.check_name("!")) == message


def test_a_capability_is_read_in_any_case_with_or_without_prefix() -> None:
    assert security.parse_capabilities(["net_admin", "CAP_SYS_TIME", "all"], flag="--cap-add") == (
        "CAP_NET_ADMIN",
        "CAP_SYS_TIME",
        "ALL",
    )


def test_an_unknown_capability_is_refused() -> None:
    message = refusal(lambda: security.parse_capabilities(["foo"], flag="--cap-drop"))
    assert message == 'invalid CapDrop: unknown capability: "CAP_FOO"'


ALL = frozenset(caps.NAMES)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), ("CAP_CHOWN",), "without CAP_CHOWN"),
        ((), ("ALL",), ()),
        (("CAP_SYS_TIME", "CAP_CHOWN"), ("ALL",), ("CAP_SYS_TIME", "CAP_CHOWN")),
        (("ALL",), (), caps.NAMES),
        (("ALL",), ("CAP_CHOWN",), caps.NAMES[1:]),
        (("CAP_CHOWN",), ("CAP_CHOWN",), "CAP_CHOWN last"),
    ],
)
def test_capabilities_are_dockers_less_the_dropped_plus_the_added(
    add: tuple[str, ...], drop: tuple[str, ...], expected: object
) -> None:
    config = ContainerConfig("x", cap_add=add, cap_drop=drop)
    result = security.capabilities(config, available=ALL)
    if expected == "without CAP_CHOWN":
        expected = CAPABILITIES[1:]
    elif expected == "CAP_CHOWN last":
        expected = (*CAPABILITIES[1:], "CAP_CHOWN")
    assert result == expected


def test_a_capability_the_host_lacks_cannot_be_added_and_all_leaves_it_out() -> None:
    available = ALL - {"CAP_SYS_TIME"}
    with pytest.raises(Unsupported, match="not available in the current environment"):
        security.capabilities(ContainerConfig("x", cap_add=("CAP_SYS_TIME",)), available=available)
    everything = security.capabilities(ContainerConfig("x", cap_add=("ALL",)), available=available)
    assert set(everything) == available


def test_the_hosts_capabilities_are_those_of_this_process_bounding_set() -> None:
    """PR_CAPBSET_READ is the kernel's own answer."""
    from swapbox.linux import syscalls

    def held(number: int) -> bool:
        try:
            return syscalls.prctl(syscalls.PR_CAPBSET_READ, number) == 1
        except OSError:
            return False  # this kernel does not know it

    expected = {name for number, name in enumerate(caps.NAMES) if held(number)}
    assert security.available_capabilities() == expected


def test_security_options_are_taken_apart() -> None:
    given = security.parse_security_opts(
        [
            "no-new-privileges",
            "seccomp=unconfined",
            "apparmor=unconfined",
            "label=disable",
            "systempaths=unconfined",
        ]
    )
    assert security.security_options(given) == (True, "unconfined", "unconfined", False)
    assert not security.security_options(["no-new-privileges:true", "no-new-privileges=false"]).no_new_privileges


def test_a_seccomp_file_is_stored_by_content(tmp_path: Path) -> None:
    """The container can be started again when the file is gone."""
    (tmp_path / "profile").write_text('{\n "defaultAction": "SCMP_ACT_ALLOW"\n}')
    stored = security.parse_security_opts([f"seccomp={tmp_path}/profile"])
    assert stored == ('seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',)


@pytest.mark.parametrize("text", ["foo=bar", "no-new-privileges=maybe", "systempaths=x"])
def test_an_unknown_security_option_is_refused(text: str) -> None:
    assert refusal(lambda: security.parse_security_opts([text])) == f'invalid --security-opt 2: "{text}"'


def test_an_selinux_label_comes_later() -> None:
    with pytest.raises(Unsupported, match="SELinux"):
        security.parse_security_opts(["label=type:svirt_t"])


def test_a_sysctl_belongs_to_a_namespace() -> None:
    given = ["net.core.somaxconn=1024", "kernel.shmmax=1", "fs.mqueue.msg_max=5"]
    assert list(security.parse_sysctls(given)) == ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max"]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("/dev/null", DeviceSpec("/dev/null", "/dev/null", "rwm")),
        ("/dev/null:r", DeviceSpec("/dev/null", "/dev/null", "r")),
        ("/dev/null:/dev/x", DeviceSpec("/dev/null", "/dev/x", "rwm")),
        ("/dev/null:/dev/x:rw", DeviceSpec("/dev/null", "/dev/x", "rw")),
    ],
)
def test_a_device_has_a_place_and_permissions(text: str, device: DeviceSpec) -> None:
    assert parse_devices([text]) == (device,)


def test_a_device_pattern_stands_for_all_it_matches(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b"):
        (tmp_path / name).touch()
    assert [device.target for device in parse_devices([f"{tmp_path}/a*:r"])] == [
        f"{tmp_path}/a1",
        f"{tmp_path}/a2",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad format for path: "),
        ("a:b:c:d", "bad format for path: a:b:c:d"),
        ("x", "x is not an absolute path"),
        ("/dev/null:/dev/x:q", "bad mode specified: q"),
        ("/dev/null:/dev/x:rr", "bad mode specified: rr"),
        ("/dev/*:/x", "device with * suffix can't have dst: /dev/*:/x"),
    ],
)
def test_a_malformed_device_is_refused(text: str, message: str) -> None:
    assert refusal(lambda: parse_devices([text])) == message

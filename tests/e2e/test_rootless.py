"""An ordinary user's containers: with one id, and with subordinate ids of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.testing.ordinary_user import FIRST_SUBORDINATE, UID, UserSandbox, user_sandbox
from swapbox.testing.process import Result, wait_until

pytestmark = pytest.mark.root

FOREVER = ("busybox", "sleep", "1000")
NO_NAMESPACES = """
import os, sys
read, write = os.pipe()
parent = os.getpid()
if os.fork() == 0:
    os.read(read, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{parent}/{name}", "w") as file:
            file.write("0 0 100000")
    os._exit(0)
from swapbox.linux import syscalls
syscalls.unshare(syscalls.CLONE_NEWUSER)
os.write(write, b"m")
os.wait()
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""A host, for the command that follows, whose users may make no user namespace."""


def stocked(reference: str, *, subordinate_ids: bool) -> Iterator[UserSandbox]:
    try:
        with user_sandbox(subordinate_ids=subordinate_ids) as made:
            made.ok("pull", reference)
            made.ok("tag", reference, "busybox")
            made.ok("run", "--rm", "busybox", "true")  # says once that there are no cgroups
            yield made
    except Unsupported as error:
        pytest.skip(f"{error}: {error.hint}")


@pytest.fixture(scope="module")
def _one(busybox_ref: str) -> Iterator[UserSandbox]:
    yield from stocked(busybox_ref, subordinate_ids=False)


@pytest.fixture(scope="module")
def _many(busybox_ref: str) -> Iterator[UserSandbox]:
    yield from stocked(busybox_ref, subordinate_ids=True)


def cleaned(user: UserSandbox) -> Iterator[UserSandbox]:
    yield user
    user.remove_containers()
    user.assert_no_leaks()


@pytest.fixture
def one(_one: UserSandbox) -> Iterator[UserSandbox]:
    """Swapbox of a user who has only their own id."""
    yield from cleaned(_one)


@pytest.fixture
def many(_many: UserSandbox) -> Iterator[UserSandbox]:
    """Swapbox of a user with subordinate ids."""
    yield from cleaned(_many)


@pytest.fixture(params=["one", "many"])
def user(request: pytest.FixtureRequest) -> UserSandbox:
    """Swapbox of either."""
    made: UserSandbox = request.getfixturevalue(request.param)
    return made


def pid_of(user: UserSandbox, name: str) -> int:
    pid: int = user.state(name)["Pid"]
    return pid


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def namespaces(user: UserSandbox) -> set[str]:
    """Return the user namespaces of the user's processes that are listed."""
    lines = (user.run_root / "namespace").read_text().splitlines()
    return {os.readlink(f"/proc/{pid}/ns/user") for pid in (line.split()[0] for line in lines) if alive(pid)}


def alive(pid: str) -> bool:
    return os.access(f"/proc/{pid}/ns/user", os.F_OK) and "(zombie)" not in Path(f"/proc/{pid}/status").read_text()


def without_namespaces(user: UserSandbox, *arguments: str) -> Result:
    import sys

    argv = (sys.executable, "-P", "-c", NO_NAMESPACES, *user.argv(*arguments))
    done = subprocess.run(argv, capture_output=True, timeout=60, env=user.environment)
    return Result(argv, done.returncode, done.stdout, done.stderr)


def test_the_container_has_a_root_who_is_the_user_outside(user: UserSandbox) -> None:
    assert user.ok("run", "--rm", "busybox", "id").startswith("uid=0(root) gid=0(root)")
    user.ok("run", "-d", "--name", "outside", *FOREVER)
    assert owner(pid_of(user, "outside")) == UID


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 3", 3), ("nosuch", 127), ("/etc", 126)])
def test_the_exit_code_is_the_commands(user: UserSandbox, driver: str, command: str, code: int) -> None:
    assert user("--storage-driver", driver, "run", "--rm", "busybox", "sh", "-c", command).code == code


def test_everything_lies_in_the_users_own_directories(user: UserSandbox) -> None:
    info = user.ok("info")
    assert f"\nRoot: {user.environment['HOME']}/.local/share/swapbox\n" in info
    assert f"\nRun Root: {user.environment['XDG_RUNTIME_DIR']}/swapbox\n" in info
    assert "\nRootless: true\n" in info
    assert "\nStorage Driver: overlay\n" in info


def test_later_commands_act_on_a_container(user: UserSandbox) -> None:
    script = "trap 'exit 5' TERM; echo ready; while :; do usleep 10000; done"
    user.ok("run", "-d", "--name", "lived", "busybox", "sh", "-c", script)
    assert user.wait_log("lived", "ready") == "ready"
    assert user.names() == ["lived"]
    assert user.ok("exec", "lived", "id", "-u") == "0"
    assert user.ok("stop", "lived") == "lived"
    assert (user.names(), user.names("-a")) == ([], ["lived"])
    assert user.state("lived")["ExitCode"] == 5
    assert user.ok("rm", "lived") == "lived"
    assert user.names("-a") == []


def test_a_container_outlives_its_commands_killed_monitor_and_can_be_removed(user: UserSandbox) -> None:
    user.ok("run", "-d", "--name", "orphan", *FOREVER)
    init = pid_of(user, "orphan")
    monitor = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(monitor, signal.SIGKILL)
    assert user.names() == ["orphan"]
    assert user.ok("rm", "-f", "orphan") == "orphan"
    wait_until(lambda: not alive(str(init)), "the init has ended")


def test_another_user_of_the_container_has_a_subordinate_id(many: UserSandbox) -> None:
    # Commands signal a process of another user only from its user namespace: they have to find it.
    many.ok("run", "-d", "--name", "other", "--user", "app", *FOREVER)
    assert owner(pid_of(many, "other")) == FIRST_SUBORDINATE + 999
    assert many.ok("kill", "other") == "other"
    assert many.state("other")["ExitCode"] == 128 + signal.SIGKILL
    many.ok("run", "-d", "--name", "orphan", "--user", "app", *FOREVER)
    init = pid_of(many, "orphan")
    os.kill(int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    assert many.ok("rm", "-f", "orphan") == "orphan"


def test_commands_at_once_share_one_namespace(many: UserSandbox) -> None:
    wait_until(lambda: namespaces(many) == set(), "no command runs")
    started = [many.start("run", "-d", "--user", "app", *FOREVER) for _ in range(4)]
    results = [command.communicate(timeout=60) for command in started]
    assert [command.returncode for command in started] == [0] * 4, results
    assert len(namespaces(many)) == 1
    many.ok("rm", "-f", *(out.decode().strip() for out, _ in results))


def test_without_a_subordinate_id_there_is_no_other_user(one: UserSandbox) -> None:
    one("run", "--rm", "--user", "app", "busybox", "true").fails(125, "become user 1000", "hint")
    one("run", "--rm", "--group-add", "5", "busybox", "true").fails(125, "groups")


def test_files_of_the_image_have_their_owners(many: UserSandbox) -> None:
    assert many.ok("run", "--rm", "busybox", "stat", "-c", "%u:%g", "/home/app") == "1000:1000"


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_with_one_id_the_files_of_an_image_belong_to_root_and_that_is_said_once(
    busybox_ref: str, driver: str
) -> None:
    with user_sandbox(subordinate_ids=False) as user:
        pulled = user("--storage-driver", driver, "pull", busybox_ref).check()
        assert pulled.err.count("WARNING") == 1
        assert "/etc/subuid" in pulled.err
        assert user("--storage-driver", driver, "pull", busybox_ref).check().err == ""
        stat = ("stat", "-c", "%u:%g", "/home/app")
        assert user.ok("--storage-driver", driver, "run", "--rm", busybox_ref, *stat) == "0:0"


def test_missing_cgroups_are_no_news_after_the_first_run(user: UserSandbox) -> None:
    assert user("run", "--rm", "busybox", "true").check().err == ""
    user("run", "--rm", "-m", "64m", "busybox", "true").fails(125, "memory.limit")


def test_files_made_by_the_container_belong_to_the_user(user: UserSandbox) -> None:
    data = user.directory / "home/data"
    user.ok("run", "--rm", "-v", f"{data}:/data", "busybox", "touch", "/data/made")
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (data, data / "made")] == [(UID, UID)] * 2


def test_files_of_the_host_that_the_user_may_not_read_stay_closed(user: UserSandbox) -> None:
    user("run", "--rm", "-v", "/etc/shadow:/shadow", "busybox", "cat", "/shadow").fails(1, "permission denied")


@pytest.mark.parametrize("options", [(), ("--network", "host"), ("--privileged",), ("--read-only",), ("-t",)])
def test_common_options_work(user: UserSandbox, options: tuple[str, ...]) -> None:
    script = "test -c /dev/null && echo x > /dev/null && test -d /proc/1 && test -d /sys/class/net && echo fine"
    assert user.ok("run", "--rm", *options, "busybox", "sh", "-c", script).strip() == "fine"


def test_a_device_may_have_another_path_inside(user: UserSandbox) -> None:
    renamed = ("--device", "/dev/zero:/dev/none", "--device", "/dev/null:/dev/loop-control")
    shown = user.ok("run", "--rm", *renamed, "busybox", "stat", "-c", "%n %t:%T", "/dev/none", "/dev/loop-control")
    assert shown.splitlines() == ["/dev/none 1:5", "/dev/loop-control 1:3"]


def test_a_dry_run_has_the_spec(user: UserSandbox) -> None:
    spec = json.loads(user.ok("run", "--dry-run", "busybox", "true"))
    assert spec["process"]["args"] == ["true"]


def test_a_removed_image_leaves_nothing(user: UserSandbox, busybox_ref: str) -> None:
    user.ok("rmi", busybox_ref, "busybox")
    for place in ("content/blobs/sha256", "storage/overlay/snapshots", "storage/vfs/snapshots"):
        assert list((user.root / place).glob("*")) == []
    user.ok("pull", busybox_ref)
    user.ok("tag", busybox_ref, "busybox")


def test_a_host_without_user_namespaces_is_one_clear_error(user: UserSandbox) -> None:
    wait_until(lambda: namespaces(user) == set(), "no command runs")
    for arguments, code in ((("run", "busybox", "true"), 125), (("pull", "busybox"), 1), (("ps",), 1)):
        refused = without_namespaces(user, *arguments).fails(
            code, "an ordinary user needs a user namespace", "root"
        )
        assert "hint: run swapbox as root" in refused.err
    assert without_namespaces(user, "version").check().out.startswith("swapbox:")
    assert "Usage:" in without_namespaces(user, "run", "--help").check().out


@pytest.mark.parametrize("kind", ["one", "many"])
def test_files_go_in_and_out_and_into_an_image(kind: str, request: pytest.FixtureRequest) -> None:
    user: UserSandbox = request.getfixturevalue(kind)
    file = user.directory / "home" / "file"
    file.write_text("of the user\n")
    os.chown(file, UID, UID)
    for driver in ("overlay", "vfs"):
        options = ("--network", "none", "--storage-driver", driver)
        user.ok(
            "run", "-d", "--name", "live", *options, "busybox", "sh", "-c", "mkdir /d; rm /etc/group; sleep 1000"
        )
        wait_until(
            lambda: user.ok("diff", "live").splitlines() == ["A /d", "C /etc", "D /etc/group"], "it is changed"
        )
        user.ok("cp", file, "live:/d/in")
        assert b"of the user" in user("cp", "live:/d/in", "-").check().stdout
        user.ok("cp", "live:/d", user.directory / "home" / driver)
        copied = user.directory / "home" / driver / "in"
        assert (copied.read_text(), copied.stat().st_uid) == ("of the user\n", UID)
        user.ok("commit", "live", f"made:{driver}")
        user.ok("rm", "-f", "live")
        run = ("run", "--name", "made", *options, f"made:{driver}", "sh", "-c", "cat /d/in; ls /etc/group")
        assert user(*run).out == "of the user"
        assert b"d/in" in user("export", "made").check().stdout
        user.ok("cp", file, "made:/d/stopped")
        assert user.ok("diff", "made").splitlines() == ["C /d", "A /d/stopped"]
        user.ok("rm", "made")
        user.ok("rmi", f"made:{driver}")


def test_volumes_work_as_roots_do(user: UserSandbox) -> None:
    run = ("run", "--rm")
    copied = user.ok(*run, "-v", "data:/etc", "-v", "/anonymous", "busybox", "sh", "-c", "touch /etc/new; ls /etc")
    assert {"new", "passwd"} <= set(copied.split())
    assert user.ok(*run, "-v", "data:/x:ro", "busybox", "ls", "/x").split() == copied.split()
    part = "src=data,dst=/part,volume-subpath=passwd"
    assert "root" in user.ok(*run, "--mount", part, "busybox", "cat", "/part")
    tmpfs = "dst=/x,volume-opt=type=tmpfs,volume-opt=device=tmpfs"
    assert user.ok(*run, "--mount", tmpfs, "busybox", "stat", "-fc", "%T", "/x") == "tmpfs"
    assert user.ok("volume", "ls", "-q") == "data"
    assert user.ok("volume", "rm", "data") == "data"


def test_a_container_moves_between_storage_drivers(user: UserSandbox) -> None:
    change = "rm /etc/group; echo x > /x; ln /x /y; rm -r /root; mkdir /root; chmod 4755 /x"
    user.ok("run", "--name", "mover", "--network", "none", "busybox", "sh", "-c", change)
    changed, here = user.ok("diff", "mover"), user.ok("inspect", "-f", "{{.GraphDriver.Name}}", "mover")
    for source, target in ((here, other := {"vfs": "overlay"}.get(here, "vfs")), (other, here)):
        moved = user.ok("storage", "migrate", "--container", "mover", source, target)
        assert moved.endswith(f"1 container from {source} to {target}; every tree is equal")
        assert user.ok("diff", "mover") == changed

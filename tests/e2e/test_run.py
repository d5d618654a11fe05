"""``run``: how it ends, what it leaves, and what it survives."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from swapbox.testing import images, publish
from swapbox.testing.process import free_port, wait_until
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

DRIVERS = ("overlay", "vfs")
COUNT = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.05; done; exit 7"


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("command", "code"),
    [("true", 0), ("exit 3", 3), ("nosuchcommand", 127), ("/etc/not-executable", 126), ("/etc", 126)],
)
def test_the_exit_code_is_the_shells(swapbox: Sandbox, driver: str, command: str, code: int) -> None:
    assert swapbox("--storage-driver", driver, "run", "--rm", "busybox", "sh", "-c", command).code == code


@pytest.mark.parametrize(("command", "code"), [("nope", 127), ("/etc", 126), ("/etc/not-executable", 126)])
def test_a_command_that_cannot_run_leaves_a_container_with_the_code(
    swapbox: Sandbox, command: str, code: int
) -> None:
    swapbox("run", "--name", "failed", "busybox", command).fails(code, command)
    assert swapbox.state("failed")["ExitCode"] == code
    assert swapbox.state("failed")["Running"] is False


def test_a_command_that_cannot_run_leaves_nothing_with_rm(swapbox: Sandbox) -> None:
    swapbox("run", "--rm", "busybox", "nope").fails(127, "nope")
    assert swapbox.ok("ps", "-a", "-q") == ""


def test_the_same_command_gives_the_same_output_on_every_storage_driver(swapbox: Sandbox) -> None:
    change = "rm /etc/group; echo new > /etc/new"
    metadata = "find / -xdev -not -path '/proc*' -exec stat -c '%n %A %u:%g' {} + | sort"
    content = "find /bin /etc /home -xdev -type f -exec md5sum {} + | grep -v /etc/hosts | sort"
    command = ("busybox", "sh", "-c", f"{change}; {metadata}; {content}; exit 3")
    results = [swapbox("run", "--rm", "--hostname", "h", "--storage-driver", d, *command) for d in DRIVERS]
    assert results[0].out.count("\n") > 250
    assert results[0][1:] == results[1][1:]


@pytest.mark.parametrize("driver", DRIVERS)
def test_layers_with_whiteouts_are_stacked(empty_swapbox: Sandbox, registry: str, driver: str) -> None:
    reference = publish.push(registry, "layered", "latest", images.layered_image(6))
    script = "ls layers kept opaque; cat opaque/*"
    listed = empty_swapbox.ok("run", "--rm", "--storage-driver", driver, reference, "sh", "-c", script)
    assert listed.split() == ["kept:", "1", "2", "3", "4", "5", "layers:", "5", "opaque:", "5", "5"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_a_container_writes_is_its_own(swapbox: Sandbox, driver: str) -> None:
    write = "echo mine > /etc/new; rm /etc/passwd; echo changed > /etc/group"
    swapbox.ok("run", "--storage-driver", driver, "busybox", "sh", "-c", write)
    look = "ls /etc/new; wc -l < /etc/passwd; head -1 /etc/group"
    seen = swapbox("run", "--rm", "--storage-driver", driver, "busybox", "sh", "-c", look)
    assert seen.out == "3\nroot:x:0:"


def test_containers_of_two_storage_drivers_live_side_by_side(swapbox: Sandbox) -> None:
    for driver in DRIVERS:
        swapbox.ok("run", "-d", "--name", driver, "--storage-driver", driver, "busybox", "sleep", "1000")
    assert sorted(swapbox.names()) == sorted(DRIVERS)
    assert swapbox.ok("rm", "-f", *DRIVERS).split() == list(DRIVERS)


def test_detached_prints_the_id_only(swapbox: Sandbox) -> None:
    result = swapbox("run", "-d", "busybox", "sleep", "1000").check()
    assert len(result.out) == 64
    assert int(result.out, 16)
    assert not result.out[:12].isdigit()
    assert result.err == ""
    assert swapbox.ok("ps", "-q", "--no-trunc") == result.out


def test_the_hostname_is_the_short_id(swapbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    hostname = swapbox.ok("run", "--cidfile", file, "busybox", "hostname")
    assert hostname == file.read_text()[:12]


def test_an_existing_cidfile_is_refused_and_kept(swapbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    file.write_text("precious")
    swapbox("run", "--cidfile", file, "busybox", "true").fails(125, str(file))
    assert file.read_text() == "precious"
    assert swapbox.ok("ps", "-a", "-q") == ""


def test_the_cidfile_is_gone_when_nothing_was_created(swapbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    swapbox.ok("run", "-d", "--name", "taken", "busybox", "sleep", "1000")
    swapbox("run", "--cidfile", file, "--name", "taken", "busybox", "true").fails(125, "Conflict", "/taken")
    assert not file.exists()


def test_the_cidfile_names_a_container_that_did_not_start(swapbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    swapbox("run", "--cidfile", file, "busybox", "no-such-command").fails(127, "no-such-command")
    assert swapbox.ok("ps", "-a", "-q", "--no-trunc") == file.read_text()


def test_an_interrupt_ends_a_run_that_is_still_pulling(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, busybox_image: images.Image
) -> None:
    reference = publish.push(fake_registry.host, "slow", "latest", busybox_image)
    fake_registry.faults.delay = 60
    with empty_swapbox.start("run", "--rm", reference, "true") as command:
        assert command.stderr
        assert b"Unable to find image" in command.stderr.readline()
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == 130


def test_a_dry_run_prints_the_oci_spec_and_leaves_nothing(swapbox: Sandbox) -> None:
    def files() -> list[Path]:
        return sorted(
            path for path in swapbox.directory.rglob("*") if path.is_file() and ".sqlite" not in path.name
        )

    before = files()
    options = ("-w", "/tmp", "-e", "A=1", "-m", "64m", "--read-only")
    spec = json.loads(swapbox.ok("run", "--dry-run", *options, "busybox", "echo", "hi"))
    assert spec["ociVersion"].startswith("1.")
    assert spec["process"]["args"] == ["echo", "hi"]
    assert spec["process"]["cwd"] == "/tmp"
    assert "A=1" in spec["process"]["env"]
    assert spec["root"]["readonly"] is True
    assert spec["linux"]["resources"]["memory"]["limit"] == 64 << 20
    assert swapbox.ok("ps", "-a", "-q") == ""
    assert files() == before


def test_rm_waits_until_the_container_is_gone(swapbox: Sandbox) -> None:
    assert swapbox.ok("run", "--rm", "busybox", "echo", "hi") == "hi"
    assert swapbox.ok("ps", "-a", "-q") == ""
    assert swapbox.leaks() == []


def test_a_detached_container_with_rm_removes_itself(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--rm", "busybox", "true")
    wait_until(lambda: swapbox.ok("ps", "-a", "-q") == "", "the container is gone")


def test_init_is_tini(swapbox: Sandbox) -> None:
    command = swapbox.ok("run", "--rm", "--init", "busybox", "cat", "/proc/1/comm")
    assert command in ("tini", "docker-init", "catatonit")


def test_init_reaps_orphans(swapbox: Sandbox) -> None:
    script = "sh -c 'sh -c true & true'; usleep 200000; grep -l 'State:.Z' /proc/[0-9]*/status; echo end"
    assert swapbox.ok("run", "--rm", "--init", "busybox", "sh", "-c", script) == "end"


def test_the_same_limits_and_names_are_refused_twice(swapbox: Sandbox) -> None:
    first = swapbox.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    error = swapbox("run", "--name", "web", "busybox", "true").fails(125, "Conflict").err
    expected = (
        f'The container name "/web" is already in use by container "{first}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    assert expected in error


def test_generated_names_are_an_adjective_and_a_surname(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "busybox", "sleep", "1000")
    adjective, _, surname = swapbox.names()[0].partition("_")
    assert adjective.isalpha()
    assert surname.isalnum()


@pytest.mark.parametrize("arguments", [("run", "{}", "true"), ("run", "-d", "{}", "true")])
def test_an_image_that_cannot_be_had_is_an_engine_error(swapbox: Sandbox, arguments: tuple[str, ...]) -> None:
    reference = f"127.0.0.1:{free_port()}/nosuch"
    swapbox(*(part.format(reference) for part in arguments)).fails(125, "Unable to find image", reference)


@pytest.mark.parametrize(
    "flag", ["--storage-driver", "--isolation", "--cgroup", "--log-driver", "--network-driver"]
)
def test_an_unknown_driver_is_named_with_the_known_ones(swapbox: Sandbox, flag: str) -> None:
    swapbox("run", flag, "nosuch", "busybox", "true").fails(125, "nosuch")
    assert swapbox.ok("ps", "-a", "-q") == ""


def test_drivers_are_chosen_before_the_verb_too(swapbox: Sandbox) -> None:
    swapbox.ok("--storage-driver", "vfs", "--log-driver", "none", "run", "--name", "chosen", "busybox", "true")
    assert swapbox.inspect("chosen")["HostConfig"]["LogConfig"]["Type"] == "none"
    assert "vfs" in json.dumps(swapbox.inspect("chosen"))


def test_an_attached_container_with_rm_removes_itself_after_the_killed_command(swapbox: Sandbox) -> None:
    with swapbox.start("run", "--rm", "busybox", "sh", "-c", COUNT) as command:
        assert command.stdout
        command.stdout.readline()
        command.kill()
    wait_until(lambda: swapbox.ok("ps", "-a", "-q") == "", "the container is gone")


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.08, 0.1, 0.12, 0.14, 0.16, 0.2, 0.25])
def test_a_command_killed_at_any_moment_leaves_a_whole_container_or_none(swapbox: Sandbox, delay: float) -> None:
    with swapbox.start("run", "-d", "--name", "half", "busybox", "sleep", "1000") as command:
        time.sleep(delay)  # the moment is what varies, not a condition to wait for
        command.kill()
    assert swapbox.names("-a") in ([], ["half"])
    swapbox("rm", "-f", "half").check()
    assert swapbox.ok("run", "--rm", "--name", "half", "busybox", "echo", "fine") == "fine"


def test_a_signal_to_the_command_reaches_the_container(swapbox: Sandbox) -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do usleep 10000; done"
    with swapbox.start("run", "--rm", "busybox", "sh", "-c", script) as command:
        assert command.stdout
        assert command.stdout.readline() == b"ready\n"
        command.terminate()
    assert command.returncode == 9


def test_the_image_says_how_to_run(empty_swapbox: Sandbox, registry: str) -> None:
    config = {
        "Entrypoint": ["/bin/sh", "-c", 'echo "$@ $COLOUR $(id -un) $PWD"', "sh"],
        "Cmd": ["default"],
        "Env": [images.PATH, "COLOUR=green"],
        "User": "app",
        "WorkingDir": "/home/app",
    }
    reference = publish.push(registry, "configured", "latest", images.busybox_image(config=config))
    assert empty_swapbox.ok("run", "--rm", reference) == "default green app /home/app"
    assert empty_swapbox.ok("run", "--rm", "-e", "COLOUR=red", reference, "a", "b") == "a b red app /home/app"
    assert empty_swapbox.ok("run", "--rm", "--entrypoint", "id", reference) == (
        "uid=1000(app) gid=1000(app) groups=29(audio),50(staff),1000(app)"
    )


def test_a_long_run_root_is_no_obstacle(tmp_path: Path, swapbox: Sandbox) -> None:
    # A unix socket's path holds 107 bytes, and a container id alone takes 64.
    deep = tmp_path.joinpath(*["a-rather-long-directory-name"] * 5)
    argv = [*swapbox.prefix[:3], "--run-root", str(deep), "run", "--rm", "busybox", "echo", "hi"]
    done = subprocess.run(argv, env=swapbox.environment, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr

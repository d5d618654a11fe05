"""Completion in real shells: what a tab offers is read from their own screens."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from swapbox.errors import Unsupported
from swapbox.testing.sandbox import Sandbox, console_script
from swapbox.testing.servers import require

pytestmark = pytest.mark.root

Complete = Callable[[str], list[str]]


@pytest.fixture
def environment(swapbox: Sandbox) -> dict[str, str]:
    """The sandbox's, with the command in the path, and its roots in variables: a person types neither."""
    path = f"{console_script().parent}:{swapbox.environment['PATH']}"
    roots = {"SWAPBOX_ROOT": str(swapbox.root), "SWAPBOX_RUN_ROOT": str(swapbox.run_root)}
    return {**swapbox.environment, **roots, "PATH": path}


def installed(program: str) -> str:
    try:
        return require(program, program)
    except Unsupported as error:
        pytest.skip(str(error))


@pytest.fixture
def bash(environment: dict[str, str]) -> Complete:
    """Calls the function that bash would call, with the variables that bash would set."""
    program = """
        source <(swapbox completion bash)
        COMP_LINE=$1 COMP_POINT=${#1}
        compopt() { :; }
        eval "$(complete -p swapbox | sed 's/.*-F \\([^ ]*\\).*/function=\\1/')"
        "$function" swapbox
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(line: str) -> list[str]:
        argv = [installed("bash"), "--norc", "--noprofile", "-c", program, "bash", line]
        done = subprocess.run(argv, env=environment, capture_output=True, check=True, text=True)
        assert done.stderr == ""
        return done.stdout.split()

    return complete


@pytest.fixture
def fish(environment: dict[str, str]) -> Complete:
    """Asks fish itself."""

    def complete(line: str) -> list[str]:
        program = 'swapbox completion fish | source; complete --do-complete "$argv[1]"'
        argv = [installed("fish"), "--no-config", "-c", program, line]
        done = subprocess.run(argv, env=environment, capture_output=True, check=True, text=True)
        assert done.stderr == ""
        return [offered.partition("\t")[0] for offered in done.stdout.splitlines()]

    return complete


@pytest.fixture
def zsh(environment: dict[str, str]) -> Complete:
    """Types into an interactive zsh, has it list what it offers, and reads that."""

    def complete(line: str) -> list[str]:
        argv = ["-f", "-c", "exec zsh -f -i"]
        shell = pexpect.spawn(
            installed("zsh"),
            argv,
            env={**environment, "PS1": "> ", "TERM": "dumb"},
            timeout=15,
            dimensions=(50, 200),
        )
        setup = "autoload -U compinit; compinit -u -D; source <(swapbox completion zsh)"
        shell.sendline(f"unsetopt zle_bracketed_paste list_beep always_last_prompt; {setup}; print rea''dy")
        shell.expect("ready")
        shell.send(f"{line}\t\x04")  # the second key lists what the first has left open
        shell.sendline("\x15print o''ver")
        shell.expect("\nover")
        assert isinstance(shell.before, bytes)
        text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\x07|\x08", b"", shell.before).decode()
        shell.close(force=True)
        return re.findall(r"[^\s]+", text)

    return complete


@pytest.fixture(params=["bash", "fish", "zsh"])
def complete(request: pytest.FixtureRequest) -> Complete:
    installed(request.param)
    found: Complete = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def boxes(swapbox: Sandbox) -> None:
    """Containers that run, and that do not."""
    swapbox.ok("run", "-d", "--name", "web-one", "busybox", "sleep", "1000")
    swapbox.ok("run", "-d", "--name", "web-two", "busybox", "sleep", "1000")
    swapbox.ok("create", "--name", "web-idle", "busybox", "true")


def test_verbs_and_flags(complete: Complete) -> None:
    assert {"start", "stats", "stop"} <= set(complete("swapbox st"))
    assert {"--memory", "--memory-swap", "--memory-reservation"} <= set(complete("swapbox run --mem"))
    assert {"ls", "list"} & set(complete("swapbox container l"))


def test_containers_that_a_verb_can_do_something_with(complete: Complete, boxes: None) -> None:
    stop, start, remove = (set(complete(f"swapbox {verb} web-")) for verb in ("stop", "start", "rm -f"))
    assert {"web-one", "web-two"} <= stop
    assert "web-idle" not in stop
    assert "web-one" not in start
    assert any("web-idle" in text for text in start)
    assert {"web-one", "web-two", "web-idle"} <= remove


def test_images_drivers_and_files(complete: Complete) -> None:
    assert any("busybox:latest" in text for text in complete("swapbox run --rm busy"))
    assert {"json-file", "none"} <= set(complete("swapbox run --log-driver "))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("swapbox stop web-one web-", "web-two"),
        ("swapbox rm --force web-i", "web-idle"),
        ("swapbox exec -it web-o", "web-one"),
        ("swapbox cp web-i", "web-idle:"),
        ("swapbox rmi busybox:la", "latest"),
        ("swapbox run --log-driver=json", "json-file"),
        ("swapbox --log-driver json", "json-file"),
        ("swapbox container start web-", "web-idle"),
        ("swapbox run -a std", "stdin stdout stderr"),
        ("swapbox run --cap-add NET_A", "NET_ADMIN"),
        ("swapbox kill -s HU", "HUP"),
        ("swapbox nosuch ", ""),
        ("swapbox stop nosuch", ""),
        ("swapbox stop 'unfinished", ""),
    ],
)
def test_bash_offers(line: str, offered: str, bash: Complete, boxes: None) -> None:
    assert sorted(bash(line)) == sorted(offered.split())


def test_a_name_already_typed_is_not_offered_again(fish: Complete, boxes: None) -> None:
    assert fish("swapbox stop web-one web-") == ["web-two"]


def test_fish_and_zsh_keep_the_option_before_the_equals_sign(fish: Complete) -> None:
    assert fish("swapbox run --log-driver=json") == ["--log-driver=json-file"]


@pytest.mark.parametrize("break_it", ["not a database", ""])
def test_nothing_is_said_when_something_is_wrong(
    break_it: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "db.sqlite").write_text(break_it)
    words = {"_SWAPBOX_COMPLETE": "bash_complete", "COMP_WORDS": "swapbox stop "}
    done = subprocess.run(
        [console_script()],
        env={**environment, **words, "SWAPBOX_ROOT": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (b"", b"")


def test_a_question_imports_nothing_heavy(environment: dict[str, str]) -> None:
    program = "import os, sys\nos._exit = lambda code: (print(*sys.modules), os.kill(os.getpid(), 9))\n"
    program += "from swapbox.cli import main\nmain([])"
    words = {"_SWAPBOX_COMPLETE": "bash_complete", "COMP_WORDS": "swapbox stop "}
    subprocess.run([console_script(), "ps"], env=environment, capture_output=True, check=True)
    python = str(console_script().parent / "python")
    done = subprocess.run(
        [python, "-uc", program], env={**environment, **words}, capture_output=True, text=True, check=False
    )
    modules = set(done.stdout.split())
    assert "swapbox.containers.service" in modules, done.stderr
    assert modules.isdisjoint({"requests", "pyroute2", "stevedore", "rich", "asyncio", "subprocess"})
    assert os.environ.get("_SWAPBOX_COMPLETE") is None

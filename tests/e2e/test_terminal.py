"""``run -it`` from a person's chair: a terminal emulator before swapbox, or a shell with job control around it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pexpect
import pyte
import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

LOOP = "while :; do usleep 10000; done"


class Person:
    """Somebody who types into a terminal and sees its screen."""

    def __init__(self, argv: list[str], environment: dict[str, str], rows: int = 24, columns: int = 80) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.child: Any = pexpect.spawn(
            argv[0],
            argv[1:],
            env={"TERM": "xterm", **environment},
            timeout=15,
            dimensions=(rows, columns),
        )
        self.child.delaybeforesend = None
        self.child.logfile_read = self

    def write(self, data: bytes) -> None:
        """Take what the program writes (pexpect's idea of a log file)."""
        self._stream.feed(data)

    def flush(self) -> None:
        """Do nothing; pexpect wants it."""

    def type(self, text: str | bytes) -> None:
        self.child.send(text)

    def resize(self, rows: int, columns: int) -> None:
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def expect(self, pattern: str) -> None:
        self.child.expect(pattern.encode())

    def sees(self, condition: Callable[[list[str]], bool]) -> None:
        """Wait until the screen is so."""

        def look() -> bool:
            with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
                self.child.read_nonblocking(65536, timeout=0.05)
            return condition([line.rstrip() for line in self.screen.display])

        try:
            wait_until(look, "the screen is so")
        except AssertionError:
            raise AssertionError("\n".join(self.screen.display)) from None

    def repeats(self, keys: str, *, until: str) -> None:
        """Type again and again until something appears."""

        def appears() -> bool:
            self.type(keys)
            found: int = self.child.expect([until.encode(), pexpect.TIMEOUT], timeout=0.2)
            return found == 0

        wait_until(appears, f"{until} appears")

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self.child.child_fd)

    def leaves(self) -> int:
        """Wait for the end, and return the exit code, negative for a signal."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        code: int | None = self.child.exitstatus
        return -self.child.signalstatus if code is None else code


@pytest.fixture
def person(swapbox: Sandbox) -> Iterator[Callable[..., Person]]:
    people = []

    def sit_down(*arguments: str, **settings: int) -> Person:
        people.append(Person([*map(str, swapbox.argv(*arguments))], swapbox.environment, **settings))
        return people[-1]

    yield sit_down
    for one in people:
        one.child.close(force=True)


def script(text: str) -> tuple[str, ...]:
    return ("busybox", "sh", "-c", text)


# -- full-screen programs -----------------------------------------------------------------------------------------


def test_vi_draws_edits_and_redraws_after_a_resize(person: Callable[..., Person]) -> None:
    somebody = person("run", "--rm", "-it", "busybox", "sh", "-c", "vi /tmp/letter; cat /tmp/letter")
    somebody.sees(lambda lines: lines[1:22] == ["~"] * 21 and "letter" in lines[23])
    somebody.type("iDear Æsop,\x1b")
    somebody.sees(lambda lines: lines[0].startswith("Dear"))
    somebody.resize(40, 100)
    somebody.sees(lambda lines: lines[1:38] == ["~"] * 37)
    somebody.resize(10, 40)
    somebody.sees(lambda lines: lines[1:8] == ["~"] * 7)
    somebody.type(":wq\r")
    somebody.expect("Dear Æsop,")
    assert somebody.leaves() == 0


def test_less_pages_by_the_height_of_the_window(person: Callable[..., Person]) -> None:
    somebody = person("run", "--rm", "-it", *script("seq 100 | less"), rows=10)
    somebody.sees(lambda lines: lines[:9] == [str(n) for n in range(1, 10)])
    somebody.type(" ")
    somebody.sees(lambda lines: lines[:9] == [str(n) for n in range(10, 19)])
    somebody.type("q")
    assert somebody.leaves() == 0


def test_top_fills_its_window_and_quits(person: Callable[..., Person]) -> None:
    somebody = person("run", "--rm", "-it", "busybox", "top")
    somebody.sees(lambda lines: lines[0].startswith("Mem:") and any("top" in line for line in lines[4:]))
    somebody.type("q")
    assert somebody.leaves() == 0


def test_a_long_line_is_edited_where_the_window_ends(person: Callable[..., Person]) -> None:
    """The shell knows the width: it wraps, and goes back over the wrap."""
    somebody = person("run", "--rm", "-it", "-e", "PS1=> ", "busybox", "sh", columns=40)
    somebody.expect("> ")
    somebody.type("clear\r")
    somebody.type("echo " + "x" * 60)
    somebody.sees(lambda lines: lines[:2] == ["> echo " + "x" * 33, "x" * 27])
    somebody.type("\x7f" * 40)
    somebody.sees(lambda lines: lines[:2] == ["> echo " + "x" * 20, ""])
    somebody.type("\r")
    somebody.sees(lambda lines: lines[1] == "x" * 20)


# -- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["-it"], ["-t"]], ids=" ".join)
def test_the_size_is_there_before_the_command(options: list[str], person: Callable[..., Person]) -> None:
    somebody = person("run", "--rm", *options, "busybox", "stty", "size", rows=33, columns=111)
    somebody.expect("33 111\r+\n")  # without input, this terminal is not raw
    assert somebody.leaves() == 0


def test_a_detached_terminal_has_the_size_of_the_one_it_was_made_on(
    person: Callable[..., Person], swapbox: Sandbox
) -> None:
    somebody = person("run", "-d", "-it", "--name", "away", "busybox", "stty", "size", rows=33, columns=111)
    assert somebody.leaves() == 0
    assert "33 111" in swapbox.wait_log("away", "111")


def test_a_resize_reaches_a_terminal_without_input_too(person: Callable[..., Person]) -> None:
    somebody = person("run", "--rm", "-t", *script(f"trap 'stty size; exit' WINCH; echo ready; {LOOP}"))
    somebody.expect("ready")
    somebody.resize(50, 132)
    somebody.expect("50 132")
    assert somebody.leaves() == 0


# -- bytes --------------------------------------------------------------------------------------------------------


def test_a_pasted_megabyte_arrives_whole(person: Callable[..., Person]) -> None:
    data = (b"0123456789abcdef" * 4096 * 16)[: 1 << 20]
    command = f"stty raw -echo; printf ready; head -c {len(data)} | md5sum"
    somebody = person("run", "--rm", "-it", *script(command))
    somebody.expect("ready")
    while data:
        sent = os.write(somebody.child.child_fd, data[:4096])
        data = data[sent:]
    somebody.expect(hashlib.md5((b"0123456789abcdef" * 4096 * 16)[: 1 << 20]).hexdigest())


def test_a_pasted_megabyte_that_is_echoed_stops_nobody(person: Callable[..., Person]) -> None:
    size = 1 << 20
    somebody = person(
        "run", "--rm", "-it", "--log-driver", "none", *script(f"stty raw; head -c {size} >/dev/null; echo done")
    )
    wait_until(lambda: not somebody.attributes()[3] & termios.ICANON, "the terminal is raw")
    pid = os.fork()
    if pid == 0:
        left = size
        while left:
            left -= os.write(somebody.child.child_fd, b"x" * min(left, 4096))
        os._exit(0)
    somebody.child.logfile_read = None  # a megabyte is a long time for an emulator
    somebody.expect("done")
    os.waitpid(pid, 0)


def test_every_byte_goes_through_both_ways(person: Callable[..., Person]) -> None:
    data = bytes(reversed(range(256)))  # upwards, they would have the detach keys in them
    somebody = person("run", "--rm", "-it", *script("stty raw -echo; printf ready; head -c 256; printf over"))
    somebody.expect("ready")
    somebody.type(data)
    somebody.child.expect_exact(data + b"over")


def test_what_was_typed_ahead_is_not_lost(person: Callable[..., Person]) -> None:
    somebody = person("run", "--rm", "-it", "busybox", "sh")
    somebody.type("echo $((6*7))\r")
    somebody.expect("42\r\n")


def test_stderr_comes_through_the_terminal(swapbox: Sandbox, person: Callable[..., Person]) -> None:
    result = swapbox("run", "--rm", "-t", *script("echo out; echo err >&2"))
    assert (result.stdout, result.stderr) == (b"out\r\nerr\r\n", b"")


# -- the terminal afterwards --------------------------------------------------------------------------------------


def end_by_exit(somebody: Person, _swapbox: Sandbox) -> int:
    somebody.type("exit 3\r")
    return 3


def end_by_detaching(somebody: Person, _swapbox: Sandbox) -> int:
    somebody.type(b"\x10\x11")
    return 0


def end_by_kill(_somebody: Person, swapbox: Sandbox) -> int:
    swapbox.ok("kill", "it")
    return 137


def end_by_the_monitors_death(_somebody: Person, swapbox: Sandbox) -> int:
    init = swapbox.state("it")["Pid"]
    with open(f"/proc/{init}/status") as status:
        monitor = int(re.findall(r"PPid:\s+(\d+)", status.read())[0])
    os.kill(monitor, signal.SIGKILL)
    return 125


def end_by_interrupts_from_outside(somebody: Person, _swapbox: Sandbox) -> int:
    insist(somebody.child.pid, somebody.child.isalive)
    return 1


def insist(pid: int, alive: Callable[[], bool]) -> None:
    """Ask a process to end until it does; two requests at once may count as one."""

    def ended() -> bool:
        if alive():
            os.kill(pid, signal.SIGTERM)
        return not alive()

    wait_until(ended, "it has ended")


@pytest.mark.parametrize(
    "end",
    [
        end_by_exit,
        end_by_detaching,
        end_by_kill,
        end_by_the_monitors_death,
        end_by_interrupts_from_outside,
    ],
)
def test_the_terminal_is_as_before_after(
    end: Callable[[Person, Sandbox], int], person: Callable[..., Person], swapbox: Sandbox
) -> None:
    somebody = person("run", "-it", "--name", "it", "busybox", "sh")
    before = somebody.attributes()
    somebody.expect("# ")
    wait_until(lambda: not somebody.attributes()[3] & termios.ICANON, "the terminal is raw")
    code = end(somebody, swapbox)
    # A terminal forgets its settings with its last process, so they are looked at while one is there.
    keeper = os.open(ptsname(somebody), os.O_RDWR | os.O_NOCTTY)
    wait_until(lambda: not somebody.child.isalive(), "it has ended")
    assert somebody.attributes() == before
    os.close(keeper)
    assert somebody.child.exitstatus == code, somebody.screen.display


def ptsname(somebody: Person) -> str:
    """Return the terminal's path (TIOCGPTN, ioctl_tty(2))."""
    import fcntl
    import struct

    (number,) = struct.unpack("i", fcntl.ioctl(somebody.child.child_fd, 0x80045430, bytes(4)))
    return f"/dev/pts/{number}"


def test_the_terminal_is_restored_before_a_signal_that_is_not_passed_on(person: Callable[..., Person]) -> None:
    somebody = person("run", "-it", "--sig-proxy=false", "--name", "it", "busybox", "sh")
    before = somebody.attributes()
    somebody.expect("# ")
    wait_until(lambda: not somebody.attributes()[3] & termios.ICANON, "the terminal is raw")
    keeper = os.open(ptsname(somebody), os.O_RDWR | os.O_NOCTTY)
    somebody.child.kill(signal.SIGHUP)
    wait_until(lambda: not somebody.child.isalive(), "it has ended")
    assert somebody.attributes() == before
    os.close(keeper)
    assert somebody.child.signalstatus == signal.SIGHUP


def test_a_terminal_that_hangs_up_leaves_the_command_waiting_for_the_end(
    person: Callable[..., Person], swapbox: Sandbox
) -> None:
    """The client gets the exit code although it has nobody to show anything to, as with Docker."""
    somebody = person("run", "-it", "--name", "it", *script(f"echo ready; {LOOP}"))
    somebody.expect("ready")
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, somebody.child.child_fd)
    os.close(null)
    swapbox.ok("kill", "it")
    wait_until(lambda: not somebody.child.isalive(), "it has ended")
    assert somebody.child.exitstatus == 137


# -- job control --------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(swapbox: Sandbox) -> Iterator[Person]:
    """A person at a bash on the host, with ``$S`` for the command."""
    environment = {**swapbox.environment, "PS1": "HOST> ", "S": " ".join(map(str, swapbox.argv()))}
    somebody = Person(["/bin/bash", "--norc", "--noprofile", "--noediting"], environment)
    somebody.expect("HOST> ")
    yield somebody
    somebody.child.close(force=True)


def test_in_the_background_it_stops_until_it_is_brought_to_the_foreground(shell: Person, swapbox: Sandbox) -> None:
    shell.type("$S run -it --rm --name job busybox sh &\n")
    shell.expect("HOST> ")
    shell.repeats("jobs -l\n", until=r"Stopped \(tty output\)")
    assert swapbox.state("job")["Running"]
    shell.type("fg\n")
    shell.expect(r"fg\r\n[^\n]*run -it[^\n]*\n")
    shell.type("echo $((6*7)); exit 4\r")
    shell.expect("42")
    shell.expect("HOST> ")
    shell.type("echo code=$?\n")
    shell.expect("code=4")


def test_a_background_job_with_input_stops_when_it_reads_the_terminal(shell: Person, swapbox: Sandbox) -> None:
    shell.type("$S run -i --rm --name job busybox cat &\n")
    shell.expect("HOST> ")
    shell.repeats("jobs -l\n", until=r"Stopped \(tty input\)")
    shell.type("fg\n")
    shell.expect(r"fg\r\n[^\n]*run -i[^\n]*\n")  # and not what jobs said of it
    shell.type("hello\n\x04")
    shell.expect("hello\r\nhello\r\n")
    shell.expect("HOST> ")


def test_the_stop_key_is_for_the_shell_inside(shell: Person) -> None:
    shell.type("$S run -it --rm busybox sh\n")
    shell.expect("/ # ")
    shell.type("sleep 1000\r")
    shell.repeats("\x1a", until="Stopped")
    shell.type("jobs\r")
    shell.expect(r"\[1\]\+ +Stopped +sleep 1000")
    shell.type("fg\r")
    shell.expect("sleep 1000\r\n")
    shell.repeats("\x03", until="/ # ")
    shell.type("exit 5\r")
    shell.expect("HOST> ")
    shell.type("echo code=$?\n")
    shell.expect("code=5")


# -- detaching ----------------------------------------------------------------------------------------------------


def test_detach_keys_can_be_chosen(person: Callable[..., Person], swapbox: Sandbox) -> None:
    somebody = person("run", "-it", "--detach-keys", "ctrl-a,x", "--name", "it", "busybox", "cat")
    somebody.type(b"\x10\x11")
    somebody.expect(r"\^P")
    somebody.type(b"\x01x")
    assert somebody.leaves() == 0
    assert swapbox.state("it")["Running"]


def test_detach_keys_of_the_docker_clients_configuration_count(
    person: Callable[..., Person], swapbox: Sandbox
) -> None:
    (swapbox.directory / ".docker").mkdir(exist_ok=True)
    file = swapbox.directory / ".docker/config.json"
    file.write_text(json.dumps({"detachKeys": "q,q"}))
    somebody = person("run", "-it", "--name", "it", "busybox", "cat")
    somebody.type("qq")
    try:
        assert somebody.leaves() == 0
    finally:
        file.unlink()
    assert swapbox.state("it")["Running"]


def test_the_beginning_of_the_keys_is_typed_after_all_when_it_does_not_go_on(
    person: Callable[..., Person],
) -> None:
    somebody = person("run", "--rm", "-it", *script("stty raw -echo; printf ready; head -c 3 | od -An -tx1"))
    somebody.expect("ready")
    somebody.type(b"\x10ab")
    somebody.expect("10 61 62")


def test_keys_that_are_none_are_refused_before_anything_is_made(swapbox: Sandbox) -> None:
    result = swapbox("run", "--detach-keys", "ctrl-9", "--name", "it", "busybox", "true")
    assert (result.code, result.err) == (1, "invalid detach keys (ctrl-9): Unknown character: 'ctrl-9'")
    assert swapbox.names("-a") == []


# -- streams and signals, beside Docker ---------------------------------------------------------------------------

STREAMS = [
    "-a stdout",
    "-a stderr",
    "-a stdout -a stderr",
    "-a STDOUT",
    "-a stdin",
    "-i -a stdin",
    "-i -a stdin -a stdout",
    "-i",
    "-d -a stdout",
    "-a nothing",
    "-it",
    "-it -a stdout",
    "-t -a stdin",
    "-t",
]


@pytest.mark.parametrize("options", STREAMS)
def test_streams_are_attached_as_docker_does(options: str, swapbox: Sandbox, docker: Any) -> None:
    command = script("echo out; echo err >&2; [ -t 0 ] || cat; exit 3")
    outcomes = []
    for engine in (swapbox, docker):
        result = engine("run", *options.split(), "--network", "none", *command, stdin=b"typed\n")
        text = result.err.replace("docker", "swapbox")
        outcomes.append((result.code, result.stdout, re.sub(r"\s+", " ", text)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("number", ["HUP", "INT", "QUIT", "TERM", "USR1", "ALRM", "CONT", "IO", "RTMIN"])
def test_every_signal_is_passed_on(number: str, swapbox: Sandbox) -> None:
    names = {"RTMIN": str(int(signal.SIGRTMIN))}
    trap = f"trap 'echo got; exit 7' {names.get(number, number)}; echo ready; {LOOP}"
    with swapbox.start("run", "--rm", *script(trap)) as command:
        assert command.stdout
        assert command.stdout.readline() == b"ready\n"
        command.send_signal(int(getattr(signal, f"SIG{number}")))
        assert command.stdout.readline() == b"got\n"
        assert command.wait() == 7


def test_without_proxy_the_container_gets_no_signal(swapbox: Sandbox) -> None:
    trap = f"trap 'echo got' INT TERM HUP; echo ready; {LOOP}"
    with swapbox.start("run", "--sig-proxy=false", "--name", "it", *script(trap)) as command:
        assert command.stdout
        assert command.stdout.readline() == b"ready\n"
        insist(command.pid, lambda: command.poll() is None)
        assert command.wait() == 1
        assert command.stderr
        assert command.stderr.read().decode() == "\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n"
    assert swapbox.state("it")["Running"]
    assert "got" not in swapbox.ok("logs", "it")


# -- exec, attach, start ------------------------------------------------------------------------------------------


@pytest.fixture
def box(swapbox: Sandbox) -> str:
    """A running container, whose first process says what signals it gets."""
    trap = f"trap 'echo INIT got one' INT TERM HUP; echo ready; {LOOP}"
    swapbox.ok("run", "-d", "--name", "box", *script(trap))
    swapbox.wait_log("box", "ready")
    return "box"


def test_exec_has_a_terminal_of_its_own(box: str, person: Callable[..., Person]) -> None:
    somebody = person("exec", "-it", box, "sh", "-c", "stty size; vi /tmp/letter", rows=20, columns=70)
    somebody.expect("20 70\r\n")
    somebody.sees(lambda lines: lines[1:19] == ["~"] * 18)
    somebody.resize(30, 100)
    somebody.sees(lambda lines: lines[1:29] == ["~"] * 28)
    somebody.type(":q\r")
    assert somebody.leaves() == 0


def test_exec_can_be_left_and_gives_the_exit_code(
    box: str, person: Callable[..., Person], swapbox: Sandbox
) -> None:
    somebody = person("exec", "-it", box, "sh")
    before = somebody.attributes()
    somebody.expect("# ")
    somebody.type("exit 6\r")
    wait_until(lambda: not somebody.child.isalive(), "it has ended")
    assert somebody.child.exitstatus == 6
    assert before[3] & termios.ICANON
    somebody = person("exec", "-it", "--detach-keys", "ctrl-x", box, "sh")
    somebody.expect("# ")
    somebody.type(b"\x18")
    somebody.expect("read escape sequence")
    assert somebody.leaves() == 1
    assert swapbox.state(box)["Running"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_exec_and_is_nobody_elses(number: int, box: str, swapbox: Sandbox) -> None:
    """As with Docker, the command goes on inside."""
    with swapbox.start("exec", box, "sh", "-c", f"trap 'echo GOT' INT TERM; echo inside; {LOOP}") as command:
        assert command.stdout
        assert command.stdout.readline() == b"inside\n"
        command.send_signal(number)
        assert command.wait() == 0
        assert command.stdout.read() == b""
    assert "got one" not in swapbox.ok("logs", box)


def test_attach_passes_signals_on_unless_told_not_to(box: str, swapbox: Sandbox) -> None:
    with swapbox.start("attach", box) as command:
        wait_until(lambda: catches(command.pid, signal.SIGTERM), "it is attached")
        command.send_signal(signal.SIGTERM)
        assert command.stdout
        assert command.stdout.readline() == b"INIT got one\n"
        command.kill()
    with swapbox.start("attach", "--sig-proxy=false", box) as command:
        wait_until(lambda: catches(command.pid, signal.SIGTERM), "it is attached")
        insist(command.pid, lambda: command.poll() is None)
        assert command.wait() == 1
    assert swapbox.ok("logs", box).count("got one") == 1


def catches(pid: int, number: int) -> bool:
    """Whether a process handles a signal, other than by Python's own handler at its start."""
    with open(f"/proc/{pid}/status") as status:
        mask = int(re.findall(r"SigCgt:\s+(\w+)", status.read())[0], 16)
    return bool(mask & (1 << (number - 1)))


def test_a_terminal_can_be_attached_to_left_and_attached_to_again(
    person: Callable[..., Person], swapbox: Sandbox
) -> None:
    swapbox.ok("run", "-dit", "--name", "shell", "busybox", "sh")
    for number in (1, 2):
        somebody = person("attach", "shell", rows=20 + number, columns=90)
        before = somebody.attributes()
        somebody.type(f"stty size; echo $((20+{number}))\r")
        somebody.expect(f"{20 + number} 90\r\n{20 + number}\r\n")
        keeper = os.open(ptsname(somebody), os.O_RDWR | os.O_NOCTTY)
        somebody.type(b"\x10\x11")
        wait_until(lambda somebody=somebody: not somebody.child.isalive(), "it has ended")  # type: ignore[misc]
        assert somebody.child.exitstatus == 1
        assert somebody.attributes() == before
        somebody.expect("read escape sequence")
        os.close(keeper)


def test_a_created_terminal_is_started_with_this_ones_size(
    person: Callable[..., Person], swapbox: Sandbox
) -> None:
    swapbox.ok("create", "-it", "--name", "shell", *script("stty size; exec sh"))
    somebody = person("start", "-ai", "shell", rows=22, columns=77)
    somebody.expect("22 77\r\n")
    somebody.type("exit 9\r")
    assert somebody.leaves() == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("runs", [False, True])
def test_a_signal_leaves_a_started_terminal(number: int, runs: bool, swapbox: Sandbox) -> None:
    swapbox.ok("create", "-it", "--name", "shell", "busybox", "sh")
    if runs:
        swapbox.ok("start", "shell")
    with swapbox.start("start", "-a", "shell") as command:
        wait_until(
            lambda: swapbox.state("shell")["Running"] and catches(command.pid, signal.SIGTERM), "it is attached"
        )
        command.send_signal(number)
        assert command.wait() == 0
    assert swapbox.state("shell")["Running"]


@pytest.mark.parametrize("verb", ["attach", "start -ai", "exec -it", "run -it"])
def test_a_terminal_inside_wants_one_outside(verb: str, swapbox: Sandbox) -> None:
    swapbox.ok("run", "-dit", "--name", "shell", "busybox", "sh")
    target = ("busybox", "sh") if verb.startswith("run") else ("shell", "sh") if "exec" in verb else ("shell",)
    result = swapbox(*verb.split(), *target)
    assert (result.code, result.err) == (1, "the input device is not a TTY")


# -- pull ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [140, 80])
def test_a_pull_draws_and_leaves_the_last_states(columns: int, busybox_ref: str, empty_swapbox: Sandbox) -> None:
    somebody = Person(list(empty_swapbox.argv("pull", busybox_ref)), empty_swapbox.environment, columns=columns)
    assert somebody.leaves() == 0
    lines = [line.rstrip() for line in somebody.screen.display if line.strip()]
    layers = [line for line in lines if re.match(r"[0-9a-f]{12}: ", line)]
    assert layers
    assert {line[14:] for line in layers} <= {"Pull complete", "Already exists"}
    assert lines[0].startswith("latest: Pulling from")
    assert lines[-1] == busybox_ref


def test_run_draws_the_pull_on_stderr(busybox_ref: str, empty_swapbox: Sandbox) -> None:
    command = empty_swapbox.argv("run", "--rm", busybox_ref, "echo", "hello")
    somebody = Person(["/bin/sh", "-c", '"$@" | cat >/dev/null', "sh", *command], empty_swapbox.environment)
    assert somebody.leaves() == 0
    text = "\n".join(somebody.screen.display)
    assert "Pull complete" in text
    assert "hello" not in text


def test_a_detached_run_prints_the_id_alone(busybox_ref: str, empty_swapbox: Sandbox) -> None:
    result = empty_swapbox("run", "-d", busybox_ref, "true")
    assert re.fullmatch(r"[0-9a-f]{64}", result.out)
    assert "Pull complete" in result.err
    empty_swapbox.wait_exited(result.out)

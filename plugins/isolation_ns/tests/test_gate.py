"""The program at the start gate: its bytes are its source, and it does what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from swapbox_isolation_ns import gate

SOURCES = Path(__file__).parents[1] / "gate"
ASSEMBLERS = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def tool(machine: str, name: str) -> str:
    found = shutil.which(f"{ASSEMBLERS[machine]}-{name}")
    if found is None and os.uname().machine == machine:
        found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} of binutils for {machine}")
    return found


@pytest.mark.debian
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_bytes_are_what_the_source_assembles_to(machine: str, tmp_path: Path) -> None:
    assembler, objcopy = tool(machine, "as"), tool(machine, "objcopy")
    made, raw = tmp_path / "gate.o", tmp_path / "gate.bin"
    subprocess.run([assembler, "-o", made, SOURCES / f"{machine}.s"], check=True)
    subprocess.run([objcopy, "-O", "binary", "--only-section=.text", made, raw], check=True)
    assert raw.read_bytes() == gate.code(machine)


def test_the_whole_program_fits_a_page() -> None:
    assert all(len(gate.program(machine)) <= 4096 for machine in ASSEMBLERS)


class Run:
    """The gate's program in a child, with the other end of its gate."""

    def __init__(self, path: str, *args: str) -> None:
        program = gate.open_gate()
        reading, self.sign = os.pipe()
        self._out = os.memfd_create("out")
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(self._out, 2)
            os.dup2(self._out, 1)
            os.dup2(program, 10)
            os.dup2(reading, gate.FD)
            os.closerange(11, 100)
            os.execve(10, gate.arguments(path, args), {"A": "1"})
        os.close(reading)
        os.close(program)

    def end(self, sign: bytes) -> tuple[int, str]:
        if sign:
            os.write(self.sign, sign)
        os.close(self.sign)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        out = os.pread(self._out, 10000, 0).decode()
        os.close(self._out)
        return code, out


@pytest.mark.skipif(os.uname().machine not in ASSEMBLERS, reason="no gate for this machine")
class TestProgram:
    def test_it_executes_the_command_with_its_arguments_and_environment(self) -> None:
        assert Run("/bin/sh", "sh", "-c", 'echo "$0 $1 $A"', "x", "y").end(b"s") == (0, "x y 1\n")

    def test_it_waits_for_the_sign(self) -> None:
        run = Run("/bin/true", "true")
        assert os.waitpid(run.pid, os.WNOHANG) == (0, 0)
        assert run.end(b"s") == (0, "")

    def test_it_ends_when_nobody_can_give_the_sign_any_more(self) -> None:
        assert Run("/bin/true", "true").end(b"") == (255, "")

    @pytest.mark.parametrize(
        ("path", "reason"),
        [("/nope", "no such file or directory"), ("/", "permission denied"), ("/etc/passwd/x", "not a directory")],
    )
    def test_it_says_why_it_could_not(self, path: str, reason: str) -> None:
        assert Run(path, "x").end(b"s") == (255, f"exec {path}: {reason}\n")

    def test_nobody_can_change_it(self) -> None:
        fd = gate.open_gate()
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 1)):
            with pytest.raises(PermissionError):
                change()
        os.close(fd)

"""What the common commands and their monitors import stays within docs/import-budget.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

PAGE = (Path(__file__).parents[1] / "docs/import-budget.md").read_text()
BUDGETS = {name: int(most) for name, most in re.findall(r"^\| `(\w+)` \| (\d+) \|$", PAGE, re.MULTILINE)}
NEVER = set(re.findall(r"^\| `([\w.]+)` \| \d+.*\|.*\|$", PAGE, re.MULTILINE))

COMMANDS = {
    "version": ["version"],
    "ps": ["ps", "-a"],
    "images": ["images"],
    "logs": ["logs", "budget"],
    "run": ["run", "--rm", "--network", "none", "busybox", "true"],
    "exec": ["exec", "alive", "true"],
}
MONITORS = {"run": "monitor", "exec": "session"}
"""The budgets of the monitors of those commands that have one."""

PROGRAM = """
import os, sys
directory, command, leave = sys.argv[1], os.getpid(), os._exit

def tell_and_leave(code):
    name = "command" if os.getpid() == command else str(os.getpid())
    try:
        with open(f"{directory}/.{name}", "w") as file:
            file.write("\\n".join(sys.modules))
        os.rename(f"{directory}/.{name}", f"{directory}/{name}")
    except FileNotFoundError:  # what the monitor forks is in the container already
        pass
    leave(code)

os._exit = tell_and_leave
if len(sys.argv) == 2:
    os._exit(0)
from swapbox.cli import main
main(sys.argv[2:])
"""
"""Runs a command; it and every process that it forks write down what they had imported in the end.

What a monitor imports is not to be seen from outside otherwise: its standard error is ``/dev/null``.
"""


def imported(swapbox: Sandbox, directory: Path, *arguments: str) -> dict[str, set[str]]:
    """Return the modules of a command by process: ``command``, and ``monitor`` if it has one."""
    directory.mkdir()
    argv = [sys.executable, "-P", "-c", PROGRAM, str(directory), *arguments]
    subprocess.run(argv, check=True, capture_output=True, env=swapbox.environment)
    if not MONITORS.keys().isdisjoint(arguments):  # the command and the monitor
        wait_until(lambda: len(told(directory)) == 2, "both processes have ended")
    modules = told(directory)
    found = {"command": modules.pop("command")}
    if modules:
        found["monitor"] = max(modules.values(), key=len)
    return found


def told(directory: Path) -> dict[str, set[str]]:
    return {path.name: set(path.read_text().split()) for path in directory.glob("[!.]*")}


def test_the_page_has_a_budget_for_every_command() -> None:
    assert BUDGETS.keys() == {*COMMANDS, *MONITORS.values()}
    assert {"stevedore", "importlib.metadata", "requests", "pyroute2", "asyncio", "rich"} <= NEVER


@pytest.mark.root
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_keeps_its_budget(swapbox: Sandbox, command: str, tmp_path: Path) -> None:
    swapbox.ok("run", "--name", "budget", "--network", "none", "busybox", "echo", "hello")
    if command == "exec":
        swapbox.ok("run", "-d", "--name", "alive", "--network", "none", "busybox", "sleep", "1000")
    arguments = [*swapbox.prefix[1:], *COMMANDS[command]]
    imported(swapbox, tmp_path / "index", *arguments)  # the first run may have to make it
    python = imported(swapbox, tmp_path / "python")["command"]
    processes = imported(swapbox, tmp_path / "modules", *arguments)
    assert set(processes) == ({"command", "monitor"} if command in MONITORS else {"command"})
    for process, modules in processes.items():
        found, budget = modules - python, BUDGETS[MONITORS[command] if process == "monitor" else command]
        assert "swapbox.cli" in found
        assert found & NEVER == set()
        assert len(found) <= budget, (process, len(found), sorted(found))
    if command == "run":
        assert {"swapbox.containers.teardown", "swapbox_isolation_ns.driver"} <= processes["monitor"]
    if command == "exec":
        assert "swapbox_isolation_ns.driver" in processes["monitor"]
        assert {"swapbox.store.database", "swapbox_isolation_ns.create"}.isdisjoint(processes["monitor"])

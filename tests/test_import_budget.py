"""What the common commands import stays within docs/import-budget.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
}


def imported(program: str, environment: dict[str, str]) -> set[str]:
    """Return the modules that a Python program imports, as the interpreter reports them."""
    command = [sys.executable, "-P", "-X", "importtime", "-c", program]
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert outcome.returncode == 0, "\n".join(
        line for line in outcome.stderr.splitlines() if not line.startswith("import time:")
    )
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", outcome.stderr, re.MULTILINE))


def test_the_page_has_a_budget_for_every_command() -> None:
    assert BUDGETS.keys() == COMMANDS.keys()
    assert {"stevedore", "importlib.metadata", "requests", "pyroute2", "asyncio", "rich"} <= NEVER


@pytest.mark.root
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_keeps_its_budget(swapbox: Sandbox, command: str) -> None:
    swapbox.ok("run", "--name", "budget", "--network", "none", "busybox", "echo", "hello")
    arguments = ["--root", str(swapbox.root), "--run-root", str(swapbox.run_root), *COMMANDS[command]]
    program = f"from swapbox.cli import main; main({arguments!r})"
    imported(program, swapbox.environment)  # the first run may have to make the index
    found = imported(program, swapbox.environment) - imported("pass", swapbox.environment)
    assert "swapbox.cli" in found
    assert found & NEVER == set()
    assert len(found) <= BUDGETS[command], sorted(found)

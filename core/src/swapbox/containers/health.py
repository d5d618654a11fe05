"""Health checks: when they are made, how one is made, and what follows from it."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers.checker import Checker
from swapbox.containers.config import Healthcheck
from swapbox.containers.events import happened
from swapbox.containers.healthcheck import effective
from swapbox.containers.records import Container, Health, Probe
from swapbox.containers.session import exit_code
from swapbox.durations import SECOND
from swapbox.errors import CommandNotExecutable, SwapboxError

if TYPE_CHECKING:
    from swapbox.engine import Engine

_MILLISECOND = 10**6
_KEPT = 5
_OUTPUT = 4096
_COME_AGAIN, _COME_SOON = 0, 1
"""Exit statuses of the program: after the interval, or after that of the start period."""


def make_checker(engine: Engine, container: Container) -> Checker | None:
    """Return what checks a container that has just started; None when nothing is to be checked."""
    check = effective(container.config.healthcheck)
    engine.records.set_health(container.id, Health() if check else None)
    if check is None:
        return None
    from swapbox.containers.handover import interpreter, memory_file

    fd = memory_file({**interpreter(), "engine": engine.settings, "container": container.id})
    script = os.fspath(Path(__file__).with_name("probe.py"))
    delays = [check.interval // _MILLISECOND, check.start_interval // _MILLISECOND]
    first = delays[_COME_SOON if check.start_period else _COME_AGAIN]
    return Checker([sys.executable, "-I", "-S", script], fd, delays, time.monotonic() + first / 1000)


def check(engine: Engine, container_id: str) -> int:
    """Check a container's health once and record the result; return when to come again."""
    try:
        container = engine.records.find(container_id)
        config = effective(container.config.healthcheck)
        if config is None or container.state.status != "running":
            return _COME_AGAIN
        # By a clock that nobody sets in the middle of the start period.
        started = time.time_ns() - (container.state.init.age() if container.state.init else 0)
        probe = _run(engine, container, config)
        before = container.health or Health()
        after = judged(before, probe, config, started=started)
        engine.records.set_health(container_id, after)
        if after.status != before.status:
            happened(engine, container, f"health_status: {after.status}")
        return _COME_SOON if _starts(after, config, started=started) else _COME_AGAIN
    except SwapboxError:  # it has just ended, or was removed
        return _COME_AGAIN


def _starts(health: Health, config: Healthcheck, *, started: int) -> bool:
    return health.status == "starting" and time.time_ns() - started < config.start_period


def judged(before: Health, probe: Probe, config: Healthcheck, *, started: int) -> Health:
    """Return what is known of a container's health after one more check.

    A failure in the start period of a container that was never healthy does not count.
    """
    log = (*before.log, probe)[-_KEPT:]
    if probe.exit_code == 0:
        return Health("healthy", 0, log)
    if before.status == "starting" and probe.start - started < config.start_period:
        return Health("starting", before.streak, log)
    streak = before.streak + 1
    return Health("unhealthy" if streak >= config.retries else before.status, streak, log)


def command(check: Healthcheck, shell: Sequence[str]) -> list[str]:
    """Return what a check runs.

    :param shell: the image's ``Shell``, may be empty.
    """
    kind, *args = check.test
    return [*(shell or ("/bin/sh", "-c")), *args] if kind == "CMD-SHELL" else args


def _run(engine: Engine, container: Container, config: Healthcheck) -> Probe:
    from swapbox.containers.exec_order import Place
    from swapbox.containers.exec_run import run_process, tell_end, tell_exec
    from swapbox.containers.execute import process_of
    from swapbox.drivers.isolation import Stdio

    details: dict[str, Any] = {
        "args": command(config, container.config.shell_form),
        "env": (),
        "workdir": "",
        "user": "",
        "tty": False,
        "privileged": False,
        "console_size": None,
    }
    place, exec_id = Place.of(container), os.urandom(32).hex()
    start = time.time_ns()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    ours, theirs = os.pipe()
    try:
        process = process_of(engine, container, details)
        tell_exec(engine, place, details["args"], exec_id)
        pid = run_process(engine, place, process, Stdio(null, theirs, theirs))
    except CommandNotExecutable as error:
        return Probe(start, time.time_ns(), -1, error.message)
    os.close(theirs)
    output, in_time = _output(pid, ours, config.timeout)
    code = exit_code(os.waitpid(pid, 0)[1])
    tell_end(engine, place, exec_id, code)
    if not in_time:
        code, output = -1, f"Health check exceeded timeout ({config.timeout / SECOND:g}s)"
    return Probe(start, time.time_ns(), code, output)


def _output(pid: int, fd: int, timeout: int) -> tuple[str, bool]:
    """Read what a check says, to its end; one that takes longer than ``timeout`` nanoseconds is killed."""
    pidfd = os.pidfd_open(pid)
    os.set_blocking(fd, False)
    poll = select.poll()
    for one in (pidfd, fd):
        poll.register(one, select.POLLIN)
    deadline = time.monotonic_ns() + timeout
    data = b""
    while (left := deadline - time.monotonic_ns()) > 0:
        ready = [one for one, _ in poll.poll(left / _MILLISECOND)]
        if fd in ready:
            more = os.read(fd, 65536)
            data = (data + more)[:_OUTPUT]
            if not more:
                poll.unregister(fd)
        elif pidfd in ready:  # what it has left running may keep the pipe open
            return data.decode(errors="replace"), True
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return data.decode(errors="replace"), False

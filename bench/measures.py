"""What is measured. Each measure yields rounds; in a round every contender does the same work once, in turn."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

from contenders import Contender, enter_available
from swapbox.errors import Unavailable
from swapbox.testing import servers
from swapbox.testing.hosts import Host, host
from swapbox.testing.process import processes_naming, pss, rss
from swapbox.testing.sandbox import scratch, scratch_directory

Sample = tuple[str, float]
"""A contender's name and its value."""

CONTAINERS = 5
STOPPED = 500
BURST = 20
CROWD = 50
STREAM = 2
"""Seconds."""
SETTLED = 1.0
"""Seconds."""
_INIT = ("sleep", "1000000")


class Images(NamedTuple):
    """References to pull; empty are those that no measure of this run needs."""

    busybox: str
    debian: str = ""
    files: str = ""
    large: str = ""
    iperf: str = ""


class Measure(NamedTuple):
    """One row of the table.

    :param rounds: the usual number of rounds.
    :param unit: of Gbit/s more is better, of all others less.
    :param usual: part of a run that names no measures.
    :param image: the field of :class:`Images` that it needs beside busybox.
    """

    title: str
    unit: str
    rounds: int
    samples: Callable[[list[Contender], Images, int], Iterator[Sample]]
    usual: bool = True
    image: str = ""


def _timed(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def run(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Milliseconds of a container that does nothing, from the command's start to its end."""
    for number in range(rounds + 1):
        for contender in contenders:
            taken = _timed(lambda: contender.run("--rm", images.busybox, "true"))  # noqa: B023 (called at once)
            if number:  # the first round warms caches
                yield contender.name, taken * 1e3


def pull(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to receive and unpack an image; it is removed again between the rounds."""
    yield from _pull(contenders, images.debian, rounds)


def files(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to receive and unpack an image of many small files."""
    yield from _pull(contenders, images.files, rounds)


def _pull(contenders: list[Contender], image: str, rounds: int) -> Iterator[Sample]:
    for _ in range(rounds):
        for contender in contenders:
            command = ("pull", *contender.pull_options, image)
            yield contender.name, _timed(lambda: contender.engine.ok(*command))  # noqa: B023
            contender.engine.ok("rmi", image)


def present(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Milliseconds to find that an image is here already."""
    for number in range(rounds + 1):
        for contender in contenders:
            command = ("pull", *contender.pull_options, images.busybox)
            taken = _timed(lambda: contender.engine.ok(*command))  # noqa: B023 (called at once)
            if number:
                yield contender.name, taken * 1e3


def peak(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """MB that all processes of an engine have in memory at most while it pulls, the daemon's included."""
    for _ in range(rounds):
        for contender in contenders:
            with contender.engine.start("pull", *contender.pull_options, images.large) as running:
                most = 0
                while running.poll() is None:
                    now = sum(rss(process.pid) for process in processes_naming(contender.token))
                    most = max(most, now)
            if running.returncode:
                raise Unavailable(f"{contender.name} cannot pull {images.large}")
            yield contender.name, most / 1e6
            contender.engine.ok("rmi", images.large)


def push(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to send a pulled image to a registry that has nothing yet."""
    for contender in contenders:
        contender.engine.ok("pull", *contender.pull_options, images.debian)
    for number in range(rounds):
        for contender in contenders:
            with tempfile.TemporaryDirectory(dir=scratch_directory()) as directory:
                with servers.docker_registry(Path(directory)) as address:
                    there = f"{address}/pushed:{number}"
                    contender.engine.ok("tag", images.debian, there)
                    command = ("push", *contender.pull_options, there)
                    yield contender.name, _timed(lambda: contender.engine.ok(*command))  # noqa: B023
            contender.engine.ok("rmi", there)
    for contender in contenders:
        contender.engine.ok("rmi", images.debian)


def save(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to write an image to an archive."""
    yield from _archive(contenders, images, rounds, measured="save")


def load(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to read the archive that the engine itself has written."""
    yield from _archive(contenders, images, rounds, measured="load")


def _archive(contenders: list[Contender], images: Images, rounds: int, *, measured: str) -> Iterator[Sample]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch_directory()) as directory:
        for _ in range(rounds):
            for contender in contenders:
                path = f"{directory}/{contender.name}.tar"
                contender.engine.ok("pull", *contender.pull_options, images.debian)
                saved = _timed(lambda: contender.engine.ok("save", "-o", path, images.debian))  # noqa: B023
                contender.engine.ok("rmi", images.debian)
                loaded = _timed(lambda: contender.engine.ok("load", "-i", path))  # noqa: B023
                contender.engine.ok("rmi", images.debian)
                os.unlink(path)
                yield contender.name, saved if measured == "save" else loaded


def burst(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to start a number of detached containers one after another."""
    for _ in range(rounds):
        for contender in contenders:
            start = perf_counter()
            for _ in range(BURST):
                contender.run("-d", images.busybox, *_INIT)
            yield contender.name, perf_counter() - start
            contender.remove_containers()


def execute(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Milliseconds of one more command in a running container."""
    for contender in contenders:
        contender.run("-d", "--name", "idle", images.busybox, *_INIT)
    sleep(2 * SETTLED)  # until what has started them is at rest
    for number in range(rounds + 1):
        for contender in contenders:
            taken = _timed(lambda: contender.engine.ok("exec", "idle", "true"))  # noqa: B023 (called at once)
            if number:
                yield contender.name, taken * 1e3
    for contender in contenders:
        contender.remove_containers()


def remove(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to remove a number of running containers by force with one command."""
    for _ in range(rounds):
        for contender in contenders:
            names = [f"busy{number}" for number in range(BURST)]
            for name in names:
                contender.run("-d", "--name", name, images.busybox, *_INIT)
            sleep(2 * SETTLED)
            yield contender.name, _timed(lambda: contender.engine.ok("rm", *contender.remove_options, *names))  # noqa: B023


def memory(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """MB of what keeps one idle container: its monitor, shim or conmon, without the container's own process."""
    for _ in range(rounds):
        for contender in contenders:
            _start_idle(contender, images)
            keepers = _keepers(contender)
            yield contender.name, sum(map(pss, keepers)) / CONTAINERS / 1e6
            contender.remove_containers()


def _keepers(contender: Contender) -> frozenset[int]:
    def now() -> frozenset[int]:
        return frozenset(
            process.pid
            for process in processes_naming(contender.token)
            if process.pid not in contender.daemons and process.command.split() != list(_INIT)
        )

    # What starts a container lives a little longer than the command: take the set that stays the same for a while.
    last, since = now(), perf_counter()
    while perf_counter() - since < SETTLED:
        sleep(0.1)
        if (current := now()) != last:
            last, since = current, perf_counter()
    return last


def daemon(contenders: list[Contender], _images: Images, _rounds: int) -> Iterator[Sample]:
    """MB of the processes that serve all containers together."""
    for contender in contenders:
        yield contender.name, sum(map(pss, contender.daemons)) / 1e6


def _query(*command: str) -> Callable[[list[Contender], Images, int], Iterator[Sample]]:
    def samples(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
        for contender in contenders:
            _start_idle(contender, images)
        for number in range(rounds + 1):
            for contender in contenders:
                taken = _timed(lambda: contender.engine.ok(*command))  # noqa: B023 (called at once)
                if number:
                    yield contender.name, taken * 1e3
        for contender in contenders:
            contender.remove_containers()

    return samples


def ps(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Milliseconds to list many containers of which none runs."""
    for contender in contenders:
        for _ in range(STOPPED):
            contender.engine.ok("create", *contender.run_options, images.busybox, "true")
    for number in range(rounds + 1):
        for contender in contenders:
            taken = _timed(lambda: contender.engine.ok("ps", "-a"))  # noqa: B023 (called at once)
            if number:
                yield contender.name, taken * 1e3
    for contender in contenders:
        contender.remove_containers()


def log(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds until a container has got rid of 200 MB of 80-byte lines through the default log driver."""
    line, size = "x" * 79, 200_000_000
    for _ in range(rounds):
        for contender in contenders:
            with tempfile.TemporaryDirectory(dir=scratch_directory()) as shared:
                fifo = Path(shared) / "done"
                os.mkfifo(fifo)
                # The container ends the measurement itself: no engine's way of waiting is in the figure.
                script = f"yes {line} | head -c {size}; echo >/shared/done"
                start = perf_counter()
                contender.run("-d", "-v", f"{shared}:/shared", images.busybox, "sh", "-c", script)
                fifo.read_bytes()
                yield contender.name, perf_counter() - start
            contender.remove_containers()


def bridge(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Milliseconds of a container on the default bridge that does nothing."""
    with _on_hosts(contenders, images.busybox) as placed:
        yield from run([one.contender for one in placed], images, rounds)


def crowd(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to start many detached containers on one bridge, one after another."""
    yield from _crowd(contenders, images, rounds, lambda contender: [_join_crowd(contender, images, CROWD)])


def rush(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Seconds to start as many on one bridge by as many commands at once."""
    yield from _crowd(
        contenders, images, rounds, lambda contender: [_join_crowd(contender, images, 1) for _ in range(CROWD)]
    )


def _join_crowd(contender: Contender, images: Images, count: int) -> subprocess.Popen[bytes]:
    """Start a shell that starts containers one after another."""
    command = shlex.join(
        contender.engine.argv("run", *contender.run_options, "-d", "--network", "crowd", images.busybox, *_INIT)
    )
    script = f"for n in $(seq {count}); do {command} >/dev/null || exit; done"
    return subprocess.Popen(["sh", "-c", script], env=contender.engine.environment)


def _crowd(
    contenders: list[Contender],
    images: Images,
    rounds: int,
    start: Callable[[Contender], list[subprocess.Popen[bytes]]],
) -> Iterator[Sample]:
    with _on_hosts(contenders, images.busybox) as placed:
        for contender, _ in placed:
            contender.engine.ok("network", "create", "crowd")
        for _ in range(rounds):
            for contender, _ in placed:
                begin = perf_counter()
                codes = [command.wait() for command in start(contender)]
                yield contender.name, perf_counter() - begin
                assert not any(codes), f"{contender.name} could not start all of {CROWD}"
                contender.remove_containers()


def between(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Gbit/s from one container to another."""

    def client(contender: Contender, _host: Host, address: str) -> str:
        return contender.run("--rm", images.iperf, "iperf3", *_iperf(address))

    yield from _throughput(contenders, images, rounds, client)


def inward(contenders: list[Contender], images: Images, rounds: int) -> Iterator[Sample]:
    """Gbit/s from the host to a container."""

    def client(_contender: Contender, place: Host, address: str) -> str:
        return place.ok("iperf3", *_iperf(address))

    yield from _throughput(contenders, images, rounds, client)


def _iperf(address: str) -> tuple[str, ...]:
    return ("--client", address, "--time", str(STREAM), "--omit", "1", "--json")


def _throughput(
    contenders: list[Contender], images: Images, rounds: int, client: Callable[[Contender, Host, str], str]
) -> Iterator[Sample]:
    with _on_hosts(contenders, images.iperf) as placed:
        addresses = {}
        for contender, _ in placed:
            contender.run("-d", "--name", "server", images.iperf, "iperf3", "--server")
            address = ("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "server")
            addresses[contender.name] = contender.engine.ok(*address)
        sleep(SETTLED)  # until the servers listen
        for _ in range(rounds):
            for contender, place in placed:
                report = json.loads(client(contender, place, addresses[contender.name]))
                yield contender.name, report["end"]["sum_received"]["bits_per_second"] / 1e9


class Placed(NamedTuple):
    """A contender, and the host it lives on."""

    contender: Contender
    host: Host


@contextlib.contextmanager
def _on_hosts(contenders: list[Contender], image: str) -> Iterator[list[Placed]]:
    """Give engines that live each on a host of its own, a network namespace, and have an image.

    They are others than those of the other measures, so that the real host's links and rules are not touched.
    """
    with contextlib.ExitStack() as stack:
        placed: list[Placed] = []
        archive = stack.enter_context(scratch("bench-")) / "image.tar"
        contenders[0].engine.ok("pull", *contenders[0].pull_options, image)
        contenders[0].engine.ok("save", "-o", archive, image)
        for contender in contenders:
            own = stack.enter_context(host())
            for made in enter_available([contender.name], stack, enter=own.enter):
                made.engine.ok("load", "-i", archive)
                placed.append(Placed(made, own))
        yield placed


def _start_idle(contender: Contender, images: Images) -> None:
    for _ in range(CONTAINERS):
        contender.run("-d", images.busybox, *_INIT)


MEASURES = {
    "run": Measure("run --rm --network none IMAGE true", "ms", 15, run),
    "bridge": Measure("run --rm IMAGE true, on the default bridge", "ms", 15, bridge),
    "crowd": Measure(f"{CROWD} x run -d on one bridge, one after another", "s", 2, crowd),
    "rush": Measure(f"{CROWD} x run -d on one bridge, at once", "s", 2, rush),
    "between": Measure("throughput, container to container", "Gbit/s", 5, between, image="iperf"),
    "inward": Measure("throughput, host to container", "Gbit/s", 5, inward, image="iperf"),
    "pull": Measure("pull and unpack a 93 MB layer of 6,768 files", "s", 3, pull, image="debian"),
    "files": Measure("pull and unpack 20 layers of 60,000 small files", "s", 3, files, image="files"),
    "present": Measure("pull an image that is here", "ms", 15, present),
    "peak": Measure("peak memory (RSS) of a pull, 20 layers, 1.3 GB", "MB", 1, peak, image="large"),
    "push": Measure("push a 93 MB layer of 6,768 files", "s", 3, push, image="debian"),
    "save": Measure("save the same image", "s", 3, save, image="debian"),
    "load": Measure("load what was saved", "s", 3, load, image="debian"),
    "memory": Measure("resident memory (PSS) per idle container", "MB", 1, memory),
    "daemon": Measure("resident memory (PSS) of the daemon", "MB", 1, daemon),
    "ps": Measure(f"ps -a, {STOPPED} stopped containers", "ms", 20, ps),
    "images": Measure("images", "ms", 10, _query("images")),
    "burst": Measure(f"{BURST} x run -d, one after another", "s", 2, burst),
    "exec": Measure("exec CONTAINER true", "ms", 15, execute),
    "rm": Measure(f"rm -f of {BURST} running containers", "s", 2, remove),
    "log": Measure("200 MB of 80-byte lines to the log", "s", 1, log, usual=False),
}

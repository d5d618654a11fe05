"""The engines that are compared, each with data roots of its own on the same tmpfs, driven by its command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from swapbox.errors import SwapboxError, Unsupported
from swapbox.testing import servers
from swapbox.testing.process import Engine, processes_naming
from swapbox.testing.sandbox import sandbox, scratch

_NO_NETWORK = ("--network", "none")


class Contender(NamedTuple):
    """One engine, ready to run.

    :param token: names the engine's processes, see :func:`swapbox.testing.process.processes_naming`.
    :param run_options: make its ``run`` do the same work as the others'.
    :param pull_options: let its ``pull`` and ``push`` use a plain-HTTP registry.
    :param remove_options: let its ``rm`` kill at once.
    :param daemons: processes that serve all containers together.
    """

    name: str
    version: str
    engine: Engine
    token: str
    run_options: tuple[str, ...] = _NO_NETWORK
    pull_options: tuple[str, ...] = ()
    remove_options: tuple[str, ...] = ("--force",)
    daemons: frozenset[int] = frozenset()

    def run(self, *arguments: str) -> str:
        """Call ``run`` and return its output."""
        return self.engine.ok("run", *self.run_options, *arguments)

    def remove_containers(self) -> None:
        """Remove every container."""
        if containers := self.engine.ok("ps", "-a", "-q").split():
            self.engine.ok("rm", *self.remove_options, *containers)


@contextlib.contextmanager
def swapbox(enter: Sequence[str] = ()) -> Iterator[Contender]:
    """Give the swapbox installed beside this interpreter.

    :param enter: here and below: the beginning of a command line that leads into a network namespace; the engine
        has its default network there, and else none.
    """
    with sandbox(network="bridge" if enter else "none", enter=enter) as engine:
        try:
            version = engine("--version")
        except OSError as error:
            raise Unsupported(f"cannot run {engine.prefix[0]}: {error}") from None
        if version.code:
            last = version.err.rpartition("\n")[2]
            raise Unsupported(f"{engine.prefix[0]} does not work: {last}")
        options = () if enter else _NO_NETWORK
        yield Contender("swapbox", version.out.split()[-1], engine, engine.directory.name, run_options=options)


@contextlib.contextmanager
def docker(enter: Sequence[str] = ()) -> Iterator[Contender]:
    """Give Docker with a daemon of its own."""
    with scratch("bench-") as directory, servers.dockerd(directory, enter=enter) as engine:
        version = engine.ok("version", "--format", "{{.Server.Version}} (client {{.Client.Version}})")
        daemons = frozenset(process.pid for process in processes_naming(directory.name))
        options = () if enter else _NO_NETWORK
        yield Contender("docker", version, engine, directory.name, run_options=options, daemons=daemons)


@contextlib.contextmanager
def podman(enter: Sequence[str] = ()) -> Iterator[Contender]:
    """Give Podman with runc, and limits that need no CAP_SYS_RESOURCE, which its defaults do."""
    program = servers.require("podman", "podman")
    with scratch("bench-") as directory:
        engine = Engine(
            *enter,
            program,
            *("--root", directory / "root", "--runroot", directory / "run", "--tmpdir", directory / "tmp"),
            *("--network-config-dir", directory / "networks"),
            *("--runtime", servers.require("runc", "runc")),
            environment=servers.plain_environment(directory),
        )
        version = engine.ok("version", "--format", "{{.Client.Version}}")
        limits = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000")
        made = Contender(
            "podman",
            version,
            engine,
            directory.name,
            run_options=(*(() if enter else _NO_NETWORK), *limits),
            pull_options=("--tls-verify=false",),
            remove_options=("--force", "--time", "0"),
        )
        try:
            yield made
        finally:
            made.remove_containers()


ALL: dict[str, Callable[..., contextlib.AbstractContextManager[Contender]]] = {
    "swapbox": swapbox,
    "docker": docker,
    "podman": podman,
}


def enter_available(
    names: list[str], stack: contextlib.ExitStack, *, enter: Sequence[str] = ()
) -> list[Contender]:
    """Start the named engines; say on stderr which cannot take part, and why."""
    started = []
    for name in names:
        try:
            started.append(stack.enter_context(ALL[name](enter)))
        except SwapboxError as error:
            print(f"without {name}: {error}", file=sys.stderr)
    return started

"""A swapbox that lives on a host of its own, a network namespace, with another host beside it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from swapbox.testing.hosts import Host, host, join
from swapbox.testing.process import Engine, processes_naming, wait_until
from swapbox.testing.sandbox import Sandbox, sandbox

SERVER = ("busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
INSIDE, OUTSIDE = "10.231.7.1", "10.231.7.2"
"""The address of the host with swapbox, and of the other one."""


class World(NamedTuple):
    """A host with swapbox, another host, and swapbox itself.

    :param plain: the same swapbox without the words that lead into its host's namespace.
    """

    host: Host
    other: Host
    swapbox: Sandbox
    plain: Engine

    def fetch(self, place: Host, address: str) -> str:
        """Return what a host gets from a published port; empty when it gets nothing."""
        return place("curl", "-sS", "-m", "5", f"http://{address}/hostname").out

    def inside(self, name: str, address: str, port: int, *, seconds: int = 5) -> str:
        """Return what a container gets from an address."""
        script = f"printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | nc -w {seconds} {address} {port} | tail -n 1"
        return self.swapbox("exec", name, "sh", "-c", script).out

    def server(self, name: str, *options: str) -> str:
        """Start a web server, and return its host name, which it serves."""
        identity = self.swapbox.ok("run", "-d", "--name", name, *options, *SERVER)
        wait_until(
            lambda: self.swapbox("exec", name, "nc", "-w", "1", "127.0.0.1", "80").code == 0, f"{name} serves"
        )
        return identity[:12]

    def resolvers(self) -> list[str]:
        """Return the name servers that run."""
        token = self.swapbox.directory.name
        return [one.command for one in processes_naming(token) if "swapbox.networks.resolver" in one.command]

    def left(self) -> set[str]:
        """Return what is on the host but bridges and the rules of networks."""
        rules = {name for name in self.host.tables() if name.count("_") > 1}
        return rules | {name for name in self.host.links() if name.startswith("veth")}

    def assert_nothing_left(self) -> None:
        """Wait until no link, rule or lease of a container is left."""
        wait_until(lambda: self.left() == set(), "links and rules are gone")
        for network in self.swapbox.ok("network", "ls", "-q").split():
            assert self.members(network) == []

    def members(self, network: str) -> list[dict[str, str]]:
        """Return what ``network inspect`` says of the containers in a network."""
        (document,) = json.loads(self.swapbox.ok("network", "inspect", network))
        return list(document["Containers"].values())

    def counts(self) -> dict[str, int]:
        """Return how many there are of everything that networks of containers are made of."""
        links, tables = self.host.links(), self.host.tables()
        return {
            "bridges": sum(name.startswith("br-") for name in links),
            "links": sum(name.startswith("veth") for name in links),
            "tables of networks": sum(name.count("_") == 1 for name in tables),
            "tables of ports": sum(name.count("_") == 2 for name in tables),
            "namespaces": len(self._namespaces()),
            "name servers": len(self.resolvers()),
            "leases": self._rows("endpoints WHERE id != '' OR ipv4 IS NOT NULL OR ipv6 IS NOT NULL"),
            "places": self._rows("endpoints"),
            "ports": self._rows("published_ports"),
        }

    def _namespaces(self) -> set[str]:
        """Return the network namespaces of containers: whoever lives in one has a file or a mount of swapbox's."""
        found = set()
        for process in processes_naming(self.swapbox.directory.name):
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                found.add(os.readlink(f"/proc/{process.pid}/ns/net"))
        return found - {os.readlink(f"/proc/{self.host.pid}/ns/net"), os.readlink("/proc/self/ns/net")}

    def _rows(self, table: str) -> int:
        with contextlib.closing(sqlite3.connect(self.swapbox.root / "db.sqlite", timeout=30)) as database:
            number: int = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            return number


@contextlib.contextmanager
def world(*images: str, through: Sequence[str] = ()) -> Iterator[World]:
    """Make a world whose swapbox has some images of a registry, each also under the last part of its name.

    :param through: the beginning of every command line of swapbox, inside its host's namespace.
    """
    with host() as own, host() as other, sandbox(network="bridge", enter=(*own.enter, *through)) as swapbox:
        join(own, other)
        entering = len(own.enter) + len(through)
        plain = Engine(*swapbox.prefix[entering:], environment=swapbox.environment)
        for image in images:
            plain.ok("pull", image)
            plain.ok("tag", image, image.rpartition("/")[2].partition(":")[0])
        yield World(own, other, swapbox, plain)
        swapbox.remove_containers()
        swapbox.ok("network", "prune", "-f")  # so that name servers end at once

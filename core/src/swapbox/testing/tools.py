"""Images of programs of this host that tests talk to the network with: nginx, dig, curl, iperf3."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from swapbox.errors import NotFound, Unsupported
from swapbox.images.closure import Closure, Node, find
from swapbox.testing.images import Entry, Image, directory, file, image_of, layer_of, symlink

PACKAGES = {"nginx": "nginx", "dig": "bind9-dnsutils", "curl": "curl", "iperf3": "iperf3"}
"""The Debian package of each program."""

_NGINX = b"""user root;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr;
events {}
http {
  access_log off;
  server {
    listen 80;
    listen [::]:80;
    location / { return 200 "$hostname\\n"; }
    location /peer { return 200 "$remote_addr\\n"; }
  }
}
"""


def iperf_image() -> Image:
    """Make a small image with nothing but iperf3.

    :raises Unsupported: it is not installed.
    """
    return image_of([layer_of(_files("iperf3"))])


def network_image() -> Image:
    """Make an image of the host's :data:`PACKAGES` and a shell; its nginx says its host name, or who asks.

    :raises Unsupported: one of them is not installed.
    """
    return image_of([layer_of([*_files("sh", "cat", "sleep", "tr", *PACKAGES), *_nginx()], level=1)])


def _files(*programs: str) -> list[Entry]:
    """Return programs of this host with the libraries they need."""
    closure = Closure()
    for program in programs:
        try:
            closure.add_program(find(program))
        except NotFound as error:
            raise Unsupported(
                error.message, hint=f"install the package {PACKAGES.get(program, program)}"
            ) from error
    return [_entry(path.lstrip("/"), node) for path, node in sorted(closure.nodes.items())]


def _entry(name: str, node: Node) -> Entry:
    if node.target is not None:
        return symlink(name, node.target)
    mode = stat.S_IMODE(node.mode)
    if stat.S_ISDIR(node.mode):
        return directory(name, mode=mode)
    return file(name, node.source.read_bytes() if node.source else node.data, mode=mode)


def _nginx() -> Iterator[Entry]:
    for name in ("etc/nginx", "run", "var", "var/lib", "var/lib/nginx", "var/log", "var/log/nginx"):
        yield directory(name)
    yield file("etc/nginx/nginx.conf", _NGINX)

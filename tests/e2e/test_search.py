"""``search`` beside Docker's, over an index as Docker Hub's; and in the catalog of a registry without one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from swapbox.testing.process import Engine
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox

LONG = "A minimal image with a complete package index and a description that does not fit"
RESULTS = [
    {"name": "alpine", "description": LONG, "star_count": 100, "is_official": True},
    {"name": "ann/tool", "description": "line one\nline two", "star_count": 3, "is_official": False},
    {"name": "bob/big", "description": "", "star_count": 50, "is_official": False},
]


class _Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path.startswith(("/v1/search?", "/v1/_ping"))
        body = json.dumps({"num_results": len(RESULTS), "results": RESULTS}).encode() if known else b""
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    """``host:port`` of something that answers searches as Docker Hub does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Index)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


CASES = [
    ["HOST/al"],
    ["--no-trunc", "HOST/ann/tool"],
    ["-f", "stars=10", "HOST/al"],
    ["-f", "is-official=true", "HOST/al"],
    ["-f", "is-official=false", "--filter", "stars=4", "HOST/al"],
    ["--format", "json", "HOST/al"],
    ["--format", "{{.Name}} {{.IsOfficial}} {{.StarCount}}", "HOST/al"],
    ["--format", "table {{.Name}}\\t{{.IsOfficial}}", "HOST/al"],
    ["--format", "{{.IsAutomated}}", "HOST/al"],
    ["--limit", "200", "HOST/al"],
    ["--limit", "x", "HOST/al"],
    ["-f", "is-official=x", "HOST/al"],
    ["-f", "stars=x", "HOST/al"],
    ["-f", "nope=1", "HOST/al"],
    [],
]


def test_a_search_shows_what_dockers_does(docker: Engine, empty_swapbox: Sandbox, index: str) -> None:
    for case in CASES:
        words = [word.replace("HOST", index) for word in case]
        ours, theirs = empty_swapbox("search", *words), docker("search", *words)
        assert (ours.code, ours.out) == (theirs.code, theirs.out), case
        said = theirs.err.replace("Error response from daemon: ", "Error: ").replace("docker", "swapbox")
        assert ours.err.lower() == said.lower(), case


def test_a_registry_without_a_search_has_a_catalog(empty_swapbox: Sandbox, fake_registry: RegistryServer) -> None:
    for name in ("demo/app", "demo/other", "tools/App"):
        fake_registry.add_image(name.lower(), layers=[b"layer"])
    host = fake_registry.host
    assert empty_swapbox.ok("search", "--format", "{{.Name}}", f"{host}/APP").split() == [
        f"{host}/demo/app",
        f"{host}/tools/app",
    ]
    assert empty_swapbox.ok("search", "--limit", "1", "--format", "{{.Name}}", f"{host}/").split() == [
        f"{host}/demo/app"
    ]
    offline = {"SWAPBOX_OFFLINE": "1"}
    empty_swapbox("search", f"{host}/app", env=offline).fails(1, "offline")
    empty_swapbox("search", "https://quay.io/app").fails(1, "should not have a scheme")

"""``import``: the files of an archive become an image."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from swapbox import Engine
from swapbox.errors import DataError, InvalidInput, NotFound, Unavailable
from swapbox.images.imports import ImportOptions, import_archive, opened_url

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for owners of files")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(root=tmp_path / "root", run_root=tmp_path / "run", storage="vfs", environment={}) as engine:
        yield engine


def files(*names: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"hi"))
    return data.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_the_files_of_an_archive_become_a_layer(engine: Engine, pack: type[bytes]) -> None:
    image = import_archive(engine, io.BytesIO(pack(files("one", "two"))), ImportOptions("app:1", comment="why"))
    assert image.names == ("docker.io/library/app:1",)
    assert len(image.diff_ids) == 1
    assert image.config["comment"] == image.config["history"][0]["comment"] == "why"
    (mount,) = engine.selector.open("storage").view("look", image.top_chain)
    assert {path.name for path in Path(str(mount.source)).iterdir()} == {"one", "two"}
    actions = [event.action for event in engine.events.read()]
    assert actions == ["tag", "import"]


def test_instructions_make_its_configuration(engine: Engine) -> None:
    changes = ["ENV A=b", 'CMD ["sh"]\nWORKDIR /srv']
    image = import_archive(engine, io.BytesIO(files("one")), ImportOptions(changes=changes))
    assert image.config["config"] == {"Env": ["A=b"], "Cmd": ["sh"], "WorkingDir": "/srv"}
    assert image.names == ()


def test_it_is_for_the_platform_that_was_said(engine: Engine) -> None:
    image = import_archive(engine, io.BytesIO(files("one")), ImportOptions(platform="linux/arm/v6"))
    config = image.config
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm", "v6")


@pytest.mark.parametrize(
    ("data", "options", "error"),
    [
        (b"junk" * 1000, ImportOptions(), DataError),
        (files("one")[:600], ImportOptions(), DataError),
        (gzip.compress(files("one"), mtime=0)[:50], ImportOptions(), DataError),
        (files("../one"), ImportOptions(), DataError),
        (files("one"), ImportOptions(changes=["RUN x"]), InvalidInput),
        (files("one"), ImportOptions("UPPER"), InvalidInput),
        (files("one"), ImportOptions(f"app@sha256:{'0' * 64}"), InvalidInput),
    ],
)
def test_what_is_wrong_leaves_nothing(
    engine: Engine, data: bytes, options: ImportOptions, error: type[Exception]
) -> None:
    with pytest.raises(error):
        import_archive(engine, io.BytesIO(data), options)
    assert engine.images.all() == []
    assert list(engine.content.walk()) == []
    assert list(engine.selector.open("storage").walk()) == []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = files("one")
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:700] if self.path == "/short" else body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_archive_comes_from_a_url(engine: Engine, url: str) -> None:
    with opened_url(f"{url}/files.tar") as source:
        assert import_archive(engine, source, ImportOptions("app")).diff_ids
    with pytest.raises(NotFound, match=f"failed to GET {url}/missing with status 404 Not Found"):
        with opened_url(f"{url}/missing"):
            pass
    with pytest.raises(Unavailable, match="broke off"), opened_url(f"{url}/short") as source:
        import_archive(engine, source, ImportOptions())
    with pytest.raises(Unavailable, match=r"cannot get http://127\.0\.0\.1:1/: connection refused"):
        with opened_url("http://127.0.0.1:1/"):
            pass

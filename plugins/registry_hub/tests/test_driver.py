"""What the contract does not ask: log-ins, redirects, resumption, proxies, odd registries."""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from urllib3.connection import HTTPConnection

from swapbox.descriptors import OCI_MANIFEST, Descriptor, digest_of
from swapbox.errors import (
    DataError,
    InvalidInput,
    NotFound,
    PermissionDenied,
    SwapboxError,
    Unavailable,
    Unsupported,
)
from swapbox.images.pull import pull
from swapbox.references import Reference
from swapbox.store.content import ContentStore
from swapbox.testing.images import file, image_of, layer_of
from swapbox.testing.publish import push
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.servers import docker_registry
from swapbox_registry_hub import challenges
from swapbox_registry_hub.credentials import Credentials, Keyring
from swapbox_registry_hub.driver import Driver
from swapbox_registry_hub.hosts import Hosts
from swapbox_registry_hub.login import Login
from swapbox_registry_hub.patience import Patience
from swapbox_registry_hub.transport import Transport
from swapbox_registry_hub.wire import content_length

BLOB = os.urandom(300_000)
LAYER = Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(BLOB), len(BLOB))

Make = Callable[..., Driver]


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        server.add_image("demo/app", layers=[BLOB])
        yield server


@pytest.fixture
def app(server: RegistryServer) -> Reference:
    return server.reference("demo/app")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make drivers whose log-ins are the given ``config.json``."""
    made: list[Driver] = []

    def make_driver(config: object = None, *, sleep: Callable[[float], object] = lambda _: None) -> Driver:
        (tmp_path / "config.json").write_text(json.dumps(config or {}))
        keyring = Keyring(environ={"DOCKER_CONFIG": str(tmp_path)}, warn=pytest.fail)
        made.append(Driver(timeout=5.0, keyring=keyring, patience=Patience(sleep=sleep)))
        return made[-1]

    yield make_driver
    for driver in made:
        driver.close()


def _auths(host: str, name: str, password: str) -> dict[str, object]:
    return {"auths": {host: {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}}}


def _paths(server: RegistryServer) -> list[str]:
    return [request.path.partition("?")[0] for request in server.requests]


# -- log-in -------------------------------------------------------------------------------------------------------


def test_a_bearer_token_is_bought_once_for_a_repository(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    server.faults.auth = "bearer"
    driver = make()
    image = driver.resolve(app)
    driver.manifest(app, image)
    list(driver.tags(app))
    assert _paths(server).count("/token") == 1
    driver.tags(app._replace(path="demo/other"))
    assert "scope=repository%3Ademo%2Fapp%3Apull%2Cpush" in next(
        r.path for r in server.requests if "/token" in r.path
    )


def test_a_token_that_the_registry_forgot_is_bought_again(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    server.faults.auth = "bearer"
    driver = make()
    driver.resolve(app)
    server.tokens.clear()
    driver.resolve(app)
    assert _paths(server).count("/token") == 2


def test_an_expired_token_is_not_sent(server: RegistryServer, app: Reference) -> None:
    server.faults.auth, server.faults.token_life = "bearer", 100
    now = [0.0]
    login = Login(Keyring(environ={}, warn=pytest.fail), clock=lambda: now[0])
    transport = Transport(login, timeout=5.0)
    transport.request("GET", transport.url(app, "tags/list"), reference=app, headers={}).close()
    assert login.known(app) is not None
    now[0] = 99.0
    assert login.known(app) is None
    transport.close()


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_the_log_in_of_docker_is_used(server: RegistryServer, app: Reference, make: Make, kind: str) -> None:
    server.faults.auth, server.faults.users = kind, {"ann": "se:cret"}
    assert make(_auths(server.host, "ann", "se:cret")).resolve(app).media_type == OCI_MANIFEST


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_wrong_password_is_permission_denied(
    server: RegistryServer, app: Reference, make: Make, kind: str
) -> None:
    server.faults.auth, server.faults.users = kind, {"ann": "secret"}
    with pytest.raises(PermissionDenied) as caught:
        make(_auths(server.host, "ann", "wrong")).resolve(app)
    assert "swapbox login" in (caught.value.hint or "")


def test_an_identity_token_buys_a_bearer_token(server: RegistryServer, app: Reference, make: Make) -> None:
    server.faults.auth, server.faults.users = "bearer", {"ann": "identity"}
    make({"auths": {server.host: {"identitytoken": "identity"}}}).resolve(app)
    assert ("POST", "/token") in [request[:2] for request in server.requests]


def test_a_registry_token_is_sent_as_it_is(server: RegistryServer, app: Reference, make: Make) -> None:
    server.faults.auth = "bearer"
    server.tokens.add("mine")
    make({"auths": {server.host: {"registrytoken": "mine"}}}).resolve(app)
    assert "/token" not in _paths(server)


def test_a_password_is_not_sent_in_clear_to_a_distant_token_service(app: Reference) -> None:
    keyring = Keyring(
        environ={"DOCKER_AUTH_CONFIG": json.dumps(_auths(app.host, "ann", "secret"))}, warn=pytest.fail
    )
    with pytest.raises(PermissionDenied, match="in clear"):
        Login(keyring).answer('Bearer realm="http://auth.example/token"', app, refused=None, send=pytest.fail)  # type: ignore[arg-type]


@pytest.mark.parametrize("realm", ["", "nowhere", "http://[", "file:///etc/passwd"])
def test_a_token_service_that_is_no_address_is_a_data_error(app: Reference, realm: str) -> None:
    with pytest.raises(DataError, match="invalid token service"):
        Login(Keyring(environ={}, warn=pytest.fail)).answer(
            f'Bearer realm="{realm}"',
            app,
            refused=None,
            send=pytest.fail,  # type: ignore[arg-type]
        )


def test_a_host_in_capitals_is_the_same_host(server: RegistryServer, make: Make) -> None:
    server.faults.auth, server.faults.users = "basic", {"ann": "secret"}
    host = f"LOCALHOST:{server.host.rpartition(':')[2]}"
    assert make(_auths(host, "ann", "secret")).resolve(Reference(host, "demo/app", "latest"))


def test_a_helper_is_asked_for_its_host_alone(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        f"#!{sys.executable}\nimport json, sys\nhost = sys.stdin.read()\n"
        "if host != 'ghcr.io': sys.exit('credentials not found in native keychain')\n"
        "print(json.dumps({'ServerURL': host, 'Username': '<token>', 'Secret': 'identity'}))\n"
    )
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "test", "credHelpers": {"quay.io": "none"}}))
    warnings: list[str] = []
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path)}
    keyring = Keyring(environ=environ, warn=warnings.append)
    assert keyring.get("ghcr.io") == Credentials(identity_token="identity")
    assert keyring.get("docker.io") is None
    assert warnings == []
    assert keyring.get("quay.io") is None
    assert "docker-credential-none" in warnings[0]


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "https://registry-1.docker.io", "index.docker.io"]
)
def test_docker_hub_is_found_under_each_of_its_names(key: str) -> None:
    keyring = Keyring(environ={"DOCKER_AUTH_CONFIG": json.dumps(_auths(key, "ann", "secret"))}, warn=pytest.fail)
    assert keyring.get("docker.io") == Credentials("ann", "secret")
    assert keyring.get("ghcr.io") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": 3}', '{"auths": {"ghcr.io": {"auth": "!"}}}', '{"auths": {"ghcr.io": 1}}']
)
def test_a_broken_configuration_means_anonymous(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert Keyring(environ={"DOCKER_CONFIG": str(tmp_path)}, warn=lambda _: None).get("ghcr.io") is None


_TOKEN_SERVICE = {"realm": "https://a/b", "service": "x,y", "scope": "repository:a:pull,push"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/b",service="x,y", scope="repository:a:pull,push"',
            [("bearer", _TOKEN_SERVICE)],
        ),
        ('Basic realm="a", Bearer realm=b', [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
        (r'Basic realm="say \"hi\""', [("basic", {"realm": 'say "hi"'})]),
        ("Negotiate", [("negotiate", {})]),
        ('realm="x"', []),
        ("", []),
    ],
)
def test_challenges_are_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert challenges.parse(header) == expected


# -- transfer -----------------------------------------------------------------------------------------------------


def test_a_log_in_does_not_follow_a_redirect_to_another_host(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    with RegistryServer() as elsewhere:
        elsewhere.add_blob(BLOB)
        server.faults.auth, server.faults.users = "basic", {"ann": "secret"}
        server.faults.redirect_blobs = f"http://{elsewhere.host}"
        with make(_auths(server.host, "ann", "secret")).open_blob(app, LAYER) as reader:
            assert reader.read() == BLOB
        assert any("authorization" in request.headers for request in server.requests)
        assert elsewhere.requests
        assert not any("authorization" in request.headers for request in elsewhere.requests)


def test_a_host_that_is_redirected_to_cannot_ask_for_the_log_in(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    with RegistryServer() as elsewhere:
        elsewhere.faults.auth = "bearer"
        server.faults.auth, server.faults.users = "basic", {"ann": "secret"}
        server.faults.redirect_blobs = f"http://{elsewhere.host}"
        with pytest.raises(PermissionDenied):
            make(_auths(server.host, "ann", "secret")).open_blob(app, LAYER)
        assert not any("authorization" in request.headers for request in elsewhere.requests)


def test_another_host_that_sells_the_tokens_gets_no_log_in(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    with RegistryServer() as elsewhere:
        server.faults.auth, server.faults.users = "bearer", {"ann": "secret"}
        server.faults.redirect_tokens = f"http://{elsewhere.host}"
        with pytest.raises(PermissionDenied):
            make(_auths(server.host, "ann", "secret")).resolve(app)
        assert set(_paths(elsewhere)) == {"/token"}
        assert not any("authorization" in request.headers for request in elsewhere.requests)
        elsewhere.requests.clear()
        with pytest.raises(Unsupported, match="307"):  # a refresh token would go along
            make({"auths": {server.host: {"identitytoken": "secret"}}}).resolve(app)
        assert elsewhere.requests == []


def test_redirects_have_an_end(server: RegistryServer, app: Reference, make: Make) -> None:
    server.faults.redirect_blobs = f"http://{server.host}"
    with pytest.raises(Unavailable, match="redirects more than"):
        make().open_blob(app, LAYER)


@pytest.mark.parametrize("place", ["file:///etc/passwd?", "http://[", "http://host:99999", "//[x]/"])
def test_a_redirect_leads_to_http_alone(server: RegistryServer, app: Reference, make: Make, place: str) -> None:
    server.faults.redirect_blobs = place
    with pytest.raises(SwapboxError, match=r"redirects to |IP"):
        make().open_blob(app, LAYER)


@pytest.mark.parametrize("place", ["http://[x", "//host:99999/v2/", "file:///etc/passwd", "http://other/v2/"])
def test_tags_continue_at_the_same_registry_alone(make: Make, place: str) -> None:
    class Odd(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Link", f'<{place}>; rel="next"')
            self.send_header("Content-Length", "12")
            self.end_headers()
            self.wfile.write(b'{"tags": []}')

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Odd) as odd:
        thread = threading.Thread(target=odd.serve_forever, args=(0.01,))
        thread.start()
        try:
            with pytest.raises(DataError, match="registry continues its tags at"):
                list(make().tags(Reference(f"127.0.0.1:{odd.server_port}", "app")))
        finally:
            odd.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["[:::]:5000", "[1]", "host.example:99999", "host.example:0"])
def test_a_host_that_can_be_none_is_named(make: Make, host: str) -> None:
    with pytest.raises(InvalidInput, match="invalid registry host"):
        make().resolve(Reference(host, "app", "latest"))


def test_a_blob_resumes_at_its_offset_if_it_is_still_the_same(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    driver = make()
    driver.open_blob(app, LAYER).close()
    with driver.open_blob(app, LAYER, offset=1000) as reader:
        assert reader.offset == 1000
        assert reader.read() == BLOB[1000:]
    assert server.requests[-1].headers["range"] == "bytes=1000-"
    assert server.requests[-1].headers["if-range"] == f'"{LAYER.digest}"'


def test_a_range_that_cannot_be_satisfied_starts_again(server: RegistryServer, app: Reference, make: Make) -> None:
    server.faults.bad_ranges = True
    with make().open_blob(app, LAYER, offset=1000) as reader:
        assert reader.offset == 0
        assert reader.read() == BLOB


def test_a_blob_of_another_length_is_a_data_error(server: RegistryServer, app: Reference, make: Make) -> None:
    with pytest.raises(DataError, match="300000 bytes instead of 5"):
        make().open_blob(app, LAYER._replace(size=5))


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("12", 12), ("", None), ("-1", None), ("1.5", None), ("9" * 5000, None)]
)
def test_a_length_is_a_number_or_unknown(text: str, expected: int | None) -> None:
    response = requests.Response()
    response.headers["Content-Length"] = text
    assert content_length(response) == expected


def test_closing_from_another_thread_ends_a_read_that_waits(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    server.faults.stall = 100_000
    reader = make().open_blob(app, LAYER)
    assert len(reader.read(1000)) == 1000
    closer = threading.Thread(target=reader.close)

    def read_on() -> None:
        closer.start()
        reader.read()

    with pytest.raises(Unavailable):
        read_on()
    closer.join()


def test_an_interrupt_ends_a_pull_that_hangs(server: RegistryServer, tmp_path: Path) -> None:
    server.faults.stall = 100_000
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from swapbox.images.pull import pull\nfrom swapbox.references import Reference\n"
        "from swapbox.store.content import ContentStore\nfrom swapbox_registry_hub.driver import Driver\n"
        "class Told:\n    def message(self, text): pass\n"
        "    def layer(self, digest, status, current=0, total=0): print(current, flush=True)\n"
        "driver = Driver.from_options({}, warn=print)\n"
        "content = ContentStore(Path(sys.argv[2]))\n"
        "pull(Reference.parse(sys.argv[1]), registry=driver, content=content, progress=Told())"
    )
    command = [sys.executable, "-c", code, str(server.reference("demo/app")), str(tmp_path / "content")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.stderr.read()


def test_a_connection_that_the_server_closed_is_made_again(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    driver = make()
    driver.resolve(app)
    server.disconnect()
    assert driver.resolve(app).media_type == OCI_MANIFEST


def test_one_connection_is_enough_for_one_thing_after_another(
    server: RegistryServer, app: Reference, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further one would cost a handshake, with TLS two or three times the way to the registry."""
    made: list[str] = []
    connect = HTTPConnection.connect

    def noted(self: HTTPConnection) -> None:
        made.append(self.host)
        connect(self)

    monkeypatch.setattr(HTTPConnection, "connect", noted)
    server.faults.auth = "bearer"
    driver = make()
    image = driver.resolve(app)
    driver.manifest(app, image)
    with driver.open_blob(app, LAYER) as reader:
        assert reader.read() == BLOB
    assert driver.has_blob(app, LAYER)
    assert not driver.has_blob(app, LAYER._replace(digest=f"sha256:{'0' * 64}"))
    assert len(made) == 1


def test_retry_after_is_obeyed_and_bounded(server: RegistryServer, app: Reference, make: Make) -> None:
    slept: list[float] = []
    driver = make(sleep=slept.append)
    server.faults.refuse, server.faults.retry_after = [429, 503], 7
    driver.resolve(app)
    assert slept == [7.0, 7.0]
    server.faults.refuse, server.faults.retry_after = [429], 3600
    with pytest.raises(Unavailable):
        driver.resolve(app)
    assert slept == [7.0, 7.0]


def test_a_failing_token_service_is_asked_again(server: RegistryServer, app: Reference, make: Make) -> None:
    slept: list[float] = []
    server.faults.auth, server.faults.refuse_tokens = "bearer", [503, 502]
    make(sleep=slept.append).resolve(app)
    assert slept == [0.5, 1.0]
    server.faults.refuse_tokens = [503] * 4
    with pytest.raises(Unavailable, match="503 Service Unavailable"):
        make(sleep=slept.append).resolve(app)
    server.faults.refuse_tokens = [429]
    with pytest.raises(Unavailable, match="too many requests"):
        make(sleep=slept.append).resolve(app)


def test_a_failing_registry_is_asked_less_and_less_often(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    slept: list[float] = []
    server.faults.refuse = [502] * 4
    with pytest.raises(Unavailable, match="502 Bad Gateway"):
        make(sleep=slept.append).resolve(app)
    assert slept == [0.5, 1.0, 2.0]


# -- manifests and tags -------------------------------------------------------------------------------------------


def test_a_registry_without_head_is_resolved_by_content(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    server.faults.head = False
    assert make().resolve(app).digest == server.add_image("demo/app", layers=[BLOB]).digest


def test_a_vague_content_type_is_replaced_by_what_the_manifest_says(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    key = ("demo/app", "latest")
    server.manifests[key] = server.manifests[key]._replace(media_type="application/json")
    assert make().resolve(app).media_type == OCI_MANIFEST


def test_a_manifest_of_another_digest_than_was_asked_for_is_a_data_error(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    wanted = f"sha256:{'1' * 64}"
    server.manifests["demo/app", wanted] = server.manifests["demo/app", "latest"]
    with pytest.raises(DataError, match=wanted):
        make().resolve(app._replace(digest=wanted))


def test_a_manifest_without_end_is_refused(server: RegistryServer, app: Reference, make: Make) -> None:
    big = server.add_manifest("demo/app", "big", OCI_MANIFEST, b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(DataError, match="longer than 4194304 bytes"):
        make().manifest(app, big)


def test_tags_are_read_page_by_page(server: RegistryServer, app: Reference, make: Make) -> None:
    server.page = 2
    expected = sorted(["latest", *(f"1.{number}" for number in range(4))])
    for tag in expected:
        server.add_image("demo/app", tag, layers=[BLOB])
    assert list(make().tags(app)) == expected
    assert sum("tags/list" in request.path for request in server.requests) == 3


def test_remote_text_cannot_reach_the_terminal_raw(server: RegistryServer, app: Reference, make: Make) -> None:
    server.faults.refuse, server.faults.say = [403], "\x1b[31mred\nline"
    with pytest.raises(PermissionDenied) as caught:
        make().resolve(app)
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message


# -- where requests go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpine", "https://registry-1.docker.io/v2/library/alpine/x"),
        ("ghcr.io/a/b", "https://ghcr.io/v2/a/b/x"),
        ("localhost/a", "http://localhost/v2/a/x"),
        ("localhost:5000/a", "http://localhost:5000/v2/a/x"),
        ("127.3.2.1:80/a", "http://127.3.2.1:80/v2/a/x"),
        ("[::1]:5000/a", "http://[::1]:5000/v2/a/x"),
        ("127.example.com/a", "https://127.example.com/v2/a/x"),
        ("10.0.0.1:5000/a", "https://10.0.0.1:5000/v2/a/x"),
        ("plain.example:5000/a", "https://plain.example:5000/v2/a/x"),
    ],
)
def test_this_machine_is_spoken_to_over_http_and_others_over_https(text: str, expected: str) -> None:
    login = Login(Keyring(environ={}, warn=pytest.fail))
    transport = Transport(login, timeout=1.0, hosts=Hosts(insecure=frozenset({"plain.example:5000"})))
    assert transport.url(Reference.parse(text), "x") == expected


def test_a_proxy_is_never_used_for_this_machine(
    app: Reference, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert make().resolve(app).media_type == OCI_MANIFEST


def test_a_proxy_is_used_for_other_hosts(
    server: RegistryServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{server.host}")
    driver = Driver(
        timeout=1.0,
        hosts=Hosts(insecure=frozenset({"far.example"})),
        keyring=Keyring(environ={}, warn=pytest.fail),
    )
    driver.resolve(Reference("far.example", "demo/app", "latest"))
    driver.close()
    assert server.requests[-1].path == "http://far.example/v2/demo/app/manifests/latest"


def test_netrc_is_not_read(
    server: RegistryServer, app: Reference, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ann password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{server.host}")
    driver = Driver(
        timeout=1.0,
        hosts=Hosts(insecure=frozenset({"far.example"})),
        keyring=Keyring(environ={}, warn=pytest.fail),
    )
    driver.resolve(Reference("far.example", "demo/app", "latest"))
    driver.close()
    assert not any("authorization" in request.headers for request in server.requests)


def test_requests_say_who_asks_and_refuse_compression(server: RegistryServer, app: Reference, make: Make) -> None:
    make().resolve(app)
    assert server.requests[0].headers["user-agent"].startswith("swapbox/")
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert OCI_MANIFEST in server.requests[0].headers["accept"]


def test_a_proxy_that_is_down_is_named_as_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    keyring = Keyring(environ={}, warn=pytest.fail)
    driver = Driver(timeout=5.0, hosts=Hosts(insecure=frozenset({"far.example"})), keyring=keyring)
    with pytest.raises(
        Unavailable, match=r"cannot reach registry far\.example through the proxy: connection refused"
    ):
        driver.resolve(Reference("far.example", "demo/app", "latest"))
    driver.close()


def test_a_request_that_the_registry_does_not_take_is_not_tried_again(
    server: RegistryServer, app: Reference, make: Make
) -> None:
    server.faults.refuse = [400] * 2
    with pytest.raises(Unsupported, match="400 Bad Request"):
        make(sleep=pytest.fail).resolve(app)


def test_a_host_that_does_not_exist_is_unavailable() -> None:
    driver = Driver(timeout=5.0, keyring=Keyring(environ={}, warn=pytest.fail))
    with pytest.raises(Unavailable, match=r"registry nowhere\.invalid"):
        driver.resolve(Reference("nowhere.invalid", "a", "latest"))
    driver.close()


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs the Debian package docker-registry")
def test_debians_registry_is_understood(make: Make, tmp_path: Path) -> None:
    image = image_of([layer_of([file("random", BLOB)])])
    layer, packed = image.layers[0].blob
    with docker_registry(tmp_path) as host:
        reference = Reference(host, "demo/app", "latest")
        driver = make()
        with pytest.raises(NotFound, match=f"manifest for {host}/demo/app:latest not found: manifest unknown"):
            driver.resolve(reference)
        push(host, "demo/app", "latest", image)
        assert driver.resolve(reference) == image.manifest.descriptor
        assert driver.manifest(reference, image.manifest.descriptor) == image.manifest.source
        assert list(driver.tags(reference)) == ["latest"]
        assert isinstance(packed, bytes)
        with driver.open_blob(reference, layer, offset=1000) as reader:
            assert reader.offset == 1000
            assert reader.read() == packed[1000:]
        with pytest.raises(NotFound, match="blob unknown"):
            driver.open_blob(reference, LAYER)
        with pytest.raises(NotFound, match="demo/nothing"):
            list(driver.tags(Reference(host, "demo/nothing")))
        assert pull(reference, registry=driver, content=ContentStore(tmp_path / "content")).layers == (layer,)

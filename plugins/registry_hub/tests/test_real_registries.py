"""Debian's registry behind TLS, passwords and tokens: each has to be let in, and nobody else."""

from __future__ import annotations

import contextlib
import json
import selectors
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from swapbox.errors import DataError, InvalidInput, NotFound, PermissionDenied, Unavailable
from swapbox.images.pull import pull
from swapbox.references import Reference
from swapbox.store.content import ContentStore
from swapbox.testing.certificates import Authority
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.servers import HTPASSWD, docker_registry
from swapbox.testing.token_server import TokenServer
from swapbox_registry_hub.credentials import Keyring
from swapbox_registry_hub.driver import Driver
from swapbox_registry_hub.hosts import Hosts

pytestmark = [
    pytest.mark.debian,
    pytest.mark.skipif(
        not (shutil.which("docker-registry") and shutil.which("openssl")),
        reason="needs the Debian packages docker-registry and openssl",
    ),
]

USER, PASSWORD, _ = HTPASSWD

Make = Callable[..., Driver]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make drivers that keep their log-ins in ``tmp_path`` and trust what ``certificates`` has."""
    made: list[Driver] = []

    def make_driver(**hosts: object) -> Driver:
        keyring = Keyring(environ={"DOCKER_CONFIG": str(tmp_path / "docker")}, warn=pytest.fail)
        made.append(Driver(timeout=5.0, keyring=keyring, hosts=Hosts(**hosts)))  # type: ignore[arg-type]
        return made[-1]

    yield make_driver
    for driver in made:
        driver.close()


# -- TLS ----------------------------------------------------------------------------------------------------------


class Encrypted(NamedTuple):
    """A registry that speaks TLS, and who signed its certificate."""

    host: str
    authority: Authority


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    """A registry with a password, for clients that show a certificate."""
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory)
    server = authority.sign("server")
    files = f"certificate: {server.certificate}, key: {server.key}, clientcas: [{authority.certificate}]"
    with docker_registry(directory, http=f", tls: {{{files}}}", htpasswd=True) as host:
        yield Encrypted(host, authority)


@pytest.fixture
def certificates(encrypted: Encrypted, tmp_path: Path) -> Path:
    """A ``certs.d`` with all that the registry wants."""
    directory = tmp_path / "certs.d"
    folder = directory / encrypted.host
    folder.mkdir(parents=True)
    client = encrypted.authority.sign("client")
    shutil.copy(encrypted.authority.certificate, folder / "ca.crt")
    shutil.copy(client.certificate, folder / "client.cert")
    shutil.copy(client.key, folder / "client.key")
    return directory


def test_a_registry_with_tls_client_certificates_and_a_password_lets_us_in(
    encrypted: Encrypted, certificates: Path, make: Make
) -> None:
    driver = make(certificates=[certificates])
    image = Reference(encrypted.host, "demo/app", "latest")
    with pytest.raises(PermissionDenied):
        driver.resolve(image)
    driver.log_in(encrypted.host, username=USER, password=PASSWORD)
    with pytest.raises(NotFound, match="manifest unknown"):
        make(certificates=[certificates]).resolve(image)


def test_this_machine_needs_no_authority_as_with_docker(
    encrypted: Encrypted, certificates: Path, make: Make
) -> None:
    (certificates / encrypted.host / "ca.crt").unlink()
    with pytest.raises(PermissionDenied, match=f"https://{encrypted.host}/v2/ failed with status: 401"):
        make(certificates=[certificates]).log_in(encrypted.host, username=USER, password="wrong")


def test_a_certificate_that_another_authority_signed_is_refused(
    encrypted: Encrypted, certificates: Path, make: Make, tmp_path: Path
) -> None:
    other = Authority(tmp_path)
    shutil.copy(other.certificate, certificates / encrypted.host / "ca.crt")
    image = Reference(encrypted.host, "demo/app", "latest")
    with pytest.raises(
        Unavailable, match=r"cannot speak TLS with registry .*: unable to get local issuer"
    ) as caught:
        make(certificates=[certificates]).resolve(image)
    assert f"certs.d/{encrypted.host}/ca.crt" in (caught.value.hint or "")
    with pytest.raises(PermissionDenied):
        make(certificates=[certificates], insecure=frozenset({encrypted.host})).resolve(image)


def test_a_server_that_speaks_no_tls_is_never_spoken_to_in_clear_once_its_authority_is_known(
    encrypted: Encrypted, certificates: Path, make: Make
) -> None:
    with RegistryServer() as server:
        (certificates / encrypted.host).rename(certificates / server.host)
        with pytest.raises(Unavailable, match=r"TLS|broke|did not answer"):
            make(certificates=[certificates]).resolve(server.reference("demo/app"))
        assert not any(request.path.startswith("/v2/") for request in server.requests)


class Proxy:
    """A proxy that connects to one place whatever it is asked for, for one connection; notes what that was."""

    def __init__(self, host: str) -> None:
        self._place = host
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        while not self.asked.endswith(b"\r\n\r\n"):
            self.asked += client.recv(65536)
        name, _, port = self._place.partition(":")
        server = socket.create_connection((name, int(port)))
        client.sendall(b"HTTP/1.1 200 connected\r\n\r\n")
        with client, server, selectors.DefaultSelector() as selector, contextlib.suppress(ConnectionError):
            for here, there in ((client, server), (server, client)):
                selector.register(here, selectors.EVENT_READ, there)
            while True:
                for key, _ in selector.select():
                    if not (data := key.fileobj.recv(65536)):  # type: ignore[union-attr]
                        return
                    key.data.sendall(data)

    def close(self) -> None:
        """Wait for the connection's end."""
        self._thread.join()
        self._listener.close()


def test_certificates_are_checked_through_a_proxy_too(
    encrypted: Encrypted, certificates: Path, make: Make
) -> None:
    (certificates / encrypted.host).rename(certificates / "far.example")
    proxy = Proxy(encrypted.host)
    driver = make(certificates=[certificates], proxies={"https": f"http://ann:secret@{proxy.address}"})
    with pytest.raises(PermissionDenied):
        driver.resolve(Reference("far.example", "demo/app", "latest"))
    driver.close()
    proxy.close()
    assert proxy.asked.startswith(b"CONNECT far.example:443 ")
    assert b"Proxy-Authorization: Basic " in proxy.asked
    other = Proxy(encrypted.host)
    driver = make(proxies={"https": f"http://{other.address}"})
    with pytest.raises(Unavailable, match=r"TLS with registry far\.example"):
        driver.resolve(Reference("far.example", "demo/app", "latest"))
    other.close()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("lone.cert", InvalidInput, "has no lone.key"),
        ("lone.key", InvalidInput, "has no lone.cert"),
        ("a.crt", DataError, "a.crt"),
    ],
)
def test_files_that_are_no_certificates_are_named(
    certificates: Path, encrypted: Encrypted, make: Make, name: str, kind: type[Exception], words: str
) -> None:
    (certificates / encrypted.host / name).write_text("nothing\n")
    with pytest.raises(kind, match=words):
        make(certificates=[certificates]).resolve(Reference(encrypted.host, "demo/app", "latest"))


# -- tokens -------------------------------------------------------------------------------------------------------


class Service(NamedTuple):
    """A registry and the token service it trusts."""

    host: str
    tokens: TokenServer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("tokens")
    with TokenServer(directory) as tokens, docker_registry(directory, more=tokens.settings) as host:
        yield Service(host, tokens)


@pytest.fixture
def service(running: Service) -> Service:
    """The same with a user, as if just started."""
    running.tokens.users = {USER: PASSWORD}
    running.tokens.refresh.clear()
    running.tokens.bought.clear()
    return running


def test_a_log_in_keeps_a_refresh_token_and_buys_tokens_with_it(
    service: Service, make: Make, tmp_path: Path
) -> None:
    tokens = service.tokens
    make().log_in(service.host, username=USER, password=PASSWORD)
    (refresh,) = tokens.refresh
    kept = json.loads((tmp_path / "docker/config.json").read_text())["auths"][service.host]
    assert kept == {"auth": "YW5uOg==", "identitytoken": refresh}
    assert tokens.bought[0].secret == "password"
    assert "scope" not in tokens.bought[0].parameters
    driver = make()
    for name in ("demo/one", "demo/two"):  # the service gives another refresh token each time
        with pytest.raises(NotFound):
            driver.resolve(Reference(service.host, name, "latest"))
    assert [bought.secret for bought in tokens.bought] == ["password", "refresh", "refresh"]
    assert tokens.bought[2].parameters["scope"] == "repository:demo/two:pull"


def test_a_wrong_password_keeps_nothing(service: Service, make: Make, tmp_path: Path) -> None:
    words = f'^Get "http://{service.host}/v2/": unauthorized: incorrect username or password'
    with pytest.raises(PermissionDenied, match=words):
        make().log_in(service.host, username=USER, password="wrong")
    assert not (tmp_path / "docker/config.json").exists()


def test_without_a_log_in_a_token_is_bought_for_nothing(service: Service, make: Make) -> None:
    with pytest.raises(NotFound):
        make().resolve(Reference(service.host, "demo/one", "latest"))
    assert [bought.secret for bought in service.tokens.bought] == ["nothing"]


def test_a_refresh_token_that_is_good_no_more_says_how_to_log_in(service: Service, make: Make) -> None:
    make().log_in(service.host, username=USER, password=PASSWORD)
    service.tokens.refresh.clear()
    with pytest.raises(PermissionDenied, match="invalid refresh token") as caught:
        make().resolve(Reference(service.host, "demo/one", "latest"))
    assert f"swapbox login {service.host}" in (caught.value.hint or "")


def test_tokens_that_expire_during_a_pull_are_bought_again(make: Make, tmp_path: Path) -> None:
    with RegistryServer() as server:
        server.add_image("demo/app", layers=[bytes([number]) * 1000 for number in range(9)])
        server.faults.auth, server.faults.token_uses = "bearer", 4
        pulled = pull(server.reference("demo/app"), registry=make(), content=ContentStore(tmp_path / "content"))
        assert len(pulled.layers) == 9
        assert sum(request.path.startswith("/token") for request in server.requests) >= 3

"""What the options say about hosts, proxies and patience."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from swapbox import DriverContext
from swapbox.drivers.waiting import pausing_by
from swapbox.errors import InvalidInput, Unavailable
from swapbox.references import Reference
from swapbox.testing.registry_server import RegistryServer
from swapbox_registry_hub import settings, swapbox_registries
from swapbox_registry_hub.credentials import Keyring
from swapbox_registry_hub.driver import Driver
from swapbox_registry_hub.hosts import Hosts
from swapbox_registry_hub.patience import Patience


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        server.add_image("demo/app", layers=[b"layer"])
        yield server


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("timeout", value) for value in ("", "soon", "0", "-1", "nan", "inf")),
        *(("retries", value) for value in ("", "-1", "many", "1000", "\u0663")),
        ("longest-wait", "-1"),
        ("insecure", "10.0.0.0/99"),
        ("http-proxy", "ftp://proxy"),
        ("https-proxy", "http://"),
        ("https-proxy", "http://proxy:port"),
    ],
)
def test_a_wrong_option_is_refused_by_name(tmp_path: Path, option: str, value: str) -> None:
    (spec,) = swapbox_registries()
    with pytest.raises(InvalidInput, match=f"{option.removeprefix('http-').removeprefix('https-')}|network"):
        spec.factory(DriverContext(tmp_path, tmp_path, {option: value}))


def test_the_defaults_of_the_options_are_those_that_hold() -> None:
    (spec,) = swapbox_registries()
    declared = {option.name: option.default for option in spec.options}
    assert {**declared, **settings.DEFAULTS} == declared


# -- hosts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "schemes"),
    [
        ("ghcr.io", ["https"]),
        ("localhost:5000", ["http", "https"]),
        ("plain.example:5000", ["https", "http"]),
        ("plain.example", ["https"]),
        ("10.1.2.3:5000", ["https", "http"]),
        ("11.1.2.3", ["https"]),
        ("[fd00::1]:5000", ["https", "http"]),
    ],
)
def test_plain_http_is_for_this_machine_and_those_that_are_listed(host: str, schemes: list[str]) -> None:
    hosts = Hosts(insecure=frozenset({"plain.example:5000", "10.0.0.0/8", "fd00::/16"}))
    assert hosts.attempts(f"{schemes[0]}://{host}/v2/") == [f"{scheme}://{host}/v2/" for scheme in schemes]
    hosts.settle(f"{schemes[-1]}://{host}/v2/")
    assert hosts.attempts(f"https://{host}/x") == [f"{schemes[-1]}://{host}/x"]
    assert hosts.is_insecure(host) == (len(schemes) == 2)


def test_the_configured_proxy_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://variable:1")
    hosts = settings.hosts({"https-proxy": "proxy.example:3128"})
    assert hosts.proxies("https://ghcr.io/v2/")["https"] == "http://proxy.example:3128"
    assert Hosts().proxies("https://ghcr.io/v2/")["https"] == "http://variable:1"


def test_hosts_that_are_listed_have_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "quay.io")
    configured = {"http-proxy": "http://proxy:1"}
    assert settings.hosts(configured).proxies("http://quay.io/") == {}
    hosts = settings.hosts({**configured, "no-proxy": "ghcr.io,.example,10.0.0.0/8"})
    for host in ("ghcr.io", "a.example:5000", "10.2.3.4:5000", "127.0.0.1:5000"):
        assert hosts.proxies(f"http://{host}/v2/") == {}
    assert hosts.proxies("http://quay.io/")["http"] == "http://proxy:1"


def test_a_pull_goes_through_the_configured_proxy(server: RegistryServer) -> None:
    hosts = settings.hosts({"http-proxy": server.host, "https-proxy": server.host, "insecure": "far.example"})
    driver = Driver(timeout=5.0, hosts=hosts, keyring=Keyring(environ={}, warn=pytest.fail))
    driver.resolve(Reference("far.example", "demo/app", "latest"))
    driver.close()
    assert server.requests[-1].path == "http://far.example/v2/demo/app/manifests/latest"


# -- patience -----------------------------------------------------------------------------------------------------


def test_a_rate_limit_is_shown_and_waited_for(server: RegistryServer) -> None:
    slept: list[float] = []
    said: list[str] = []
    patience = Patience(longest=600, sleep=slept.append, warn=said.append)
    driver = Driver(timeout=5.0, keyring=Keyring(environ={}, warn=pytest.fail), patience=patience)
    server.faults.refuse, server.faults.rate_limit = [429], ("100;w=21600", "0;w=21600")
    server.faults.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    driver.resolve(server.reference("demo/app"))
    assert 290 < slept[0] <= 300
    (warning,) = said
    assert f"registry {server.host} has too many requests (limit 100 in 6 hours, 0 left): going on in" in warning
    server.faults.refuse, server.faults.retry_after = [429], None
    with pytest.raises(Unavailable, match=r"\(limit 100 in 6 hours, 0 left\)") as caught:
        driver.resolve(server.reference("demo/app"))
    assert "swapbox login" in (caught.value.hint or "")
    server.faults.refuse, server.faults.retry_after = [429], 3600
    with pytest.raises(Unavailable, match=r"0 left, wait 3600 seconds\)"):
        driver.resolve(server.reference("demo/app"))
    driver.close()


def test_a_wait_is_announced_once_for_all_threads(server: RegistryServer) -> None:
    said: list[str] = []
    patience = Patience(sleep=lambda _: None, warn=said.append)
    driver = Driver(timeout=5.0, keyring=Keyring(environ={}, warn=pytest.fail), patience=patience)
    server.faults.refuse, server.faults.retry_after = [429] * 3, 50
    driver.resolve(server.reference("demo/app"))
    driver.close()
    assert len(said) == 1


def test_a_wait_can_be_ended_by_whoever_gives_the_transfer_up(server: RegistryServer) -> None:
    waits: list[float] = []
    driver = Driver(timeout=5.0, keyring=Keyring(environ={}, warn=pytest.fail))
    server.faults.refuse, server.faults.retry_after = [429], 2
    with pausing_by(waits.append):
        driver.resolve(server.reference("demo/app"))
    driver.close()
    assert waits == [2]


@pytest.mark.parametrize("retries", [0, 5])
def test_a_failing_registry_is_asked_as_often_as_configured(server: RegistryServer, retries: int) -> None:
    patience = Patience(retries=retries, sleep=lambda _: None)
    driver = Driver(timeout=5.0, keyring=Keyring(environ={}, warn=pytest.fail), patience=patience)
    server.faults.refuse = [503] * 10
    with pytest.raises(Unavailable, match="503"):
        driver.resolve(server.reference("demo/app"))
    driver.close()
    assert len(server.faults.refuse) == 10 - (retries + 1)

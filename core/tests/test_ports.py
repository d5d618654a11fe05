"""Which ports of the host a container gets: none that another container, or a program, has."""

from __future__ import annotations

import socket

import pytest

from swapbox.containers.config import Attachment, PortBinding
from swapbox.drivers.network import PublishedPort
from swapbox.errors import Conflict
from swapbox.networks import ports
from swapbox.networks.ports import _Choice
from swapbox.networks.records import EndpointRow, Network

FRONT = Network("f" * 64, "front", "bridge")
BOTH = EndpointRow("c" * 64, FRONT, 0, Attachment("front"), ipv4="10.0.0.2/24", ipv6="fd00::2/64")
NARROW = BOTH._replace(ipv6="")


def choice(row: EndpointRow = NARROW, default: str = "", *taken: PublishedPort) -> _Choice:
    made = _Choice(row, default)
    for port in taken:
        made.take(port)
    return made


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> range:
    """Let the kernel have three numbers to choose from, of which it chooses the second."""
    numbers = range(40000, 40003)
    monkeypatch.setattr(ports, "_ephemeral", lambda: numbers)
    monkeypatch.setattr(ports, "_free_number", lambda *_: 40001)
    return numbers


def sctp(*numbers: int) -> list[PortBinding]:
    """Return bindings of a protocol that nobody on this host can have bound."""
    return [PortBinding(80, "sctp", public=number) for number in numbers]


@pytest.mark.parametrize(
    ("row", "default", "addresses"),
    [
        (NARROW, "", ["0.0.0.0"]),
        (BOTH, "", ["0.0.0.0", "::"]),
        (BOTH, "127.0.0.1", ["127.0.0.1"]),
        (BOTH._replace(ipv4=""), "127.0.0.1", []),
    ],
)
def test_a_port_is_published_where_its_network_says(row: EndpointRow, default: str, addresses: list[str]) -> None:
    assert [port.address for port in choice(row, default).all(sctp(80))] == addresses


def test_a_port_that_another_container_has_is_refused_on_the_same_address_only() -> None:
    taken = PublishedPort("sctp", 1, "127.0.0.1", 80)
    with pytest.raises(Conflict, match=r"Bind for 0\.0\.0\.0:80 failed: port is already allocated"):
        choice(NARROW, "", taken).all(sctp(80))
    assert choice(NARROW, "127.0.0.2", taken).all(sctp(80))
    with pytest.raises(Conflict, match="already allocated"):
        choice().all(sctp(81, 81))


def test_of_a_range_the_first_free_number_is_taken() -> None:
    taken = [PublishedPort("sctp", 1, "0.0.0.0", number) for number in (80, 81)]
    binding = PortBinding(80, "sctp", public=80, public_last=82)
    assert [port.public for port in choice(NARROW, "", *taken).all([binding])] == [82]
    with pytest.raises(Conflict, match=r"of 80-81 none is free"):
        choice(NARROW, "", *taken).all([binding._replace(public_last=81)])


def test_a_port_that_a_program_has_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        with pytest.raises(Conflict, match=rf"127\.0\.0\.1:{number}/tcp: address already in use"):
            choice().all([PortBinding(80, "tcp", "127.0.0.1", number)])


def test_all_numbers_that_the_kernel_chooses_from_are_used_up_and_no_more(few: range) -> None:
    assert [port.public for port in choice().all(sctp(0, 0, 0))] == [40001, 40002, 40000]
    taken = PublishedPort("sctp", 1, "127.0.0.1", 40002)
    with pytest.raises(Conflict, match="all ports are allocated"):
        choice(NARROW, "", taken).all(sctp(0, 0, 0))


def test_more_ports_than_there_are_numbers_are_refused_before_any_is_looked_for(
    few: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ports, "_bound")
    with pytest.raises(Conflict, match="all ports are allocated"):
        choice().all([PortBinding(number) for number in range(1, 65536)])


def test_many_ports_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    monkeypatch.setattr(ports, "_overlap", lambda one, _other: compared.append(one))
    made = choice(NARROW, "", *(PublishedPort("sctp", 1, "0.0.0.0", number) for number in range(1, 1000)))
    assert len(made.all(sctp(*range(1000, 5000)))) == 4000
    assert compared == []

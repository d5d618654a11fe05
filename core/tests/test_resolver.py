"""The name server of a network: what it knows, what it passes on, and what it does not answer at all."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord  # type: ignore[import-untyped]

from swapbox.containers.config import Attachment, ContainerConfig
from swapbox.drivers.network import Subnet
from swapbox.networks import resolver
from swapbox.networks.names import Names
from swapbox.networks.records import Network, NetworkRecords
from swapbox.networks.resolver import Resolver
from swapbox.store.database import Database
from swapbox.testing.process import wait_until

FRONT = Network("f" * 64, "front", "bridge", subnets=(Subnet("10.0.0.0/24", "10.0.0.1"),))
BACK = Network("b" * 64, "back", "bridge", subnets=(Subnet("10.9.0.0/24", "10.9.0.1"),), internal=True)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "db")
    records = NetworkRecords(database)
    for network in (FRONT, BACK):
        records.add(network)
    place(database, "web", FRONT, "10.0.0.2/24", "fd00::2/64", aliases=("www",))
    place(database, "db", FRONT, "10.0.0.3/24")
    place(database, "db", BACK, "10.9.0.3/24")
    place(database, "safe", BACK, "10.9.0.4/24")
    return database


def place(
    database: Database, name: str, network: Network, ipv4: str, ipv6: str = "", aliases: tuple[str, ...] = ()
) -> None:
    records, identity = NetworkRecords(database), name.encode().hex().ljust(64, "0")
    config = json.dumps(ContainerConfig("x").to_json())
    database.insert(
        "INSERT INTO containers VALUES (?,?,?,?,?,?,?,?)", (identity, name, "", "", 0, config, "{}", "")
    )
    records.attach(identity, network, Attachment(network.name, aliases))
    row = next(row for row in records.endpoints(container=identity) if row.network.id == network.id)
    records.lease(row._replace(id="e" * 64, ipv4=ipv4, ipv6=ipv6))


def ask(
    database: Database, name: str, kind: str = "A", *, client: str = "10.0.0.3", network: Network = FRONT
) -> str:
    """Return the answer's code and data; ``silence`` for none."""
    server = Resolver(Names(database, network.id), own=["10.0.0.1"])
    answer = server.answer(bytes(DNSRecord.question(name, kind).pack()), client, udp=True)
    if answer is None:
        return "silence"
    record = DNSRecord.parse(answer)
    return " ".join([RCODE.get(record.header.rcode), *sorted(str(rr.rdata) for rr in record.rr)])


@pytest.mark.parametrize("name", ["web", "WEB", "www", "web.front", f"{b'web'.hex():0<12}"])
def test_a_neighbour_is_found_by_name_alias_and_short_id(database: Database, name: str) -> None:
    assert ask(database, name) == "NOERROR 10.0.0.2"
    assert ask(database, name, "AAAA") == "NOERROR fd00::2"


def test_a_name_without_an_address_of_the_family_is_a_name_all_the_same(database: Database) -> None:
    assert ask(database, "db", "AAAA") == "NOERROR"
    assert ask(database, "db", "MX") == "NOERROR"


def test_an_address_has_a_name(database: Database) -> None:
    assert ask(database, "2.0.0.10.in-addr.arpa", "PTR") == "NOERROR web.front."


def test_who_is_in_two_networks_sees_both_and_others_their_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "host_servers", list)
    assert ask(database, "safe", client="10.0.0.3") == "NOERROR 10.9.0.4"
    assert ask(database, "safe", client="10.0.0.2") == "SERVFAIL"
    assert ask(database, "web", client="10.9.0.4", network=BACK) == "SERVFAIL"


def test_strangers_and_noise_get_no_answer(database: Database) -> None:
    assert ask(database, "web", client="192.168.1.9") == "silence"
    server = Resolver(Names(database, FRONT.id), own=[])
    answer = DNSRecord.question("web").reply().pack()
    for noise in (b"", b"\0" * 11, b"\xff" * 40, bytes(DNSRecord.question("web").pack())[:-3], bytes(answer)):
        assert server.answer(noise, "10.0.0.3", udp=True) is None


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name server of the host's that answers every question with 1.2.3.4."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def answer_all() -> None:
        while True:
            question, peer = sock.recvfrom(4096)
            if not question:
                return
            request = DNSRecord.parse(question)
            reply = request.reply()
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A("1.2.3.4")))
            sock.sendto(reply.pack(), peer)

    thread = threading.Thread(target=answer_all)
    thread.start()
    monkeypatch.setattr(resolver, "host_servers", lambda: ["127.0.0.1"])
    monkeypatch.setattr(resolver, "PORT", sock.getsockname()[1])
    yield "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"", sock.getsockname())
    thread.join()
    sock.close()


def test_other_names_are_passed_on_but_not_out_of_an_internal_network(database: Database, upstream: str) -> None:
    assert ask(database, "example.org") == "NOERROR 1.2.3.4"
    assert ask(database, "example.org", client="10.9.0.4", network=BACK) == "SERVFAIL"


def test_the_name_servers_of_a_list_come_before_the_hosts(
    database: Database, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "host_servers", list)
    server = Resolver(Names(database, FRONT.id), own=["10.0.0.1"], upstream=["10.0.0.1", upstream])
    answer = server.answer(bytes(DNSRecord.question("example.org").pack()), "10.0.0.3", udp=True)
    assert answer is not None
    assert [str(rr.rdata) for rr in DNSRecord.parse(answer).rr] == ["1.2.3.4"]


def test_who_asks_too_much_gets_no_answer_whatever_follows_a_question_is_not_read(database: Database) -> None:
    server = Resolver(Names(database, FRONT.id), own=[])
    question = bytes(DNSRecord.question("web").pack())
    assert server.answer(question + b"\xff" * 1000, "10.0.0.3", udp=True) is not None
    assert server.answer(question + b"\0" * 5000, "10.0.0.3", udp=True) is None


def test_one_container_cannot_keep_the_others_from_asking(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "LINGER", 0.01)
    place(database, "greedy", FRONT, "127.0.0.2/8")
    place(database, "modest", FRONT, "127.0.0.3/8")
    server = Resolver(Names(database, FRONT.id), own=[])
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.create_server(("127.0.0.1", 0), backlog=200)
    udp.bind(("127.0.0.1", 0))
    threads = threading.active_count()
    thread = threading.Thread(target=server.serve, args=([udp, tcp],))
    thread.start()
    talks = [socket.create_connection(tcp.getsockname(), source_address=("127.0.0.2", 0)) for _ in range(100)]
    for talk in talks:
        talk.send(b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as modest:
        modest.bind(("127.0.0.3", 0))
        modest.settimeout(10)
        modest.sendto(DNSRecord.question("web").pack(), udp.getsockname())
        assert str(DNSRecord.parse(modest.recv(4096)).rr[0].rdata) == "10.0.0.2"
    monkeypatch.setattr(server, "in_use", lambda: False)
    thread.join()
    for sock in (udp, tcp, *talks):
        sock.close()
    wait_until(lambda: threading.active_count() == threads, "the conversations have ended")

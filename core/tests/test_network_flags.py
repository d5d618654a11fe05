"""``-p``, ``--network`` and their companions are read as Docker's client reads them."""

from __future__ import annotations

from typing import Any

import pytest

from swapbox.containers.config import Attachment, PortBinding
from swapbox.containers.network_flags import network_fields
from swapbox.containers.port_flags import parse_publish
from swapbox.errors import InvalidInput

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("network", "network_alias", "publish", "dns", "dns_search", "dns_option", "add_host"), ()),
    **dict.fromkeys(("ip", "ip6", "mac_address"), ""),
    "publish_all": False,
    "expose": (),
}


def read(**given: Any) -> dict[str, Any]:
    return network_fields({**NOTHING, **given})


@pytest.mark.parametrize(
    ("text", "bindings"),
    [
        ("80", [PortBinding(80)]),
        ("8080:80", [PortBinding(80, public=8080)]),
        ("53:53/UDP", [PortBinding(53, "udp", public=53)]),
        ("127.0.0.1:8080:80", [PortBinding(80, address="127.0.0.1", public=8080)]),
        ("127.0.0.1::80", [PortBinding(80, address="127.0.0.1")]),
        ("[::1]:8080:80", [PortBinding(80, address="::1", public=8080)]),
        ("[::]::80/sctp", [PortBinding(80, "sctp", "::")]),
        ("0:80", [PortBinding(80)]),
        ("8000-8001:80-81", [PortBinding(80, public=8000), PortBinding(81, public=8001)]),
        ("80-81", [PortBinding(80), PortBinding(81)]),
        ("8000-8010:80", [PortBinding(80, public=8000, public_last=8010)]),
        ("target=80,published=8080,protocol=udp", [PortBinding(80, "udp", public=8080)]),
    ],
)
def test_every_form_of_publish(text: str, bindings: list[PortBinding]) -> None:
    assert parse_publish(text) == bindings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no port specified"),
        ("8080:", "no port specified"),
        ("x", "invalid containerPort: x"),
        ("70000", "invalid containerPort: 70000"),
        ("9-8", "invalid containerPort: 9-8"),
        ("x:80", "invalid hostPort: x"),
        ("80/http", "invalid proto: http"),
        ("1-2:80-83", "invalid ranges specified for container and host Ports"),
        ("300.1.1.1:80:80", "invalid IP address: 300.1.1.1"),
        ("[::1:80", "invalid IP address"),
        ("published=8080", "missing mandatory field 'target'"),
        ("target=80,color=red", "invalid field key color"),
    ],
)
def test_wrong_forms_of_publish(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_publish(text)
    assert words in caught.value.message


def test_a_name_needs_no_attachment_and_details_do() -> None:
    assert read(network=("front",))["networks"] == ()
    found = read(network=("name=front,alias=a,ip=10.0.0.2,driver-opt=k=v", "back"), network_alias=("b",))
    assert found["network"] == "front"
    assert found["networks"] == (
        Attachment("front", ("a", "b"), ("10.0.0.2",), options={"k": "v"}),
        Attachment("back"),
    )


def test_addresses_belong_to_the_first_network() -> None:
    found = read(network=("front",), ip="10.0.0.2", ip6="fd00::2", mac_address="02-42-0A-00-00-02")
    assert found["networks"] == (Attachment("front", (), ("10.0.0.2", "fd00::2"), "02:42:0a:00:00:02"),)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"network": ("front", "host")}, "cannot attach both user-defined and non-user-defined"),
        ({"network": ("container:x",), "expose": ("80",), "publish_all": True}, "port exposing"),
        ({"network": ("alias=a",)}, "network name can not be empty"),
        ({"ip": "10.0.0"}, "invalid IPv4 address: 10.0.0"),
        ({"mac_address": "02:42"}, "02:42 is not a valid mac address"),
        ({"dns": ("example",)}, "IP address is not correctly formatted: example"),
        ({"add_host": ("name",)}, 'bad format for add-host: "name"'),
        ({"add_host": ("name:1.2.3",)}, 'invalid IP address in add-host: "1.2.3"'),
    ],
)
def test_what_cannot_be(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(**given)
    assert words in caught.value.message


def test_extra_hosts_in_every_form() -> None:
    texts = ("a:1.2.3.4", "b=::1", "c:[fd00::1]", "host.docker.internal:host-gateway")
    assert read(add_host=texts)["extra_hosts"] == (
        *("a:1.2.3.4", "b:::1", "c:fd00::1", "host.docker.internal:host-gateway"),
    )

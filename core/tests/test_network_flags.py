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
    **dict.fromkeys(("link", "link_local_ip"), ()),
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
        ("published=8080", "no port specified: 8080:/tcp<empty>"),
        ("target=80,protocol=x", "invalid proto: x"),
        ("target=80,color", "invalid publish opts format (should be name=value but got 'color')"),
        ("[::1:80:80", "invalid IP address [::1: address [::1:: missing ']' in address"),
    ],
)
def test_wrong_forms_of_publish(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_publish(text)
    assert words in caught.value.message


def test_a_name_needs_no_attachment_and_details_do() -> None:
    assert read(network=("front",))["networks"] == ()
    found = read(
        network=("name=front,alias=a,ip=10.0.0.2,driver-opt=k=v,gw-priority=-3,link-local-ip=169.254.0.9", "back"),
        link=("other:b",),
    )
    assert found["network"] == "front"
    assert found["networks"] == (
        Attachment("front", ("a",), ("10.0.0.2",), "", {"k": "v"}, -3, ("169.254.0.9",), ("other:b",)),
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
        ({"network": ("alias=a",)}, "network name/id is not specified"),
        ({"network": ("name=a,alias",)}, "invalid field alias"),
        ({"network": ("name=a,gw-priority=x",)}, "invalid gw-priority (x): invalid syntax"),
        ({"network": ("name=a,driver-opt=x",)}, "invalid key value pair format in driver options"),
        ({"network": ("name=a,color=red",)}, "invalid field key color"),
        ({"network": ("name=a,ip=10.0.0.2",), "ip": "10.0.0.3"}, "both --ip and per-network IPv4 address"),
        ({"network": ("a", "a")}, 'network "a" is specified multiple times'),
        ({"network": (" ",)}, "no name set for network"),
        ({"network_alias": ("b",)}, "network-scoped aliases are only supported for user-defined networks"),
        ({"link": ("a:b:c",)}, "bad format for links: a:b:c"),
        ({"link_local_ip": ("169.254",)}, "invalid link-local IP address: 169.254"),
        ({"ip": "fd00::2"}, "invalid IPv4 address: fd00::2"),
        ({"mac_address": "02:42"}, "02:42 is not a valid mac address"),
        ({"dns": ("example",)}, "IP address is not correctly formatted: example"),
        ({"dns_search": ("a b",)}, "a b is not a valid domain"),
        ({"dns_search": ("",)}, " is not a valid domain"),
        ({"dns_search": ("a.-b",)}, "a.-b is not a valid domain"),
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

"""Ports that an image exposes: whatever it says, only ports get any further."""

from __future__ import annotations

import pytest

from swapbox.containers.config import ContainerConfig, merge
from swapbox.containers.exposed import exposed, parse_port
from swapbox.errors import InvalidInput

HOSTILE = [
    "",
    "/",
    "abc",
    "80/icmp",
    "80/tcp dport 1 accept\n}\n}\ntable inet other {",
    "80\n",
    "-1/tcp",
    "80-/tcp",
    "65536/tcp",
    "1-99999999999",
    "1" * 5000,
    "٣",
]


def test_of_an_image_only_ports_are_taken() -> None:
    image = {"config": {"Cmd": ["x"], "ExposedPorts": {text: {} for text in [*HOSTILE, "80", "53/UDP", "1-3"]}}}
    assert merge(ContainerConfig("x"), image).exposed_ports == ("1-3/tcp", "53/udp", "80/tcp")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_port_is_refused_where_the_user_says_it(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid"):
        parse_port(text)


def test_what_an_older_release_wrote_down_stops_no_list() -> None:
    assert list(exposed([*HOSTILE, "443/tcp", "80/sctp"])) == [("sctp", 80), ("tcp", 443)]


def test_ranges_that_overlap_have_each_port_once() -> None:
    assert [number for _, number in exposed(["5-7/tcp", "1-6/tcp", "6/tcp", "9-8/tcp", "0/tcp"])] == [*range(1, 8)]
    assert sum(1 for _ in exposed(f"{first}-65535/tcp" for first in range(1, 2000))) == 65535

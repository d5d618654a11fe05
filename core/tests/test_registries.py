"""Rules about registries: mirrors, other names, what is blocked, and pulls without any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.config import Rule
from swapbox.descriptors import Descriptor
from swapbox.drivers.registry import BlobReader
from swapbox.engine import Engine
from swapbox.errors import InvalidInput, NotFound, PermissionDenied, SwapboxError, Unavailable
from swapbox.images.pull import pull
from swapbox.images.registries import Mirrored, destination, is_offline, rule_for
from swapbox.references import Reference
from swapbox.store.content import ContentStore
from swapbox.testing.memory_registry import MemoryRegistry


class Hosts:
    """A registry driver for several registries in memory, which notes who was asked for what."""

    def __init__(self, *registries: MemoryRegistry) -> None:
        self.registries = {registry.host: registry for registry in registries}
        self.down: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    def _at(self, reference: Reference, what: str) -> MemoryRegistry:
        self.asked.append((what, reference.name))
        if reference.host in self.down:
            raise Unavailable(f"registry {reference.host} is down")
        if reference.host not in self.registries:
            raise NotFound(f"no registry {reference.host}")
        return self.registries[reference.host]

    def resolve(self, reference: Reference) -> Descriptor:
        return self._at(reference, "resolve").resolve(reference)

    def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        return self._at(reference, "manifest").manifest(reference, descriptor)

    def open_blob(self, reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> BlobReader:
        return self._at(reference, "blob").open_blob(reference, descriptor, offset=offset)

    def tags(self, reference: Reference) -> Iterator[str]:
        return self._at(reference, "tags").tags(reference)

    def close(self) -> None:
        pass


IMAGE = Reference.parse("quay.io/team/app:1")
RULES = {"quay.io": Rule(mirrors=("one.lan:5000", "two.lan/quay"))}


@pytest.fixture
def hosts() -> Hosts:
    """The registry with an image, a mirror that has it, and one that has nothing."""
    made = Hosts(MemoryRegistry("one.lan:5000"), MemoryRegistry("two.lan"), MemoryRegistry("quay.io"))
    made.registries["two.lan"].add_image("quay/team/app", "1", layers=[b"layer"])
    made.registries["quay.io"].add_image("team/app", "1", layers=[b"layer"])
    return made


def test_mirrors_are_asked_in_their_order_and_the_one_that_has_it_for_all(hosts: Hosts, tmp_path: Path) -> None:
    registry = Mirrored(hosts, RULES, warn=pytest.fail)
    pulled = pull(IMAGE, registry=registry, content=ContentStore(tmp_path))
    assert pulled.reference == IMAGE
    assert hosts.asked[:2] == [("resolve", "one.lan:5000/team/app"), ("resolve", "two.lan/quay/team/app")]
    assert {name for _, name in hosts.asked[2:]} == {"two.lan/quay/team/app"}


def test_a_mirror_that_fails_in_the_middle_is_passed_over_and_said_so_once(hosts: Hosts, tmp_path: Path) -> None:
    said: list[str] = []
    registry = Mirrored(hosts, RULES, warn=said.append)
    descriptor = registry.resolve(IMAGE)
    hosts.down.add("two.lan")
    assert registry.manifest(IMAGE, descriptor)
    assert registry.manifest(IMAGE, descriptor)
    assert hosts.asked[-3:] == [
        ("manifest", "two.lan/quay/team/app"),
        ("manifest", "quay.io/team/app"),
        ("manifest", "quay.io/team/app"),
    ]
    assert said == ["mirror two.lan/quay/team/app is passed over: registry two.lan is down"]


def test_what_nobody_has_is_the_registrys_own_error(hosts: Hosts) -> None:
    with pytest.raises(NotFound, match="quay"):
        Mirrored(hosts, RULES, warn=pytest.fail).resolve(IMAGE._replace(tag="2"))
    assert [name for _, name in hosts.asked][-1] == "quay.io/team/app"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quay.io/team/app", "registry.lan/quay-team/app"),
        ("quay.io/teams/app", "quay.io/teams/app"),
        ("quay.io/team", "registry.lan/quay-team"),
        ("alpine", "hub.lan:5000/library/alpine"),
        ("ghcr.io/a/b", "all.lan/ghcr.io/a/b"),
    ],
)
def test_the_longest_beginning_says_where_a_name_leads(hosts: Hosts, name: str, expected: str) -> None:
    rules = {
        "*": Rule(location="all.lan"),
        "docker.io": Rule(location="hub.lan:5000"),
        "quay.io": Rule(),
        "quay.io/team": Rule(location="registry.lan/quay-team"),
    }
    with pytest.raises(SwapboxError):
        Mirrored(hosts, rules, warn=pytest.fail).resolve(Reference.parse(name))
    assert hosts.asked == [("resolve", expected)]


def test_what_is_blocked_is_refused_before_anybody_is_asked(hosts: Hosts) -> None:
    rules = {"*": Rule(blocked=True), "quay.io/team": Rule(mirrors=("one.lan:5000",)), "ghcr.io": Rule()}
    registry = Mirrored(hosts, rules, warn=pytest.fail)
    with pytest.raises(PermissionDenied, match=r'alpine:1 is blocked: \[registries."\*"\]'):
        registry.resolve(Reference.parse("alpine:1"))
    assert hosts.asked == []
    assert rule_for(rules, IMAGE)[0] == "quay.io/team"
    assert rule_for(rules, Reference.parse("ghcr.io/x"))[0] == "ghcr.io"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("GHCR.IO/team/app", "ghcr.io/team"),
        ("ghcr.io:443/team/app", "ghcr.io/team"),
        ("Ghcr.io:00443/team/app", "ghcr.io"),
        ("ghcr.io/team/app", "GHCR.io:443/team"),
        ("registry-1.docker.io/library/alpine", "docker.io"),
        ("Index.Docker.io/library/alpine", "docker.io/library"),
        ("registry-1.docker.io:443/library/alpine", "docker.io"),
        ("[2001:DB8::1]:443/team/app", "[2001:db8::1]"),
    ],
)
def test_no_other_way_to_write_a_host_leads_past_a_rule(hosts: Hosts, name: str, prefix: str) -> None:
    reference = Reference.parse(name)
    with pytest.raises(PermissionDenied, match="is blocked"):
        rule_for({prefix: Rule(blocked=True)}, reference)
    with pytest.raises(NotFound):
        Mirrored(hosts, {prefix: Rule(mirrors=("one.lan:5000/x",))}, warn=pytest.fail).resolve(reference)
    assert [place.partition("/")[0] for _, place in hosts.asked] == ["one.lan:5000", reference.host]
    assert hosts.asked[0][1].endswith(name.rpartition("/")[2])


@pytest.mark.parametrize("name", ["ghcr.io:5000/app", "xghcr.io/app", "ghcr.io.lan/app", "ghcr.io:4430/app"])
def test_another_registry_is_none_of_a_rules(name: str) -> None:
    rule_for({"ghcr.io": Rule(blocked=True)}, Reference.parse(name))


def test_a_push_goes_where_the_rule_leads_and_to_no_mirror(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[registries."quay.io"]\nmirrors = ["one.lan"]\n[registries."quay.io/team"]\nlocation = "there.lan"\n'
    )
    engine = Engine(root=tmp_path / "root", config_file=config, environment={})
    assert str(destination(engine, IMAGE)) == "there.lan/app:1"
    assert str(destination(engine, IMAGE._replace(path="other/app"))) == "quay.io/other/app:1"
    offline = Engine(root=tmp_path / "root", environment={"SWAPBOX_OFFLINE": "1"})
    with pytest.raises(Unavailable, match="offline"):
        destination(offline, IMAGE)


@pytest.mark.parametrize("said", ["1", "true", "YES", "on", "0", "False", "no", "off"])
def test_the_variable_for_offline_goes_before_the_file(said: str, tmp_path: Path) -> None:
    yes = said.lower() in ("1", "true", "yes", "on")
    (tmp_path / "config.toml").write_text(f"offline = {str(not yes).lower()}")
    environment = {"SWAPBOX_OFFLINE": said, "SWAPBOX_CONFIG": str(tmp_path / "config.toml")}
    assert is_offline(Engine(environment=environment)) is yes
    assert is_offline(Engine(environment={**environment, "SWAPBOX_OFFLINE": ""})) is not yes


def test_other_words_in_the_variable_for_offline_are_refused() -> None:
    with pytest.raises(InvalidInput, match="SWAPBOX_OFFLINE: expected 1 or 0, not 'maybe'"):
        is_offline(Engine(environment={"SWAPBOX_OFFLINE": "maybe"}))

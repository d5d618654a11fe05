"""Which registry a pull and a push really talk to: mirrors, names that lead elsewhere, what is blocked, offline.

The rules are those of ``[registries]`` in the configuration file, and hold for every registry driver: a driver
sees only the reference that came out. A log-in is looked for by that reference's host, so that a mirror is never
told the one of the registry it stands for. What a tag means a mirror is believed; all else has its digest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from swapbox.config import Rule
from swapbox.descriptors import MANIFEST_LIMIT, Descriptor
from swapbox.errors import InvalidInput, NotFound, PermissionDenied, SwapboxError, Unavailable
from swapbox.images import manifests
from swapbox.references import Reference, canonical_host

if TYPE_CHECKING:
    from swapbox.drivers.registry import BlobReader, RegistryDriver
    from swapbox.engine import Engine
    from swapbox.store.content import ContentStore
    from swapbox.store.database import Database

ResultT = TypeVar("ResultT")

OFFLINE_VARIABLE = "SWAPBOX_OFFLINE"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_HINT = f"see offline in the configuration file, and the variable {OFFLINE_VARIABLE}"


def is_offline(engine: Engine) -> bool:
    """Say whether no registry may be talked to: by the variable, else by the configuration file.

    :raises InvalidInput: the variable says neither yes nor no.
    """
    said = engine.environment.get(OFFLINE_VARIABLE, "")
    if said.lower() not in ("", *_YES, *_NO):
        raise InvalidInput(f"{OFFLINE_VARIABLE}: expected 1 or 0, not {said!r}")
    return said.lower() in _YES if said else engine.config.offline


def source(engine: Engine, name: str | None = None) -> RegistryDriver:
    """Return what to pull from: the registry driver as the rules have it, or the content store.

    :param name: the driver to use instead of the default one.
    """
    choice = engine.selector.choose("registry", name=name)
    local = "local" in choice.offer.spec.capabilities
    if is_offline(engine) and not local:
        return Offline(engine.database, engine.content)
    driver: RegistryDriver = engine.selector.open_choice(choice)
    rules = engine.config.registries
    return Mirrored(driver, rules, warn=engine.warn) if rules and not local else driver


def destination(engine: Engine, reference: Reference) -> Reference:
    """Return where a push to a reference goes.

    :raises PermissionDenied: its registry is blocked.
    :raises Unavailable: no registry may be talked to.
    """
    if is_offline(engine):
        raise Unavailable(f"cannot push {reference.familiar}: swapbox is offline", hint=_HINT)
    prefix, rule = rule_for(engine.config.registries, reference)
    return _moved(reference, prefix, rule.location) if rule.location else reference


def rule_for(rules: Mapping[str, Rule], reference: Reference) -> tuple[str, Rule]:
    """Return the rule with the longest beginning of a reference's name, and that beginning.

    :raises PermissionDenied: the rule says that it is blocked.
    """
    name = _canonical(reference.name)
    for prefix in sorted(rules, key=lambda prefix: len(_canonical(prefix)), reverse=True):
        if prefix != "*" and f"{name}/".startswith(f"{_canonical(prefix)}/"):
            break
    else:
        prefix = "*"
    rule = rules.get(prefix, Rule())
    if rule.blocked:
        raise PermissionDenied(
            f'{reference.familiar} is blocked: [registries."{prefix}"] of the configuration says so',
            hint="choose another image, or change the configuration",
        )
    return prefix, rule


def _canonical(name: str) -> str:
    """Return the beginning of a name, so that no other way to write its host leads past a rule."""
    host, slash, path = name.partition("/")
    return f"{canonical_host(host)}{slash}{path}"


def _moved(reference: Reference, prefix: str, place: str) -> Reference:
    """Return a reference with another beginning of its name."""
    name = _canonical(reference.name)
    rest = f"/{name}" if prefix == "*" else name.removeprefix(_canonical(prefix))
    host, _, path = f"{place}{rest}".partition("/")
    return reference._replace(host=host, path=path)


class Mirrored:
    """A registry driver that asks mirrors first; keeps :class:`~swapbox.drivers.registry.RegistryDriver`.

    What a mirror does not have, or cannot give, the next one is asked for, and at last the registry itself.
    """

    def __init__(self, driver: RegistryDriver, rules: Mapping[str, Rule], *, warn: Callable[[str], None]) -> None:
        self._driver = driver
        self._rules = rules
        self._warn = warn
        self._places: dict[Reference, list[Reference]] = {}
        self._lock = threading.Lock()

    def resolve(self, reference: Reference) -> Descriptor:
        """Return what the reference names at the first place that has it."""
        return self._first(reference, self._driver.resolve)

    def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a manifest from where the reference was resolved, else from the next place."""
        return self._first(reference, lambda place: self._driver.manifest(place, descriptor))

    def open_blob(self, reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> BlobReader:
        """Start receiving a blob from where the reference was resolved, else from the next place."""
        return self._first(reference, lambda place: self._driver.open_blob(place, descriptor, offset=offset))

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags at the first place that has any."""
        return iter(self._first(reference, lambda place: list(self._driver.tags(place))))

    def close(self) -> None:
        """Leave the driver open: it is the engine's."""

    def _first(self, reference: Reference, ask: Callable[[Reference], ResultT]) -> ResultT:
        places = self._places_of(reference)
        for place in places[:-1]:
            try:
                return ask(place)
            except SwapboxError as error:
                self._pass_over(reference, place, error)
        return ask(places[-1])

    def _places_of(self, reference: Reference) -> list[Reference]:
        """Return the places that are left to ask."""
        with self._lock:
            if reference not in self._places:
                prefix, rule = rule_for(self._rules, reference)
                places = [*rule.mirrors, rule.location]
                self._places[reference] = [
                    _moved(reference, prefix, place) if place else reference for place in places
                ]
            return list(self._places[reference])

    def _pass_over(self, reference: Reference, place: Reference, error: SwapboxError) -> None:
        """Ask a place no more for what it did not have or could not give; say so unless that is usual."""
        with self._lock:
            if place not in self._places[reference][:-1]:
                return  # another thread has said so
            self._places[reference].remove(place)
        if not isinstance(error, NotFound):
            self._warn(f"mirror {place.name} is passed over: {error.message}")


class Offline:
    """The content store as a registry driver: what was pulled once is answered, and nothing else."""

    def __init__(self, database: Database, content: ContentStore) -> None:
        self._database = database
        self._content = content

    def resolve(self, reference: Reference) -> Descriptor:
        """Return what the reference named when it was pulled."""
        row = self._database.row(
            "SELECT target FROM images JOIN image_names ON image = id WHERE name = ?",
            (str(reference._replace(tag=None) if reference.digest else reference),),
        )
        digest = row["target"] if row else reference.digest
        if not digest or not self._content.has(digest):
            raise _missing(reference.familiar)
        return _descriptor(digest, self._content.read(digest, limit=MANIFEST_LIMIT))

    def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return a manifest that is here."""
        if not self._content.has(descriptor.digest):
            raise _missing(f"manifest {descriptor.digest} of {reference.familiar}")
        return self._content.read(descriptor.digest, limit=MANIFEST_LIMIT)

    def open_blob(self, reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> BlobReader:
        """Refuse: what is here nobody asks a registry for."""
        raise _missing(f"blob {descriptor.digest} of {reference.familiar}")

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags that are here."""
        names = self._database.rows(
            "SELECT name FROM image_names WHERE substr(name, 1, ?) = ? ORDER BY name",
            (len(reference.name) + 1, f"{reference.name}:"),
        )
        return (row["name"].removeprefix(f"{reference.name}:") for row in names)

    def close(self) -> None:
        """Do nothing: the store is the engine's."""


def _descriptor(digest: str, data: bytes) -> Descriptor:
    """Return the descriptor of an index or manifest that is here, without those that name it."""
    try:
        media_type = manifests.parse_index(data).media_type
    except SwapboxError:
        media_type = manifests.parse_manifest(data).media_type
    return Descriptor(media_type, digest, len(data))


def _missing(what: str) -> NotFound:
    return NotFound(f"{what} is not here, and no registry may be asked: swapbox is offline", hint=_HINT)

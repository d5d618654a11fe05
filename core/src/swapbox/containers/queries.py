"""Docker's filters for containers: which of them ``ps --filter`` shows.

Values of one filter are alternatives, but all labels have to be there; different filters have all to fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from swapbox.containers.listing import Listed, listed
from swapbox.errors import InvalidInput, NotFound
from swapbox.matching import check_names, labels_match, matches

if TYPE_CHECKING:
    from swapbox.engine import Engine

Filters = Mapping[str, Sequence[str]]
Test = Callable[[Listed], bool]

STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
HEALTHS = ("none", "starting", "healthy", "unhealthy")
_PORTS = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?")


def query(engine: Engine, filters: Filters, *, everything: bool, last: int = 0) -> Iterator[Listed]:
    """Yield the containers that pass all filters, the newest first.

    :param everything: also those that do not run; some filters mean that, too.
    :param last: at most so many, of all; 0 or less for any number.
    :raises InvalidInput: there is no such filter, or a value is wrong.
    :raises NotFound: ``before`` or ``since`` name no container.
    """
    check_names(filters, _TESTS)
    tests = [_TESTS[name](engine, values) for name, values in filters.items()]
    everything = everything or last > 0 or "status" in filters
    found = (one for one in listed(engine, everything=everything) if all(test(one) for test in tests))
    return islice(found, last) if last > 0 else found


def _name(_engine: Engine, values: Sequence[str]) -> Test:
    return lambda container: matches(values, container.name, f"/{container.name}")


def _id(_engine: Engine, values: Sequence[str]) -> Test:
    return lambda container: matches(values, container.id)


def _label(_engine: Engine, values: Sequence[str]) -> Test:
    return lambda container: labels_match(values, container.config.get("labels") or {})


def _exited(_engine: Engine, values: Sequence[str]) -> Test:
    codes = set()
    for value in values:
        try:
            codes.add(int(value))
        except ValueError:
            reason = f'strconv.Atoi: parsing "{value}": invalid syntax'
            raise InvalidInput(f"invalid filter 'exited={value}': {reason}") from None
    return lambda container: not container.running and container.state.exit_code in codes


def _one_of(filter: str, what: str, known: Sequence[str], values: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            reason = f"invalid value for {what} ({value}): must be one of {', '.join(known)}"
            raise InvalidInput(f"invalid filter '{filter}={value}': {reason}")


def _status(_engine: Engine, values: Sequence[str]) -> Test:
    _one_of("status", "state", STATES, values)
    return lambda container: container.state.status in values


def _health(_engine: Engine, values: Sequence[str]) -> Test:
    _one_of("health", "health", HEALTHS, values)
    return lambda container: container.health in values


def _created(engine: Engine, names: Sequence[str]) -> int:
    """Return when the last of the containers was made."""
    for name in names:
        try:
            moment = engine.records.find(name).created
        except NotFound:
            raise NotFound(f"no such container {name}") from None
    return moment


def _before(engine: Engine, values: Sequence[str]) -> Test:
    moment = _created(engine, values)
    return lambda container: container.created < moment


def _since(engine: Engine, values: Sequence[str]) -> Test:
    moment = _created(engine, values)
    return lambda container: container.created > moment


def _ancestor(engine: Engine, values: Sequence[str]) -> Test:
    """Fit containers of an image, and of images that have its layers below their own."""
    wanted = []
    for value in values:
        try:
            wanted.append(engine.images.find(value))
        except (NotFound, InvalidInput):  # no such image: no such container
            continue
    below = {
        image.id
        for image in (engine.images.all() if wanted else ())
        for base in wanted
        if image.id == base.id or _is_above(image.diff_ids, base.diff_ids)
    }
    return lambda container: container.image_id in below


def _is_above(layers: Sequence[str], base: Sequence[str]) -> bool:
    return len(layers) > len(base) and layers[: len(base)] == base


def _volume(_engine: Engine, values: Sequence[str]) -> Test:
    def test(container: Listed) -> bool:
        mounts = container.config.get("mounts", ())
        return any(value in (mount.get("name"), mount["target"]) for value in values for mount in mounts)

    return test


def _network(engine: Engine, values: Sequence[str]) -> Test:
    wanted = set(values)
    for value in values:  # an id names a network, too
        try:
            network = engine.networks.find(value)
        except (NotFound, InvalidInput):
            continue
        wanted.add(network.name)
    places = engine.networks.records.names()

    def test(container: Listed) -> bool:
        config = container.config
        names = [config.get("network") or config.get("network_driver"), *places.get(container.id, ())]
        return not wanted.isdisjoint(names)

    return test


def _ports(values: Iterable[str]) -> set[tuple[int, str]]:
    found = set()
    for value in values:
        match = _PORTS.fullmatch(value)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if match is None or not first <= last <= 65535:
            raise InvalidInput(f"invalid port '{value}'")
        found |= {(port, match[3] or "tcp") for port in range(first, last + 1)}
    return found


def _publish(engine: Engine, values: Sequence[str]) -> Test:
    wanted = _ports(values)
    published = {
        container: {(port.public, port.protocol) for port in ports}
        for container, ports in engine.networks.records.published().items()
    }
    return lambda container: not wanted.isdisjoint(published.get(container.id, ()))


def _expose(_engine: Engine, values: Sequence[str]) -> Test:
    from swapbox.containers.exposed import exposed

    wanted = {(protocol, port) for port, protocol in _ports(values)}
    return lambda container: (
        (container.config.get("network") or container.config.get("network_driver")) not in ("none", "host")
        and not wanted.isdisjoint(exposed(container.config.get("exposed_ports", ())))
    )


def _task(_engine: Engine, values: Sequence[str]) -> Test:
    """There are no tasks of a swarm here."""
    return lambda _container: not any(value in ("1", "true") for value in values)


def _any(_engine: Engine, _values: Sequence[str]) -> Test:
    """The way of isolation is a matter of Windows in Docker's filters."""
    return lambda _container: True


_TESTS: Mapping[str, Callable[[Engine, Sequence[str]], Test]] = {
    "ancestor": _ancestor,
    "before": _before,
    "exited": _exited,
    "expose": _expose,
    "health": _health,
    "id": _id,
    "is-task": _task,
    "isolation": _any,
    "label": _label,
    "name": _name,
    "network": _network,
    "publish": _publish,
    "since": _since,
    "status": _status,
    "volume": _volume,
}

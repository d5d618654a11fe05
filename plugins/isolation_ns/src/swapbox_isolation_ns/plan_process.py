"""The ``process`` object of a ``config.json``, or of an exec, as values."""

import resource
from collections.abc import Mapping
from typing import Any, NamedTuple

from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import caps

_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
UNLIMITED = 2**64 - 1


class CapabilityPlan(NamedTuple):
    """Five bit masks (capabilities(7))."""

    bounding: int = 0
    effective: int = 0
    permitted: int = 0
    inheritable: int = 0
    ambient: int = 0


class Limit(NamedTuple):
    """One resource limit; ``resource`` is the number of ``name`` (getrlimit(2))."""

    name: str
    resource: int
    soft: int
    hard: int


class ProcessPlan(NamedTuple):
    """What the command runs as.

    :param size: rows and columns of the terminal, or None.
    """

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    capabilities: CapabilityPlan
    no_new_privileges: bool
    limits: tuple[Limit, ...]
    oom_score_adj: int | None
    terminal: bool
    size: tuple[int, int] | None


def plan_process(process: Mapping[str, Any]) -> ProcessPlan:
    """Plan a ``process`` object.

    :raises InvalidInput: the command or the working directory is missing, or a limit is not one.
    :raises Unsupported: a capability is unknown.
    """
    args = tuple(process.get("args") or ())
    if not args:
        raise InvalidInput("process.args is empty in config.json")
    cwd = process.get("cwd") or ""
    if not cwd.startswith("/"):
        raise InvalidInput(f"the working directory {cwd!r} is not an absolute path")
    user = process.get("user") or {}
    size = process.get("consoleSize") or {}
    return ProcessPlan(
        args=args,
        env=tuple(process.get("env") or ()),
        cwd=cwd,
        uid=user.get("uid") or 0,
        gid=user.get("gid") or 0,
        groups=tuple(user.get("additionalGids") or ()),
        umask=user["umask"] if user.get("umask") is not None else 0o022,
        capabilities=_capabilities(process.get("capabilities") or {}),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        limits=_limits(process.get("rlimits") or ()),
        oom_score_adj=process.get("oomScoreAdj"),
        terminal=bool(process.get("terminal")),
        size=(size["height"], size["width"]) if size.get("height") and size.get("width") else None,
    )


def _capabilities(sets: Mapping[str, Any]) -> CapabilityPlan:
    masks = {name: _mask(sets.get(name) or ()) for name in _SETS}
    # The kernel raises an ambient capability only when it is permitted and inheritable; runc drops the rest too.
    masks["ambient"] &= masks["permitted"] & masks["inheritable"]
    return CapabilityPlan(**masks)


def _mask(names: Any) -> int:
    try:
        return caps.mask(names)
    except KeyError as error:
        raise Unsupported(f"unknown capability {error.args[0]!r}") from None


def _limits(items: Any) -> tuple[Limit, ...]:
    limits = []
    for item in items:
        name, soft, hard = item["type"], _limit(item["soft"]), _limit(item["hard"])
        number = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
        if number is None:
            raise InvalidInput(f"unknown resource limit {name!r}")
        if soft > hard:
            raise InvalidInput(f"{name}: the soft limit {soft} is above the hard limit {hard}")
        limits.append(Limit(name, number, soft, hard))
    return tuple(limits)


def _limit(value: int) -> int:
    """Return a limit as the kernel has it; -1 is RLIM_INFINITY, all ones."""
    return value if 0 <= value < UNLIMITED else UNLIMITED

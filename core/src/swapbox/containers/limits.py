"""Memory, CPU, pids and ulimit flags: from Docker's syntax to OCI ``linux.resources`` and ``process.rlimits``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from swapbox.containers.config import ContainerConfig, Ulimit
from swapbox.containers.options import parse_integer
from swapbox.errors import InvalidInput

_MOST = 65536
"""More processors than any kernel has."""

MINIMUM_MEMORY = 6 * 1024 * 1024
CPU_PERIOD = 100_000
"""Microseconds; ``--cpus`` becomes a quota of this period."""

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_ULIMITS = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
_UNLIMITED = 2**64 - 1


def parse_memory(text: str) -> int:
    """Read a size in binary units, in any case: ``512m``, ``1.5g``, ``64kb``, ``1KiB``, ``100``; return bytes."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    number = number.removesuffix(" ")
    if not number[-1:].isdigit() and not number.endswith("."):
        raise InvalidInput(f"invalid size: '{text}'")
    try:
        size = float(number)
    except ValueError:
        raise InvalidInput(f'strconv.ParseFloat: parsing "{number}": invalid syntax') from None
    if size < 0:
        raise InvalidInput(f"invalid size: '{text}'")
    if suffix in {"", "b"}:
        return int(size)
    if suffix[1:] not in {"", "b", "ib"} or suffix[0] not in _UNITS:
        raise InvalidInput(f"invalid suffix: '{suffix}'")
    return int(size * _UNITS[suffix[0]])


def parse_memory_swap(text: str) -> int:
    """Read ``--memory-swap``: a size, or -1 for unlimited swap."""
    return -1 if text == "-1" else parse_memory(text)


def parse_cpus(text: str) -> int:
    """Read ``--cpus``: a decimal number or a fraction; return CPUs times 10^9."""
    from fractions import Fraction

    try:
        nano = Fraction(text) * 10**9
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(f"failed to parse {text} as a rational number") from None
    if nano.denominator != 1:
        raise InvalidInput("value is too precise")
    return nano.numerator


def parse_ulimits(values: Iterable[str]) -> tuple[Ulimit, ...]:
    """Read ``--ulimit name=soft[:hard]``; the last of one name wins, sorted by name."""
    limits = {limit.name: limit for limit in map(_parse_ulimit, values)}
    return tuple(limits[name] for name in sorted(limits))


def _parse_ulimit(text: str) -> Ulimit:
    name, equals, limits = text.partition("=")
    if not equals:
        raise InvalidInput(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS.split():
        raise InvalidInput(f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise InvalidInput(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    hard = parse_integer(parts[-1])
    soft = parse_integer(parts[0])
    if hard != -1 and (soft == -1 or soft > hard):
        order = f"soft: -1 (unlimited), hard: {hard}" if soft == -1 else f"{soft} > {hard}"
        raise InvalidInput(f"ulimit soft limit must be less than or equal to hard limit: {order}")
    return Ulimit(name, soft, hard)


def check_limits(options: ContainerConfig) -> None:
    """Check that limits are possible and fit together.

    :raises InvalidInput: with Docker's words.
    """
    _check_memory(options)
    _check_cpu(options)
    if not -1000 <= options.oom_score_adj <= 1000:
        raise InvalidInput(f"Invalid value {options.oom_score_adj}, range for oom score adj is [-1000, 1000]")


def _check_memory(options: ContainerConfig) -> None:
    memory, swap, reservation = options.memory, options.memory_swap, options.memory_reservation
    if memory and memory < MINIMUM_MEMORY:
        raise InvalidInput("Minimum memory limit allowed is 6MB")
    if memory and 0 < swap < memory:
        raise InvalidInput("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise InvalidInput("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < reservation < MINIMUM_MEMORY:
        raise InvalidInput("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise InvalidInput("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpu(options: ContainerConfig) -> None:
    nano, period, quota = options.nano_cpus, options.cpu_period, options.cpu_quota
    if nano > 0 and period > 0:
        raise InvalidInput("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano > 0 and quota > 0:
        raise InvalidInput("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if nano and not 0 < nano <= (count := len(os.sched_getaffinity(0))) * 10**9:
        raise InvalidInput(f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if options.cpu_shares < 0:
        raise InvalidInput("shares: invalid argument")
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidInput("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise InvalidInput("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    _check_set(options.cpuset_cpus, "cpus")
    _check_set(options.cpuset_mems, "mems")


def _check_set(text: str, what: str) -> None:
    """Check the list format of cpuset(7), ``0-3,5``."""
    for item in text.split(",") if text else ():
        first, dash, last = item.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(first) > int(last)):
            raise InvalidInput(f"Invalid value {text} for cpuset {what}")
    kind, name = ("cpu", "CPUs") if what == "cpus" else ("node", "memory nodes")
    online = _online(kind) if text else ""
    if online and not _numbers(text) <= _numbers(online):
        raise InvalidInput(f"Requested {name} are not available - requested {text}, available: {online}")


def _online(kind: str) -> str:
    """Return the numbers that the host has, in the same format; empty when it does not say."""
    try:
        with open(f"/sys/devices/system/{kind}/online", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _numbers(text: str) -> set[int]:
    ends = [[int(number) for number in item.split("-")] for item in text.split(",")]
    return {number for pair in ends for number in range(pair[0], min(pair[-1], _MOST) + 1)}


def rlimits(config: ContainerConfig) -> list[dict[str, Any]]:
    """Return ``process.rlimits``."""
    return [
        {
            "type": f"RLIMIT_{limit.name.upper()}",
            "soft": limit.soft if limit.soft >= 0 else _UNLIMITED,
            "hard": limit.hard if limit.hard >= 0 else _UNLIMITED,
        }
        for limit in config.ulimits
    ]


def resources(config: ContainerConfig) -> dict[str, Any]:
    """Return ``linux.resources`` without devices: only the limits that were asked for, by Docker's conversions."""
    parts: dict[str, dict[str, Any]] = {
        "memory": {
            "limit": config.memory,
            "reservation": config.memory_reservation,
            # Docker's default: as much swap as memory. -1, unlimited, is what a group without the limit has.
            "swap": max(config.memory_swap or config.memory * 2, 0),
        },
        "cpu": {
            "shares": config.cpu_shares and min(max(config.cpu_shares, 2), 262_144),
            "quota": config.nano_cpus * CPU_PERIOD // 10**9 or config.cpu_quota,
            "period": CPU_PERIOD if config.nano_cpus else config.cpu_period,
            "cpus": config.cpuset_cpus,
            "mems": config.cpuset_mems,
        },
        "pids": {"limit": max(config.pids_limit, 0)},
    }
    given = {name: {key: value for key, value in part.items() if value} for name, part in parts.items()}
    return {name: part for name, part in given.items() if part}

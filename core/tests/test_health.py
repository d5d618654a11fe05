"""What follows from a health check, and how checks are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from swapbox.containers.config import ContainerConfig, Healthcheck, merge
from swapbox.containers.health import command, judged
from swapbox.containers.healthcheck import effective, parse_healthcheck
from swapbox.containers.records import Health, Probe
from swapbox.durations import SECOND
from swapbox.errors import InvalidInput

CHECK = Healthcheck(("CMD", "x"), interval=1, timeout=1, retries=2)
OPTIONS = ("health_cmd", "health_interval", "health_timeout", "health_retries", "health_start_period")


def given(**options: Any) -> dict[str, Any]:
    return {**dict.fromkeys((*OPTIONS, "health_start_interval"), ""), "no_healthcheck": False, **options}


def after(health: Health, *codes: int, start: int = 0, check: Healthcheck = CHECK) -> Health:
    for code in codes:
        health = judged(health, Probe(start, start + 1, code, ""), check, started=0)
    return health


def test_one_success_makes_healthy_and_retries_failures_unhealthy() -> None:
    assert after(Health(), 0).status == "healthy"
    assert after(Health(), 1).status == "starting"
    assert after(Health(), 1, 1)[:2] == ("unhealthy", 2)
    assert after(Health(), 0, 1).status == "healthy"
    assert after(Health(), 1, 1, 0)[:2] == ("healthy", 0)


def test_a_failure_in_the_start_period_counts_only_once_it_was_healthy() -> None:
    slow = CHECK._replace(start_period=SECOND)
    assert after(Health(), 1, 1, 1, check=slow)[:2] == ("starting", 0)
    assert after(Health(), 0, 1, 1, check=slow)[:2] == ("unhealthy", 2)
    assert after(Health(), 1, 1, start=SECOND, check=slow)[:2] == ("unhealthy", 2)


def test_defaults_are_dockers() -> None:
    half_minute = 30 * SECOND
    assert effective(Healthcheck(("CMD", "x"))) == (("CMD", "x"), half_minute, half_minute, 0, 5 * SECOND, 3)
    assert effective(Healthcheck()) is None
    assert effective(Healthcheck(("NONE",))) is None


def test_an_image_cannot_ask_for_checks_without_a_pause() -> None:
    often = effective(Healthcheck(("CMD", "x"), interval=1, start_interval=1))
    assert often is not None
    assert (often.interval, often.start_interval) == (SECOND // 1000, SECOND // 1000)


def test_a_check_in_shell_form_takes_the_images_shell() -> None:
    check = Healthcheck(("CMD-SHELL", "a b"))
    config = merge(ContainerConfig("x"), {"config": {"Cmd": ["x"], "Shell": ["/bin/ash", "-ec"]}})
    assert command(check, config.shell_form) == ["/bin/ash", "-ec", "a b"]
    assert command(check, ()) == ["/bin/sh", "-c", "a b"]
    assert command(Healthcheck(("CMD", "a", "b")), config.shell_form) == ["a", "b"]


def test_a_check_of_an_unknown_kind_is_none() -> None:
    assert effective(Healthcheck(("NONE", "x"))) is None
    assert effective(Healthcheck(("sh", "-c", "x"))) is None


def test_flags_go_over_the_images() -> None:
    image = {"config": {"Cmd": ["x"], "Healthcheck": {"Test": ["CMD", "its"], "Retries": 7, "Timeout": 5}}}
    assert merge(ContainerConfig("x"), image).healthcheck == Healthcheck(("CMD", "its"), timeout=5, retries=7)
    own = Healthcheck(("CMD-SHELL", "mine"), retries=2)
    assert merge(ContainerConfig("x", healthcheck=own), image).healthcheck == own._replace(timeout=5)
    none = Healthcheck(("NONE",))
    assert effective(merge(ContainerConfig("x", healthcheck=none), image).healthcheck) is None


def test_flags_are_read() -> None:
    asked = parse_healthcheck(given(health_cmd="x y", health_interval="1m", health_retries="4"))
    assert asked == Healthcheck(("CMD-SHELL", "x y"), interval=60 * SECOND, retries=4)
    assert parse_healthcheck(given(no_healthcheck=True)) == Healthcheck(("NONE",))
    assert parse_healthcheck(given()) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"health_cmd": "x", "no_healthcheck": True}, "--no-healthcheck conflicts with --health-* options"),
        ({"health_timeout": "-1s"}, "--health-timeout cannot be negative"),
        ({"health_retries": "-1"}, "--health-retries cannot be negative"),
        ({"health_start_period": "5us"}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"health_interval": "soon"}, 'time: invalid duration "soon"'),
    ],
)
def test_wrong_flags_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_healthcheck(given(**options))
    assert caught.value.message == words


def test_health_survives_json() -> None:
    health = Health("unhealthy", 2, (Probe(1, 2, 1, "no"),))
    assert Health.from_json(health.to_json()) == health

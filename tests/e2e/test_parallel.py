"""Many commands at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from swapbox.testing import images, publish
from swapbox.testing.process import Result
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


def test_twenty_containers_from_four_processes(swapbox: Sandbox) -> None:
    def five(worker: int) -> list[Result]:
        commands = (("busybox", "sh", "-c", f"echo {worker}-{number}; sleep 1000") for number in range(5))
        return [swapbox("run", "-d", "--name", f"c{worker}{n}", *command) for n, command in enumerate(commands)]

    with ThreadPoolExecutor(4) as pool:
        results = [result for worker in pool.map(five, range(4)) for result in worker]
    assert [result.err for result in results if result.code or result.err] == []
    assert len({result.out for result in results}) == 20
    assert sorted(swapbox.ok("ps", "-q", "--no-trunc").split()) == sorted(result.out for result in results)
    for worker in range(4):
        for number in range(5):
            name = f"c{worker}{number}"
            assert swapbox.wait_log(name, "\n" * 0 + f"{worker}-{number}") == f"{worker}-{number}"


def test_short_containers_from_four_processes(swapbox: Sandbox) -> None:
    def five(worker: int) -> list[Result]:
        return [swapbox("run", "--rm", "busybox", "sh", "-c", f"echo {worker}; exit {n}") for n in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for worker, results in enumerate(pool.map(five, range(4))):
            assert [(r.code, r.out, r.err) for r in results] == [(n, str(worker), "") for n in range(5)]
    assert swapbox.ok("ps", "-a", "-q") == ""


def test_one_image_pulled_by_four_processes(empty_swapbox: Sandbox, registry: str) -> None:
    reference = publish.push(registry, "contended", "latest", images.layered_image(4))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: empty_swapbox("pull", reference), range(4)))
    assert [result.err for result in results if result.code] == []
    assert empty_swapbox.ok("run", "--rm", reference, "ls", "/layers") == "3"
    assert len(empty_swapbox.ok("images", "-q").split()) == 1


def test_containers_of_a_new_image_started_by_four_processes(empty_swapbox: Sandbox, registry: str) -> None:
    reference = publish.push(registry, "contended-too", "latest", images.layered_image(3))
    with ThreadPoolExecutor(4) as pool:
        run = ("run", "--rm", reference, "echo", "hi")
        results = list(pool.map(lambda _: empty_swapbox(*run), range(4)))
    assert [(result.code, result.out) for result in results] == [(0, "hi")] * 4

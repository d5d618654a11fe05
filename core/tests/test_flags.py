"""Wrong values of flags: which flag and value it was is known to the end."""

from __future__ import annotations

import marshal

import pytest

from swapbox.containers.flags import check_resources
from swapbox.containers.spawn import plain_error, remade_error
from swapbox.errors import CommandNotExecutable, InvalidFlag, NotFound, SwapboxError

UNSET = dict.fromkeys(
    ("memory", "memory_swap", "memory_reservation", "cpus", "cpu_shares", "cpu_period", "cpu_quota"), ""
) | dict.fromkeys(("cpuset_cpus", "cpuset_mems", "pids_limit"), "")


def test_a_wrong_value_names_its_option() -> None:
    check_resources(UNSET | {"memory": "5m"})
    with pytest.raises(InvalidFlag, match="invalid size: 'lots'") as caught:
        check_resources(UNSET | {"memory": "lots"})
    assert (caught.value.option, caught.value.value) == ("memory", "lots")


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no x", hint="make one"),
        CommandNotExecutable("no such command", exit_code=127),
        InvalidFlag("not a number", option="cpus", value="x"),
    ],
)
def test_an_error_crosses_to_another_process_with_all_it_knows(error: SwapboxError) -> None:
    again = remade_error(marshal.loads(marshal.dumps(plain_error(error))))
    assert (type(again), vars(again)) == (type(error), vars(error))


def test_an_error_of_a_class_of_its_own_crosses_as_the_base_of_all() -> None:
    class Own(SwapboxError):
        pass

    assert type(remade_error(plain_error(Own("x")))) is SwapboxError

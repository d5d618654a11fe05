"""What every isolation driver has to do. Subclass :class:`IsolationDriverContract` and say how to make the driver.

The suite runs real containers made from busybox, each from a monitor of its own (:mod:`swapbox.testing.box`).

It does not ask where runtimes differ and no caller can tell: for the words of an error, but for the command that
cannot be executed and the bind mount that is not there; and whether a variable HOME is added.
"""

from __future__ import annotations

import pytest

from swapbox.testing.isolation.crashes import Crashes
from swapbox.testing.isolation.execs import Execs
from swapbox.testing.isolation.life import Life
from swapbox.testing.isolation.process import Process
from swapbox.testing.isolation.states import States
from swapbox.testing.isolation.users import Users
from swapbox.testing.isolation.world import World

__all__ = ["IsolationDriverContract"]


@pytest.mark.root
class IsolationDriverContract(Life, States, Process, World, Users, Execs, Crashes):
    """The promises of :class:`swapbox.drivers.isolation.IsolationDriver`."""

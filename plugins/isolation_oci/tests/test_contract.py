from __future__ import annotations

from pathlib import Path

import pytest

from swapbox import DriverContext, IsolationDriver
from swapbox.linux import syscalls
from swapbox.testing.isolation import IsolationDriverContract
from swapbox_isolation_oci.driver import Driver
from swapbox_isolation_oci.probe import UNIFIED
from swapbox_isolation_oci.program import find


@pytest.mark.debian
@pytest.mark.skipif(find("runc") is None, reason="needs the program runc")
class TestRunc(IsolationDriverContract):
    def make_driver(self, context: DriverContext) -> IsolationDriver:
        return Driver(context, "runc")


@pytest.mark.debian
@pytest.mark.skipif(find("crun") is None, reason="needs the program crun")
class TestCrun(IsolationDriverContract):
    def make_driver(self, context: DriverContext) -> IsolationDriver:
        return Driver(context, "crun")

    def prepare_monitor(self) -> None:
        """Hide what crun refuses: controllers in cgroup v2 beside those in version 1."""
        if Path(UNIFIED).exists():
            syscalls.umount(Path(UNIFIED).parent, syscalls.MNT_DETACH)

    # What a killed caller leaves is the driver's affair, whichever the runtime: once, with runc, is enough.
    test_a_caller_killed_at_a_call_leaves_nothing_that_cannot_be_cleared = None  # type: ignore[assignment]
    test_a_caller_killed_at_an_instant_leaves_nothing_that_cannot_be_cleared = None  # type: ignore[assignment]

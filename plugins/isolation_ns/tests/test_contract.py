from __future__ import annotations

from swapbox import DriverContext, IsolationDriver
from swapbox.testing.isolation import IsolationDriverContract
from swapbox_isolation_ns.driver import Driver


class TestContract(IsolationDriverContract):
    def make_driver(self, context: DriverContext) -> IsolationDriver:
        return Driver(context)

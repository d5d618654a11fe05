from __future__ import annotations

import pytest

from swapbox import LogDriver
from swapbox.testing.logging import LogDriverContract
from swapbox_logging_none.driver import Driver


class TestContract(LogDriverContract):
    capabilities = frozenset({"recipe"})

    @pytest.fixture
    def driver(self) -> LogDriver:
        return Driver()

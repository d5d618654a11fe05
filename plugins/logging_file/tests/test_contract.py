from __future__ import annotations

import pytest

from swapbox import LogDriver
from swapbox.testing.logging import LogDriverContract
from swapbox_logging_file.driver import Driver


class TestContract(LogDriverContract):
    rotating = {"max-size": "500", "max-file": "1000"}

    @pytest.fixture
    def driver(self) -> LogDriver:
        return Driver()


class TestCompressed(TestContract):
    rotating = {"max-size": "3k", "max-file": "100", "compress": "true"}

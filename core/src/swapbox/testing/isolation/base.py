"""What the parts of the suite share: the driver under test and a container to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.drivers.common import DriverContext
from swapbox.drivers.isolation import IsolationDriver
from swapbox.testing.box import Box, missing


class Base:
    """How the driver is made."""

    def make_driver(self, context: DriverContext) -> IsolationDriver:
        """Return the driver under test."""
        raise NotImplementedError

    def prepare_monitor(self) -> None:
        """Make ready what the driver needs, in the mount namespace of a test's monitor."""

    @pytest.fixture
    def box(self, tmp_path: Path) -> Iterator[Box]:
        """A container to be, of which nothing may be left; skip where none can be made."""
        if thing := missing():
            pytest.skip(f"needs {thing}")
        box = Box(tmp_path, self.make_driver, prepare_monitor=self.prepare_monitor)
        yield box
        assert list(box.context.run_root.glob("*")) == [], "a state directory was left behind"

    def started(self, box: Box, *args: str, **fields: Any) -> int:
        """Create and start a container, and return its init."""
        pid = box.create(*args, **fields)
        box.driver.start(box.id)
        return pid

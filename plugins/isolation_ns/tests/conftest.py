from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.testing.box import Box, missing
from swapbox_isolation_ns.driver import Driver


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Yield a box; skip where no container can be made."""
    if thing := missing():
        pytest.skip(f"needs {thing}")
    yield Box(tmp_path, Driver)
    assert list((tmp_path / "run").glob("*")) == [], "a state directory was left behind"

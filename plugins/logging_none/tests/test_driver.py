from __future__ import annotations

from pathlib import Path

from swapbox.drivers.logging import LogInfo
from swapbox_logging_none.driver import Driver


def test_nothing_is_written(tmp_path: Path) -> None:
    writer = Driver().open(LogInfo("c", "web", "busybox", tmp_path), {})
    writer.write("stdout", b"secret\n", 0)
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_the_driver_offers_no_reading() -> None:
    assert not hasattr(Driver, "read")

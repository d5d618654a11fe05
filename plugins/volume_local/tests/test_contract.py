from __future__ import annotations

from swapbox.testing.volume import VolumeDriverContract
from swapbox_volume_local import swapbox_volume_drivers


class TestContract(VolumeDriverContract):
    spec = next(swapbox_volume_drivers())

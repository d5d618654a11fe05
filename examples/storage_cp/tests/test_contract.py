from __future__ import annotations

from swapbox_storage_cp import swapbox_storage_drivers

from swapbox.testing.storage import StorageDriverContract


class TestContract(StorageDriverContract):
    spec = next(swapbox_storage_drivers())

from __future__ import annotations

from swapbox.testing.storage import StorageDriverContract
from swapbox_storage_vfs import swapbox_storage_drivers


class TestContract(StorageDriverContract):
    spec = next(swapbox_storage_drivers())

from __future__ import annotations

from swapbox.testing.storage import StorageDriverContract
from swapbox_storage_overlay import swapbox_storage_drivers


class TestContract(StorageDriverContract):
    spec = next(swapbox_storage_drivers())


class TestUnprivileged(TestContract):
    """With the marks that overlay uses in a user namespace."""

    unprivileged = True

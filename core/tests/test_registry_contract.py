from __future__ import annotations

import pytest

from swapbox.testing.memory_registry import MemoryRegistry
from swapbox.testing.registry import RegistryDriverContract


class TestMemoryRegistry(RegistryDriverContract):
    @pytest.fixture
    def server(self) -> MemoryRegistry:
        return MemoryRegistry()

    @pytest.fixture
    def driver(self, server: MemoryRegistry) -> MemoryRegistry:
        return server

from __future__ import annotations

import pytest

from swapbox.testing.memory_registry import MemoryRegistry
from swapbox.testing.registry import RegistryDriverContract
from swapbox.testing.registry_push import PushContract


class _Memory:
    @pytest.fixture
    def server(self) -> MemoryRegistry:
        return MemoryRegistry()

    @pytest.fixture
    def driver(self, server: MemoryRegistry) -> MemoryRegistry:
        return server


class TestMemoryRegistry(_Memory, RegistryDriverContract):
    pass


class TestPush(_Memory, PushContract):
    pass

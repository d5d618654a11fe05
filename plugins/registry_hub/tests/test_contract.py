from __future__ import annotations

from collections.abc import Iterator

import pytest

from swapbox.testing.registry import NetworkRegistryContract
from swapbox.testing.registry_push import NetworkPushContract
from swapbox_registry_hub.credentials import Keyring
from swapbox_registry_hub.driver import Driver
from swapbox_registry_hub.patience import Patience


class _Hub:
    @pytest.fixture
    def driver(self) -> Iterator[Driver]:
        keyring = Keyring(environ={}, warn=pytest.fail)
        driver = Driver(timeout=2.0, keyring=keyring, patience=Patience(sleep=lambda _seconds: None))
        yield driver
        driver.close()


class TestContract(_Hub, NetworkRegistryContract):
    pass


class TestPush(_Hub, NetworkPushContract):
    pass

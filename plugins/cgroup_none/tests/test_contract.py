from __future__ import annotations

import pytest

from swapbox import CgroupController
from swapbox.testing.cgroup import CgroupControllerContract
from swapbox_cgroup_none.driver import Controller


class TestContract(CgroupControllerContract):
    capabilities = frozenset[str]()

    @pytest.fixture
    def controller(self) -> CgroupController:
        return Controller()

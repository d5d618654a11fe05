from __future__ import annotations

import os

import pytest

from swapbox import CgroupController
from swapbox.testing.cgroup import CgroupControllerContract
from swapbox_cgroup_v1.driver import Controller
from swapbox_cgroup_v1.hierarchies import find


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="groups are made by root")
@pytest.mark.skipif(not find(), reason="no cgroup v1 hierarchy is mounted")
class TestContract(CgroupControllerContract):
    @pytest.fixture
    def controller(self) -> CgroupController:
        return Controller(find())

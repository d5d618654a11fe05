"""The suite at the unified hierarchy that is mounted here; what needs a controller it lacks is skipped."""

from __future__ import annotations

import os

import pytest

from swapbox import CgroupController
from swapbox.linux.cgroupfs import mounts
from swapbox.testing.cgroup import CgroupControllerContract
from swapbox_cgroup_v2.driver import Controller
from swapbox_cgroup_v2.hierarchy import find


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="groups are made by root")
@pytest.mark.skipif(not list(mounts("cgroup2")), reason="no cgroup v2 hierarchy is mounted")
class TestContract(CgroupControllerContract):
    @pytest.fixture
    def controller(self) -> CgroupController:
        return Controller(find())

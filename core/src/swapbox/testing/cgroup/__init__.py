"""What every cgroup controller has to do. Subclass :class:`CgroupControllerContract` and give it your controller.

The suite works on a real kernel with real processes; :class:`FakeCgroupfs` lets a driver's own tests look at what
is written, in a temporary folder.
"""

from __future__ import annotations

from swapbox.testing.cgroup.base import FakeCgroupfs
from swapbox.testing.cgroup.groups import Groups
from swapbox.testing.cgroup.limits import Limits

__all__ = ["CgroupControllerContract", "FakeCgroupfs"]


class CgroupControllerContract(Groups, Limits):
    """The promises of :class:`swapbox.drivers.cgroup.CgroupController` and its handles."""

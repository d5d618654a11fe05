"""What each kind of driver is called where: in messages, flags, the environment, and among the hooks."""

from collections.abc import Mapping
from typing import NamedTuple

from swapbox.drivers.common import Kind


class KindNames(NamedTuple):
    """The names of one kind.

    :param title: in messages: ``storage driver``.
    :param hook: the hook that offers such drivers.
    :param flag: the option that chooses one.
    :param variable: the environment variable that chooses one.
    """

    title: str
    hook: str
    flag: str
    variable: str


NAMES: Mapping[Kind, KindNames] = {
    "registry": KindNames("registry driver", "swapbox_registries", "--registry", "SWAPBOX_REGISTRY"),
    "storage": KindNames(
        "storage driver", "swapbox_storage_drivers", "--storage-driver", "SWAPBOX_STORAGE_DRIVER"
    ),
    "isolation": KindNames("isolation driver", "swapbox_isolations", "--isolation", "SWAPBOX_ISOLATION"),
    "cgroup": KindNames("cgroup controller", "swapbox_cgroup_controllers", "--cgroup", "SWAPBOX_CGROUP"),
    "logging": KindNames("log driver", "swapbox_log_drivers", "--log-driver", "SWAPBOX_LOG_DRIVER"),
    "network": KindNames(
        "network driver", "swapbox_network_drivers", "--network-driver", "SWAPBOX_NETWORK_DRIVER"
    ),
    "volume": KindNames("volume driver", "swapbox_volume_drivers", "--volume-driver", "SWAPBOX_VOLUME_DRIVER"),
}

"""For tests of swapbox and of its plugins: a contract suite per kind, a registry, and images to pull from it.

A plugin's ``tests/test_contract.py`` subclasses the suite of its kind and says how to make the driver; see
``plugins/storage_vfs``. The suites import pytest, :mod:`swapbox.testing.registry_server` does not.
"""

import sys

SUITES = tuple(
    f"{__name__}.{kind}" for kind in ("registry", "storage", "isolation", "cgroup", "logging", "network", "volume")
)

if pytest := sys.modules.get("pytest"):
    # A failing suite shall show the values, as a failing test in a test file does.
    pytest.register_assert_rewrite(*SUITES)

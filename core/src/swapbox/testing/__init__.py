"""For tests of swapbox and of its plugins: a contract suite per kind, a registry, and images to pull from it.

A plugin's ``tests/test_contract.py`` subclasses the suite of its kind and says how to make the driver; see
``plugins/storage_vfs``. Registry drivers that take images have ``registry_push``, too; ``distribution`` is a suite
for registries themselves. The suites import pytest, :mod:`swapbox.testing.registry_server` does not.
"""

import sys

_KINDS = ("registry", "storage", "isolation", "cgroup", "logging", "network", "volume")
SUITES = tuple(f"{__name__}.{name}" for name in (*_KINDS, "registry_push", "distribution"))

if pytest := sys.modules.get("pytest"):
    # A failing suite shall show the values, as a failing test in a test file does.
    pytest.register_assert_rewrite(*SUITES)

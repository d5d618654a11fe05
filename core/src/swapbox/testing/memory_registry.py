"""A registry driver without a network, for tests of what uses one; it passes the contract like any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.descriptors import Descriptor, digest_of
from swapbox.errors import DataError, NotFound, Unavailable
from swapbox.references import Reference
from swapbox.testing.images import Image

HOST = "memory.example"

"""``docker export``: the files of a container as one tar archive, without what is mounted over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from swapbox.containers.events import happened
from swapbox.containers.inside import opened
from swapbox.images.tarwriter import TarWriter
from swapbox.linux.descent import walk

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine


def export(engine: Engine, container: Container, write: Callable[[bytes], object]) -> None:
    """Write the archive.

    :param write: takes its bytes, piece by piece.
    :raises SwapboxError: the files cannot be read.
    """
    with opened(engine, container) as (root, _):
        archive = TarWriter(write)
        for node in walk(root):
            archive.add(node.path, node.parent, node.name, node.info)
        archive.finish()
    happened(engine, container, "export")

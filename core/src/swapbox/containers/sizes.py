"""How much disk a container takes: the files of its own, and those of its image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swapbox.errors import NotFound

if TYPE_CHECKING:
    from swapbox.engine import Engine


def own_size(engine: Engine, container_id: str, storage: str) -> int:
    """Return the bytes of what a container has changed; costs a walk over these files. 0 when it is gone.

    :param storage: name of the driver that has its snapshot.
    :raises SwapboxError: the driver cannot be opened.
    """
    driver: Any = engine.selector.open("storage", made_with=storage)
    try:
        return int(driver.usage(container_id).size)
    except NotFound:
        return 0


def total_size(engine: Engine, image_id: str, own: int) -> int:
    """Return the bytes of a container's files together with those of its image."""
    row = engine.database.row("SELECT size FROM images WHERE id = ?", (image_id,))
    return own + (row["size"] if row is not None else 0)

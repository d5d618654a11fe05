"""How much disk images take: each alone, what they share, and all together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from swapbox.images.prune import layer_sizes

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image


class ImageUsage(NamedTuple):
    """One image; sizes in bytes.

    :param shared: of its layers that other images have, too.
    :param containers: how many were made from it.
    """

    image: Image
    size: int
    shared: int
    containers: int

    @property
    def unique(self) -> int:
        """Bytes that no other image has."""
        return self.size - self.shared


def image_usage(engine: Engine) -> tuple[list[ImageUsage], int]:
    """Return what each image takes, the newest first, and what all of them do; reads records only, no files."""
    sizes, chains = layer_sizes(engine), dict[str, list[str]]()
    for row in engine.database.rows("SELECT image, chain FROM image_chains"):
        chains.setdefault(row["image"], []).append(row["chain"])
    users = Counter(chain for of_one in chains.values() for chain in of_one)
    made = engine.database.rows("SELECT image, COUNT(*) AS number FROM containers GROUP BY image")
    containers = {row["image"]: row["number"] for row in made}
    usages = []
    for image in engine.images.all():
        own = chains.get(image.id, [])
        size = sum(sizes.get(chain, 0) for chain in own)
        shared = sum(sizes.get(chain, 0) for chain in own if users[chain] > 1)
        usages.append(ImageUsage(image, size, shared, containers.get(image.id, 0)))
    return usages, sum(sizes.get(chain, 0) for chain in users)

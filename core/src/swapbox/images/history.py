"""``history``: the steps an image was made in, the last one first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.images.prune import layer_sizes
from swapbox.images.unpack import chain_ids

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image

MISSING = "<missing>"
"""The id of a step whose image is not here."""


class Step(NamedTuple):
    """One step, from the ``history`` of the OCI image config.

    :param created: as the config has it, RFC 3339; empty when it does not say.
    :param size: bytes of the files in its layer; 0 for a step without one.
    """

    id: str
    created: str
    created_by: str
    comment: str
    size: int


def history(engine: Engine, image: Image) -> list[Step]:
    """Return an image's steps, the last one first; empty when its config does not tell.

    Only the last one has an id: which image another one was is not recorded.
    """
    sizes = layer_sizes(engine)
    chains = iter(chain_ids(image.diff_ids))
    steps: list[Step] = []
    entries: list[dict[str, Any]] = image.config.get("history") or []
    for entry in entries:
        chain = "" if entry.get("empty_layer") else next(chains, "")
        steps.append(
            Step(
                id=MISSING,
                created=str(entry.get("created") or ""),
                created_by=str(entry.get("created_by") or ""),
                comment=str(entry.get("comment") or ""),
                size=sizes.get(chain, 0),
            )
        )
    if steps:
        steps[-1] = steps[-1]._replace(id=image.id)
    return steps[::-1]

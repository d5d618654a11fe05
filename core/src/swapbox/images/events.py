"""What is told of an image when something happens to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image


def image_event(engine: Engine, image: Image, action: str, *, name: str = "", id: str = "") -> None:
    """Emit an event of an image; docs/events.md lists actions and their names.

    :param name: the attribute ``name``; the image's id when it is empty, as Docker has it.
    :param id: what the event is about, where that is not the image's id.
    """
    labels = (image.config.get("config") or {}).get("Labels") or {}
    engine.emit("image", action, id or image.id, {**labels, "name": name or image.id})

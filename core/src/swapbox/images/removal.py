"""``rmi``: which names an image loses, and whether it goes with them; after moby's ``image_delete.go``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from swapbox.errors import Conflict, InvalidInput, SwapboxError
from swapbox.images.events import image_event
from swapbox.images.garbage import drop_leases_of_the_dead, removal_lock, remove_snapshots, storage_drivers
from swapbox.images.unpack import chain_ids
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine
    from swapbox.images.service import Image

_UNSHARED_BLOBS = """
    SELECT digest AS item FROM image_blobs AS mine WHERE image = ?
    AND NOT EXISTS (SELECT 1 FROM image_blobs AS other WHERE other.digest = mine.digest AND other.image != ?)
    AND NOT EXISTS (SELECT 1 FROM leases WHERE resource = mine.digest)
"""
_UNSHARED_CHAINS = """
    SELECT chain AS item FROM image_chains AS mine WHERE image = ?
    AND NOT EXISTS (SELECT 1 FROM image_chains AS other WHERE other.chain = mine.chain AND other.image != ?)
    AND NOT EXISTS (SELECT 1 FROM leases WHERE resource = mine.chain)
"""


class Removed(NamedTuple):
    """What removing an image did, line by line as ``rmi`` prints it."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


def remove_image(engine: Engine, text: str, *, force: bool) -> Removed:
    """Take a name from an image; with its last name the image goes, and what nothing needs any more.

    :raises NotFound: there is no such image.
    :raises Conflict: a container uses it, or an id was given and it has several tags.
    """
    with removal_lock(engine.paths.root, alone=True):
        image = engine.images.find(text)
        users = [engine.containers.refresh(container) for container in engine.records.of_image(image.id)]
        name = _name(image, text)
        if name is None:
            _refuse_id(image, users, force=force)
            going = sorted(image.names)
        else:
            _refuse_name(image, text, users, force=force)
            going = [name, *_digests_left_alone(image, name)]
        spared = name is not None and any(not force or _runs(container) for container in users)
        deleted = _untag(engine, image, going, users=users, spared=spared)
    shown = [Reference.parse(one).familiar for one in going]
    _tell(engine, image, untagged=len(going), deleted=bool(deleted))
    if name is not None:
        shown[0] = Reference.parse(text).with_default_tag().familiar
    return Removed(tuple(shown), deleted)


def remove_platforms(engine: Engine, text: str, platforms: Sequence[str], *, force: bool) -> Removed:
    """Remove images of an index, each for a platform; their names go to those that stay.

    :raises NotFound: there is no such image, or none for a platform.
    :raises Conflict: a container uses it.
    """
    found = {image.id: image for image in (engine.images.find(text, platform=one) for one in platforms)}
    untagged: list[str] = []
    deleted: list[str] = []
    for image in found.values():
        image = engine.images.find(image.id)
        heir = next((one for one in engine.images.siblings(image)), None)
        if heir is not None:
            engine.images.name(heir, image.names)
        try:
            removed = remove_image(engine, text if heir is None else image.id, force=force)
        except SwapboxError:
            engine.images.name(image, image.names)
            raise
        untagged += removed.untagged
        deleted += removed.deleted
    return Removed(tuple(untagged), tuple(deleted))


def _tell(engine: Engine, image: Image, *, untagged: int, deleted: bool) -> None:
    for _ in range(untagged):
        image_event(engine, image, "untag")
    if deleted:
        engine.emit("image", "delete", image.id, {"name": image.id})


def _name(image: Image, text: str) -> str | None:
    """Return the name of the image that was meant, None when its id was."""
    try:
        reference = Reference.parse(text).with_default_tag()
    except InvalidInput:
        return None
    name = str(reference._replace(tag=None) if reference.digest else reference)
    return name if name in image.names else None


def _digests_left_alone(image: Image, name: str) -> list[str]:
    """Return the digests of a tag's repository when it has no other tag: they go with it."""
    gone = Reference.parse(name)
    ours = [one for one in image.references if one.name == gone.name and one != gone]
    return [] if gone.digest or any(one.tag for one in ours) else [str(one) for one in ours]


def _is_single(image: Image) -> bool:
    """Say whether the image has one name, or one tag and digests of the same repository."""
    tags = [one for one in image.references if one.tag]
    return len(image.names) <= 1 or (len(tags) <= 1 and len({one.name for one in image.references}) == 1)


def _runs(container: Container) -> bool:
    return container.state.running


def _refuse_name(image: Image, text: str, users: Sequence[Container], *, force: bool) -> None:
    if users and not force and _is_single(image):
        raise Conflict(
            f'conflict: unable to remove repository reference "{text}" (must force) - container '
            f"{users[0].short_id} is using its referenced image {_short(image)}"
        )


def _refuse_id(image: Image, users: Sequence[Container], *, force: bool) -> None:
    for container in filter(_runs, users):
        raise _conflict(image, "cannot", f"is being used by running container {container.short_id}")
    if not force and not _is_single(image):
        raise _conflict(image, "must", "is referenced in multiple repositories")
    if not force and users:
        raise _conflict(image, "must", f"is being used by stopped container {users[0].short_id}")


def _conflict(image: Image, must: str, why: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {_short(image)} ({must} be forced) - image {why}")


def _short(image: Image) -> str:
    return image.id.partition(":")[2][:12]


def _untag(
    engine: Engine, image: Image, going: Sequence[str], *, users: Sequence[Container], spared: bool
) -> tuple[str, ...]:
    """Remove names, and with the last one the image unless it is spared; return what was deleted."""
    database = engine.database
    drop_leases_of_the_dead(database)
    with database.transaction():
        ours = ((name, image.id) for name in going)
        database.executemany("DELETE FROM image_names WHERE name = ? AND image = ?", ours)
        # A container or name may have come meanwhile.
        named = database.row("SELECT 1 FROM image_names WHERE image = ?", (image.id,))
        if spared or named or len(engine.records.of_image(image.id)) > len(users):
            return ()
        blobs = {row["item"] for row in database.rows(_UNSHARED_BLOBS, (image.id, image.id))}
        chains = {row["item"] for row in database.rows(_UNSHARED_CHAINS, (image.id, image.id))}
        for table in ("image_blobs", "image_chains"):
            database.execute(f"DELETE FROM {table} WHERE image = ?", (image.id,))
        database.execute("DELETE FROM images WHERE id = ?", (image.id,))
    # What needs it was asked under the lock, so no pull relies on these.
    top_first = [chain for chain in reversed(chain_ids(image.diff_ids)) if chain in chains]
    drivers = storage_drivers(engine, warn=engine.warn)
    removed = set().union(*(remove_snapshots(driver, top_first) for driver in drivers))
    for digest in blobs:
        engine.content.remove(digest)
    return (image.id, *(chain for chain in top_first if chain in removed))

"""What names of images mean today, for lists that show many of them."""

from __future__ import annotations

from swapbox.errors import InvalidInput
from swapbox.references import Reference
from swapbox.store.database import Database


def stored_name(text: str) -> str:
    """Return the name under which the database has what a user typed.

    :raises InvalidInput: it is no reference.
    """
    reference = Reference.parse(text).with_default_tag()
    return str(reference._replace(tag=None) if reference.digest else reference)


class ImageNames:
    """The meaning of names, each looked up once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, str] = {}

    def mean(self, text: str, image_id: str) -> bool:
        """Say whether a name, an id or the beginning of one means an image."""
        if image_id.removeprefix("sha256:").startswith(text.removeprefix("sha256:")):
            return True
        if text not in self._known:
            self._known[text] = self._look_up(text)
        return self._known[text] == image_id

    def _look_up(self, text: str) -> str:
        try:
            row = self._database.row("SELECT image FROM image_names WHERE name = ?", (stored_name(text),))
        except InvalidInput:
            return ""
        return row["image"] if row else ""

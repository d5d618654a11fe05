"""What a pull or a push tells while it goes on, in Docker's words."""

from __future__ import annotations

from typing import Protocol

PULLING = "Pulling fs layer"
WAITING = "Waiting"
LEFT = "Waiting for another process"
DOWNLOADING = "Downloading"
VERIFYING = "Verifying Checksum"
DOWNLOADED = "Download complete"
EXTRACTING = "Extracting"
PULLED = "Pull complete"
EXISTS = "Already exists"
LOADING = "Loading layer"
PREPARING = "Preparing"
PUSHING = "Pushing"
PUSHED = "Pushed"
THERE = "Layer already exists"
FOREIGN = "Skipped foreign layer"


def mounted(repository: str) -> str:
    """Return the status of a layer that is used from another repository of the same registry."""
    return f"Mounted from {repository}"


def retrying(seconds: int) -> str:
    """Return the status of a layer whose download starts again in so many seconds."""
    return f"Retrying in {seconds} second{'' if seconds == 1 else 's'}"


class Progress(Protocol):
    """Told what happens. Calls come from several threads at once and often: be quick and thread-safe."""

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        """Note the status of a layer; ``current`` and ``total`` in bytes, 0 where they mean nothing."""
        ...

    def message(self, text: str) -> None:
        """Note a line about the image as a whole."""
        ...


class Silent:
    """Tells nobody."""

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

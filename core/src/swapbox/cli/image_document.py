"""What ``inspect`` shows of an image: the document of Docker's API, its fields in Docker's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swapbox.cli.units import format_time

if TYPE_CHECKING:
    from swapbox.images.service import Image

_CONFIG = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    *("ArgsEscaped", "Healthcheck", "OnBuild", "Shell"),
)


def image_document(image: Image) -> dict[str, Any]:
    """Return the document of an image."""
    references, config = image.references, image.config
    history = config.get("history") or [{}]
    return {
        "Id": image.id,
        "RepoTags": [reference.familiar for reference in references if reference.tag],
        "RepoDigests": [reference.familiar for reference in references if reference.digest],
        "Parent": "",
        "Comment": history[-1].get("comment", ""),
        "Created": config.get("created") or "0001-01-01T00:00:00Z",
        "DockerVersion": config.get("docker_version", ""),
        "Author": config.get("author", ""),
        "Config": _config(config.get("config") or {}),
        "Architecture": config.get("architecture", ""),
        **({"Variant": config["variant"]} if config.get("variant") else {}),
        "Os": config.get("os", ""),
        **({"OsVersion": config["os.version"]} if config.get("os.version") else {}),
        "Size": image.size,
        "GraphDriver": {"Data": None, "Name": ""},
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Metadata": {"LastTagTime": format_time(int(image.pulled * 1e9))},
    }


def _config(given: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults for containers: what the image has, as Docker shows it since release 28.2."""
    return {name: given[name] for name in _CONFIG if given.get(name)}

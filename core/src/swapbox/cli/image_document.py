"""What ``inspect`` shows of an image: the document of Docker's API, its fields in Docker's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swapbox.cli.units import format_time

if TYPE_CHECKING:
    from swapbox.images.service import Image

_FROM_CONFIG = {
    "ExposedPorts": None,
    "Env": None,
    "Cmd": None,
    "Healthcheck": None,
    "ArgsEscaped": None,
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
    "StopSignal": None,
    "Shell": None,
}
_ALWAYS = frozenset({"Env", "Cmd", "Volumes", "WorkingDir", "Entrypoint", "OnBuild", "Labels"})


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
    """Return the defaults for containers: what the image has, and of the rest what Docker always shows."""
    names = ("Hostname", "Domainname", "User")
    switches = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce")
    document: dict[str, Any] = {name: given.get(name) or "" for name in names}
    document |= {name: bool(given.get(name)) for name in switches[:3]}
    ports = {"ExposedPorts": given["ExposedPorts"]} if given.get("ExposedPorts") else {}
    document |= ports | {name: bool(given.get(name)) for name in switches[3:]}
    for name, empty in _FROM_CONFIG.items():
        if name != "ExposedPorts" and (given.get(name) or name in _ALWAYS):
            document[name] = given.get(name) or empty
        if name == "ArgsEscaped":
            document["Image"] = given.get("Image") or ""
    return document

"""The environment of a container's commands."""

from __future__ import annotations

from swapbox.containers import defaults
from swapbox.containers.config import ContainerConfig


def environment(config: ContainerConfig, *, hostname: str, home: str) -> list[str]:
    """Return a command's environment, each name once: Docker's defaults, replaced or followed by the config's.

    An item of the configuration that is a bare name takes the variable away.
    """
    variables = {"PATH": defaults.PATH, "HOSTNAME": hostname}
    if config.tty:
        variables["TERM"] = "xterm"
    for item in config.env:
        name, equals, value = item.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    variables.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in variables.items()]

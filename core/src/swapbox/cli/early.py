"""The engine that a command line asks for, found without the import of the whole command line.

A monitor that knows its engine early opens drivers and database on another processor while the command still
imports what reads its options. Whatever this look at the options gets wrong, the real one puts right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swapbox.engine import Engine
from swapbox.errors import SwapboxError

GLOBAL_OPTIONS: Mapping[str, str] = {
    "--root": "root",
    "--run-root": "run_root",
    "--config": "config_file",
    "--storage-driver": "storage",
    "--isolation": "isolation",
    "--cgroup": "cgroup",
    "--log-driver": "logging",
    "--registry": "registry",
    "--network-driver": "network",
    "--volume-driver": "volume",
}
"""The options before the verb that choose the engine, and the arguments of Engine they become."""

_PATHS = ("root", "run_root", "config_file")


def early_engine(argv: Sequence[str]) -> Engine | None:
    """Return the engine that the options before the verb describe; None when they are not understood."""
    given: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            break
        option, equals, value = word.partition("=")
        if word == "--no-plugins":
            given["third_party"] = False
        elif word == "--timings":
            continue
        elif option in GLOBAL_OPTIONS:
            name = GLOBAL_OPTIONS[option]
            text = value if equals else next(words, "")
            given[name] = Path(text) if name in _PATHS else text
        else:
            return None
    if "--timings" in argv:
        from swapbox.timings import Timings

        given["timings"] = Timings(
            ""
        )  # the real one is the command's; this one tells the monitor that there is one
    engine = Engine(**given)
    try:
        engine.settings  # noqa: B018 - reads the configuration, which may be faulty
    except SwapboxError:
        return None
    return engine

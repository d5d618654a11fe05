"""One health check, run as a script by a bare interpreter: ``python -I -S probe.py``.

The lean monitor (:mod:`swapbox.containers.lean`) starts it again and again; descriptor 3 is a file in memory that
says which container of which engine. The exit status says when to come again (see ``checker.Checker``).
"""

from __future__ import annotations

import marshal
import os
import sys


def main() -> int:
    """Make the check."""
    state = marshal.loads(os.pread(3, os.fstat(3).st_size, 0))
    sys.path[:] = state["path"]
    from swapbox.containers.health import check
    from swapbox.engine import Engine

    return check(Engine.from_settings(state["engine"]), state["container"])


if __name__ == "__main__":
    os._exit(main())

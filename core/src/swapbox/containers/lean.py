"""The monitor's second half, run as a script by a bare interpreter: ``python -I -S lean.py <fd> <container id>``.

The monitor has started the container with everything in memory that the command had imported, 20 MB of it. Then it
executes this script in its place: same process, same children, same descriptors, a fifth of the memory. The
descriptor on the command line holds what to go on with, marshalled.

Nothing of swapbox is imported by its package here, because the ``__init__`` modules import more than this
loop needs: ``swapbox`` and ``swapbox.containers`` stand in sys.modules as empty packages until the container has
ended. Only then is the real swapbox imported, to tear down.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swapbox.containers.session import Session
    from swapbox.drivers.logging import LogWriter


def main(fd: int) -> None:
    """Go on with the session described in the file ``fd``."""
    with open(fd, "rb") as file:
        state: dict[str, Any] = marshal.loads(file.read())
    sys.path[:] = state["path"]
    _pretend_packages(state["packages"])
    from swapbox.containers.session import RELIEVED_PATIENCE, restore

    session = restore(state["session"], writer=_writer(*state["recipe"]) if state["recipe"] else None)
    status = session.run()
    assert status is not None
    if session.relieved:
        session.end(status, patience=RELIEVED_PATIENCE)
        return
    _finish(state, session, status)


def _pretend_packages(packages: dict[str, str]) -> None:
    for name, directory in packages.items():
        package = type(sys)(name)
        package.__path__ = [directory]
        sys.modules[name] = package


def _writer(source: str, function: str, arguments: tuple[Any, ...]) -> LogWriter | None:
    """Open the log by its driver's recipe, without importing the plugin's package; None when that fails."""
    from importlib.machinery import SourceFileLoader

    module = type(sys)("log_writer")
    module.__file__ = source
    try:
        code = SourceFileLoader("log_writer", source).get_code("log_writer")
        assert code is not None
        exec(code, module.__dict__)
        writer: LogWriter = getattr(module, function)(*arguments)
    except Exception:  # the container goes on without its log
        return None
    return writer


def _finish(state: dict[str, Any], session: Session, status: int) -> None:
    """Tear down with the real swapbox."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "swapbox"]:
        del sys.modules[name]
    from swapbox.containers.handover import finish

    finish(state, session, status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)

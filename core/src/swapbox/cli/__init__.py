"""The command line: Docker's verbs over :class:`swapbox.Engine`. The only part of swapbox that prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from swapbox.errors import SwapboxError


_MONITORED = frozenset({"run", "exec", "start"})
"""The verbs that need a monitor at once."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    import gc
    import os
    import sys
    import time

    began = time.monotonic_ns()
    argv = sys.argv[1:] if argv is None else argv
    _open_missing_streams()
    _heed_children()
    # A command lives for a tenth of a second; collecting its imports' cycles costs a tenth of that.
    gc.disable()
    from swapbox.cli.light import import_click, import_pathlib

    import_pathlib()
    refused = _enter_namespace() if os.geteuid() != 0 else None
    if "_SWAPBOX_COMPLETE" in os.environ and not argv:
        from swapbox.cli.completion import answer

        _leave(answer(os.environ))
    timings = None
    if "--timings" in argv:  # perhaps it is the container's; then nobody prints them
        from swapbox.timings import Timings

        timings = Timings("imports", began=began)
    monitor = None
    verb = next((word for word in argv if word in _MONITORED), None)
    if verb is not None and refused is None:
        # Perhaps it is not the verb; a monitor that gets no order goes away by itself.
        # What both processes need is imported before the fork, and nothing else.
        from swapbox.cli.early import early_engine
        from swapbox.containers.spawn import spawn

        monitor = spawn(verb, briefly=True)
        if (engine := early_engine(argv)) is not None:
            monitor.prepare(engine)
    import_click()
    from swapbox.cli.app import run

    _leave(run(argv, monitor=monitor, refused=refused, timings=timings))


def _leave(code: int) -> NoReturn:
    """End the process when what it has printed is out."""
    import os
    import sys

    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by our caller
                stream.flush()
    except BrokenPipeError:  # the reader, such as head(1), has seen enough
        code = code or 141
    # Leaving without the interpreter's own clean-up saves 5 ms; nothing of ours waits for it.
    os._exit(code)


def _open_missing_streams() -> None:
    """Keep other files from the numbers of standard streams that our caller has closed."""
    import os

    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _heed_children() -> None:
    """Keep the kernel from throwing exit statuses away, as it does when our caller ignores SIGCHLD (wait(2))."""
    import signal

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _enter_namespace() -> SwapboxError | None:
    """Give an ordinary user the powers of root over what is theirs; return why not, for who needs them."""
    import os

    from swapbox import rootless
    from swapbox.errors import SwapboxError

    try:
        rootless.enter(os.environ)
    except SwapboxError as error:
        return error
    return None

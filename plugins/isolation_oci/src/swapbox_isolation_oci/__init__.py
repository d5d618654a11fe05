"""Isolation by an OCI runtime's program: runc, crun, youki or gVisor's runsc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import IsolationDriverSpec, hookimpl

if TYPE_CHECKING:
    from swapbox import DriverContext, IsolationDriver, ProbeResult

_RUNTIMES = (
    ("runc", "the OCI reference runtime, as Docker uses it", 40),
    ("crun", "an OCI runtime in C", 39),
    ("youki", "an OCI runtime in Rust", 38),
    ("runsc", "gVisor: a kernel of the container's own, in user space", 10),
)


@hookimpl
def swapbox_isolations() -> Iterator[IsolationDriverSpec]:
    """Offer one driver per runtime; each has the name of its program."""
    for name, summary, priority in _RUNTIMES:
        runtime = _Runtime(name)
        yield IsolationDriverSpec(
            name=name, summary=summary, factory=runtime.open, probe=runtime.probe, priority=priority
        )


class _Runtime:
    """What is offered for one program."""

    def __init__(self, program: str) -> None:
        self._program = program

    def open(self, context: DriverContext) -> IsolationDriver:
        from swapbox_isolation_oci.driver import Driver

        return Driver(context, self._program)

    def probe(self, context: DriverContext) -> ProbeResult:
        from swapbox_isolation_oci.probe import probe

        return probe(self._program, context)

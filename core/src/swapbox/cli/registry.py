"""``registry serve``: a registry of one's own."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from swapbox.cli.app import warn
from swapbox.cli.groups import BadValue
from swapbox.errors import InvalidInput

if TYPE_CHECKING:
    from swapbox.distribution.faults import Faults, Often
    from swapbox.distribution.messages import Request

ValueT = TypeVar("ValueT")
_STATUS = range(400, 600)


def _read(read: Callable[[str], ValueT]) -> Callable[[click.Context, click.Parameter, str | None], ValueT | None]:
    """Return a callback of click's that reads a value in a way of ours."""

    def callback(_ctx: click.Context, param: click.Parameter, value: str | None) -> ValueT | None:
        if value is None:
            return None
        assert isinstance(param, click.Option)
        try:
            return read(value)
        except InvalidInput as error:
            raise BadValue(error.message, value, param) from None

    return callback


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port[:6]) > 65535:
        raise InvalidInput("give it as HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


def _seconds(text: str) -> float:
    from swapbox.durations import SECOND, parse_duration

    return max(parse_duration(text) / SECOND, 0.0)


def _bytes(text: str) -> int:
    from swapbox.containers.limits import parse_memory

    return parse_memory(text)


def _rate(text: str) -> int:
    if (rate := _bytes(text)) < 1:
        raise InvalidInput("nothing would ever arrive")
    return rate


def _often(read: Callable[[str], int]) -> Callable[[str], Often]:
    """Return what reads a fault and how often it befalls: ``503/10``."""

    def often(text: str) -> Often:
        from swapbox.distribution.faults import Often

        what, _, every = text.partition("/")
        if every and not (every.isascii() and every.isdecimal() and int(every[:9]) > 0):
            raise InvalidInput(f"invalid number {every!r}: one of how many is it?")
        return Often(read(what), int(every[:9] or 1))

    return often


def _status(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text[:4]) not in _STATUS:
        raise InvalidInput("give a status of HTTP from 400 to 599")
    return int(text)


@click.command(epilog="Example: swapbox registry serve --addr 127.0.0.1:5000 --latency 50ms images")
@click.option(
    "--addr",
    callback=_read(_address),
    default="127.0.0.1:5000",
    metavar="HOST:PORT",
    help='Where to listen; port 0 is a free one. (default "127.0.0.1:5000")',
)
@click.option("--read-only", is_flag=True, help="Take no pushes and deletions.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print requests.")
@click.option("--latency", callback=_read(_seconds), metavar="DURATION", help="Wait before each answer.")
@click.option(
    "--bandwidth", callback=_read(_rate), metavar="BYTES", help="Bytes in a second for all layers together."
)
@click.option(
    "--refuse", callback=_read(_often(_status)), metavar="STATUS[/N]", help="Refuse requests, or every Nth."
)
@click.option("--retry-after", type=int, metavar="SECONDS", help="Say so when a request is refused.")
@click.option(
    "--break",
    "broken",
    callback=_read(_often(_bytes)),
    metavar="BYTES[/N]",
    help="Break off blobs after so many bytes, both ways, or every Nth.",
)
@click.option("--corrupt", is_flag=True, help="Change one bit of every blob that is read.")
@click.option("--no-ranges", is_flag=True, help="Give blobs from the start only.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
def serve(
    directory: Path,
    *,
    addr: tuple[str, int],
    read_only: bool,
    quiet: bool,
    latency: float | None,
    bandwidth: int | None,
    refuse: Often | None,
    retry_after: int | None,
    broken: Often | None,
    corrupt: bool,
    no_ranges: bool,
) -> None:
    """Serve images from a directory to Docker and others, slow and faulty where you want it.

    It is for demos, tests and experiments: there is no TLS, and nobody has to log in.
    """
    from swapbox.distribution.directory import DirectoryStore
    from swapbox.distribution.server import Server

    observe = _ignore if quiet else _print_request
    with (
        DirectoryStore(directory) as store,
        Server(store, address=addr, writable=not read_only, observe=observe) as server,
    ):
        _shape(server.faults, refuse=refuse, broken=broken)
        _warn_of_strangers(addr[0])
        server.faults.delay = latency or 0.0
        server.faults.bandwidth = bandwidth
        server.faults.retry_after = retry_after
        server.faults.corrupt = corrupt
        server.faults.ranges = not no_ranges
        _until_told(lambda: click.echo(f"Serving {directory} on http://{server.host}"), server.wait)


def _shape(faults: Faults, *, refuse: Often | None, broken: Often | None) -> None:
    faults.refuse_every = refuse
    if broken is not None:
        faults.truncate, faults.truncate_every = broken
        faults.break_upload, faults.break_upload_every = broken


def _ignore(_request: Request, _status: int | None) -> None:
    """Print nothing."""


def _print_request(request: Request, status: int | None) -> None:
    if status is not None:
        said = f"{request.method} {request.path}"
        shown = "".join(char if char.isprintable() else "?" for char in said)
        # Whoever reads this may have gone: that is nothing to the client.
        with contextlib.suppress(OSError):
            click.echo(f"{status} {shown}")


def _warn_of_strangers(host: str) -> None:
    if not (host in ("::1", "localhost") or host.startswith("127.")):
        warn(f"everybody who can reach {host} can read and change these images")


def _until_told(begin: Callable[[], object], wait: Callable[[], object]) -> None:
    """Serve until SIGINT or SIGTERM, which are the usual end and no failure."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        begin()
        wait()
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in before:
            signal.signal(number, handler)

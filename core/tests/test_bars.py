"""Progress bars, as a terminal emulator shows them."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Iterator

import pyte
import pytest

from swapbox.cli.bars import Bars, line
from swapbox.cli.progress import Loading
from swapbox.images import progress as words

ONE, TWO, THREE = (f"sha256:{digit * 64}" for digit in "123")


class Window:
    """A terminal with a screen."""

    def __init__(self, rows: int, columns: int) -> None:
        self._master, self.fd = os.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen = pyte.Screen(columns, rows)
        self.bars = Bars(self.fd)

    def lines(self) -> list[str]:
        """Return what is on the screen, without what is blank at its end."""
        os.write(self.fd, b"\x00")
        data = b""
        while not data.endswith(b"\x00"):
            data += os.read(self._master, 65536)
        pyte.ByteStream(self.screen).feed(data[:-1])
        return [text.rstrip() for text in self.screen.display if text.strip()]

    def close(self) -> None:
        os.close(self._master)
        os.close(self.fd)


@pytest.fixture(params=[(24, 140), (24, 111), (24, 110), (24, 80), (24, 40), (5, 140)], ids=str)
def window(request: pytest.FixtureRequest) -> Iterator[Window]:
    window = Window(*request.param)
    yield window
    window.close()


@pytest.fixture
def wide() -> Iterator[Window]:
    window = Window(24, 140)
    yield window
    window.close()


def test_a_push_has_a_bar() -> None:
    text = line("0123456789ab", words.PUSHING, 5_000_000, 10_000_000, columns=120)
    assert text == f"0123456789ab: Pushing [{'=' * 25}>{' ' * 25}]      5MB/10MB"


def test_a_pull_ends_with_the_same_lines_at_every_size(window: Window) -> None:
    bars = window.bars
    bars.message("latest: Pulling from library/box")
    for digest in (ONE, TWO):
        bars.layer(digest, words.PULLING)
    for step in range(5):
        for digest in (TWO, ONE):
            bars.layer(digest, words.DOWNLOADING, step * 1000, 4000)
    for digest in (ONE, TWO):
        bars.layer(digest, words.DOWNLOADED)
        bars.layer(digest, words.EXTRACTING, 4000, 4000)
        bars.layer(digest, words.PULLED)
    bars.message("Digest: sha256:0")
    assert window.lines()[-4:] == [
        "latest: Pulling from library/box",
        "111111111111: Pull complete",
        "222222222222: Pull complete",
        "Digest: sha256:0",
    ]


def test_a_layer_keeps_its_line(wide: Window) -> None:
    for digest in (ONE, TWO, THREE):
        wide.bars.layer(digest, words.PULLING)
    wide.bars.layer(TWO, words.DOWNLOADING, 5_000_000, 10_000_000)
    assert wide.lines() == [
        "111111111111: Pulling fs layer",
        f"222222222222: Downloading [{'=' * 25}>{' ' * 25}]      5MB/10MB",
        "333333333333: Pulling fs layer",
    ]
    wide.bars.layer(TWO, words.VERIFYING)
    assert wide.lines()[1] == "222222222222: Verifying Checksum"


def test_an_unpacking_that_overtakes_the_download_waits_for_it(wide: Window) -> None:
    wide.bars.layer(ONE, words.DOWNLOADING, 1000, 4000)
    wide.bars.layer(ONE, words.EXTRACTING, 500, 4000)
    assert wide.lines()[0].startswith("111111111111: Downloading [")
    wide.bars.layer(ONE, words.DOWNLOADED)
    wide.bars.layer(ONE, words.EXTRACTING, 1500, 4000)
    assert wide.lines()[0].startswith("111111111111: Extracting [")


def test_more_layers_than_the_window_has_rows_do_no_harm() -> None:
    window = Window(5, 140)
    keys = [f"{number:012d}" for number in range(10)]
    digests = [f"sha256:{key}{'0' * 52}" for key in keys]
    for digest in digests:
        window.bars.layer(digest, words.PULLING)
    for digest in digests:
        window.bars.layer(digest, words.PULLED)
    assert window.lines() == [f"{key}: Pull complete" for key in keys[-4:]]
    window.close()


@pytest.mark.parametrize(("columns", "bar"), [(140, True), (111, True), (110, False), (80, False)])
def test_a_bar_needs_room(columns: int, bar: bool) -> None:
    text = line("0" * 12, words.DOWNLOADING, 12_345_678, 98_765_432, columns=columns)
    assert text.endswith("12.35MB/98.77MB")
    assert ("[======>" in text) is bar


def test_nothing_is_wider_than_the_window() -> None:
    for columns in (10, 40, 111):
        assert len(line("0" * 12, words.EXTRACTING, 12_345_678, 98_765_432, columns=columns)) < columns


def test_what_comes_from_a_file_is_loaded_and_ends_with_all_of_it(wide: Window) -> None:
    loading = Loading(wide.bars)
    loading.layer(ONE, words.EXTRACTING, 0, 2_000_000)
    loading.layer(ONE, words.EXTRACTING, 1_000_000, 2_000_000)
    loading.layer(ONE, words.PULLED)
    (shown,) = wide.lines()
    assert shown == f"{'1' * 12}: Loading layer [{'=' * 50}>]      2MB/2MB"

"""What every log driver has to do. Subclass :class:`LogDriverContract` and give it your driver."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from swapbox.drivers.logging import LogDriver, LogInfo, LogQuery, LogRecord, LogWriter
from swapbox.errors import InvalidInput

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
EVERYTHING = LogQuery()


class Log(NamedTuple):
    """A driver with one container's log."""

    driver: Any
    info: LogInfo
    options: Mapping[str, str]

    def open(self) -> LogWriter:
        """Open the write end."""
        writer: LogWriter = self.driver.open(self.info, self.options)
        return writer

    def write(self, *chunks: bytes, start: int = START) -> None:
        """Write chunks to stdout, one a second, and close."""
        writer = self.open()
        for at, chunk in enumerate(chunks):
            writer.write("stdout", chunk, start + at * SECOND)
        writer.close()

    def follow(self, query: LogQuery = EVERYTHING) -> Iterator[LogRecord]:
        """Read records one by one."""
        records: Iterator[LogRecord] = self.driver.read(self.info, self.options, query)
        return records

    def read(self, query: LogQuery = EVERYTHING) -> list[LogRecord]:
        """Read all records."""
        return list(self.follow(query))

    def text(self, query: LogQuery = EVERYTHING) -> list[bytes]:
        """Read the data of all records."""
        return [record.data for record in self.read(query)]


class LogDriverContract:
    """The cases; those about reading need the capability ``read``."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"read"})
    options: ClassVar[Mapping[str, str]] = {}
    rotating: ClassVar[Mapping[str, str] | None] = None
    """Options with which the log rotates every few lines, and keeps hundreds of them; None if it never rotates."""

    @pytest.fixture
    def driver(self) -> LogDriver:
        """Return the driver under test."""
        raise NotImplementedError

    @pytest.fixture
    def info(self, tmp_path: Path) -> LogInfo:
        """Return the container whose log is written."""
        return LogInfo("c0ffee" * 10 + "1234", "web", "docker.io/library/busybox:latest", tmp_path)

    @pytest.fixture
    def log(self, driver: LogDriver, info: LogInfo) -> Log:
        """Return a log that can be read."""
        if "read" not in self.capabilities:
            pytest.skip("the driver has no capability 'read'")
        return Log(driver, info, self.options)

    @pytest.fixture
    def rotating_log(self, log: Log) -> Log:
        """Return a log that rotates every few lines."""
        if self.rotating is None:
            pytest.skip("the driver never rotates")
        return log._replace(options=self.rotating)

    def test_an_unknown_option_is_refused_by_name(self, driver: LogDriver, info: LogInfo) -> None:
        with pytest.raises(InvalidInput, match="no-such-option"):
            driver.validate({"no-such-option": "1"})
        assert list(info.directory.iterdir()) == []

    def test_validating_good_options_creates_nothing(self, driver: LogDriver, info: LogInfo) -> None:
        driver.validate(self.options)
        assert list(info.directory.iterdir()) == []

    def test_writer_and_driver_may_be_closed_twice(self, driver: LogDriver, info: LogInfo) -> None:
        writer = driver.open(info, self.options)
        writer.write("stdout", b"a\n", START)
        for _ in range(2):
            writer.close()
            driver.close()

    def test_a_log_never_opened_is_empty(self, log: Log) -> None:
        assert log.read() == []

    def test_lines_come_back_with_stream_and_time(self, log: Log) -> None:
        writer = log.open()
        writer.write("stdout", b"out\n", START + 1)
        writer.write("stderr", b"err\n", START + 20)
        writer.close()
        assert [record[:3] for record in log.read()] == [
            (START + 1, "stdout", b"out\n"),
            (START + 20, "stderr", b"err\n"),
        ]

    def test_a_chunk_of_many_lines_is_many_records(self, log: Log) -> None:
        log.write(b"a\n\nb\n")
        assert log.text() == [b"a\n", b"\n", b"b\n"]

    def test_parts_of_a_line_come_back_without_a_newline(self, log: Log) -> None:
        log.write(b"whole\npart", b"rest\n", b"last")
        assert log.text() == [b"whole\n", b"part", b"rest\n", b"last"]

    @pytest.mark.parametrize(
        "line",
        [
            b'quotes " and \\ and \\n and \\\\n\n',
            b"ends in a backslash \\\n",
            b"<script>&amp;</script>\n",
            b"control \x00\x01\x1b[31mred\x1b[0m\ttab\rreturn\x7f\n",
            "ünïcödé \u2028 \u2029 \U0001f600\n".encode(),
            b'{"log":"forged\\n","stream":"stderr","time":"2000-01-01T00:00:00Z"}\n',
            b'","stream":"stderr","time":"2000-01-01T00:00:00Z"}\n',
        ],
    )
    def test_every_text_comes_back_byte_for_byte(self, log: Log, line: bytes) -> None:
        log.write(line + b"next\n", line[:-1])
        assert log.text() == [line, b"next\n", line[:-1]]

    def test_bytes_that_are_no_text_do_not_harm_their_neighbours(self, log: Log) -> None:
        log.write(b"before\nbad \xff\xfe\xe2\x82 end\nafter\n")
        before, bad, after = log.text()
        assert (before, after) == (b"before\n", b"after\n")
        assert bad.startswith(b"bad ")
        assert bad.endswith(b" end\n")

    def test_opening_again_goes_on_in_the_same_log(self, log: Log) -> None:
        log.write(b"first life\n")
        log.write(b"second life\n")
        assert log.text() == [b"first life\n", b"second life\n"]

    def test_since_and_until_include_their_own_instant(self, log: Log) -> None:
        log.write(b"0\n", b"1\n", b"2\n", b"3\n")
        query = LogQuery(since=START + SECOND, until=START + 2 * SECOND)
        assert log.text(query) == [b"1\n", b"2\n"]

    @pytest.mark.parametrize(("tail", "expected"), [(0, []), (2, [b"2\n", b"3\n"]), (9, [b"1\n", b"2\n", b"3\n"])])
    def test_tail_gives_the_last_records(self, log: Log, tail: int, expected: list[bytes]) -> None:
        log.write(b"1\n2\n3\n")
        assert log.text(LogQuery(tail=tail)) == expected

    def test_tail_counts_only_what_since_and_until_leave(self, log: Log) -> None:
        log.write(b"0\n", b"1\n", b"2\n", b"3\n")
        assert log.text(LogQuery(until=START + 2 * SECOND, tail=2)) == [b"1\n", b"2\n"]

    def test_tail_of_a_long_log_is_found_from_its_end(self, log: Log) -> None:
        log.write(*(b"".join(b"line %d\n" % (at + block) for at in range(1000)) for block in range(0, 9000, 1000)))
        assert log.text(LogQuery(tail=1500)) == [b"line %d\n" % at for at in range(7500, 9000)]

    def test_a_follower_gets_each_record_when_it_is_written(self, log: Log) -> None:
        writer = log.open()
        writer.write("stdout", b"old\n", START)
        records = log.follow(LogQuery(follow=True))
        assert next(records).data == b"old\n"
        for line in (b"new\n", b"newer\n"):
            writer.write("stdout", line, START)
            assert next(records).data == line
        writer.close()

    def test_a_follower_reads_what_is_left_when_no_more_will_come(self, log: Log) -> None:
        writer = log.open()
        writer.write("stdout", b"first\n", START)

        def ended() -> bool:
            writer.write("stdout", b"last\n", START)
            return True

        assert log.text(LogQuery(follow=True, ended=ended)) == [b"first\n", b"last\n"]
        writer.close()

    def test_a_follower_may_come_before_the_log(self, log: Log) -> None:
        writers: list[LogWriter] = []

        def ended() -> bool:
            if writers:
                return True
            writers.append(log.open())
            writers[0].write("stdout", b"hello\n", START)
            return False

        assert log.text(LogQuery(follow=True, ended=ended)) == [b"hello\n"]
        writers[0].close()

    def test_a_follower_of_the_tail_skips_what_is_before(self, log: Log) -> None:
        writer = log.open()
        writer.write("stdout", b"1\n2\n", START)
        records = log.follow(LogQuery(follow=True, tail=1))
        assert next(records).data == b"2\n"
        writer.write("stdout", b"3\n", START)
        assert next(records).data == b"3\n"
        writer.close()

    def test_following_ends_when_until_has_passed(self, log: Log) -> None:
        log.write(b"long ago\n")
        assert log.text(LogQuery(follow=True, until=START + 5 * SECOND)) == [b"long ago\n"]

    def test_rotation_is_invisible_to_a_reader(self, rotating_log: Log) -> None:
        lines = [b"line %d\n" % at for at in range(300)]
        rotating_log.write(*lines[:150])
        rotating_log.write(*lines[150:], start=START + 150 * SECOND)
        assert rotating_log.text() == lines
        assert rotating_log.text(LogQuery(tail=100)) == lines[200:]
        assert rotating_log.text(LogQuery(since=START + 100 * SECOND)) == lines[100:]

    def test_a_big_chunk_rotates_in_the_middle(self, rotating_log: Log) -> None:
        lines = [b"line %d\n" % at for at in range(300)]
        rotating_log.write(b"".join(lines))
        assert rotating_log.text() == lines

    @pytest.mark.parametrize("burst", [1, 7, 100])
    def test_rotation_is_invisible_to_a_follower(self, rotating_log: Log, burst: int) -> None:
        lines = [b"line %d\n" % at for at in range(300)]
        writer = rotating_log.open()
        records = rotating_log.follow(LogQuery(follow=True))
        for at in range(0, len(lines), burst):
            for line in lines[at : at + burst]:
                writer.write("stdout", line, START)
            assert [next(records).data for _ in lines[at : at + burst]] == lines[at : at + burst]
        writer.close()

    def test_a_killed_writer_leaves_a_log_that_goes_on(self, log: Log) -> None:
        ready, told = os.pipe()
        writer_pid = os.fork()
        if writer_pid == 0:
            _write_until_killed(log, told)
        os.read(ready, 1)
        os.kill(writer_pid, signal.SIGKILL)
        os.waitpid(writer_pid, 0)
        os.close(ready)
        os.close(told)
        survived = log.text()
        assert survived == [b"line %d\n" % at for at in range(len(survived))]
        log.write(b"after the crash\n")
        assert log.text()[-1] == b"after the crash\n"
        assert log.text()[: len(survived)] == survived


def _write_until_killed(log: Log, told: int) -> None:
    """Write for ever in a forked child, and tell when something is there."""
    try:
        writer = log.open()
        at = 0
        while True:
            writer.write("stdout", b"".join(b"line %d\n" % (at + step) for step in range(100)), START)
            at += 100
            if at == 1000:
                os.write(told, b".")
    finally:
        os._exit(1)

"""Docker's exact bytes, the options, and the powers that only json-file has."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from swapbox.drivers.logging import LogInfo, LogQuery
from swapbox.errors import InvalidInput
from swapbox.testing.forked import Forked
from swapbox_logging_file import compress, writer
from swapbox_logging_file.driver import Driver
from swapbox_logging_file.options import parse
from swapbox_logging_file.records import Parser, parse_time

TIME = 1_136_214_245_120_000_000
"""Go's reference time, 2006-01-02T15:04:05.12Z."""


@pytest.fixture
def info(tmp_path: Path) -> LogInfo:
    return LogInfo(
        "f" * 64,
        "/web",
        "busybox",
        tmp_path,
        labels={"a": "<1>", "b": "2"},
        environment={"HOME": "/", "LANG": "C"},
    )


def _written(info: LogInfo, chunk: bytes, options: dict[str, str] | None = None) -> bytes:
    log = Driver().open(info, options or {})
    log.write("stdout", chunk, TIME)
    log.close()
    return (info.directory / f"{info.container_id}-json.log").read_bytes()


def test_a_line_is_written_as_docker_writes_it(info: LogInfo) -> None:
    assert _written(info, b"hello\n") == (
        b'{"log":"hello\\n","stream":"stdout","time":"2006-01-02T15:04:05.12Z"}\n'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'\\"', b'\\\\\\"'),
        (b"<&>", b"\\u003c\\u0026\\u003e"),
        (b"\r\t\x00\x1b", b"\\r\\u0009\\u0000\\u001b"),
        (b"\x7f", b"\x7f"),
        ("é\u2028\u2029😀".encode(), "é\\u2028\\u2029😀".encode()),
        (b"\xff", b"\\ufffd"),
        (b"\xe2\x82", b"\\ufffd\\ufffd"),
        (b"\xed\xa0\x80", b"\\ufffd\\ufffd\\ufffd"),
        (b"\\udc80\xff", b"\\\\udc80\\ufffd"),
    ],
)
def test_bytes_are_escaped_as_docker_escapes_them(text: bytes, expected: bytes) -> None:
    assert writer.escape(text) == expected


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, b"1970-01-01T00:00:00Z"),
        (1, b"1970-01-01T00:00:00.000000001Z"),
        (951_782_400_500_000_000, b"2000-02-29T00:00:00.5Z"),
        (4_107_542_399_999_999_999, b"2100-02-28T23:59:59.999999999Z"),
        (4_107_542_400_000_000_000, b"2100-03-01T00:00:00Z"),
    ],
)
def test_times_are_go_times_to_the_nanosecond(nanoseconds: int, expected: bytes) -> None:
    assert writer.rfc3339(nanoseconds) == expected
    assert parse_time(expected.decode()) == nanoseconds


def test_chosen_labels_variables_and_the_tag_are_attributes(info: LogInfo) -> None:
    options = {"labels": "a,none", "env-regex": "^LA", "tag": "{{.ImageName}}/{{.Name}}/{{ .ID }}"}
    line = _written(info, b"x\n", options)
    assert b'"stdout","attrs":{"LANG":"C","a":"\\u003c1\\u003e","tag":"busybox/web/ffffffffffff"},"time"' in line
    [record] = Driver().read(info, options, LogQuery())
    assert record.attributes == {"LANG": "C", "a": "<1>", "tag": "busybox/web/ffffffffffff"}
    assert record.data == b"x\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max-sizes": "1m"}, "unknown log opt 'max-sizes' for json-file log driver"),
        ({"max-size": "10 apples"}, "invalid size: '10 apples'"),
        ({"max-size": "0"}, "max-size must be a positive number"),
        ({"max-file": "0"}, "max-file cannot be less than 1"),
        ({"max-file": "many"}, "invalid max-file 'many'"),
        ({"compress": "yes"}, "invalid compress 'yes'"),
        ({"max-size": "1m", "compress": "true"}, "compress cannot be true when max-file is less than 2"),
        ({"max-size": "-1", "max-file": "3", "compress": "true"}, "or max-size is not set"),
        ({"labels-regex": "("}, "invalid labels-regex"),
        ({"tag": "{{.Nome}}"}, "unknown field .Nome"),
        ({"tag": "{{if .Name}}x{{end}}"}, "only fields"),
    ],
)
def test_a_wrong_option_is_refused_with_its_value(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message.replace("(", "\\(")):
        Driver().validate(options)


@pytest.mark.parametrize(
    ("options", "size", "files"),
    [
        ({}, 100_000_000, 10),
        ({"max-size": "1.5k"}, 1500, 1),
        ({"max-size": "2MB", "max-file": "3"}, 2_000_000, 3),
        ({"max-size": "-1"}, None, 1),
    ],
)
def test_sizes_are_decimal_and_a_log_is_bounded_by_default(
    options: dict[str, str], size: int | None, files: int
) -> None:
    assert parse(options)[:2] == (size, files)


def test_no_more_files_are_kept_than_asked_for(info: LogInfo) -> None:
    options = {"max-size": "200", "max-file": "3"}
    log = Driver().open(info, options)
    for at in range(50):
        log.write("stdout", b"line %d\n" % at, TIME)
    log.close()
    name = f"{info.container_id}-json.log"
    assert sorted(path.name for path in info.directory.iterdir()) == [name, f"{name}.1", f"{name}.2"]
    records = list(Driver().read(info, options, LogQuery()))
    assert records[-1].data == b"line 49\n"


def test_a_follower_of_a_single_rotated_file_misses_nothing(info: LogInfo) -> None:
    options = {"max-size": "200"}
    log = Driver().open(info, options)
    records = Driver().read(info, options, LogQuery(follow=True))
    for at in range(50):
        log.write("stdout", b"line %d\n" % at, TIME)
        assert next(records).data == b"line %d\n" % at
    log.close()


def test_rotated_files_are_compressed_and_keep_their_time(info: LogInfo) -> None:
    options = {"max-size": "200", "max-file": "4", "compress": "true"}
    log = Driver().open(info, options)
    for at in range(12):
        log.write("stdout", b"line %d\n" % at, TIME)
    log.close()
    packed = info.directory / f"{info.container_id}-json.log.1.gz"
    assert subprocess.run(["gzip", "-t", packed], check=False).returncode == 0
    assert [r.data for r in Driver().read(info, options, LogQuery(tail=8))] == [
        b"line %d\n" % n for n in range(4, 12)
    ]


def test_a_compressed_file_names_the_inode_it_was_made_from(tmp_path: Path) -> None:
    plain = tmp_path / "log.1"
    plain.write_bytes(b"text\n" * 1000)
    inode = plain.stat().st_ino
    os.utime(plain, ns=(5, 7))
    compress.compress(str(plain))
    assert [path.name for path in tmp_path.iterdir()] == ["log.1.gz"]
    assert compress.source_inode(tmp_path / "log.1.gz") == inode
    assert (tmp_path / "log.1.gz").stat().st_mtime_ns == 7


def test_a_record_cut_short_by_a_crash_costs_only_itself(info: LogInfo) -> None:
    path = info.directory / f"{info.container_id}-json.log"
    _written(info, b"whole\n")
    with path.open("ab") as file:
        file.write(b'{"log":"to')
    assert [r.data for r in Driver().read(info, {}, LogQuery())] == [b"whole\n"]
    _written(info, b"after\n")
    assert [r.data for r in Driver().read(info, {}, LogQuery())] == [b"whole\n", b"after\n"]


def test_a_record_that_lost_only_its_newline_is_read(info: LogInfo) -> None:
    path = info.directory / f"{info.container_id}-json.log"
    path.write_bytes(_written(info, b"whole\n").rstrip(b"\n"))
    assert [r.data for r in Driver().read(info, {}, LogQuery())] == [b"whole\n"]
    _written(info, b"after\n")
    assert [r.data for r in Driver().read(info, {}, LogQuery())] == [b"whole\n", b"after\n"]


def test_a_full_disk_is_an_error_and_the_log_goes_on_after_it(info: LogInfo) -> None:
    # In a child: the limit is for every file of the process, the one that the tests' own output goes to included.
    assert Forked(lambda: _write_with_small_files(info)).result() == errno.EFBIG
    assert [r.data for r in Driver().read(info, {}, LogQuery())] == [b"before\n", b"after\n"]


def _write_with_small_files(info: LogInfo) -> int | None:
    """Let files grow to 1000 bytes, so that a write is cut short as on a full disk; return its errno."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    log = Driver().open(info, {})
    log.write("stdout", b"before\n", TIME)
    with pytest.raises(OSError, match="File too large") as caught:
        log.write("stdout", b"x" * 2000 + b"\n", TIME)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    log.write("stdout", b"after\n", TIME)
    log.close()
    return caught.value.errno


def test_a_rotation_that_fails_costs_no_older_file(info: LogInfo) -> None:
    log = Driver().open(info, {"max-size": "100", "max-file": "3"})
    log.write("stdout", b"a" * 100 + b"\n", TIME)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        for _ in range(3):
            with pytest.raises(OSError, match="Too many open files"):
                log.write("stdout", b"lost\n", TIME)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    log.write("stdout", b"after\n", TIME)
    log.close()
    assert [r.data for r in Driver().read(info, {}, LogQuery())] == [b"a" * 100 + b"\n", b"after\n"]


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (b'{"stream":"stderr","log":"x\\n","time":"2006-01-02T15:04:05Z"}\n', b"x\n"),
        (b'{"stream":"stderr","time":"2006-01-02T15:04:05Z"}\n', b""),
        (b'{"log":"\\ud83d\\ude00","stream":"stderr","time":"2006-01-02T15:04:05Z"}\n', "😀".encode()),
    ],
)
def test_records_that_others_wrote_are_read(line: bytes, data: bytes) -> None:
    record = Parser().parse(line)
    assert record is not None
    assert (record.time, record.stream, record.data) == (1_136_214_245_000_000_000, "stderr", data)


@pytest.mark.parametrize(
    "line",
    [b"\n", b"null\n", b'{"log":"x\n', b'{"log":"x","stream":"stdout","time":"soon"}\n', b"[1]\n", b"\x00" * 9],
)
def test_what_is_no_record_is_skipped(line: bytes) -> None:
    assert Parser().parse(line) is None


_LEAN = """
import json, sys
source, function, arguments = json.loads(sys.argv[1])
module = {"__file__": source, "__name__": "writer"}
exec(compile(open(source).read(), source, "exec"), module)
log = module[function](*arguments)
log.write("stderr", b"lean\\n", 5)
log.close()
print(sorted({"swapbox", "pluggy", "typing", "pathlib", "logging", "datetime"} & set(sys.modules)))
"""


def test_the_recipe_opens_the_writer_in_a_bare_interpreter(info: LogInfo) -> None:
    recipe = Driver().recipe(info, {"labels": "b"})
    argument = json.dumps([str(recipe.source), recipe.function, recipe.arguments])
    lean = subprocess.run([sys.executable, "-IS", "-c", _LEAN, argument], check=True, capture_output=True)
    assert lean.stdout == b"[]\n"
    [record] = Driver().read(info, {}, LogQuery())
    assert record == (5, "stderr", b"lean\n", {"b": "2"})


@pytest.mark.parametrize("compressed", ["false", "true"])
def test_readers_and_a_writer_in_a_hurry_never_lose_or_double_a_line(info: LogInfo, compressed: str) -> None:
    options = {"max-size": "20k", "max-file": "1000", "compress": compressed}
    lines = [b"line %d\n" % at for at in range(8000)]
    done = threading.Event()

    def write() -> None:
        log = Driver().open(info, options)
        for at in range(0, len(lines), 50):
            log.write("stdout", b"".join(lines[at : at + 50]), TIME)
        log.close()
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    followed = [r.data for r in Driver().read(info, options, LogQuery(follow=True, ended=done.is_set))]
    thread.join()
    assert followed == lines
    assert [r.data for r in Driver().read(info, options, LogQuery())] == lines

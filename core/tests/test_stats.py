"""What ``stats`` and ``top`` read from the host's files and from ps."""

from __future__ import annotations

import os

import pytest

from swapbox.containers import ps
from swapbox.containers.stats import traffic
from swapbox.containers.top import parse
from swapbox.errors import InvalidInput

NET_DEV = """\
Inter-|   Receive                                       |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes pckts errs drop fifo colls carrier compressed
    lo:  99999   84    0    0    0     0          0         0    99999   84    0    0    0     0       0          0
  eth0:1296200  800    0    0    0     0          0         0   145200  900    0    0    0     0       0          0
  eth1: 5         1    0    0    0     0          0         0        7    1    0    0    0     0       0          0
"""


def test_traffic_is_that_of_all_interfaces_but_the_loopback() -> None:
    assert traffic(NET_DEV.splitlines()) == (1296205, 145207)


def test_the_last_column_has_spaces() -> None:
    table = parse("UID PID CMD\nroot 1 /sbin/init splash\nroot 17 sh -c  true\n", {17})
    assert table == (["UID", "PID", "CMD"], [["root", "17", "sh -c true"]])


def test_threads_belong_to_the_process_before_them() -> None:
    output = "PID LWP CMD\n1 - init\n- 1 -\n17 - sh\n- 17 -\n- 18 -\n"
    assert [row[1] for row in parse(output, {17}).rows] == ["-", "17", "18"]


@pytest.mark.parametrize("output", ["CMD\nsh\n", "", "PID CMD\nx sh\n", "CMD PID\n    1\n"])
def test_what_has_no_pids_is_refused(output: str) -> None:
    with pytest.raises(InvalidInput, match=r"PID|pid 'x'|without a pid"):
        parse(output, {1})


def test_our_own_table_knows_this_process() -> None:
    titles, rows = ps.table([os.getpid(), 2**22 + 1])
    assert len(rows) == 1
    row = dict(zip(titles, rows[0], strict=True))
    assert (row["PID"], row["PPID"]) == (str(os.getpid()), str(os.getppid()))
    assert "python" in row["CMD"]

"""The same command line on swapbox and on a real Docker: the same output and the same exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox

pytestmark = [pytest.mark.root, pytest.mark.debian]

HOST = {"FROM_HOST": "a value", "EMPTY": ""}

# Options, image, command: as typed after `run --rm --network none`.
RUN = {
    "success": "busybox true",
    "exit code": "busybox sh -c 'exit 3'",
    "exit code of an engine error, by the program": "busybox sh -c 'exit 125'",
    "the image's command": "busybox",
    "command not found": "busybox nope",
    "path not found": "busybox /no/such",
    "a directory as command": "busybox /etc",
    "a file that is not executable": "busybox /etc/not-executable",
    "a relative command": "-w /bin busybox ./echo hi",
    "killed by a signal": "--init busybox sh -c 'kill -9 $$'",
    "terminated by a signal": "--init busybox sh -c 'kill -15 $$'",
    "pid 1 cannot kill itself": "busybox sh -c 'kill -9 1; echo alive'",
    "both outputs": "busybox sh -c 'echo out; echo err >&2'",
    "options end at the image": "busybox echo -it --rm",
    "environment": "--hostname h busybox env",
    "environment values": "-e A=1 -e B= -e 'C=x y=z' --hostname h busybox env",
    "environment from the host": "-e FROM_HOST -e EMPTY -e NOT_THERE --hostname h busybox env",
    "environment overrides the image": "-e PATH=/bin -e HOME=/else --hostname h busybox env",
    "last value wins": "-e A=1 -e A=2 busybox printenv A",
    "working directory": "-w /home/app busybox pwd",
    "working directory is made": "-w /made/for/me busybox sh -c 'pwd; stat -c %u:%a /made/for/me'",
    "relative working directory": "-w made busybox pwd",
    "user by name": "-u app busybox sh -c 'id; echo $HOME'",
    "user by number": "-u 1000 busybox sh -c 'id; echo $HOME'",
    "user and group": "-u app:staff busybox id",
    "user and group numbers": "-u 1000:50 busybox id",
    "unknown user number": "-u 4711 busybox sh -c 'id; echo $HOME'",
    "unknown user name": "-u ghost busybox id",
    "unknown group name": "-u app:ghosts busybox id",
    "root's groups": "busybox id",
    "hostname": "--hostname box busybox sh -c 'hostname; cat /etc/hostname; grep box /etc/hosts | wc -l'",
    "entrypoint": "--entrypoint echo busybox hi there",
    "entrypoint clears the command": "--entrypoint id busybox",
    "stdin is empty without -i": "busybox cat",
    "umask": "busybox sh -c umask",
    "descriptors": "busybox ls /proc/self/fd",
    "devices": "busybox ls /dev /dev/pts /dev/shm",
    "device modes": "busybox stat -c '%n %a %t,%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty",
    "device links": "busybox readlink /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx /dev/core",
    "root directory": "busybox ls -A /",
    "tmp stays sticky": "busybox stat -c %a /tmp /dev/shm /root",
    "only one process": "busybox sh -c 'ls -d /proc/[0-9]* | wc -l'",
    "processes of the host are not there": "busybox ps -o pid,comm",
    "read-only": "--read-only busybox sh -c 'touch /x; touch /dev/shm/y; echo $?'",
    "capabilities": "busybox grep Cap /proc/self/status",
    "capabilities of a user": "-u app busybox grep Cap /proc/self/status",
    "no capabilities": "--cap-drop ALL busybox grep Cap /proc/self/status",
    "one capability": "--cap-drop ALL --cap-add CHOWN busybox grep Cap /proc/self/status",
    "one more capability": "--cap-add NET_ADMIN busybox grep Cap /proc/self/status",
    "prefix and case of capabilities": "--cap-add cap_sys_time --cap-drop mknod busybox grep Cap /proc/self/status",
    "seccomp": "busybox grep Seccomp: /proc/self/status",
    "no seccomp": "--security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status",
    "no new privileges": "--security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status",
    "new privileges": "busybox grep NoNewPrivs /proc/self/status",
    "seccomp refuses": "busybox sh -c 'unshare -m true; echo $?'",
    "mounting is refused": "busybox sh -c 'mount -t tmpfs none /tmp; echo $?'",
    "ulimit": "--ulimit nofile=100:200 busybox sh -c 'ulimit -n; ulimit -Hn'",
    "ulimit for both": "--ulimit nofile=150 busybox sh -c 'ulimit -n; ulimit -Hn'",
    "ulimit core": "--ulimit core=0 busybox sh -c 'ulimit -c'",
    "masked paths": "busybox sh -c 'wc -c /proc/kcore /proc/keys /proc/timer_list; ls -A /proc/acpi /sys/firmware'",
    "read-only paths": "busybox sh -c 'for f in bus fs irq sys sysrq-trigger; do grep -c \" /proc/$f .*ro,\" /proc/mounts; done'",
    "sysctl is read-only": "busybox sh -c 'echo x > /proc/sys/kernel/hostname'",
    "low ports are free": "busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    "ping is free": "busybox cat /proc/sys/net/ipv4/ping_group_range",
    "kernel mounts": "busybox sh -c 'grep -vE \"cgroup|^overlay|/etc/|/proc/|/sys/\" /proc/mounts | cut -d\" \" -f2-4 | sort'",
    "size of shm": "busybox sh -c 'df -k /dev/shm | tail -1 | tr -s \" \" | cut -d\" \" -f2'",
    "tmpfs": "--tmpfs /scratch busybox grep /scratch /proc/mounts",
    "tmpfs options": "--tmpfs /scratch:size=1m,mode=700,uid=1000 busybox sh -c 'stat -c %a:%u /scratch; df -k /scratch | tail -1'",
    "tmpfs may be executed from": "--tmpfs /scratch:exec busybox grep -c noexec /proc/mounts",
    "no network but lo": "busybox ls /sys/class/net",
    "lo is up": "busybox sh -c 'ip addr show lo | grep -c inet'",
    "pid limit as number": "--pids-limit 100 busybox true",
    "a terminal": "-t busybox sh -c 'test -t 0 && tty; echo $TERM'",
    "a terminal writes crlf": "-t busybox echo hi",
    "a terminal that is none": "-i -t busybox true",
    "host network": "--network host busybox sh -c 'ls /sys/class/net | grep -x lo'",
}

REFUSED = {
    "unknown option": "--nope busybox true",
    "no image": "",
    "upper case": "BusyBox true",
    "bad name": "--name 'a b' busybox true",
    "bad memory": "-m lots busybox true",
    "too little memory": "-m 1m busybox true",
    "bad cpus": "--cpus many busybox true",
    "bad pids": "--pids-limit x busybox true",
    "bad ulimit": "--ulimit nosuch=1 busybox true",
    "ulimit soft over hard": "--ulimit nofile=200:100 busybox true",
    "bad capability": "--cap-add FLY busybox true",
    "bad security option": "--security-opt colour=blue busybox true",
    "bad environment": "-e =x busybox true",
    "bad environment file": "--env-file /no/such busybox true",
    "bad volume mode": "-v /tmp:/x:sideways busybox true",
    "relative volume target": "-v /tmp:x busybox true",
    "volume over the root": "-v /tmp:/ busybox true",
    "bad log driver": "--log-driver carrier-pigeon busybox true",
    "bad log option": "--log-opt max-size=huge busybox true",
    "bad network": "--network atlantis busybox true",
    "bad hostname": "--hostname '-x.' busybox true",
    "missing value": "--name",
}


def _split(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


@pytest.mark.parametrize("line", RUN.values(), ids=RUN)
def test_run(swapbox: Sandbox, docker: Engine, line: str) -> None:
    arguments = ["run", "--rm", *(() if "--network" in line else ("--network", "none")), *_split(line)]
    theirs = docker(*arguments, env=HOST)
    ours = swapbox(*arguments, env=HOST)
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert bool(ours.err) == bool(theirs.err), ours.err


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED)
def test_run_refuses(swapbox: Sandbox, docker: Engine, line: str) -> None:
    arguments = ["run", *_split(line)]
    theirs = docker(*arguments)
    swapbox(*arguments).fails(theirs.code)
    assert swapbox.ok("ps", "-a", "-q") == ""


def test_an_environment_file_is_read_as_docker_does(swapbox: Sandbox, docker: Engine, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# a comment\n\nA=1\nB=two words \nC='quoted'\nFROM_HOST\nNOT_THERE\n  D=indented\nE=a=b\n")
    arguments = ("run", "--rm", "--network", "none", "--hostname", "h", "--env-file", file, "-e", "A=2", "busybox", "env")
    assert swapbox(*arguments, env=HOST).out == docker(*arguments, env=HOST).out


# Commands about things that are not there: exit code, output, and the words of the error.
MISSING = {
    "rm nope": "No such container: nope",
    "rm -f nope": "",
    "kill nope": "No such container: nope",
    "stop nope": "No such container: nope",
    "logs nope": "No such container: nope",
    "inspect nope": "No such object: nope",
    "rmi nope": "No such image: nope",
    "rmi -f nope": "No such image: nope",
    "tag nope other": "No such image: nope",
    "ps --bogus": "unknown flag: --bogus",
    "rm": "",
    "stop": "",
    "logs": "",
    "inspect": "",
    "tag busybox": "",
    "tag busybox UPPER": "invalid reference format",
    "kill --signal NOPE x": "",
    "nosuchverb": "",
}


@pytest.mark.parametrize(("line", "words"), MISSING.items(), ids=MISSING)
def test_a_mistake(swapbox: Sandbox, docker: Engine, line: str, words: str) -> None:
    theirs, ours = docker(*line.split()), swapbox(*line.split())
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert words.lower() in theirs.err.lower()
    assert words.lower() in ours.err.lower()
    assert "Traceback" not in ours.err

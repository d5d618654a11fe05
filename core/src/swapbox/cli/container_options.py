"""The options that ``run`` and ``create`` share, and those of them that ``update`` has, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from swapbox.cli.app import driver_options
from swapbox.cli.groups import BadValue
from swapbox.cli.platform_option import platform_option

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def text(*names: str, metavar: str, help: str) -> Decorator:
    """Make an option whose value stays a text until :mod:`swapbox.containers.flags` reads it."""
    return click.option(*names, default="", metavar=metavar, help=help)


def many(*names: str, **settings: Any) -> Decorator:
    """Make an option that may be given several times."""
    return click.option(*names, multiple=True, **settings)


def switch(*names: str, help: str) -> Decorator:
    """Make an option without a value."""
    return click.option(*names, is_flag=True, help=help)


def _read_streams(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Read ``-a``: names of streams in whatever case."""
    for value in values:
        if value.lower() not in ("stdin", "stdout", "stderr"):
            assert isinstance(param, click.Option)
            raise BadValue("valid streams are STDIN, STDOUT and STDERR", value, param)
    return tuple(value.lower() for value in values)


def attached_streams(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the streams that ``run`` attaches to: those of ``-a`` or else both outputs, and stdin with ``-i``."""
    return (*(given["attach"] or ("stdout", "stderr")), *(("stdin",) if given["interactive"] else ()))


_RESOURCES = (
    text("-m", "--memory", metavar="BYTES", help="Memory limit, such as 512m."),
    text("--memory-swap", metavar="BYTES", help="Limit of memory plus swap; -1 for none."),
    text("--memory-reservation", metavar="BYTES", help="Memory soft limit."),
    text("--cpus", metavar="NUMBER", help="Number of CPUs, such as 1.5."),
    text("-c", "--cpu-shares", metavar="NUMBER", help="CPU weight against other containers."),
    text("--cpu-period", metavar="MICROSECONDS", help="Period of the CPU quota."),
    text("--cpu-quota", metavar="MICROSECONDS", help="CPU time in each period."),
    text("--cpuset-cpus", metavar="LIST", help="CPUs to run on, such as 0-2,7."),
    text("--cpuset-mems", metavar="LIST", help="Memory nodes to use, such as 0,1."),
    text("--pids-limit", metavar="NUMBER", help="Limit of processes; -1 for none."),
    text("--restart", metavar="POLICY", help="no, on-failure[:MAX], always or unless-stopped."),
)

_OPTIONS = (
    switch("-i", "--interactive", help="Keep stdin open."),
    switch("-t", "--tty", help="Give the container a terminal."),
    click.option("--rm", "auto_remove", is_flag=True, help="Remove the container when it has ended."),
    many("-a", "--attach", metavar="STREAM", callback=_read_streams, help="Attach to stdin, stdout, stderr only."),
    many("-e", "--env", metavar="NAME[=VALUE]", help="Set a variable, or pass the host's on."),
    many("--env-file", type=click.Path(), help="Read variables from a file."),
    text("-w", "--workdir", metavar="PATH", help="Working directory in the container."),
    text("-u", "--user", metavar="NAME|UID[:GROUP|GID]", help="User to run as."),
    many("-v", "--volume", metavar="[SOURCE:]TARGET[:MODE]", help="Mount a volume, or a host directory or file."),
    many("--volumes-from", metavar="CONTAINER[:ro|rw]", help="Mount what another container has mounted."),
    many("--mount", metavar="type=volume|bind|tmpfs,...", help="Mount, the long way."),
    many("--tmpfs", metavar="TARGET[:OPTIONS]", help="Mount a tmpfs."),
    text("--name", metavar="NAME", help="Name of the container."),
    text("-h", "--hostname", metavar="NAME", help="Host name in the container."),
    text("--domainname", metavar="NAME", help="NIS domain name in the container."),
    click.option("--entrypoint", metavar="COMMAND", help="Replace the image's entrypoint."),
    switch("--read-only", help="Mount the root file system read-only."),
    switch("--privileged", help="Give every capability and device; no confinement."),
    *_RESOURCES,
    text("--oom-score-adj", metavar="NUMBER", help="How ready the kernel is to kill it, -1000 to 1000."),
    many("--cap-add", metavar="NAME", help="Add a capability."),
    many("--cap-drop", metavar="NAME", help="Drop a capability."),
    many("--security-opt", metavar="OPTION", help="no-new-privileges, seccomp=FILE|unconfined, ..."),
    many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Set a resource limit."),
    many("--sysctl", metavar="NAME=VALUE", help="Set a namespaced kernel parameter."),
    many("--device", metavar="HOST[:CONTAINER[:rwm]]", help="Add a host device."),
    many("--group-add", metavar="GROUP", help="Add a supplementary group."),
    many("-l", "--label", metavar="KEY[=VALUE]", help="Set a label."),
    many("--label-file", type=click.Path(), help="Read labels from a file."),
    many("--annotation", metavar="KEY[=VALUE]", help="Set an annotation of the runtime spec."),
    many("--expose", metavar="PORT[/PROTOCOL]", help="Say that the container listens on a port."),
    text("--shm-size", metavar="BYTES", help="Size of /dev/shm."),
    text("--stop-signal", metavar="SIGNAL", help="Signal that 'stop' sends."),
    text("--stop-timeout", metavar="SECONDS", help="How long 'stop' waits."),
    text("--health-cmd", metavar="COMMAND", help="Command that checks the container's health."),
    text("--health-interval", metavar="DURATION", help="Time between checks, such as 30s."),
    text("--health-timeout", metavar="DURATION", help="How long a check may take."),
    text("--health-retries", metavar="NUMBER", help="Failures in a row that mean unhealthy."),
    text("--health-start-period", metavar="DURATION", help="Time to start in which failures do not count."),
    text("--health-start-interval", metavar="DURATION", help="Time between checks in the start period."),
    switch("--no-healthcheck", help="Check nothing, whatever the image says."),
    switch("--init", help="Run an init that reaps and forwards signals."),
    many("--log-opt", metavar="NAME=VALUE", help="Option of the log driver."),
    many("--network", "--net", metavar="NAME|none|host|container:C", help="Connect to a network."),
    many("--network-alias", "--net-alias", metavar="NAME", help="One more name in the network."),
    text("--ip", metavar="ADDRESS", help="Its IPv4 address."),
    text("--ip6", metavar="ADDRESS", help="Its IPv6 address."),
    many("--link-local-ip", metavar="ADDRESS", help="One more address, of IPv4 or IPv6."),
    text("--mac-address", metavar="ADDRESS", help="Its hardware address."),
    many("--link", metavar="CONTAINER[:ALIAS]", help="Know another container by a name."),
    many("-p", "--publish", metavar="[[IP:]PORT:]PORT[/PROTOCOL]", help="Publish a port to the host."),
    switch("-P", "--publish-all", help="Publish every exposed port."),
    many("--dns", metavar="ADDRESS", help="Name server to use."),
    many("--dns-search", metavar="DOMAIN", help="Domain to search for names."),
    many("--dns-option", "--dns-opt", metavar="OPTION", help="Option of resolv.conf."),
    many("--add-host", metavar="NAME:ADDRESS", help="Name in /etc/hosts; host-gateway is the host."),
    text("--userns", metavar="MODE", help="User namespace: host or private."),
    click.option("--cidfile", type=click.Path(), help="Write the container's id to this file."),
    platform_option("Platform to pull when the image is not here."),
    click.option(
        "--pull", default="missing", metavar="always|missing|never", help="When to pull the image first."
    ),
    switch("-q", "--quiet", help="Say nothing about the pull."),
    text("--runtime", metavar="NAME", help="Docker's word for --isolation."),
    driver_options(),
    click.argument("image"),
    click.argument("command", nargs=-1, type=click.UNPROCESSED),
)


def container_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add everything that says what the container will be."""
    return _added(function, _OPTIONS)


def resource_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what can be changed while a container runs."""
    return _added(function, _RESOURCES)


def _added(function: Callable[..., Any], options: tuple[Decorator, ...]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function

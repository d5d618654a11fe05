"""What a container is made from: the user's options merged with the image's configuration.

The value types here are shared by the option parsers, the database and :mod:`swapbox.containers.spec`. The module
is on the path of ``ps`` and imports nothing heavy.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from swapbox.errors import DataError, InvalidInput

MountType = Literal["bind", "volume", "tmpfs"]


class MountSpec(NamedTuple):
    """One mount over a container's root file system.

    :param source: absolute path on the host; of a volume that is there, where its driver says it is.
    :param target: absolute, normalized path in the container.
    :param propagation: of a bind mount.
    :param recursive: what is mounted below the source of a bind mount comes along.
    :param mode: the third part of ``-v`` as typed, for ``inspect``.
    :param create_source: ``-v`` makes a missing source directory; ``--mount`` does not.
    :param name: of a volume; empty until an anonymous one is made.
    :param anonymous: a volume without a name of the user's: it is removed with its last container.
    :param copy: an empty volume gets what the image has at the target.
    :param subpath: what of a volume is mounted, relative to its root.
    :param submounts: ``writable`` ones stay so below a read-only mount; ``readonly`` is an error where they cannot
        be made so; empty for read-only where the kernel can.
    :param options: of the volume's driver, when it is made; size and mode of a tmpfs.
    :param labels: of a volume, when it is made.
    :param by: the flag that asked for it; empty for a volume of the image.
    """

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: bool = True
    mode: str = ""
    create_source: bool = False
    type: MountType = "bind"
    name: str = ""
    driver: str = ""
    anonymous: bool = False
    copy: bool = True
    subpath: str = ""
    submounts: Literal["", "writable", "readonly"] = ""
    options: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    by: Literal["-v", "--mount", "--volumes-from", ""] = "-v"


class Ulimit(NamedTuple):
    """One ``--ulimit``: ``name`` as in ulimit(1) in lower case (``nofile``); -1 is unlimited."""

    name: str
    soft: int
    hard: int


class DeviceSpec(NamedTuple):
    """One ``--device``: node on the host, path in the container, and some of ``rwm``."""

    source: str
    target: str
    permissions: str = "rwm"


class Attachment(NamedTuple):
    """One ``--network`` of a container: what the user asks for there.

    :param network: name or id of the network.
    :param addresses: fixed ones, at most one of each family; empty for any.
    :param options: of the driver, for this endpoint.
    :param priority: the way out leads through the network that has the highest.
    :param link_local: more addresses, which nobody hands out.
    :param links: ``CONTAINER:ALIAS``: another container and what this one calls it.
    """

    network: str
    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    mac_address: str = ""
    options: Mapping[str, str] = {}
    priority: int = 0
    link_local: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


class PortBinding(NamedTuple):
    """One port of a container that is published.

    :param private: its number in the container.
    :param address: of the host; empty for every address.
    :param public: its number on the host, 0 for any; up to ``public_last``, if that is not 0, the first free one.
    """

    private: int
    protocol: str = "tcp"
    address: str = ""
    public: int = 0
    public_last: int = 0


class IdMapping(NamedTuple):
    """One line of uid_map(5): ``size`` ids from ``container_id`` on are the host's from ``host_id`` on."""

    container_id: int
    host_id: int
    size: int


class Healthcheck(NamedTuple):
    """How to check a container's health, as in an image's config; nanoseconds, 0 for the image's or the default.

    :param test: ``("NONE",)``, ``("CMD", program, argument...)`` or ``("CMD-SHELL", command)``.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(NamedTuple):
    """What the user asks for; once :func:`merge` has added what the image gives, the engine stores it as JSON.

    Empty texts and zeros mean Docker's default, which :mod:`swapbox.containers.spec` fills in.

    :param entrypoint: None when not asked for; ``("",)``, an empty text, clears the image's.
    :param image: the reference as typed; ``image_id`` is the config digest, ``top_chain`` the rootfs's chainID.
    :param env: ``NAME=value`` items; an item without ``=`` takes the variable away.
    :param volumes: paths that get an anonymous volume, the image's and those of ``-v``, as they were typed.
    :param volumes_from: containers whose mounts this one gets, too, as typed.
    :param tmpfs: target to mount options.
    :param security_opt: Docker's ``--security-opt`` items, a seccomp file replaced by its content.
    :param nano_cpus: CPUs times 10^9. Memory sizes are bytes; ``memory_swap`` is memory plus swap, -1 unlimited.
    :param pids_limit: 0 sets none, -1 is unlimited.
    :param network: ``none``, ``host``, ``container:<id>``, or the name of the first network; ``network_driver``
        and the other five name the drivers in use.
    :param networks: what is asked for in each of its networks, when that is more than a name.
    :param has_endpoints: its places in networks are in the database (:mod:`swapbox.networks.endpoints`).
    :param extra_hosts: lines for ``/etc/hosts``: name and address, or ``host-gateway`` for the host's.
    :param restart: the policy, empty for none; ``restart_retries`` is how often at most, 0 for without end.
    :param shell_form: what runs a command of the image that is one text (``SHELL``); empty for ``/bin/sh -c``.
    :param attach: of ``stdin``, ``stdout`` and ``stderr``, those that ``run`` attaches to.
    :param uid_mappings: with ``userns`` ``private``: the ids of the container's user namespace.
    """

    image: str
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    image_id: str = ""
    top_chain: str = ""
    platform: str = ""
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    stdin_open: bool = False
    labels: Mapping[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    mounts: tuple[MountSpec, ...] = ()
    volumes: tuple[str, ...] = ()
    volumes_from: tuple[str, ...] = ()
    volume_driver: str = ""
    tmpfs: Mapping[str, str] = {}
    read_only: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: Mapping[str, str] = {}
    init: bool = False
    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    oom_score_adj: int = 0
    shm_size: int = 0
    devices: tuple[DeviceSpec, ...] = ()
    group_add: tuple[str, ...] = ()
    network: str = ""
    userns: str = ""
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    auto_remove: bool = False
    exposed_ports: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}
    storage: str = ""
    isolation: str = ""
    cgroup: str = ""
    logging: str = ""
    log_opts: Mapping[str, str] = {}
    network_driver: str = ""
    restart: str = ""
    restart_retries: int = 0
    healthcheck: Healthcheck | None = None
    shell_form: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    networks: tuple[Attachment, ...] = ()
    has_endpoints: bool = False
    ports: tuple[PortBinding, ...] = ()
    publish_all: bool = False
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()

    @property
    def shared_network(self) -> str:
        """The id of the container whose network it shares; empty for none."""
        kind, _, container = self.network.partition(":")
        return container if kind == "container" else ""

    @property
    def args(self) -> tuple[str, ...]:
        """The command that runs: the entrypoint followed by the command."""
        return (self.entrypoint or ()) + self.cmd

    @property
    def tmpfs_targets(self) -> list[str]:
        """Where it has a tmpfs of its own."""
        return [*self.tmpfs, *(mount.target for mount in self.mounts if mount.type == "tmpfs")]

    @property
    def propagates(self) -> bool:
        """What is mounted below one of its bind mounts appears on the other side, too."""
        return any(mount.propagation not in ("", "private", "rprivate") for mount in self.mounts)

    @property
    def volume_mounts(self) -> list[MountSpec]:
        """The volumes it uses."""
        return [mount for mount in self.mounts if mount.type == "volume"]

    def to_json(self) -> dict[str, Any]:
        """Return the object that :meth:`from_json` reads."""
        value = self._asdict()
        for name in _RECORDS:
            value[name] = [record._asdict() for record in value[name]]
        if self.healthcheck is not None:
            value["healthcheck"] = self.healthcheck._asdict()
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ContainerConfig":
        """Read an object, also another release's: unknown keys are ignored, missing ones get defaults.

        :raises DataError: it is not such an object.
        """
        try:
            known = {name: _tuple(item) for name, item in value.items() if name in cls._fields}
            for name, record in _RECORDS.items():
                known[name] = tuple(_record(record, item) for item in known.get(name, ()))
            if known.get("healthcheck"):
                known["healthcheck"] = _record(Healthcheck, known["healthcheck"])
            return cls(**known)
        except (TypeError, AttributeError) as error:
            raise DataError(f"invalid container configuration: {error}") from None


_RECORDS: Mapping[str, type[Any]] = {
    "mounts": MountSpec,
    "ulimits": Ulimit,
    "devices": DeviceSpec,
    "networks": Attachment,
    "ports": PortBinding,
    "uid_mappings": IdMapping,
    "gid_mappings": IdMapping,
}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _record(record: type[Any], value: Mapping[str, Any]) -> Any:
    return record(**{name: _tuple(item) for name, item in value.items() if name in record._fields})


def merge(
    asked: ContainerConfig, image: Mapping[str, Any], *, image_id: str = "", top_chain: str = ""
) -> "ContainerConfig":
    """Merge what the user asks for with an image by Docker's rules: what the user gave wins.

    :param image: the image's config document (``architecture``, ``os``, ``config``), OCI image-spec 1.1.
    :raises InvalidInput: there is no command, or options do not fit together.
    :raises DataError: the document has a field of the wrong type.
    """
    from swapbox.containers.options import check_options

    given = image.get("config") or {}
    check_options(asked)
    entrypoint, cmd = _command(asked, given)
    merged = asked._replace(
        entrypoint=entrypoint,
        cmd=cmd,
        env=asked.env + _missing_env(asked.env, _texts(given, "Env")),
        workdir=asked.workdir or _text(given, "WorkingDir"),
        user=asked.user or _text(given, "User"),
        stop_signal=asked.stop_signal or _text(given, "StopSignal"),
        labels={**_mapping(given, "Labels"), **asked.labels},
        volumes=tuple(sorted({*_mapping(given, "Volumes"), *asked.volumes})),
        exposed_ports=_exposed(asked.exposed_ports, _mapping(given, "ExposedPorts")),
        healthcheck=_healthcheck(asked.healthcheck, _mapping(given, "Healthcheck")),
        shell_form=_texts(given, "Shell"),
        platform="/".join(filter(None, (_text(image, name) for name in ("os", "architecture", "variant")))),
        image_id=image_id,
        top_chain=top_chain,
    )
    if merged.userns == "private" and not merged.uid_mappings:
        from swapbox.containers.users import private_mappings

        uids, gids = private_mappings()
        return merged._replace(uid_mappings=uids, gid_mappings=gids)
    return merged


def _exposed(asked: tuple[str, ...], image: Mapping[str, Any]) -> tuple[str, ...]:
    if not image:  # most have none, and need not import the parser
        return tuple(sorted({*asked}))
    from swapbox.containers.exposed import of_image

    return tuple(sorted({*of_image(image), *asked}))


def _command(asked: ContainerConfig, image: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return entrypoint and command: a given entrypoint, even an empty one, drops the image's command."""
    if asked.entrypoint is None:
        entrypoint, default = _texts(image, "Entrypoint"), _texts(image, "Cmd")
    else:
        entrypoint, default = asked.entrypoint, ()
    if entrypoint == ("",):
        entrypoint = ()
    cmd = asked.cmd or default
    if not entrypoint and not cmd:
        raise InvalidInput("no command specified", hint="give one after the image, or use --entrypoint")
    return entrypoint, cmd


def _healthcheck(asked: Healthcheck | None, image: Mapping[str, Any]) -> Healthcheck | None:
    """Fill what was not asked for from the image's ``Healthcheck`` (Docker image spec 1.2)."""
    if not image:
        return asked
    own = Healthcheck(
        _texts(image, "Test"),
        interval=_number(image, "Interval"),
        timeout=_number(image, "Timeout"),
        start_period=_number(image, "StartPeriod"),
        start_interval=_number(image, "StartInterval"),
        retries=_number(image, "Retries"),
    )
    return own._replace(**{name: mine for name, mine in (asked or own)._asdict().items() if mine})


def _missing_env(given: tuple[str, ...], image: tuple[str, ...]) -> tuple[str, ...]:
    names = {item.partition("=")[0] for item in given}
    return tuple(item for item in image if item.partition("=")[0] not in names)


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name) or ""
    if not isinstance(text, str):
        raise DataError(f"invalid image config: {name} is {text!r}, not a string")
    return text


def _texts(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    items = value.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DataError(f"invalid image config: {name} is {items!r}, not a list of strings")
    return tuple(items)


def _number(value: Mapping[str, Any], name: str) -> int:
    number = value.get(name) or 0
    if not isinstance(number, int) or number < 0:
        raise DataError(f"invalid image config: {name} is {number!r}, not a positive number")
    return number


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    items = value.get(name) or {}
    if not isinstance(items, dict):
        raise DataError(f"invalid image config: {name} is {items!r}, not an object")
    return items

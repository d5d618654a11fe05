"""From a container's record to a running command: the steps of a start, in their order.

What a step has made when a later one fails, ``teardown`` frees.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers import files
from swapbox.containers.events import happened, network_event
from swapbox.containers.records import Container
from swapbox.containers.session import ATTACH_SOCKET
from swapbox.containers.spec import build_spec
from swapbox.containers.stdio import Launch, Pipes, listen
from swapbox.drivers.isolation import CreateRequest, Spec
from swapbox.drivers.logging import LogInfo, LogWriter
from swapbox.drivers.network import Endpoint, Network
from swapbox.drivers.storage import Mount
from swapbox.errors import Conflict, Unavailable, Unsupported
from swapbox.linux import mounts, syscalls
from swapbox.linux.process import Process
from swapbox.paths import USER_VARIABLE, cgroup_path

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig
    from swapbox.drivers.cgroup import Resources
    from swapbox.engine import Engine
    from swapbox.networks.endpoints import Leased


def launch(engine: Engine, container: Container, *, console_size: tuple[int, int] | None) -> Launch:
    """Start a container's command in the calling process, its monitor.

    :raises SwapboxError: what failed; :class:`~swapbox.errors.CommandNotExecutable` for the command itself.
    """
    try:
        with files.container_lock(engine.paths.container(container.id)):
            return _launch(engine, container, console_size)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = os.strerror(error.errno or 0).lower()
        raise Unavailable(f"cannot start container {container.name}: {where}{reason}") from error


def _launch(engine: Engine, container: Container, console_size: tuple[int, int] | None) -> Launch:
    storage = engine.selector.open("storage", made_with=container.config.storage)
    run = engine.paths.make(engine.paths.container_run(container.id))
    with engine.timed("mount"):
        bundle = _mount(storage.mounts(container.id), run)
        if (
            container.config.volume_mounts or container.config.propagates
        ):  # few have any, and the others need not import it
            from swapbox.containers.volume_mounts import mounted

            container = mounted(engine, container, run)
    leased = _lease(engine, container)
    spec = container_spec(engine, container, bundle=bundle, console_size=console_size, leased=leased)
    resources = _possible_resources(engine, container, spec)
    if not ("devices" in resources or container.config.privileged or engine.unprivileged):
        _forbid_device_nodes(spec, bundle / "rootfs", volumes={m.target for m in container.config.volume_mounts})
    spec["linux"]["resources"] = resources
    (bundle / "config.json").write_text(json.dumps(spec))
    return _run(engine, container, spec, resources, leased, bundle=bundle, run=run)


def rootfs_path(run: Path) -> Path:
    """Return where a container's root file system is mounted, in its monitor's mount namespace."""
    return run / "bundle" / "rootfs"


def _mount(rootfs_mounts: Sequence[Mount], run: Path) -> Path:
    rootfs = rootfs_path(run)
    bundle = rootfs.parent
    for directory in (bundle, rootfs):
        directory.mkdir(mode=0o700, exist_ok=True)
    mounts.apply(rootfs_mounts, rootfs)
    return bundle


def container_spec(
    engine: Engine,
    container: Container,
    *,
    bundle: Path,
    console_size: tuple[int, int] | None = None,
    leased: Sequence[Leased] = (),
) -> Spec:
    """Return the OCI ``config.json`` of a container whose root file system is mounted in ``bundle``.

    :param leased: its places in networks.
    """
    config = container.config
    rootfs = bundle / "rootfs"
    network = engine.selector.open("network", made_with=config.network_driver)
    private_network = not config.shared_network and network.namespace(Network(config.network)) == "private"
    files.make_marker(rootfs)
    if config.workdir:
        files.make_directory(rootfs, config.workdir)
    if config.shared_network:
        from swapbox.networks.sharing import shared

        network_path, runtime_files, config = shared(engine, config)
    else:
        network_path = ""
        linked, config = _linked(engine, container, config)
        runtime_files = _runtime_files(engine, container, leased, private=private_network, linked=linked)
    spec = build_spec(
        config,
        container_id=container.id,
        rootfs=rootfs,
        files=runtime_files,
        private_network=private_network,
        network_path=network_path,
        cgroup_path=cgroup_path(container.id),
        unprivileged=engine.unprivileged,
        init_path=files.find_init() if config.init else None,
    )
    if console_size is not None:
        spec["process"]["consoleSize"] = {"height": console_size[0], "width": console_size[1]}
    engine.plugins.notify("swapbox_container_spec", warn=engine.warn, spec=spec, container=_view(container))
    return spec


def _linked(engine: Engine, container: Container, config: ContainerConfig) -> tuple[str, ContainerConfig]:
    """Return what ``--link`` adds to ``/etc/hosts``, and the configuration with its variables."""
    if not any(one.links for one in config.networks):
        return "", config
    from swapbox.networks import links

    found = links.linked(engine, container)
    variables = tuple(links.environment(container.name, found))
    return links.hosts_lines(found), config._replace(env=(*variables, *config.env))


def _runtime_files(
    engine: Engine, container: Container, leased: Sequence[Leased], *, private: bool, linked: str
) -> files.RuntimeFiles:
    """Write the container's files; the gateways of networks with names are its name servers."""
    servers: list[str] = []
    if leased:
        from swapbox.networks.resolving import servers_of

        servers = servers_of(engine, ((one.driver, one.endpoint.network) for one in leased))
        servers = [*servers, *(server for one in leased for server in one.nameservers)][:3]  # see resolv.conf(5)
    return files.write_runtime_files(
        engine.paths.container(container.id),
        container,
        private=private,
        endpoints=[one.endpoint for one in leased],
        servers=servers,
        linked=linked,
    )


def log_info(engine: Engine, container: Container) -> LogInfo:
    """Return what log drivers are told of a container."""
    environment = (item.partition("=") for item in container.config.env)
    return LogInfo(
        container_id=container.id,
        container_name=container.name,
        image=container.config.image,
        directory=engine.paths.container(container.id),
        labels=container.config.labels,
        environment={name: value for name, _, value in environment},
    )


def open_log(engine: Engine, container: Container) -> LogWriter:
    """Open a container's log for appending."""
    driver = engine.selector.open("logging", made_with=container.config.logging)
    return driver.open(log_info(engine, container), container.config.log_opts)


def _view(container: Container) -> Mapping[str, Any]:
    return {"id": container.id, "name": container.name, "config": container.config.to_json()}


def _run(
    engine: Engine,
    container: Container,
    spec: Spec,
    resources: Resources,
    leased: Sequence[Leased],
    *,
    bundle: Path,
    run: Path,
) -> Launch:
    config = container.config
    isolation = engine.selector.open("isolation", made_with=config.isolation)
    writer = open_log(engine, container)
    pipes = Pipes.open(terminal=config.tty, stdin=config.stdin_open)
    with engine.timed("cgroup"):
        controller = engine.selector.open("cgroup", made_with=config.cgroup)
        cgroup = controller.create(cgroup_path(container.id), resources)
    request = CreateRequest(
        id=container.id,
        bundle=bundle,
        spec=spec,
        stdio=pipes.stdio,
        console=pipes.console_fd,
        cgroup=cgroup,
    )
    with engine.timed("namespaces"):
        init = isolation.create(request)
        if config.shared_network:
            from swapbox.networks.sharing import check_joined

            check_joined(engine, config, spec)
    cgroup.close()
    streams = pipes.kept()
    with engine.timed("network"):
        _connect(engine, container, leased, init)
    listener = listen(run, ATTACH_SOCKET)
    _set_running(engine, container, init)
    with engine.timed("exec"):
        isolation.start(container.id)
    happened(engine, container, "start")
    return Launch(init, streams, listener, writer)


# -- cgroup, network, socket, record ------------------------------------------------------------------------------


def _possible_resources(engine: Engine, container: Container, spec: Spec) -> Resources:
    """Return what the host can set; a limit it cannot set is an error when the user asked for it."""
    controller = engine.selector.open("cgroup", made_with=container.config.cgroup)
    resources = {name: dict(part) if isinstance(part, dict) else part for name, part in _resources(spec)}
    for key, reason in controller.missing(resources).items():
        if not _is_default(container, key):
            raise Unsupported(
                f"cannot set {key}: {reason}", hint="leave the limit out, or choose another --cgroup"
            )
        section, _, item = key.partition(".")
        if item and isinstance(resources.get(section), dict):
            resources[section].pop(item, None)
        else:
            resources.pop(section, None)
    return resources


def _forbid_device_nodes(spec: Spec, rootfs: Path, *, volumes: Collection[str]) -> None:
    """Let no device node be made, nor one of the image be opened: without rules they are the host's devices.

    :param volumes: targets of volumes, which got the nodes that the image has there.
    """
    for mount in spec["mounts"]:
        if mount["destination"] in volumes:
            mount["options"].append("nodev")
    for held in spec["process"]["capabilities"].values():
        if "CAP_MKNOD" in held:
            held.remove("CAP_MKNOD")
    syscalls.mount_setattr(rootfs, set=syscalls.MOUNT_ATTR_NODEV)


def _resources(spec: Spec) -> Iterable[tuple[str, Any]]:
    resources: Mapping[str, Any] = spec["linux"].get("resources") or {}
    return resources.items()


def _is_default(container: Container, key: str) -> bool:
    """Say whether a limit is Docker's default, not the user's wish: device rules, swap as much as memory."""
    return key.partition(".")[0] == "devices" or (key == "memory.swap" and not container.config.memory_swap)


def _lease(engine: Engine, container: Container) -> Sequence[Leased]:
    """Return the container's places in networks, with addresses and ports that nobody else has."""
    if not container.config.has_endpoints:
        return ()
    from swapbox.networks.endpoints import lease

    with engine.timed("network"):
        return lease(engine, container)


def _connect(engine: Engine, container: Container, leased: Sequence[Leased], init: int) -> None:
    config = container.config
    if config.shared_network:
        return
    if config.has_endpoints:
        from swapbox.networks.endpoints import connect

        connected = connect(engine, container, leased, init)
        if not all(one.endpoint.network.subnets for one in leased):
            linked, _ = _linked(engine, container, config)
            # In place: they are mounted already.
            _runtime_files(engine, container, connected, private=True, linked=linked)
        return
    driver = engine.selector.open("network", made_with=config.network_driver)
    driver.connect(Path(f"/proc/{init}/ns/net"), container_endpoint(container))
    network_event(engine, container, "connect")


def container_endpoint(container: Container) -> Endpoint:
    """Return the container's place in its network."""
    config = container.config
    return Endpoint(
        id=container.id,
        network=Network(config.network),
        container_id=container.id,
        hostname=config.hostname or container.short_id,
    )


def _set_running(engine: Engine, container: Container, init: int) -> None:
    """Record the processes before the command runs, so that no crash can leave an unknown one behind."""
    if USER_VARIABLE in engine.environment:
        from swapbox import rootless

        rootless.register(engine.environment, os.getpid(), init)
    try:
        process = Process.of(init)
    except ProcessLookupError:
        raise Unavailable(f"container {container.name} ended before its command ran") from None
    with engine.database.transaction():
        now = engine.records.find(container.id).state
        if now.status == "removing" or now.stopped or now.monitor != container.state.monitor:
            raise Conflict(f"container {container.name} is being stopped or removed")
        state = now._replace(status="running", init=process, exit_code=0, started=time.time_ns())
        engine.records.set_state(container.id, state)

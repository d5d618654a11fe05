"""One more command in a running container, for ``exec`` and health checks: what exactly is to run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers.connect import connect
from swapbox.containers.environment import environment
from swapbox.containers.exec_order import Place
from swapbox.containers.options import parse_env
from swapbox.containers.records import Container
from swapbox.containers.users import resolve_user
from swapbox.errors import CommandNotExecutable, Conflict, InvalidInput, NotFound, Unavailable

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig
    from swapbox.containers.users import User
    from swapbox.engine import Engine


def plan(engine: Engine, container: Container, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the order for the monitor of a command, as plain values; see :meth:`exec_run.ExecRun.start`.

    :param details: ``args``, an ``exec_id``, and what differs from the container's own: ``env``, ``workdir``,
        ``user``, ``tty``, ``stdin``, ``privileged``, ``console_size``.
    :raises Conflict: the container does not run.
    :raises CommandNotExecutable: there is no such user, or the working directory is no path.
    """
    check_running(container)
    process = process_of(engine, container, details)
    return {
        "place": Place.of(container).plain(),
        "process": process,
        "exec_id": details["exec_id"],
        "stdin": details["stdin"],
        "attach": details["attach"],
    }


def check_running(container: Container) -> None:
    """Raise Conflict, in Docker's words, for a container that cannot take a command."""
    status = container.state.status
    if status == "paused":
        raise Conflict(f"Container {container.name} is paused, unpause the container before exec")
    if status == "restarting":
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if status != "running":
        raise Conflict(f"container {container.id} is not running")


def process_of(engine: Engine, container: Container, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the OCI ``process`` of a command: the container's own with what differs.

    :raises Conflict: the container has ended meanwhile.
    """
    config = container.config
    spec, user = _looked_up(engine, container, details["user"] or config.user)
    if details["workdir"] and not details["workdir"].startswith("/"):
        raise CommandNotExecutable("Cwd must be an absolute path", exit_code=126)
    env = (*_variables(engine, container), *config.env, *parse_env(details["env"], engine.environment))
    own: dict[str, Any] = spec["process"]
    process = {
        **own,
        "args": list(details["args"]),
        "terminal": details["tty"],
        "cwd": details["workdir"] or own["cwd"],
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": _groups(engine, user)},
        "env": environment(
            config._replace(env=env, tty=details["tty"]), hostname=spec["hostname"], home=user.home
        ),
        "capabilities": _capabilities(config, spec, user, privileged=details["privileged"]),
    }
    process.pop("consoleSize", None)
    if size := details["console_size"]:
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    return process


def _variables(engine: Engine, container: Container) -> tuple[str, ...]:
    """Return what ``--link`` adds to the environment, as things are now.

    :raises Conflict: what it is linked to does not run.
    """
    if not any(one.links for one in container.config.networks):
        return ()
    from swapbox.networks import links

    return tuple(links.environment(container.name, links.linked(engine, container)))


def _looked_up(engine: Engine, container: Container, user: str) -> tuple[dict[str, Any], User]:
    """Return a running container's ``config.json``, and a user of its."""
    init = container.state.init
    assert init is not None
    try:
        spec = json.loads((engine.paths.container_run(container.id) / "bundle/config.json").read_text())
        return spec, _user(Path(f"/proc/{init.pid}/root"), user, container.config)
    except (FileNotFoundError, ProcessLookupError):
        raise Conflict(f"container {container.id} is not running") from None
    except OSError as error:
        raise Unavailable(f"cannot look into container {container.name}: {error.strerror}") from error


def _groups(engine: Engine, user: User) -> list[int]:
    if engine.unprivileged:
        from swapbox.linux.idmaps import may_set_groups

        if not may_set_groups():  # then setgroups(2) is not allowed: do without the groups of the image's user
            return []
    return list(user.additional_gids)


def _capabilities(
    config: ContainerConfig, spec: Mapping[str, Any], user: User, *, privileged: bool
) -> dict[str, list[str]]:
    held = spec["process"]["capabilities"]["bounding"]
    if privileged:
        from swapbox.containers.security import capabilities

        held = list(capabilities(config._replace(privileged=True)))
        if "devices" not in spec["linux"]["resources"] and not config.privileged:
            held.remove("CAP_MKNOD")  # without rules a node would be the host's device
    effective = held if privileged or not user.uid else []
    return {
        "bounding": held,
        "effective": effective,
        "permitted": list(effective),
        "inheritable": [],
        "ambient": [],
    }


def _user(root: Path, text: str, config: ContainerConfig) -> User:
    try:
        return resolve_user(root, text, group_add=config.group_add)
    except (InvalidInput, NotFound) as error:
        raise CommandNotExecutable(error.message, exit_code=126, hint=error.hint) from None


def exec_ids(engine: Engine, container_id: str) -> list[str]:
    """Return the ids of a container's running exec sessions; forget those whose monitor was killed."""
    try:
        names = os.listdir(engine.paths.container_run(container_id))
    except FileNotFoundError:
        return []
    return sorted(
        name[5:-5] for name in names if name.startswith("exec-") and _answers(engine, container_id, name)
    )


def _answers(engine: Engine, container_id: str, name: str) -> bool:
    """Say whether somebody listens at a socket: a killed monitor leaves its own behind."""
    try:
        connect(engine, container_id, name=name).close()
    except OSError:
        return False
    return True

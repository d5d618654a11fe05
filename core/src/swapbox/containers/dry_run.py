"""``run --dry-run``: the plan of a container, without a container."""

from __future__ import annotations

import json
import marshal
import os
import shutil
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from swapbox.containers import names
from swapbox.containers.config import ContainerConfig
from swapbox.containers.launch import container_spec
from swapbox.containers.records import Container, RunState
from swapbox.containers.spawn import plain_error, remade_error
from swapbox.errors import SwapboxError, Unavailable
from swapbox.linux import mounts, syscalls
from swapbox.store.owners import OWNER_LABEL, owner

if TYPE_CHECKING:
    from swapbox.drivers.isolation import Spec
    from swapbox.engine import Engine


def plan(engine: Engine, config: ContainerConfig) -> Spec:
    """Return the OCI ``config.json`` of a container that is never made.

    Users are looked up in the image, so a child process mounts it, read-only, in a mount namespace of its own.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _answer(write, engine.reopened(), config)
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    if answer[:1] == b"S":
        spec: Spec = json.loads(answer[1:])
        return spec
    if answer[:1] == b"E":
        raise remade_error(marshal.loads(answer[1:]))
    raise Unavailable("the process that plans the container died")


def _answer(fd: int, engine: Engine, config: ContainerConfig) -> None:
    try:
        answer = b"S" + json.dumps(_plan(engine, config)).encode()
    except SwapboxError as error:
        answer = b"E" + marshal.dumps(plain_error(error))
    with open(fd, "wb") as file:
        file.write(answer)


def _plan(engine: Engine, config: ContainerConfig) -> Spec:
    container = Container(
        names.new_id(), names.new_name(), time.time_ns(), config._replace(workdir=""), RunState()
    )
    directory = engine.paths.container(container.id)
    bundle = engine.paths.container_run(container.id)
    storage = engine.selector.open("storage", name=config.storage)
    with ExitStack() as undo:
        for path in (directory, bundle):
            undo.callback(shutil.rmtree, engine.paths.make(path))
        rootfs = engine.paths.make(bundle / "rootfs")
        view = storage.view(container.id, config.top_chain, labels={OWNER_LABEL: owner()})
        undo.callback(storage.remove, container.id)
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
            mounts.apply(view, rootfs)
        except OSError as error:
            raise Unavailable(f"cannot mount image {config.image}: {error.strerror}") from error
        undo.callback(syscalls.umount, rootfs, syscalls.MNT_DETACH)
        spec = container_spec(engine, container, bundle=bundle)
    spec["process"]["cwd"] = config.workdir or "/"
    return spec

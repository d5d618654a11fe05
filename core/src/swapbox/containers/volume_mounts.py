"""A container's volumes: made and filled with the container, mounted by its monitor, released with it.

::

    create   settle: names, anonymous ones, --volumes-from; make what is not there; write down who uses it
             fill: copy what the image has at the target into an empty volume
    start    mounted: by the monitor, in its own mount namespace, what is more than a directory of the host
    end      unmount
    remove   release: nobody uses it any more; anonymous ones of nobody's are removed
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.containers import inside, names
from swapbox.containers.config import ContainerConfig, MountSpec
from swapbox.containers.propagation import check_propagation
from swapbox.containers.volumes import normal, parse_volumes_from
from swapbox.drivers.storage import Mount
from swapbox.errors import Conflict, InvalidInput, NotFound, SwapboxError, from_os_error
from swapbox.linux import syscalls
from swapbox.volumes.copying import copy_into

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine

_SUBPATH_POINT = "volumes"


# -- create -------------------------------------------------------------------------------------------------------


def settle(engine: Engine, container_id: str, config: ContainerConfig) -> ContainerConfig:
    """Return a configuration with all its mounts, every volume of which is there.

    As in Docker ``--volumes-from`` gives way to the container's own mounts, and a volume of the image to both.

    :raises NotFound: there is no such container to take volumes from.
    """
    try:
        made = tuple(_made(engine, container_id, mount) for mount in _all_mounts(engine, config))
    except BaseException:
        release(engine, container_id)
        raise
    return config._replace(mounts=made)


def planned(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return what :func:`settle` would, but make nothing: the places of volumes that are not there are guesses."""
    return config._replace(mounts=tuple(_planned(engine, mount) for mount in _all_mounts(engine, config)))


def _planned(engine: Engine, mount: MountSpec) -> MountSpec:
    if mount.type != "volume":
        return mount
    name = mount.name or names.new_id()
    try:
        volume = engine.volumes.find(name)
        return mount._replace(source=str(engine.volumes.driver(volume).inspect(name).mountpoint))
    except NotFound:
        driver = engine.selector.choose("volume", name=mount.driver or None).name
        return mount._replace(source=str(engine.paths.driver("volume", driver) / name))


def _all_mounts(engine: Engine, config: ContainerConfig) -> list[MountSpec]:
    mounts: dict[str, MountSpec] = {}
    for text in config.volumes_from:
        mounts |= {mount.target: mount for mount in _taken(engine, text) if mount.target not in config.tmpfs}
    mounts |= {mount.target: mount for mount in config.mounts}
    for path in config.volumes:
        target = normal(f"/{path}")
        if target == "/":
            raise InvalidInput("invalid specification: destination can't be '/'")
        if target not in mounts and target not in config.tmpfs:
            mounts[target] = _anonymous(target, config)
    return list(mounts.values())


def _taken(engine: Engine, text: str) -> Iterator[MountSpec]:
    """Yield the mounts of a container that ``--volumes-from`` names."""
    name, read_only = parse_volumes_from(text)
    for mount in engine.containers.find(name).config.mounts:
        if mount.type != "tmpfs":  # it has nothing that another container could see
            mount = mount._replace(copy=False, mode="", by="--volumes-from", create_source=False)
            yield mount._replace(read_only=mount.read_only or read_only)


def _anonymous(target: str, config: ContainerConfig) -> MountSpec:
    driver = config.volume_driver
    return MountSpec("", target, propagation="", type="volume", anonymous=True, driver=driver, by="")


def _made(engine: Engine, container_id: str, mount: MountSpec) -> MountSpec:
    if mount.type != "volume":
        return mount
    if mount.by == "--volumes-from":  # gone meanwhile, it is not made anew
        volume = engine.volumes.take(mount.name, user=container_id)
    else:
        volume = engine.volumes.create(
            mount.name, driver=mount.driver, options=mount.options, labels=mount.labels, user=container_id
        )
    place = engine.volumes.driver(volume).inspect(volume.name).mountpoint
    return mount._replace(name=volume.name, driver=volume.driver, source=str(place))


def fill(engine: Engine, container: Container) -> None:
    """Copy what the image has where a volume will be into those that are empty.

    :raises Conflict: the image has a file there.
    """
    wanted = [mount for mount in container.config.volume_mounts if mount.copy and not mount.subpath]
    wanted = [mount for mount in wanted if _wants_content(engine, mount)]
    if not wanted:
        return
    with inside.image_opened(engine, container) as root:
        for mount in wanted:
            with _image_directory(root, mount) as source:
                if source is not None:
                    _fill_one(engine, mount, source)


def _wants_content(engine: Engine, mount: MountSpec) -> bool:
    """Say whether a volume may be empty, as far as can be told without mounting anything."""
    volume = engine.volumes.find(mount.name)
    if volume.state == "filling" or (directory := _plain_directory(_mounts_of(engine, mount))) is None:
        return True
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except OSError as error:
        raise _unmountable(mount, error) from error


def _unmountable(mount: MountSpec, error: OSError, made: Sequence[Mount] = ()) -> SwapboxError:
    if made and error.errno == errno.ENOENT and str(error.filename) != mount.subpath:
        # The kernel does not say what: it is not the place that was just made.
        error.filename = made[0].source
    part = f"subpath {mount.subpath} of " if mount.subpath else ""
    return from_os_error(error, f"mount {part}volume {mount.name}")


@contextlib.contextmanager
def _image_directory(root: int, mount: MountSpec) -> Iterator[int | None]:
    """Yield a descriptor of what the image has at a target; None when there is nothing."""
    try:
        fd = syscalls.openat2(root, mount.target, os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT)
    except OSError:
        yield None
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            if mount.anonymous and mount.by != "--mount":
                raise Conflict(f"cannot mount volume over existing file, file exists {mount.target}")
            raise Conflict(f"source {mount.target} is not directory")
        yield fd
    finally:
        os.close(fd)


def _fill_one(engine: Engine, mount: MountSpec, source: int) -> None:
    volumes = engine.volumes
    with volumes.locked(mount.name), inside.mounted(engine, _mounts_of(engine, mount), mount.name) as target:
        volume = volumes.find(mount.name)
        if volume.state == "ready" and not _is_empty(target):
            return
        volumes.set_state(volume, "filling")
        try:
            copy_into(source, target)
        except OSError as error:
            raise from_os_error(error, f"copy the image's {mount.target} into volume {mount.name}") from error
        volumes.set_state(volume, "ready")


def _is_empty(directory: int) -> bool:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return not os.listdir(fd)
    finally:
        os.close(fd)


# -- start and end ------------------------------------------------------------------------------------------------


def mounted(engine: Engine, container: Container, run: Path) -> Container:
    """Mount what a container's volumes are, and return it with the places as their sources.

    The calling process is its monitor. A volume that is a directory of the host is bound as it is.
    """
    mounts = [
        _mounted(engine, mount, run / _SUBPATH_POINT / str(number))
        for number, mount in enumerate(container.config.mounts)
    ]
    for mount in container.config.volume_mounts:
        attributes = {"container": container.id, "destination": mount.target, "driver": mount.driver}
        writable = "false" if mount.read_only else "true"
        engine.emit(
            "volume", "mount", mount.name, {**attributes, "propagation": mount.propagation, "read/write": writable}
        )
    return container._replace(config=container.config._replace(mounts=tuple(mounts)))


def _mounted(engine: Engine, mount: MountSpec, place: Path) -> MountSpec:
    if mount.type == "bind":
        check_propagation(mount)
    if mount.type != "volume":
        return mount
    made = _mounts_of(engine, mount)
    try:
        if not mount.subpath and (directory := _plain_directory(made)) is not None:
            os.stat(directory)
            return mount._replace(source=directory)
        place.mkdir(parents=True, exist_ok=True)
        tree = inside.clone_volume(made, mount.subpath, place)
        if not stat.S_ISDIR(os.fstat(tree).st_mode):
            place.rmdir()
            place.touch()
        syscalls.move_mount(tree, place)
        os.close(tree)
    except OSError as error:
        raise _unmountable(mount, error, made) from error
    return mount._replace(source=str(place))


def unmount(run: Path) -> None:
    """Undo :func:`mounted`, in the monitor or after it."""
    places = run / _SUBPATH_POINT
    with contextlib.suppress(FileNotFoundError):
        for place in places.iterdir():
            with contextlib.suppress(OSError):  # not mounted
                syscalls.umount(place, syscalls.MNT_DETACH)
            with contextlib.suppress(OSError):  # somebody's mount point still
                place.rmdir() if place.is_dir() else place.unlink()
        with contextlib.suppress(OSError):
            places.rmdir()


def tell_unmounted(engine: Engine, container: Container) -> None:
    """Tell that a container's volumes are not mounted any more."""
    for mount in container.config.volume_mounts:
        attributes = {"container": container.id, "driver": mount.driver}
        engine.emit("volume", "unmount", mount.name, attributes)


def volume_bind(engine: Engine, bind: inside.Bind, mount: MountSpec) -> inside.Bind:
    """Return how a volume is looked at from outside its container."""
    made = _mounts_of(engine, mount)
    if not mount.subpath and (directory := _plain_directory(made)) is not None:
        return bind._replace(source=directory)
    return bind._replace(made=tuple(made), subpath=mount.subpath)


def _mounts_of(engine: Engine, mount: MountSpec) -> Sequence[Mount]:
    return engine.selector.open("volume", made_with=mount.driver).mounts(mount.name)


def _plain_directory(made: Sequence[Mount]) -> str | None:
    """Return the directory of the host that mounts show as it is; None when they do more."""
    if len(made) == 1 and made[0].type == "bind" and made[0].options == ("bind",):
        return made[0].source
    return None


# -- remove -------------------------------------------------------------------------------------------------------


def release(engine: Engine, container_id: str, mounts: Sequence[MountSpec] = ()) -> None:
    """Forget what a container used; remove those anonymous volumes of ``mounts`` that nobody uses any more."""
    engine.volumes.records.release(container_id)
    for mount in mounts:
        if mount.type == "volume" and mount.anonymous:
            try:
                engine.volumes.remove(mount.name)
            except (NotFound, Conflict):  # gone already, or another container's, too
                continue
            except SwapboxError as error:
                engine.warn(f"volume {mount.name} stays: {error.message}")

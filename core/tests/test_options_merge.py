"""The user's options and the image's configuration are merged as docker merges them, and stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swapbox.containers.config import ContainerConfig, DeviceSpec, IdMapping, MountSpec, Ulimit, merge
from swapbox.errors import DataError, InvalidInput

IMAGE = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "config": {
        "Entrypoint": ["/entry"],
        "Cmd": ["serve"],
        "Env": ["PATH=/image", "A=image", "B=image"],
        "WorkingDir": "/srv",
        "User": "app",
        "Labels": {"a": "image", "b": "image"},
        "StopSignal": "SIGQUIT",
        "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}},
    },
}


@pytest.mark.parametrize(
    ("entrypoint", "command", "args"),
    [
        (None, (), ("/entry", "serve")),
        (None, ("sh", "-c"), ("/entry", "sh", "-c")),
        (("/mine",), (), ("/mine",)),
        (("/mine",), ("x",), ("/mine", "x")),
        (("",), ("x",), ("x",)),
    ],
)
def test_a_given_entrypoint_drops_the_images_command(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...], args: tuple[str, ...]
) -> None:
    assert merge(ContainerConfig("x", command, entrypoint=entrypoint), IMAGE).args == args


@pytest.mark.parametrize("entrypoint", [None, ("",)])
def test_no_command_at_all_is_an_error(entrypoint: tuple[str, ...] | None) -> None:
    image = {"config": {"Cmd": ["ignored"]}} if entrypoint else {"config": {"Cmd": None}}
    with pytest.raises(InvalidInput, match="no command specified"):
        merge(ContainerConfig("x", entrypoint=entrypoint), image)


def test_what_the_user_gave_wins_over_the_image() -> None:
    given = ContainerConfig(
        "x",
        env=("A=user", "B"),
        labels={"a": "user"},
        workdir="/w",
        user="0",
        stop_signal="INT",
        exposed_ports=("1/udp",),
    )
    config = merge(given, IMAGE, image_id="sha256:1", top_chain="sha256:2")
    assert config.env == ("A=user", "B", "PATH=/image")
    assert config.labels == {"a": "user", "b": "image"}
    assert (config.workdir, config.user, config.stop_signal) == ("/w", "0", "INT")
    assert config.exposed_ports == ("1/udp", "80/tcp")
    assert (config.image_id, config.top_chain) == ("sha256:1", "sha256:2")


def test_what_the_user_left_out_comes_from_the_image() -> None:
    config = merge(ContainerConfig("x"), IMAGE)
    assert (config.workdir, config.user, config.stop_signal) == ("/srv", "app", "SIGQUIT")
    assert (config.volumes, config.platform) == (("/data",), "linux/arm64/v8")


@pytest.mark.parametrize("field", [{"Cmd": "sh"}, {"Env": [1]}, {"User": 5}, {"Labels": []}, {"Labels": ["a"]}])
def test_an_image_config_of_wrong_types_is_refused(field: dict[str, object]) -> None:
    image = {"config": {"Entrypoint": ["x"], **field}}
    if field == {"Labels": []}:
        assert merge(ContainerConfig("x"), image).labels == {}  # Go writes an empty map so
        return
    with pytest.raises(DataError, match="invalid image config"):
        merge(ContainerConfig("x"), image)


def test_private_user_ids_are_chosen_when_the_container_is_made() -> None:
    config = merge(ContainerConfig("x", userns="private"), IMAGE)
    assert config.uid_mappings
    assert config.gid_mappings


def test_a_configuration_survives_json() -> None:
    config = ContainerConfig(
        "x",
        env=("A=1",),
        labels={"a": "b"},
        stop_timeout=3,
        mounts=(MountSpec("/a", "/b", read_only=True),),
        ulimits=(Ulimit("core", 0, 0),),
        devices=(DeviceSpec("/dev/null", "/dev/x"),),
        uid_mappings=(IdMapping(0, 1, 2),),
    )
    assert ContainerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_configuration_of_another_release_is_read() -> None:
    value = {"image": "x", "from_the_future": 1, "mounts": [{"source": "/a", "target": "/b", "new": True}]}
    assert ContainerConfig.from_json(value) == ContainerConfig("x", mounts=(MountSpec("/a", "/b"),))


@pytest.mark.parametrize("value", [{}, {"image": "x", "mounts": [5]}, {"image": "x", "mounts": [{}]}, []])
def test_what_is_no_configuration_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="invalid container configuration"):
        ContainerConfig.from_json(value)

"""The configuration says which registries are asked, and whether any is."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.testing import images
from swapbox.testing.process import Engine
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


def configured(swapbox: Sandbox, text: str) -> Engine:
    """Return the same swapbox with a configuration file."""
    file: Path = swapbox.directory / "config.toml"
    file.write_text(text)
    return Engine(*swapbox.prefix, "--config", file, environment=swapbox.environment)


def test_a_mirror_stands_in_for_docker_hub_and_offline_answers_what_was_pulled(
    empty_swapbox: Sandbox, fake_registry: RegistryServer
) -> None:
    layer = images.layer_of([images.file("greeting", b"hello")])
    fake_registry.add_image("hub/library/app", layers=[layer.blob[1]])
    swapbox = configured(empty_swapbox, f'[registries."docker.io"]\nmirrors = ["{fake_registry.host}/hub"]\n')
    said = swapbox.ok("pull", "app").splitlines()
    assert said[-2:] == ["Status: Downloaded newer image for app:latest", "docker.io/library/app:latest"]
    fake_registry.down()
    swapbox("pull", "app").fails(1)
    offline = {"SWAPBOX_OFFLINE": "1"}
    assert "Status: Image is up to date for app:latest" in swapbox.ok("pull", "app", env=offline)
    swapbox.ok("pull", "--storage-driver", "vfs", "app", env=offline)
    swapbox("pull", "other", env=offline).fails(1, "other:latest is not here", "offline")


def test_info_says_which_rules_there_are(empty_swapbox: Sandbox) -> None:
    swapbox = configured(
        empty_swapbox,
        'offline = true\n[registries."docker.io"]\nmirrors = ["a.lan", "b.lan/hub"]\n'
        '[registries."quay.io"]\nlocation = "c.lan"\n[registries."*"]\nblocked = true\n',
    )
    said = swapbox.ok("info").splitlines()
    assert said[said.index("Offline: true") :][1:4] == [
        "Registry docker.io: mirror a.lan, mirror b.lan/hub",
        "Registry quay.io: at c.lan",
        "Registry *: blocked",
    ]
    assert swapbox.ok("info", "--format", "{{.RegistryConfig.Mirrors}}") == "[a.lan b.lan/hub]"


def test_a_blocked_registry_is_not_asked(empty_swapbox: Sandbox, fake_registry: RegistryServer) -> None:
    swapbox = configured(empty_swapbox, '[registries."*"]\nblocked = true\n')
    swapbox("pull", f"{fake_registry.host}/app").fails(1, "is blocked")
    swapbox("run", "--rm", f"{fake_registry.host}/app").fails(125, "is blocked")
    assert fake_registry.requests == []

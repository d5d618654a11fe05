"""The contract of registry drivers; a driver's ``tests/test_contract.py`` says how to make one, and no more.

A driver that speaks HTTP to a distribution registry subclasses :class:`NetworkRegistryContract`; one that finds
images elsewhere subclasses :class:`RegistryDriverContract` and overrides ``server`` with something that has
``add_image``, ``add_index`` and ``reference`` and puts the images where the driver looks.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from swapbox.descriptors import Descriptor, digest_of
from swapbox.drivers.registry import RegistryDriver
from swapbox.errors import DataError, NotFound, PermissionDenied, SwapboxError, Unavailable
from swapbox.images.manifests import Manifest, parse_index, parse_manifest
from swapbox.images.pull import pull
from swapbox.references import Reference
from swapbox.store.content import ContentStore
from swapbox.testing.registry_server import RegistryServer

LAYER = gzip.compress(
    b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(40_000)), 1, mtime=0
)
"""Some 1.3 MB that do not compress: several reads' worth."""


class Publisher(Protocol):
    """Puts images where the driver under test finds them; :class:`RegistryServer` is one."""

    def add_image(
        self,
        repository: str,
        tag: str | None = "latest",
        *,
        layers: Sequence[bytes | Path] = (),
        docker: bool = False,
    ) -> Descriptor:
        """Add an image of ``layers``."""
        ...

    def add_index(
        self, repository: str, tag: str | None, manifests: Sequence[Descriptor], *, docker: bool = False
    ) -> Descriptor:
        """Add an index."""
        ...

    def reference(self, repository: str, tag: str = "latest") -> Reference:
        """Return what the driver calls an image."""
        ...


class RegistryDriverContract:
    """What every registry driver promises.

    :cvar exempt: names of cases that this driver cannot pass, each with its reason, which the test run prints.
    """

    exempt: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(autouse=True)
    def choose(self, request: pytest.FixtureRequest) -> None:
        """Skip a case that is not for this driver."""
        case = request.function.__name__
        if case in self.exempt:
            pytest.skip(f"exempt: {self.exempt[case]}")

    @pytest.fixture
    def server(self) -> Iterator[Any]:
        """Give the :class:`Publisher`."""
        with RegistryServer() as server:
            yield server

    @pytest.fixture
    def driver(self, server: Any) -> RegistryDriver:
        """Give the driver under test, which waits some two seconds for an answer; to be overridden."""
        raise NotImplementedError("override the fixture 'driver'")

    @pytest.fixture
    def image(self, server: Any) -> Descriptor:
        """Give the manifest of ``demo/app:latest``, an image of one layer."""
        descriptor: Descriptor = server.add_image("demo/app", layers=[LAYER])
        return descriptor

    @pytest.fixture
    def app(self, server: Any) -> Reference:
        """Give the reference of ``demo/app:latest``."""
        reference: Reference = server.reference("demo/app")
        return reference

    @pytest.fixture
    def layer(self) -> Descriptor:
        """Give the descriptor of the image's layer."""
        return Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest_of(LAYER), len(LAYER))

    def test_a_tag_resolves_to_its_manifest(
        self, driver: RegistryDriver, image: Descriptor, app: Reference
    ) -> None:
        assert driver.resolve(app)[:3] == image[:3]

    def test_a_digest_resolves_to_itself(self, driver: RegistryDriver, image: Descriptor, app: Reference) -> None:
        assert driver.resolve(app._replace(tag=None, digest=image.digest))[:3] == image[:3]

    def test_a_tag_that_moves_resolves_to_its_new_manifest(
        self, driver: RegistryDriver, server: Publisher, image: Descriptor, app: Reference
    ) -> None:
        driver.resolve(app)
        moved = server.add_image("demo/app", layers=[LAYER, gzip.compress(b"more")])
        assert driver.resolve(app).digest == moved.digest != image.digest

    def test_a_tag_that_is_not_there_is_not_found_by_name(
        self, driver: RegistryDriver, image: Descriptor, app: Reference
    ) -> None:
        with pytest.raises(NotFound, match=r"manifest for .*demo/app:other not found: manifest unknown"):
            driver.resolve(app._replace(tag="other"))

    def test_a_manifest_arrives_byte_for_byte(
        self, driver: RegistryDriver, image: Descriptor, app: Reference, layer: Descriptor
    ) -> None:
        data = driver.manifest(app, image)
        assert digest_of(data) == image.digest
        assert parse_manifest(data).layers == (layer,)

    @pytest.mark.parametrize("docker", [False, True])
    def test_an_index_leads_to_the_manifest_of_each_platform(
        self, driver: RegistryDriver, server: Publisher, docker: bool
    ) -> None:
        platforms = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64")]
        images = [
            server.add_image("demo/multi", None, layers=[gzip.compress(name.encode())], docker=docker)
            for name in ("one", "two")
        ]
        listed = [image._replace(platform=platform) for image, platform in zip(images, platforms, strict=True)]
        index = server.add_index("demo/multi", "latest", listed, docker=docker)
        reference = server.reference("demo/multi")
        found = driver.resolve(reference)
        assert found[:3] == index[:3]
        entries = parse_index(driver.manifest(reference, found), media_type=found.media_type).manifests
        assert list(entries) == listed
        for entry in entries:
            manifest = parse_manifest(driver.manifest(reference, entry), media_type=entry.media_type)
            assert isinstance(manifest, Manifest)

    def test_a_manifest_that_is_not_there_is_not_found(
        self, driver: RegistryDriver, image: Descriptor, app: Reference
    ) -> None:
        with pytest.raises(NotFound, match="not found"):
            driver.manifest(app, image._replace(digest=f"sha256:{'0' * 64}"))

    def test_a_blob_arrives_whole(
        self, driver: RegistryDriver, image: Descriptor, app: Reference, layer: Descriptor
    ) -> None:
        with driver.open_blob(app, layer) as reader:
            assert reader.offset == 0
            assert _drain(reader.read) == LAYER
            assert reader.read(10) == b""

    def test_a_blob_goes_on_where_it_was_left(
        self, driver: RegistryDriver, image: Descriptor, app: Reference, layer: Descriptor
    ) -> None:
        with driver.open_blob(app, layer, offset=700_000) as reader:
            assert reader.offset in (0, 700_000)
            assert _drain(reader.read) == LAYER[reader.offset :]

    def test_a_blob_can_be_left_half_way(
        self, driver: RegistryDriver, image: Descriptor, app: Reference, layer: Descriptor
    ) -> None:
        reader = driver.open_blob(app, layer)
        assert reader.read(100) == LAYER[:100]
        reader.close()
        reader.close()
        with driver.open_blob(app, layer) as again:
            assert _drain(again.read) == LAYER

    def test_a_blob_that_is_not_there_is_not_found_by_digest(
        self, driver: RegistryDriver, image: Descriptor, app: Reference, layer: Descriptor
    ) -> None:
        digest = f"sha256:{'0' * 64}"
        with pytest.raises(NotFound, match=digest), driver.open_blob(app, layer._replace(digest=digest)) as reader:
            reader.read(1)

    def test_every_tag_is_listed(self, driver: RegistryDriver, server: Publisher, image: Descriptor) -> None:
        server.add_image("demo/app", "3.20", layers=[LAYER])
        assert sorted(driver.tags(server.reference("demo/app"))) == ["3.20", "latest"]

    def test_tags_of_an_unknown_repository_are_not_found(
        self, driver: RegistryDriver, server: Publisher, image: Descriptor
    ) -> None:
        with pytest.raises(NotFound, match="demo/nothing"):
            list(driver.tags(server.reference("demo/nothing")))

    def test_an_image_can_be_pulled(
        self, driver: RegistryDriver, image: Descriptor, app: Reference, layer: Descriptor, tmp_path: Path
    ) -> None:
        content = ContentStore(tmp_path)
        pulled = pull(app, registry=driver, content=content, platform="linux/amd64")
        assert set(content.walk()) == {image.digest, pulled.config_digest, layer.digest}

    def test_closing_twice_is_fine(self, driver: RegistryDriver) -> None:
        driver.close()
        driver.close()


class NetworkRegistryContract(RegistryDriverContract):
    """What a driver that speaks to registries promises besides: each fault is one clear error."""

    @pytest.fixture
    def attempt(
        self, driver: RegistryDriver, image: Descriptor, app: Reference, tmp_path: Path
    ) -> Callable[[], SwapboxError]:
        """Give a function that pulls, and returns the error; it also checks that nothing was registered."""

        def pull_and_fail() -> SwapboxError:
            content = ContentStore(tmp_path)
            with pytest.raises(SwapboxError) as caught:
                pull(app, registry=driver, content=content, platform="linux/amd64", retry_delay=0)
            assert image.digest not in set(content.walk())
            return caught.value

        return pull_and_fail

    def test_a_registry_that_is_down_is_unavailable(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError]
    ) -> None:
        server.down()
        error = attempt()
        assert isinstance(error, Unavailable)
        assert error.message == f"cannot reach registry {server.host}: connection refused"
        assert error.hint

    def test_a_registry_that_does_not_answer_is_unavailable(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError]
    ) -> None:
        server.faults.delay = 60
        error = attempt()
        assert isinstance(error, Unavailable)
        assert f"registry {server.host} did not answer within" in error.message

    def test_a_blob_that_keeps_breaking_off_is_unavailable(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError], layer: Descriptor
    ) -> None:
        server.faults.truncate = 1000
        error = attempt()
        assert isinstance(error, Unavailable)
        assert server.host in error.message or layer.digest in error.message

    def test_a_blob_that_breaks_off_once_goes_on(
        self, server: RegistryServer, driver: RegistryDriver, image: Descriptor, app: Reference, tmp_path: Path
    ) -> None:
        server.faults.truncate, server.faults.truncate_times = 500_000, 2
        pulled = pull(app, registry=driver, content=ContentStore(tmp_path), platform="linux/amd64", retry_delay=0)
        assert pulled.target.digest == image.digest
        assert server.faults.truncate_times == 0

    def test_a_blob_with_another_digest_is_a_data_error(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError]
    ) -> None:
        server.faults.corrupt = True
        error = attempt()
        assert isinstance(error, DataError)
        assert "verification failed for blob sha256:" in error.message

    def test_a_manifest_with_another_digest_is_a_data_error(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError], image: Descriptor
    ) -> None:
        wrong = server.manifests["demo/app", image.digest]._replace(data=b'{"schemaVersion": 2}')
        server.manifests["demo/app", image.digest] = wrong
        error = attempt()
        assert isinstance(error, DataError)
        assert f"manifest verification failed for digest {image.digest}" in error.message

    @pytest.mark.parametrize("kind", ["basic", "bearer"])
    def test_a_registry_that_wants_a_login_is_permission_denied(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError], kind: str
    ) -> None:
        server.faults.auth, server.faults.users = kind, {"ann": "secret"}
        error = attempt()
        assert isinstance(error, PermissionDenied)
        assert f"pull access denied for {server.host}/demo/app" in error.message
        assert "swapbox login" in (error.hint or "")

    def test_a_registry_that_forbids_is_permission_denied(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError]
    ) -> None:
        server.faults.refuse = [403]
        assert isinstance(attempt(), PermissionDenied)

    def test_an_image_that_is_not_there_is_not_found(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError]
    ) -> None:
        server.faults.missing = True
        error = attempt()
        assert isinstance(error, NotFound)
        assert f"manifest for {server.host}/demo/app:latest not found: manifest unknown" in error.message

    def test_a_registry_that_keeps_asking_for_patience_is_unavailable(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError]
    ) -> None:
        server.faults.refuse, server.faults.retry_after = [429] * 100, 0
        error = attempt()
        assert isinstance(error, Unavailable)
        assert "too many requests" in error.message
        assert error.hint

    def test_a_registry_that_asks_for_patience_once_gets_it(
        self, server: RegistryServer, driver: RegistryDriver, image: Descriptor, app: Reference
    ) -> None:
        server.faults.refuse, server.faults.retry_after = [429], 0
        assert driver.resolve(app).digest == image.digest

    def test_a_registry_that_keeps_failing_is_unavailable(
        self, server: RegistryServer, attempt: Callable[[], SwapboxError]
    ) -> None:
        server.faults.refuse = [500] * 100
        error = attempt()
        assert isinstance(error, Unavailable)
        assert f"registry {server.host}: received unexpected HTTP status: 500" in error.message

    def test_a_registry_that_fails_once_is_asked_again(
        self, server: RegistryServer, driver: RegistryDriver, image: Descriptor, app: Reference
    ) -> None:
        server.faults.refuse = [500]
        assert driver.resolve(app).digest == image.digest

    def test_a_blob_starts_again_when_the_registry_cannot_resume(
        self, server: RegistryServer, driver: RegistryDriver, image: Descriptor, app: Reference, layer: Descriptor
    ) -> None:
        server.faults.ranges = False
        with driver.open_blob(app, layer, offset=1000) as reader:
            assert reader.offset == 0
            assert _drain(reader.read) == LAYER


def _drain(read: Callable[[int], bytes]) -> bytes:
    return b"".join(iter(lambda: read(300_000), b""))

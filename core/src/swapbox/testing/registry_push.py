"""The contract of registry drivers with the capability ``push``; used as :mod:`swapbox.testing.registry` is.

A driver that speaks HTTP to a distribution registry subclasses :class:`NetworkPushContract`, another one
:class:`PushContract`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from swapbox.descriptors import DOCKER_MANIFEST, OCI_MANIFEST, Descriptor, digest_of
from swapbox.drivers.registry import PushDriver
from swapbox.errors import DataError, PermissionDenied, Unavailable, Unsupported
from swapbox.images.pull import pull
from swapbox.images.push import Parcel, parcel, push
from swapbox.references import Reference
from swapbox.store.content import ContentStore
from swapbox.testing.registry import LAYER
from swapbox.testing.registry_contents import RegistryContents
from swapbox.testing.registry_server import RegistryServer

BLOB = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest_of(LAYER), len(LAYER))


def opener(data: bytes) -> Callable[[int], BinaryIO]:
    """Return what ``push_blob`` reads bytes in memory with."""
    return lambda offset: io.BytesIO(data[offset:])


class PushContract:
    """What every driver promises that takes images."""

    @pytest.fixture
    def server(self) -> Iterator[Any]:
        """Give what the driver pushes to; it has ``reference``."""
        with RegistryServer() as server:
            yield server

    @pytest.fixture
    def driver(self, server: Any) -> PushDriver:
        """Give the driver under test, which waits some two seconds for an answer; to be overridden."""
        raise NotImplementedError("override the fixture 'driver'")

    @pytest.fixture
    def there(self, server: Any) -> Reference:
        """Give the reference to push to."""
        reference: Reference = server.reference("mine/app")
        return reference

    @pytest.fixture(params=[False, True], ids=["oci", "docker"])
    def content(self, tmp_path: Path, request: pytest.FixtureRequest) -> ContentStore:
        """Give a content store with an image of three layers, of which two are the same."""
        content, made = ContentStore(tmp_path / "content"), RegistryContents("")
        made.add_image("x", layers=[LAYER, b"small", LAYER], docker=request.param)
        for source in (*made.blobs.values(), made.manifests["x", "latest"].data):
            assert isinstance(source, bytes)
            content.put(source)
        return content

    @pytest.fixture
    def image(self, content: ContentStore) -> Parcel:
        """Give that image."""
        for digest in content.walk():
            if content.read(digest).startswith(b'{"schemaVersion"'):
                return parcel(content, target=digest, manifest=digest)
        raise AssertionError("there is no manifest")

    def test_a_blob_that_was_pushed_is_there(self, driver: PushDriver, there: Reference) -> None:
        assert not driver.has_blob(there, BLOB)
        offsets: list[int] = []
        assert driver.push_blob(there, BLOB, opener(LAYER), sent=offsets.append) is None
        assert offsets == sorted(offsets)
        assert driver.has_blob(there, BLOB)
        with driver.open_blob(there, BLOB) as reader:
            assert b"".join(iter(lambda: reader.read(300_000), b"")) == LAYER

    @pytest.mark.parametrize("data", [b"", b"x"])
    def test_the_smallest_blobs_can_be_pushed(self, driver: PushDriver, there: Reference, data: bytes) -> None:
        blob = Descriptor("", digest_of(data), len(data))
        driver.push_blob(there, blob, opener(data))
        assert driver.has_blob(there, blob)

    def test_a_blob_of_another_repository_need_not_be_sent(
        self, driver: PushDriver, there: Reference, server: Any
    ) -> None:
        driver.push_blob(there, BLOB, opener(LAYER))
        elsewhere = server.reference("mine/other")
        sent = driver.push_blob(elsewhere, BLOB, opener(b""), mount_from=("not/there", "mine/app"))
        assert sent == "mine/app"
        assert driver.has_blob(elsewhere, BLOB)

    def test_a_blob_that_no_repository_has_is_sent(self, driver: PushDriver, there: Reference) -> None:
        assert driver.push_blob(there, BLOB, opener(LAYER), mount_from=("not/there", "nor/there")) is None
        assert driver.has_blob(there, BLOB)

    def test_a_blob_with_another_digest_is_refused(self, driver: PushDriver, there: Reference) -> None:
        with pytest.raises((Unsupported, DataError), match="digest"):
            driver.push_blob(there, BLOB, opener(LAYER[:-1] + b"?"))
        assert not driver.has_blob(there, BLOB)

    def test_a_transfer_can_be_ended_by_its_caller(self, driver: PushDriver, there: Reference) -> None:
        class Enough(Exception):
            pass

        def stop(_offset: int) -> None:
            raise Enough

        with pytest.raises(Enough):
            driver.push_blob(there, BLOB, opener(LAYER), sent=stop)
        assert not driver.has_blob(there, BLOB)
        driver.push_blob(there, BLOB, opener(LAYER))
        assert driver.has_blob(there, BLOB)

    def test_an_image_arrives_byte_for_byte(
        self, driver: PushDriver, there: Reference, content: ContentStore, image: Parcel, tmp_path: Path
    ) -> None:
        push(there, image, registry=driver, content=content, retry_delay=0)
        found = driver.resolve(there)
        assert found[:3] == image.target[:3]
        assert found.media_type in (OCI_MANIFEST, DOCKER_MANIFEST)
        again = ContentStore(tmp_path / "again")
        pull(there, registry=driver, content=again, platform="linux/amd64")
        assert set(again.walk()) == set(content.walk())

    def test_an_image_can_be_pushed_twice(
        self, driver: PushDriver, there: Reference, content: ContentStore, image: Parcel
    ) -> None:
        push(there, image, registry=driver, content=content, retry_delay=0)
        push(there._replace(tag="again"), image, registry=driver, content=content, retry_delay=0)
        assert sorted(driver.tags(there)) == ["again", "latest"]


class NetworkPushContract(PushContract):
    """What a driver that speaks to registries promises besides."""

    def test_a_blob_goes_on_where_it_broke_off(
        self, driver: PushDriver, there: Reference, server: RegistryServer
    ) -> None:
        server.faults.break_upload, server.faults.break_upload_times = 700_000, 1
        with pytest.raises(Unavailable):
            driver.push_blob(there, BLOB, opener(LAYER))
        offsets: list[int] = []
        driver.push_blob(there, BLOB, opener(LAYER), sent=offsets.append)
        assert offsets[0] == 700_000
        assert driver.has_blob(there, BLOB)

    def test_a_push_goes_on_by_itself(
        self,
        driver: PushDriver,
        there: Reference,
        server: RegistryServer,
        content: ContentStore,
        image: Parcel,
    ) -> None:
        server.faults.break_upload, server.faults.break_upload_times = 500_000, 2
        push(there, image, registry=driver, content=content, retry_delay=0)
        assert server.faults.break_upload_times == 0
        assert driver.resolve(there).digest == image.target.digest

    def test_a_push_that_keeps_breaking_off_is_unavailable_and_names_nothing(
        self,
        driver: PushDriver,
        there: Reference,
        server: RegistryServer,
        content: ContentStore,
        image: Parcel,
    ) -> None:
        server.faults.break_upload = 0
        with pytest.raises(Unavailable):
            push(there, image, registry=driver, content=content, retry_delay=0)
        assert server.tags("mine/app") is None

    def test_a_registry_that_is_down_is_unavailable(
        self,
        driver: PushDriver,
        there: Reference,
        server: RegistryServer,
        content: ContentStore,
        image: Parcel,
    ) -> None:
        server.down()
        with pytest.raises(Unavailable, match=f"cannot reach registry {server.host}: connection refused"):
            push(there, image, registry=driver, content=content, retry_delay=0)

    @pytest.mark.parametrize("kind", ["basic", "bearer"])
    def test_who_may_not_push_is_told_so_in_the_registrys_words(
        self, driver: PushDriver, there: Reference, server: RegistryServer, kind: str
    ) -> None:
        server.faults.auth, server.faults.users = kind, {"ann": "secret"}
        with pytest.raises(PermissionDenied, match=r"^(unauthorized: |denied: |no basic auth)"):
            driver.push_blob(there, BLOB, opener(LAYER))

    def test_a_registry_that_takes_no_pushes_is_unsupported(
        self, driver: PushDriver, there: Reference, server: RegistryServer
    ) -> None:
        server.faults.refuse = [405]
        with pytest.raises(Unsupported, match="does not take"):
            driver.push_blob(there, BLOB, opener(LAYER))

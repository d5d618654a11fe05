"""Volumes in the database: names, drivers, users, and what killed processes left half done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from swapbox.engine import Engine
from swapbox.errors import Conflict, InvalidInput, NotFound, PluginError
from swapbox.testing.forked import Forked
from swapbox.volumes.locks import name_lock
from swapbox.volumes.queries import prune
from swapbox.volumes.records import Volume
from swapbox.volumes.service import check_name


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "top").mkdir(mode=0o700)
    with Engine(root=tmp_path / "top/root", run_root=tmp_path / "top/run", third_party=False) as engine:
        yield engine


def names(engine: Engine) -> list[str]:
    return [volume.name for volume in engine.volumes.all()]


class TestNames:
    @pytest.mark.parametrize("name", ["ab", "a.b-c_d", "0" * 64, "x" * 255, "A1"])
    def test_dockers_are_taken(self, name: str) -> None:
        check_name(name)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("a", "too short"),
            ("", "invalid characters"),
            (".ab", "invalid characters"),
            ("a/b", "invalid characters"),
            ("ä1", "invalid characters"),
            ("a b", "invalid characters"),
            ("a\n", "invalid characters"),
            ("x" * 256, "too long"),
        ],
    )
    def test_others_are_refused(self, name: str, words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            check_name(name)


class TestCreation:
    def test_a_volume_is_made_once(self, engine: Engine) -> None:
        first = engine.volumes.create("data", labels={"a": "b"})
        second = engine.volumes.create("data", labels={"c": "d"})
        assert second == first
        assert names(engine) == ["data"]

    def test_another_driver_is_a_conflict(self, engine: Engine) -> None:
        engine.volumes.create("data")
        with pytest.raises(Conflict, match="create data: driver 'local' already has volume 'data'"):
            engine.volumes.create("data", driver="other")

    def test_an_unknown_driver_leaves_nothing(self, engine: Engine) -> None:
        with pytest.raises(NotFound, match="create data: unknown volume driver 'other'"):
            engine.volumes.create("data", driver="other")
        assert engine.volumes.records.all() == []

    def test_a_refused_option_leaves_nothing(self, engine: Engine) -> None:
        with pytest.raises(InvalidInput, match='create data: invalid option: "foo"'):
            engine.volumes.create("data", options={"foo": "bar"})
        assert engine.volumes.records.all() == []

    def test_many_at_once_make_one(self, engine: Engine) -> None:
        children = [Forked(lambda: engine.reopened().volumes.create("data").created) for _ in range(6)]
        assert len({child.result() for child in children}) == 1

    def test_what_was_made_with_a_driver_that_is_gone_names_it(self, engine: Engine) -> None:
        volume = engine.volumes.create("data")
        with pytest.raises(PluginError, match="other"):
            engine.volumes.driver(volume._replace(driver="other"))


class TestUsers:
    def test_a_volume_that_is_about_to_be_used_is_kept(self, engine: Engine) -> None:
        engine.volumes.create("data", user="c0ffee")
        with pytest.raises(Conflict, match=r"remove data: volume is in use - \[c0ffee\]"):
            engine.volumes.remove("data")
        assert prune(engine, {"all": ["true"]}).names == []
        engine.volumes.records.release("c0ffee")
        engine.volumes.remove("data")
        assert names(engine) == []

    def test_a_use_by_a_process_that_is_gone_does_not_count(self, engine: Engine) -> None:
        Forked(lambda: engine.reopened().volumes.create("data", user="c0ffee") and None).result()
        assert engine.volumes.records.users("data") == []
        engine.volumes.remove("data")

    def test_a_volume_is_taken_only_while_it_is_there(self, engine: Engine) -> None:
        engine.volumes.create("data")
        assert engine.volumes.take("data", user="c0ffee").name == "data"
        with pytest.raises(Conflict):
            engine.volumes.remove("data")
        with pytest.raises(NotFound, match="get gone: no such volume"):
            engine.volumes.take("gone", user="c0ffee")
        assert names(engine) == ["data"]

    def test_a_removed_volume_is_not_found(self, engine: Engine) -> None:
        for call in (engine.volumes.remove, engine.volumes.find):
            with pytest.raises(NotFound, match="get data: no such volume"):
                call("data")


class TestLeftovers:
    def test_a_volume_that_its_driver_cannot_remove_stays_and_can_be_removed_later(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver = engine.volumes.driver(engine.volumes.create("data"))

        def refuse(_name: str) -> None:
            raise Conflict("busy")

        with monkeypatch.context() as patch:
            patch.setattr(driver, "remove", refuse)
            with pytest.raises(Conflict, match="busy"):
                engine.volumes.remove("data")
        assert names(engine) == ["data"]
        engine.volumes.remove("data")
        assert engine.volumes.records.all() == []

    def test_rm_finishes_a_half_done_removal(self, engine: Engine) -> None:
        volume = engine.volumes.create("data")
        engine.volumes.set_state(volume, "removing")
        engine.volumes.remove("data")
        assert engine.volumes.records.all() == []
        assert list(engine.volumes.driver(volume).walk()) == []

    def test_a_half_removed_volume_is_not_there_and_the_next_is_empty(self, engine: Engine) -> None:
        volume = engine.volumes.create("data")
        place = engine.volumes.driver(volume).inspect("data").mountpoint
        (place / "file").touch()
        engine.volumes.set_state(volume, "removing")
        assert names(engine) == []
        engine.volumes.create("data")
        assert list(place.iterdir()) == []

    @pytest.mark.parametrize("state", ["new", "removing"])
    def test_prune_finishes_what_was_left(self, engine: Engine, state: str) -> None:
        volume = engine.volumes.create("data")
        engine.volumes.set_state(volume, state)  # type: ignore[arg-type]
        assert prune(engine, {}).names == []
        assert engine.volumes.records.all() == []
        assert list(engine.volumes.driver(volume).walk()) == []

    def test_prune_goes_on_past_volumes_whose_driver_is_gone(self, engine: Engine) -> None:
        engine.volumes.records.add(Volume("ghost", "gone", anonymous=True))
        engine.volumes.records.add(Volume("half-removed", "gone", state="removing"))
        engine.volumes.create("zeta")
        warnings: list[str] = []
        engine.warn = warnings.append
        assert prune(engine, {"all": ["true"]}).names == ["zeta"]
        assert [warning.partition(":")[0] for warning in warnings] == [
            "volume half-removed stays",
            "failed to prune volume ghost",
        ]

    def test_prune_leaves_alone_what_somebody_is_at(self, engine: Engine) -> None:
        volume = engine.volumes.create("data")
        engine.volumes.set_state(volume, "new")
        with engine.volumes.locked("data"):
            Forked(lambda: prune(engine.reopened(), {}) and None).result()
        assert [found.name for found in engine.volumes.records.all()] == ["data"]


class TestLocks:
    def test_a_lock_keeps_out_others_of_its_name_only(self, tmp_path: Path) -> None:
        def get(name: str) -> bool:
            with name_lock(tmp_path / "lock", name, wait=False) as got:
                return got

        with name_lock(tmp_path / "lock", "one"):
            assert not Forked(lambda: get("one")).result()
            assert Forked(lambda: get("two")).result()
        assert Forked(lambda: get("one")).result()

    def test_a_child_forked_under_a_lock_does_not_keep_it_when_the_work_fails(self, tmp_path: Path) -> None:
        def get() -> bool:
            with name_lock(tmp_path / "lock", "one", wait=False) as got:
                return got

        reader, writer = os.pipe()
        with suppress(RuntimeError), name_lock(tmp_path / "lock", "one"):
            child = os.fork()
            if child == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            raise RuntimeError
        try:
            assert Forked(get).result()
        finally:
            os.close(writer)
            os.close(reader)
            os.waitpid(child, 0)

"""Editing and observing hooks are called one plugin at a time, each under the hook's policy."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pluggy
import pytest

import swapbox
from swapbox import Finding, hookspecs
from swapbox.errors import PermissionDenied, PluginError
from swapbox.plugins.index import Entry
from swapbox.plugins.manager import Plugins
from swapbox.plugins.markers import hookimpl


class Host:
    """Plugins made of plain objects, and the warnings they led to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **plugins: object) -> None:
        module = ModuleType("swapbox_test_hooks")
        vars(module).update(plugins)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entries = tuple(
            Entry(
                name, f"{module.__name__}:{name}", f"dist-{name}", "1.0", tuple(vars(type(plugin))), validated=True
            )
            for name, plugin in plugins.items()
        )
        self.warnings: list[str] = []
        self.plugins = Plugins(entries, rescan=lambda: entries)

    def notify(self, hook: str, **arguments: Any) -> list[Any]:
        return self.plugins.notify(hook, warn=self.warnings.append, **arguments)


def test_every_specification_and_implementation_is_one_to_pluggy() -> None:
    manager = pluggy.PluginManager("swapbox")
    manager.add_hookspecs(hookspecs)

    class Plugin:
        @hookimpl
        def swapbox_event(self, event: object) -> None: ...

        @hookimpl(optionalhook=True)
        def swapbox_of_the_future(self) -> None: ...

    plugin = Plugin()
    manager.register(plugin)
    manager.check_pending()
    assert {caller.name for caller in manager.get_hookcallers(plugin) or []} == {
        "swapbox_event",
        "swapbox_of_the_future",
    }
    assert manager.hook.swapbox_event.has_spec()


def test_every_hook_that_offers_nothing_has_a_policy() -> None:
    hooks = {name for name, value in vars(hookspecs).items() if hasattr(value, "swapbox_spec")}
    from swapbox.plugins.kinds import NAMES

    assert hooks == {names.hook for names in NAMES.values()} | set(hookspecs.POLICIES)


def test_the_public_decorator_is_the_light_one() -> None:
    assert swapbox.hookimpl is hookimpl


def test_a_hook_nobody_implements_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swapbox.plugins.calls.call", None)
    assert Host(monkeypatch).notify("swapbox_event", event=None) == []


def test_an_editor_changes_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookimpl
        def swapbox_container_spec(self, spec: dict[str, Any]) -> None:
            spec["hostname"] = "edited"

    spec = {"hostname": "plain"}
    Host(monkeypatch, a=Plugin()).notify("swapbox_container_spec", spec=spec, container={})
    assert spec == {"hostname": "edited"}


def test_plugins_are_called_by_name_unless_they_ask_to_be_first_or_last(monkeypatch: pytest.MonkeyPatch) -> None:
    class First:
        @hookimpl(tryfirst=True)
        def swapbox_container_spec(self, spec: dict[str, Any]) -> None:
            spec["calls"].append("first")

    class Plain:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def swapbox_container_spec(self, spec: dict[str, Any]) -> None:
            spec["calls"].append(self.name)

    class Last:
        @hookimpl(trylast=True)
        def swapbox_container_spec(self, spec: dict[str, Any]) -> None:
            spec["calls"].append("last")

    spec: dict[str, Any] = {"calls": []}
    host = Host(monkeypatch, a=Last(), b=Plain("b"), c=Plain("c"), d=First())
    host.notify("swapbox_container_spec", spec=spec, container={})
    assert spec["calls"] == ["first", "b", "c", "last"]


def test_findings_of_all_plugins_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookimpl
        def swapbox_doctor(self) -> Iterator[Finding]:
            yield Finding("ok", "well")

    host = Host(monkeypatch, a=Plugin(), b=Plugin())
    assert host.notify("swapbox_doctor") == [[Finding("ok", "well")]] * 2


def test_a_failing_observer_is_a_warning_and_the_others_still_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    class Broken:
        @hookimpl
        def swapbox_event(self, event: object) -> None:
            raise SystemExit("bye")

    class Good:
        @hookimpl
        def swapbox_event(self, event: object) -> None:
            heard.append(event)

    host = Host(monkeypatch, a=Broken(), b=Good())
    host.notify("swapbox_event", event="start")
    assert heard == ["start"]
    assert host.warnings == ["plugin 'a' of dist-a 1.0: swapbox_event: SystemExit: bye"]
    host.notify("swapbox_event", event=2)
    assert len(host.warnings) == 1  # told once, not with every event


def test_a_failing_editor_ends_the_operation_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        @hookimpl
        def swapbox_container_spec(self) -> None:
            raise KeyError("process")

    with pytest.raises(
        PluginError, match=r"plugin 'a' of dist-a 1.0: swapbox_container_spec: KeyError: 'process'"
    ):
        Host(monkeypatch, a=Broken()).notify("swapbox_container_spec", spec={}, container={})


def test_a_refusal_keeps_its_words_and_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    class Verifier:
        @hookimpl
        def swapbox_verify_image(self, reference: str) -> None:
            raise PermissionDenied(f"{reference} is not signed", hint="sign it")

    with pytest.raises(PluginError, match="swapbox_verify_image: alpine is not signed") as caught:
        Host(monkeypatch, a=Verifier()).notify("swapbox_verify_image", reference="alpine", descriptor=None)
    assert caught.value.hint == "sign it"


def test_an_implementation_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Slow:
        @hookimpl
        def swapbox_event(self, event: object) -> None:
            release.wait()

    monkeypatch.setitem(vars(hookspecs)["POLICIES"], "swapbox_event", hookspecs.Policy("warn", 0.01))
    host = Host(monkeypatch, slow=Slow())
    host.notify("swapbox_event", event=None)
    release.set()
    assert host.warnings == ["plugin 'slow' of dist-slow 1.0: swapbox_event: TimeoutError: no answer in 0.01 s"]

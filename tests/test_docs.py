"""The documentation is complete, and its examples work."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from swapbox import hookspecs
from swapbox.config import SETTINGS, load
from swapbox.plugins.discovery import new_manager
from swapbox.plugins.index import Entry
from swapbox.plugins.kinds import NAMES
from swapbox.plugins.manager import Plugins

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("plugins/*/README.md")])
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))


def sections(page: Path, level: str = "###") -> dict[str, str]:
    """Return the text under each heading of one level, without backquotes."""
    parts = re.split(rf"^{level} (.+)$", page.read_text(), flags=re.MULTILINE)
    return {title.strip("`"): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def examples(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def signatures() -> dict[str, str]:
    """Return each hook's signature as it is written in hookspecs.py."""
    tree = ast.parse(Path(hookspecs.__file__).read_text())
    return {
        node.name: f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.returns is not None
    }


HOOKS = sections(DOCS / "hooks.md")
HOOK_EXAMPLES = [
    pytest.param(title.partition("(")[0], source, id=f"{title.partition('(')[0]}-{number}")
    for title, text in HOOKS.items()
    for number, source in enumerate(examples(text))
]


def test_every_hook_has_its_section_with_its_exact_signature() -> None:
    assert sorted(HOOKS) == sorted(signatures().values())


@pytest.mark.parametrize("title", HOOKS)
def test_a_hooks_section_says_what_it_must(title: str) -> None:
    name, arguments = re.match(r"(\w+)\((.*)\) ->", title).groups()  # type: ignore[union-attr]
    text = HOOKS[title]
    assert "**When:**" in text
    assert examples(text)
    for argument in re.findall(r"(\w+):", arguments):
        assert f"- `{argument}`:" in text
    policy = hookspecs.POLICIES.get(name)
    expected = f"**Policy:** {policy.on_error}, {policy.timeout:g} s." if policy else "**Policy:** quarantine."
    assert expected in text


@pytest.mark.parametrize(("hook", "source"), HOOK_EXAMPLES)
def test_a_hooks_example_is_a_plugin_that_works(hook: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("swapbox_docs_example")
    exec(compile(source, "docs/hooks.md", "exec", dont_inherit=True), vars(module))
    manager = new_manager()
    manager.register(module)
    manager.check_pending()
    assert [caller.name for caller in manager.get_hookcallers(module) or []] == [hook]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = Entry("example", module.__name__, "docs", "1", (hook,), validated=True)
    plugins = Plugins((entry,), rescan=lambda: (entry,))
    for kind, names in NAMES.items():
        if names.hook == hook:
            assert plugins.offers(kind)
    assert plugins.quarantined == []


def test_the_examples_that_edit_a_spec_do_so() -> None:
    title = next(title for title in HOOKS if title.startswith("swapbox_container_spec"))
    simple, harder = (ModuleType("simple"), ModuleType("harder"))
    for module, source in zip((simple, harder), examples(HOOKS[title]), strict=True):
        exec(compile(source, "docs/hooks.md", "exec", dont_inherit=True), vars(module))
    spec: dict[str, dict[str, list[object]]] = {"process": {"env": []}}
    simple.swapbox_container_spec(spec)
    harder.swapbox_container_spec(spec, {"config": {"labels": {"device": "fuse"}}})
    assert spec["process"]["env"] == ["TZ=UTC"]
    assert spec["linux"]["devices"] == [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]


def test_every_setting_has_its_section() -> None:
    assert list(sections(DOCS / "configuration.md")) == [setting.key for setting in SETTINGS]


def test_every_setting_of_a_driver_names_its_flag_and_variable() -> None:
    found = sections(DOCS / "configuration.md")
    for kind, names in NAMES.items():
        assert f"Flag `{names.flag}`" in found[f"drivers.{kind}"]
        assert f"`{names.variable}`" in found[f"drivers.{kind}"]


def test_the_example_of_a_configuration_file_is_valid(tmp_path: Path) -> None:
    (source,) = examples((DOCS / "configuration.md").read_text(), "toml")
    (tmp_path / "config.toml").write_text(source)
    assert load(environment={}, path=tmp_path / "config.toml").drivers == {"storage": "overlay"}


def test_the_examples_of_rules_about_registries_are_valid(tmp_path: Path) -> None:
    from swapbox_registry_hub import settings

    options, rules = examples((DOCS / "registries.md").read_text(), "toml")
    (tmp_path / "config.toml").write_text(options)
    given = load(environment={}, path=tmp_path / "config.toml").options["registry", "hub"]
    assert settings.hosts(given).is_insecure("10.0.0.1:5000")
    (tmp_path / "config.toml").write_text(rules)
    assert len(load(environment={}, path=tmp_path / "config.toml").registries) == 3


def test_the_plugin_of_the_guide_passes_its_contract(tmp_path: Path) -> None:
    """The guide's files are written as it says; the package is made importable in place of ``pip install``."""
    page = (DOCS / "write-a-plugin.md").read_text()
    for path, text in re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    metadata = tmp_path / "src/swapbox_logging_text-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: swapbox-logging-text\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[swapbox.plugins]\nlogging-text = swapbox_logging_text\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    outcome = subprocess.run(tests, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout
    assert " passed" in outcome.stdout
    look = textwrap.dedent("""
        from swapbox.plugins.manager import Plugins
        plugins = Plugins.load(environment={}, cache_dir=None)
        print(plugins.offer("logging", "text").distribution, plugins.quarantined)
    """)
    outcome = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True)
    assert outcome.stdout.split() == ["swapbox-logging-text", "[]"], outcome.stderr


def test_the_flags_that_are_said_not_to_be_there_are_not() -> None:
    import click

    from swapbox.cli.app import swapbox

    table = sections(DOCS / "differences.md", "##")["Flags that are not there"]
    for verbs, flags in re.findall(r"^\| (`.+?) \| (.+) \|$", table, re.MULTILINE):
        for verb in re.findall(r"`([a-z ]+)`", verbs):
            command: click.Command | None = swapbox
            for word in verb.split():
                assert isinstance(command, click.Group)
                command = command.get_command(click.Context(command), word)
            assert command is not None
            known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
            assert not known & set(re.findall(r"`(-[a-z-]+)`", flags)), verb


def test_every_decision_has_its_four_parts() -> None:
    assert len(DECISIONS) >= 5
    for number, page in enumerate(DECISIONS, start=1):
        assert page.name.startswith(f"{number:04}-")
        assert list(sections(page, "##")) == ["Status", "Context", "Decision", "Consequences"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_news_fragment_is_of_a_known_type() -> None:
    import tomllib

    types = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
    known = {type["directory"] for type in types}
    for fragment in (ROOT / "newsfragments").glob("*.md"):
        assert fragment.name.split(".")[1] in known, fragment.name
        assert fragment.read_text().strip()

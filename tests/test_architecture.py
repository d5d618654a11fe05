"""The rules that keep core and plugins apart. The core's layers are held by import-linter (pyproject.toml)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core/src/swapbox"
CORE_FILES = sorted(CORE.rglob("*.py"))
PLUGIN_FILES = sorted([*ROOT.glob("plugins/*/src/**/*.py"), *ROOT.glob("examples/*/src/**/*.py")])

PUBLIC = (
    "swapbox.drivers",
    "swapbox.errors",
    "swapbox.descriptors",
    "swapbox.layouts",
    "swapbox.references",
    "swapbox.linux",
)
"""What a plugin may import besides the names of ``swapbox`` itself."""


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def place(file: Path, node: ast.AST, what: str) -> str:
    return f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} {what}"


def imports(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield the dotted names imported below a node, in functions too, but not those for type checkers only."""
    if isinstance(node, ast.Import):
        yield from ((node, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from ((node, f"{'.' * node.level}{node.module}.{alias.name}") for alias in node.names)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for statement in node.orelse:
            yield from imports(statement)
    else:
        for child in ast.iter_child_nodes(node):
            yield from imports(child)


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def package_of(file: Path) -> str:
    """The top-level package of a plugin's file: ``plugins/x/src/PACKAGE/...``."""
    return file.relative_to(ROOT).parts[3]


def test_there_is_something_to_check() -> None:
    assert len(CORE_FILES) > 20
    assert len({package_of(file) for file in PLUGIN_FILES}) >= 4


def test_the_core_imports_no_plugin() -> None:
    assert [
        place(file, node, name)
        for file in CORE_FILES
        for node, name in imports(tree(file))
        if name.startswith("swapbox_")
    ] == []


def test_plugins_import_only_public_names_and_no_other_plugin() -> None:
    from swapbox import __all__ as names

    public = {f"swapbox.{name}" for name in [*names, "__version__"]}

    def allowed(file: Path, name: str) -> bool:
        if name.startswith("swapbox_"):
            return below(name, package_of(file))
        return not below(name, "swapbox") or name in public or below(name, *PUBLIC)

    assert [
        place(file, node, name)
        for file in PLUGIN_FILES
        for node, name in imports(tree(file))
        if not allowed(file, name)
    ] == []


def test_a_plugins_package_only_declares() -> None:
    """Its top imports names of ``swapbox`` and cheap standard modules; the rest is imported in the factory."""
    cheap = {"__future__", "collections", "typing", "pathlib", "swapbox"}
    assert [
        place(file, node, name)
        for file in PLUGIN_FILES
        if file.parent.parent.name == "src" and file.name == "__init__.py"
        for statement in tree(file).body
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        for node, name in imports(statement)
        if name.split(".")[0] not in cheap
    ] == []


def test_no_import_is_relative() -> None:
    """A name says where it comes from, whatever file it is read in."""
    assert [
        place(file, node, name)
        for file in [*CORE_FILES, *PLUGIN_FILES]
        for node, name in imports(tree(file))
        if name.startswith(".")
    ] == []


def test_errors_imports_nothing_of_ours() -> None:
    assert [name for _, name in imports(tree(CORE / "errors.py")) if name.startswith("swapbox")] == []


def test_only_testing_imports_pytest() -> None:
    assert [
        place(file, node, name)
        for file in [*CORE_FILES, *PLUGIN_FILES]
        if not file.is_relative_to(CORE / "testing")
        for node, name in imports(tree(file))
        if below(name, "pytest", "_pytest")
    ] == []


def is_loud(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in {"print", "input", "breakpoint", "click.echo"}
    if isinstance(node, ast.Attribute):
        return ast.unparse(node) in {"sys.stdout", "sys.stderr", "sys.stdin", "sys.__stdout__", "sys.__stderr__"}
    return False


def test_only_the_command_line_writes_to_the_terminal() -> None:
    assert [
        place(file, node, ast.unparse(node))
        for file in [*CORE_FILES, *PLUGIN_FILES]
        if not file.is_relative_to(CORE / "cli") and not file.is_relative_to(CORE / "testing")
        for node in ast.walk(tree(file))
        if is_loud(node)
    ] == []


def uses_a_shell(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword) and node.arg == "shell":
        return ast.unparse(node.value) != "False"
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {
        "os.system",
        "os.popen",
        "subprocess.getoutput",
    }


def test_no_command_goes_through_a_shell() -> None:
    assert [
        place(file, node, "shell")
        for file in [*CORE_FILES, *PLUGIN_FILES]
        for node in ast.walk(tree(file))
        if uses_a_shell(node)
    ] == []


def is_state(node: ast.AST, module: ast.Module) -> bool:
    """Say whether a node makes something at the top of a module that is there to be filled, or fills it."""
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("Mapping"):
        return False  # typed so that nothing can be put in
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node in module.body and node.value is not None:
        return ast.unparse(node.value) in {"[]", "{}", "set()", "dict()", "list()"}
    return isinstance(node, ast.Global)


def test_modules_keep_no_state() -> None:
    """A long-lived process that serves one command after another must not carry anything over."""
    assert [
        place(file, node, ast.unparse(node))
        for file in [*CORE_FILES, *PLUGIN_FILES]
        for module in [tree(file)]
        for node in ast.walk(module)
        if is_state(node, module)
    ] == []


def test_the_extension_surface_can_be_read_at_one_sitting() -> None:
    assert len((CORE / "hookspecs.py").read_text().splitlines()) < 200

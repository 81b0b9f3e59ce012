"""Dependencies point one way, as docs/develop.md says, and no module imports itself through others."""

import ast
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from tests.support import REPOSITORY

pytestmark = pytest.mark.xdist_group("layers")  # One worker reads all modules.

# The packages of the laptop's side, from the top down; what is not named is the ground that all stand on.
LAYERS = (
    {"cli"},
    {"emulator"},
    {"notify", "places", "serve"},
    {"report"},
    {"run"},
    {"base", "data", "voice"},
    {"download", "kaggle", "metrics", "render"},
    {"settings"},
)
# Below which folders alone a library may be imported.
ONLY_IN = {
    "click": ("orchestrator/cli",),
    "kaggle": ("orchestrator/kaggle", "orchestrator/emulator"),
    "kagglesdk": ("orchestrator/kaggle", "orchestrator/emulator"),
    "orchestrator": ("orchestrator",),
}


def imports_in(node: ast.AST, *, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Give the imports in a module, but those for type checkers; `lazy` those in functions, too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        elif lazy or not isinstance(child, ast.FunctionDef):
            yield from imports_in(child, lazy=lazy)


@cache
def modules() -> dict[str, ast.Module]:
    """Return all modules of both packages by their names."""
    found = {}
    tops = (REPOSITORY / "orchestrator", REPOSITORY / "kernel_template")
    for file in chain.from_iterable(top.rglob("*.py") for top in tops):
        if "sources" in file.parts:  # Stand-ins of other packages.
            continue
        name = ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


@cache
def imported(name: str, *, lazy: bool = True) -> frozenset[str]:
    """Return what a module imports: modules of ours by their full names, others as they are named."""
    found = set()
    for node in imports_in(modules()[name], lazy=lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {item if item in modules() else str(node.module) for item in whole}
    return frozenset(found - {name})


def layer(name: str) -> int:
    """Return the layer of a module of the laptop's side, from the top."""
    part = name.split(".")[1] if "." in name else ""
    return next((number for number, parts in enumerate(LAYERS) if part in parts), len(LAYERS))


@pytest.mark.parametrize(("top", "lazy"), [("orchestrator", True), ("kernel_template", False)])
def test_no_module_imports_itself_through_others(top: str, *, lazy: bool) -> None:
    """Not even later, inside a function, on the laptop's side."""
    names = {name for name in modules() if name.split(".")[0] == top}
    uses = {name: imported(name, lazy=lazy) & names for name in names}
    while uses:
        free = {name for name, others in uses.items() if not others & uses.keys()}
        assert free, f"a circle among {sorted(uses)}"
        uses = {name: others for name, others in uses.items() if name not in free}


def test_packages_import_what_is_below_them() -> None:
    """A package imports none of a layer above it; the ground imports no package."""
    for name in modules():
        if name.startswith("orchestrator.") and name != "orchestrator.__main__":
            for other in imported(name):
                if other.startswith("orchestrator."):
                    assert layer(name) <= layer(other), f"{name} imports {other}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_who_may_import_it(library: str) -> None:
    """Only the command line knows click, only two packages the official client, and no session the laptop."""
    for name in modules():
        if any(other.split(".")[0] == library for other in imported(name)):
            assert Path(*name.split(".")).as_posix().startswith(ONLY_IN[library]), f"{name} imports {library}"

"""Which parts of the emulator may import which."""

import ast
from pathlib import Path

import pytest

import orchestrator.emulator

PACKAGE = Path(orchestrator.emulator.__file__).parent
NAME = "orchestrator.emulator"
# What a module of each part may import of the emulator, besides its own part and `options`.
ALLOWED = {
    "service": set(),
    "runner": {"service"},
    "faults": set(),
    "wire": {"service", "faults"},
}


def imported(file: Path) -> set[str]:
    """Return the modules that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith(f"{NAME}.")}


@pytest.mark.parametrize("part", ALLOWED)
def test_parts_import_one_way(part: str) -> None:
    """Both `wire` and `runner` import `service`, which imports neither; `faults` imports none of them."""
    files = sorted((PACKAGE / part).glob("*.py"))
    assert files
    for file in files:
        parts = {name.split(".")[2] for name in imported(file)}
        assert parts <= {part, "options", *ALLOWED[part]}, file.name


@pytest.mark.parametrize("part", ALLOWED)
def test_modules_of_a_part_import_without_circles(part: str) -> None:
    """No module imports itself through others."""
    modules = {file.stem: imported(file) for file in (PACKAGE / part).glob("*.py") if file.stem != "__init__"}
    uses = {
        module: {other for other in modules if any(f".{part}.{other}" in name for name in names)} - {module}
        for module, names in modules.items()
    }
    while uses:
        free = {module for module, others in uses.items() if not others & uses.keys()}
        assert free, f"a circle of {sorted(uses)}"
        uses = {module: others for module, others in uses.items() if module not in free}


def test_service_knows_no_http() -> None:
    """The service imports neither HTTP nor the SDK's types, which belong to the wire."""
    for file in (PACKAGE / "service").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        for name in ("starlette", "uvicorn", "kagglesdk", "requests"):
            assert f"import {name}" not in text, file.name
            assert f"from {name}" not in text, file.name

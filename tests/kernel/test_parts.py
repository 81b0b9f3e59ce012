"""The parts as a package: what is joined, and what they may lean on."""

import ast
import sys
from pathlib import Path

import kernel_template
from kernel_template import PARTS

_FOLDER = Path(kernel_template.__file__).parent


def imports(name: str) -> list[str]:
    """The modules that a part imports, in full."""
    tree = ast.parse((_FOLDER / f"{name}.py").read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def test_every_part_is_joined() -> None:
    """PARTS names each module of the package once."""
    assert sorted(PARTS) == sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")


def test_a_part_stands_after_what_it_uses() -> None:
    """The order of PARTS has no forward reference and so no cycle."""
    for index, name in enumerate(PARTS):
        used = {module.partition(".")[2] for module in imports(name) if module.startswith("kernel_template.")}
        assert used <= set(PARTS[:index]), name


def test_parts_need_the_standard_library_alone() -> None:
    """The kernel has to speak before anything is installed, and never imports torch itself."""
    for name in PARTS:
        for module in imports(name):
            top = module.partition(".")[0]
            assert top == "kernel_template" or top in sys.stdlib_module_names, (name, module)

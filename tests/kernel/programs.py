"""The kernel's programs as modules, for tests of what needs no process of its own."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import kernel_template

PROGRAMS = Path(kernel_template.__file__).parent / "programs"


def program(name: str) -> ModuleType:
    """A program of the kernel, as a module."""
    spec = importlib.util.spec_from_file_location(f"_tested_{name}", PROGRAMS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # Data classes look their module up.
    spec.loader.exec_module(module)
    return module

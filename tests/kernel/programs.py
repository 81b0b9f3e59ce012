"""Imports the kernel's programs as modules, for tests that need no process."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import kernel_template

PROGRAMS = Path(kernel_template.__file__).parent / "programs"


def program(name: str) -> ModuleType:
    """Import a program of the kernel."""
    spec = importlib.util.spec_from_file_location(f"_tested_{name}", PROGRAMS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # Data classes look their module up.
    spec.loader.exec_module(module)
    return module

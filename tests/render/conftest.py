"""A small kernel of two parts and one program for the real templates, and settings to render it."""

import shutil
from pathlib import Path

import pytest

from orchestrator.render import RunStamp, templates_root
from orchestrator.settings import Settings, fingerprint

FIRST = '''"""Greets.

Says hello in more than
one line.
"""

import json
import sys
from collections.abc import Sequence

_WORD = "hello"


def greet(names: Sequence[str]) -> str:
    """A greeting, with a {{ brace }} and a {% tag %} in it."""
    return " ".join([_WORD, *names]) + json.dumps(sys.byteorder)
'''
MAIN = '''"""Runs the session."""

import json
import os
import sys
from kernel_template.first import greet
from typing import Any


def run(settings: dict[str, Any], programs: dict[str, str]) -> int:
    """Say what came in, and end with the code that the environment asks for."""
    print(greet(["you"]))
    print(json.dumps({"settings": settings, "programs": programs}))
    sys.stdout.flush()
    return int(os.environ.get("WANTED_CODE", "0"))
'''
SPEAK = '"""Speaks."""\n\nimport torch\n\nprint("a\\n", torch, \'\'\'{{ x }}\'\'\')\n'


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """A template root with two small parts, one program and the real two templates."""
    root = tmp_path / "templates"
    package = root / "kernel_template"
    (package / "programs").mkdir(parents=True)
    real = templates_root()
    shutil.copy(real / "kernel-metadata.json.j2", root)
    shutil.copy(real / "kernel_template" / "kernel.py.j2", package)
    (package / "__init__.py").write_text('PARTS: tuple[str, ...] = ("first", "main")\n', encoding="utf-8")
    (package / "first.py").write_text(FIRST, encoding="utf-8")
    (package / "main.py").write_text(MAIN, encoding="utf-8")
    (package / "programs" / "speak.py").write_text(SPEAK, encoding="utf-8")
    return root


@pytest.fixture
def resolved() -> Settings:
    """The default settings, completed with an owner."""
    return Settings().with_owner("someone")


@pytest.fixture
def stamp(resolved: Settings) -> RunStamp:
    """The stamp of a run's first session."""
    return RunStamp("3f9c0d", 1, None, fingerprint(resolved), "someone/bangla-tts", "0.1.0")

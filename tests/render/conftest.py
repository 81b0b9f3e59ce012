"""A small package for the real templates, and settings to render it."""

import shutil
from pathlib import Path

import pytest

from orchestrator.render.package import Templates
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import Settings, fingerprint

GREETING = '''"""Greets.

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
from typing import Any

from kernel_template.words.greeting import greet


def run(settings: dict[str, Any]) -> int:
    """Say what came in, and end with the code that the environment asks for."""
    print(greet(["you"]))
    print(json.dumps({"settings": settings, "file": __file__}))
    sys.stdout.flush()
    return int(os.environ.get("WANTED_CODE", "0"))
'''


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    """A package of two small modules, with the real two templates."""
    package = tmp_path / "templates" / "kernel_template"
    (package / "words").mkdir(parents=True)
    real = Templates.installed()
    shutil.copy(real.package / "kernel.py.j2", package)
    for name, text in {
        "__init__.py": '"""A package."""\n',
        "main.py": MAIN,
        "words/__init__.py": '"""Words for people."""\n',
        "words/greeting.py": GREETING,
    }.items():
        (package / name).write_text(text, encoding="utf-8")
    return Templates(package, real.metadata)


@pytest.fixture
def resolved() -> Settings:
    """The default settings, completed with an owner."""
    return Settings().with_owner("someone")


@pytest.fixture
def stamp(resolved: Settings) -> RunStamp:
    """The stamp of a run's first session."""
    return RunStamp("3f9c0d", 1, None, fingerprint(resolved), "someone/bangla-tts", "0.1.0")

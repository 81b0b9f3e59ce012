"""Parts are fitted together by the rules of joining, and a broken rule is named with its part."""

import typing
from pathlib import Path

import pytest

from orchestrator.render import TemplateError
from orchestrator.render.parts import join_parts, part_names


def write(folder: Path, **parts: str) -> list[str]:
    """Write the parts into `folder`; their names in order."""
    for name, source in parts.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return list(parts)


def test_imports_go_to_the_top_once_and_sorted(tmp_path: Path) -> None:
    """Standard library imports are merged and sorted; those of other parts vanish."""
    names = write(
        tmp_path,
        one="import os, sys\nimport os.path\nfrom typing import Any\nfrom json import dumps as text\nx = 1\n",
        two="import sys\nfrom typing import (\n    IO,\n    Any,\n)\n"
        "from kernel_template.one import (\n    x,\n)\ny = x\n",
    )
    joined = join_parts(tmp_path, names)
    assert joined.imports == (
        "import os",
        "import os.path",
        "import sys",
        "from json import dumps as text",
        "from typing import IO, Any",
    )
    assert [part.code for part in joined.parts] == ["x = 1", "y = x"]


def test_a_long_import_is_broken_into_lines(tmp_path: Path) -> None:
    """Merged imports that would be one long line stand in brackets."""
    names = ", ".join(sorted(typing.__all__)[:20])
    joined = join_parts(tmp_path, write(tmp_path, one=f"from typing import {names}\n"))
    lines = joined.imports[0].splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("from typing import (", ")", 22)


def test_docstring_becomes_the_heading(tmp_path: Path) -> None:
    """A part's docstring leaves its code and becomes the section's heading; without one, its name stands."""
    names = write(
        tmp_path, one='"""Does one.\n\nAt length.\n"""\n\nx = """not a docstring"""\n', two="y = 1\n"
    )
    one, two = join_parts(tmp_path, names).parts
    assert (one.heading, one.code) == ("one: Does one.\n\nAt length.", 'x = """not a docstring"""')
    assert two.heading == "two"


def test_text_that_looks_like_an_import_stays(tmp_path: Path) -> None:
    """Imports are found in the syntax tree, not by their looks."""
    source = 'x = """\nimport torch\nfrom kernel_template.gone import y\n"""\n# import that\n'
    part = join_parts(tmp_path, write(tmp_path, one=source)).parts[0]
    assert part.code == source.strip("\n")


@pytest.mark.parametrize(
    ("one", "two", "name"),
    [
        ("def f(): ...\n", "class f: ...\n", "f"),
        ("_x = 1\n", "_x: int = 2\n", "_x"),
        ("a = b = 1\n", "(c, [*b]) = 1, [2]\n", "b"),
        ("if 1:\n    x = 1\n", "try:\n    pass\nexcept OSError as x:\n    pass\n", "x"),
        ("for i in ():\n    pass\n", "with open('f') as i:\n    pass\n", "i"),
        ("print(w := 1)\n", "async def w(): ...\n", "w"),
        ("match 1:\n    case [*r]:\n        pass\n", "match {}:\n    case {**r}:\n        pass\n", "r"),
        ("match 1:\n    case int() as m:\n        pass\n", "m = 1\n", "m"),
        ("from time import time\n", "def time(): ...\n", "time"),
        ("sys = 1\n", "import sys\n", "sys"),
        ("import json as j\n", "import re as j\n", "j"),
        ("from time import time\n", "import time\n", "time"),
    ],
)
def test_two_parts_with_one_name_are_refused(one: str, two: str, name: str, tmp_path: Path) -> None:
    """The error names the name and both parts, however the name is bound."""
    with pytest.raises(TemplateError, match=rf"\b{name}: (one and two|two, and one|one, and two)") as error:
        join_parts(tmp_path, write(tmp_path, one=one, two=two))
    assert error.value.exit_code == 2


def test_names_inside_functions_do_not_collide(tmp_path: Path) -> None:
    """What functions, classes and comprehensions bind is theirs, and one part may rebind its own names."""
    source = (
        "{0} = [i for i in ()]\n{0} = (lambda z: z)\n"
        "class {0}C:\n    v = 1\n    def g(self):\n        w = 1\n"
    )
    names = write(tmp_path, one=source.format("a"), two=source.format("b"))
    assert len(join_parts(tmp_path, names).parts) == 2


def test_the_template_keeps_its_own_names(tmp_path: Path) -> None:
    """A part cannot bind what the template binds."""
    with pytest.raises(TemplateError, match=r"SETTINGS: kernel\.py\.j2 and one"):
        join_parts(tmp_path, write(tmp_path, one="SETTINGS = 1\n"), ["SETTINGS"])


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("from __future__ import annotations\n", "no relative, star or __future__"),
        ("from . import one\n", "no relative, star or __future__"),
        ("from .one import x\n", "no relative, star or __future__"),
        ("from os import *\n", "no relative, star or __future__"),
        ("import torch\n", "torch is not in the standard library"),
        (
            "from orchestrator.errors import UsageError\n",
            "orchestrator.errors is not in the standard library",
        ),
        ("import kernel_template.one\n", "write it as `from kernel_template"),
        ("from kernel_template.one import x as z\n", "write it as `from kernel_template"),
        ("from kernel_template.three import x\n", "three must stand before two in PARTS"),
        ("from kernel_template import one\n", " must stand before two in PARTS"),
        ("from kernel_template.one import gone\n", "one has no gone of its own"),
        ("from kernel_template.one import os\n", "one has no os of its own"),
        ("def f():\n    import os\n", "line 2: an import must stand at the top level"),
        ("if 1:\n    from kernel_template.one import x\n", "line 2: an import must stand at the top level"),
        ("import sys; y = 1\n", "an import shares its line with more"),
        ("if __name__ == '__main__':\n    pass\n", "__name__ means something else"),
        ("y = __file__\n", "__file__ means something else"),
        ("def broken(:\n", r"two\.py, line 1: "),
    ],
)
def test_a_broken_rule_is_named(source: str, problem: str, tmp_path: Path) -> None:
    """What cannot be joined is refused with the file and the line."""
    names = write(tmp_path, one="import os\nx = 1\n", two=source, three="x3 = 1\n")
    with pytest.raises(TemplateError, match=problem) as error:
        join_parts(tmp_path, names)
    assert "two" in error.value.message


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    """A part that is listed and not there is an error with its path."""
    with pytest.raises(TemplateError, match=r"gone\.py: the template cannot be read"):
        join_parts(tmp_path, ["gone"])


@pytest.mark.parametrize(
    "text", ['PARTS = ("a", "b")', "PARTS: tuple[str, ...] = (\n    'a',\n    'b',\n)", 'PARTS = ["a", "b"]']
)
def test_the_list_of_parts_is_read_without_importing(text: str, tmp_path: Path) -> None:
    """PARTS is taken from the syntax tree; what else stands in the file is not run."""
    write(tmp_path, __init__=f"raise SystemExit\n{text}\n")
    assert part_names(tmp_path) == ("a", "b")


@pytest.mark.parametrize(
    "text", ["", "PARTS = make()", "PARTS: tuple[str, ...]", "PARTS = (1, 2)", "PARTS = 'ab'"]
)
def test_a_package_without_a_list_of_parts_is_refused(text: str, tmp_path: Path) -> None:
    """Without a readable list there is nothing to join."""
    write(tmp_path, __init__=text)
    with pytest.raises(TemplateError, match="has no PARTS"):
        part_names(tmp_path)

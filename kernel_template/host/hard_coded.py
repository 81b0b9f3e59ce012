"""Corrects paths in a script's text: inputs that are mounted elsewhere, and paths of another machine.

A dataset of another account or version, or Kaggle's other mount layout, is in another folder than the one
that the script was written for; and many were written for Colab or a computer at home. A text such as
"/kaggle/input/datahrbn/MyTTSDataset", "../input/datahrbn" or "/content/MyTTSDataset/metadata.csv" is replaced
when the script is compiled, if it does not exist and exactly one of the session's inputs has what it names.
The file, its name and its line numbers stay as they are.
"""

import ast
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import CodeType

_INPUT = re.compile(r"(?:/kaggle|\.\.)/input/")
_OF_OTHERS = re.compile(r"/(?:content|home|Users|root|mnt|media|data|workspace)/|[A-Za-z]:[\\/]")


def compile_script(source: bytes, script: str, inputs: Sequence[str], say: Callable[[str], None]) -> CodeType:
    """Compile a script with paths that exist here.

    Args:
        source: its content.
        script: its name.
        inputs: the folders of the session's inputs.
        say: writes a line to the log.

    Raises:
        SyntaxError: it is not Python.
    """
    code = compile(source, script, "exec", dont_inherit=True)
    if not inputs:
        return code
    paths = _Paths([Path(folder) for folder in inputs], say)
    tree = paths.visit(ast.parse(source, script))
    return compile(tree, script, "exec", dont_inherit=True) if paths.changed else code


class _Paths(ast.NodeTransformer):
    """Replaces the texts that are paths of inputs."""

    def __init__(self, inputs: list[Path], say: Callable[[str], None]) -> None:
        self.changed = False
        self._inputs = inputs
        self._say = say

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        value = node.value
        if not isinstance(value, str):
            return node
        start = _INPUT.match(value) or _OF_OTHERS.match(value)
        if start is None or os.path.exists(value):  # noqa: PTH110 - a text.
            return node
        found = self._find(value[start.end() :].replace("\\", "/"))
        if found is None:
            if start.re is _INPUT:  # Other paths may be meant for what the script writes.
                self._say(f"line {node.lineno} of the script names {value}, which is not there")
            return node
        self._say(f"line {node.lineno} of the script names {value}, which is {found} here")
        self.changed = True
        return ast.copy_location(ast.Constant(found), node)

    def _find(self, path: str) -> str | None:
        """Return what a path means here: the one place that matches its longest end."""
        parts = PurePosixPath(path).parts
        slash = "/" if path.endswith("/") else ""
        for start in range(len(parts)):
            tail = parts[start:]
            places = {place for folder in self._inputs for place in _places(folder, tail)}
            if len(places) == 1:
                return f"{places.pop()}{slash}"
            if places:
                return None
        return None


def _places(folder: Path, tail: tuple[str, ...]) -> list[Path]:
    if tail == (folder.name,):
        return [folder]
    place = folder.joinpath(*tail)
    return [place] if place.exists() else []

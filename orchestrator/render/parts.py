"""Reads the kernel's parts and makes them fit for one file: one import block, one namespace.

The parts are ordinary modules that import each other by `from kernel_template.<part> import name`. Joined,
these imports go, the standard library's move to the top, and no two parts may bind the same name.
"""

import ast
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.render.names import bound_names

PACKAGE = "kernel_template"
_WIDTH = 110


class TemplateError(UsageError):
    """The kernel's template or one of its parts breaks the rules of joining; it names the part and line."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part, ready to be joined: what it says of itself, and its code without docstring and imports."""

    name: str
    about: str
    code: str

    @property
    def heading(self) -> str:
        """The docstring with the part's name before it, for the comment that opens its section."""
        return f"{self.name}: {self.about}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class Joined:
    """All parts in their order, and the import lines that they need, sorted."""

    imports: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Import:
    """One bound name of an import: `from module import name as alias`; without `name`, `import module`."""

    module: str
    name: str | None
    alias: str | None

    @property
    def binds(self) -> str:
        return self.alias or self.name or self.module.partition(".")[0]

    @property
    def bound_object(self) -> tuple[str, str | None]:
        """What the name stands for: `import os` and `import os.path` both bind the package `os`."""
        return (self.module if self.name or self.alias else self.binds, self.name)


def part_names(folder: Path) -> tuple[str, ...]:
    """The list `PARTS` in the package's `__init__.py`, read without importing anything.

    Raises:
        TemplateError: there is no such list, or it is no list of names.
    """
    file = folder / "__init__.py"
    for node in ast.parse(_read(file)).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and list(bound_names([node])) == ["PARTS"]:
            names = _literal(node.value)
            if isinstance(names, tuple | list) and all(isinstance(name, str) for name in names):
                return tuple(names)
    raise TemplateError(f"{file} has no PARTS, the tuple of the parts' names in their order.")


def join_parts(folder: Path, names: Sequence[str], reserved: Sequence[str] = ()) -> Joined:
    """Read the parts `names` below `folder` and fit them together.

    Args:
        folder: the package `kernel_template`.
        names: the parts in the order in which they are to stand.
        reserved: names that the template itself binds.

    Raises:
        TemplateError: a part is missing or breaks a rule, or two of them bind the same name.
    """
    owners = dict.fromkeys(reserved, "kernel.py.j2")
    exported: dict[str, set[str]] = {}
    imports: dict[_Import, str] = {}  # Each with the first part that has it.
    parts = []
    for name in names:
        part, found, bound = _read_part(folder / f"{name}.py", exported)
        for each in bound:
            if owners.setdefault(each, name) != name:
                raise TemplateError(f"Two kernel parts bind the name {each}: {owners[each]} and {name}.")
        for each_import in found:
            imports.setdefault(each_import, name)
        exported[name] = set(bound)
        parts.append(part)
    _check_imports(imports, owners)
    return Joined(tuple(_import_lines(imports)), tuple(parts))


def _check_imports(imports: Mapping[_Import, str], owners: Mapping[str, str]) -> None:
    """Raise when a name is imported and defined, or stands for two different imports."""
    binders: dict[str, _Import] = {}
    for each, part in imports.items():
        if each.binds in owners:
            raise TemplateError(
                f"Two kernel parts bind the name {each.binds}: {owners[each.binds]}, and {part} by an import."
            )
        first = binders.setdefault(each.binds, each)
        if first.bound_object != each.bound_object:
            raise TemplateError(
                f"Two kernel parts import different things as {each.binds}: {imports[first]} and {part}."
            )


def _read_part(file: Path, exported: dict[str, set[str]]) -> tuple[Part, list[_Import], list[str]]:
    source = _read(file)
    tree = _parse(source, file)
    found: list[_Import] = []
    dropped: list[ast.stmt] = []
    rest: list[ast.stmt] = []
    for index, node in enumerate(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += _imports(node, file, exported)
            dropped.append(node)
        elif index == 0 and ast.get_docstring(tree) is not None:
            dropped.append(node)
        else:
            rest.append(node)
    kept = _without(source.splitlines(), dropped, rest, file)
    part = Part(file.stem, ast.get_docstring(tree) or "", "\n".join(kept).strip("\n"))
    return part, found, list(bound_names(rest))


@lru_cache(maxsize=64)
def _parse(source: str, file: Path) -> ast.Module:
    """The part's tree, to be read only: a long watch renders session after session from the same parts."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise TemplateError(f"{file.name}, line {error.lineno}: {error.msg}.") from None
    _refuse(tree, file)
    return tree


def _refuse(tree: ast.Module, file: Path) -> None:
    """Raise for what works in a module of its own but not in the joined file, or not in a notebook's cell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in ("__file__", "__name__"):
            raise TemplateError(
                f"{file.name}, line {node.lineno}: {node.id} means something else in the joined file."
            )
        if isinstance(node, ast.Import | ast.ImportFrom) and node not in tree.body:
            raise TemplateError(f"{file.name}, line {node.lineno}: an import must stand at the top level.")


def _imports(
    node: ast.Import | ast.ImportFrom, file: Path, exported: dict[str, set[str]]
) -> Iterator[_Import]:
    """The imports from the standard library in `node`; those of other parts are checked and give none."""
    where = f"{file.name}, line {node.lineno}"
    module = node.module or "" if isinstance(node, ast.ImportFrom) else None
    relative = isinstance(node, ast.ImportFrom) and node.level > 0
    for name in node.names:
        each = _Import(module or name.name, None if module is None else name.name, name.asname)
        root, _, part = each.module.partition(".")
        if relative or each.name == "*" or root == "__future__":
            raise TemplateError(f"{where}: the kernel's parts have no relative, star or __future__ imports.")
        if root != PACKAGE:
            if root not in sys.stdlib_module_names:
                raise TemplateError(f"{where}: {each.module} is not in the standard library.")
            yield each
        elif each.name is None or each.alias is not None:
            raise TemplateError(f"{where}: write it as `from {PACKAGE}.<part> import name`.")
        elif part not in exported:
            raise TemplateError(f"{where}: {part} must stand before {file.stem} in PARTS.")
        elif each.name not in exported[part]:
            raise TemplateError(f"{where}: {part} has no {each.name} of its own.")


def _without(lines: list[str], dropped: list[ast.stmt], rest: list[ast.stmt], file: Path) -> list[str]:
    """The lines that remain when the statements `dropped` are taken out, by their positions."""
    gone = {line for node in dropped for line in _lines(node)}
    for node in rest:
        if not gone.isdisjoint(_lines(node)):
            raise TemplateError(f"{file.name}, line {node.lineno}: an import shares its line with more.")
    return [line for number, line in enumerate(lines, start=1) if number not in gone]


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _import_lines(imports: Collection[_Import]) -> Iterator[str]:
    """Sorted as import sorters do it: plain imports first, then one `from` for each module."""
    plain = {(each.module, each.alias) for each in imports if each.name is None}
    for module, alias in sorted(plain, key=lambda each: (each[0], each[1] or "")):
        yield f"import {module}" + (f" as {alias}" if alias else "")
    named: dict[str, set[tuple[str, str | None]]] = {}
    for each in imports:
        if each.name is not None:
            named.setdefault(each.module, set()).add((each.name, each.alias))
    for module, names in sorted(named.items()):
        texts = [name + (f" as {alias}" if alias else "") for name, alias in sorted(names, key=_sort_key)]
        line = f"from {module} import {', '.join(texts)}"
        yield (
            line
            if len(line) <= _WIDTH
            else "\n".join([f"from {module} import (", *(f"    {text}," for text in texts), ")"])
        )


def _sort_key(named: tuple[str, str | None]) -> tuple[int, str, str]:
    """Constants, then classes, then functions, as ruff sorts them."""
    name, alias = named
    rank = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return rank, name, alias or ""


def _literal(node: ast.expr | None) -> object:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"{file}: the template cannot be read: {error.strerror or error}.") from None

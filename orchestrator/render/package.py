"""The files of the kernel's package as they are sent, and where this installation of kgtts has them."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Self

import kernel_template
from orchestrator.errors import LocalError, UsageError

PACKAGE = "kernel_template"
_METADATA_TEMPLATE = "kernel-metadata.json.j2"
_ELSEWHERE = ("nodes/", "mirror.py")  # What Kaggle has no use for, and a kernel of at most 1 MB no room.
_FIRST = ("__init__.py", "main.py", "contract.py", "context.py")


class TemplateError(UsageError):
    """A template or a file of the kernel's package is faulty; the message names it."""


@dataclass(frozen=True, slots=True)
class Templates:
    """What a kernel is rendered from.

    Attributes:
        package: the folder `kernel_template`, with `kernel.py.j2` in it.
        metadata: the template of `kernel-metadata.json`.
    """

    package: Path
    metadata: Path

    @classmethod
    def installed(cls) -> Self:
        """Those of this installation.

        The metadata's template lies beside `kernel_template` in a checkout, an editable install and an
        unpacked sdist. A wheel, which may put nothing but packages there, has it beside this module.

        Raises:
            LocalError: it is in neither place.
        """
        package = Path(kernel_template.__file__).resolve().parent
        for folder in (package.parent, Path(__file__).resolve().parent):
            if (metadata := folder / _METADATA_TEMPLATE).is_file():
                return cls(package, metadata)
        raise LocalError(
            f"{_METADATA_TEMPLATE} is missing from the installation of kgtts at {package.parent}.",
            hint="install kgtts again: pip install --force-reinstall kgtts",
        )


def package_files(package: Path, *, elsewhere: bool = True) -> dict[str, str]:
    """The texts of all Python files of the package by their path, such as `kernel_template/main.py`.

    Args:
        package: the folder.
        elsewhere: whether to take those, too, that are of no use on Kaggle.

    Raises:
        TemplateError: a file cannot be read, or is not UTF-8.
    """
    files = {}
    found = {file.relative_to(package).as_posix(): file for file in package.rglob("*.py")}
    for name in sorted(found, key=_order):
        if name.startswith(_ELSEWHERE) and not elsewhere:
            continue
        file = found[name]
        try:
            files[f"{PACKAGE}/{name}"] = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise TemplateError(f"{file} cannot be read: {error}.") from None
    if f"{PACKAGE}/main.py" not in files:
        raise TemplateError(f"{package / 'main.py'}, in which the session begins, is missing.")
    return files


def _order(name: str) -> tuple[bool, int, str]:
    """Sort the modules at the top before the folders, and the one that begins the session first."""
    return "/" in name, _FIRST.index(name) if name in _FIRST else len(_FIRST), name


def contents(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each module of the package and each of its folders, with the first line of its docstring.

    Raises:
        TemplateError: a file is not valid Python.
    """
    lines = []
    for name, text in files.items():
        path = PurePosixPath(name).relative_to(PACKAGE)
        if len(path.parts) == 1 and path.name != "__init__.py":
            lines.append((str(path), _first_line(name, text)))
        elif len(path.parts) > 1 and path.name == "__init__.py":
            lines.append((f"{path.parent}/", _first_line(name, text)))
    return lines


@lru_cache(maxsize=512)
def _first_line(name: str, text: str) -> str:
    try:
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    except (SyntaxError, ValueError) as error:
        raise TemplateError(f"{name} is not valid Python: {error}.") from None

"""Writes a rendered kernel to a folder, whole or not at all."""

import os
import tempfile
from pathlib import Path

from orchestrator.errors import LocalError
from orchestrator.render.kernel import METADATA_FILE, Rendered


def write_rendered(rendered: Rendered, folder: Path) -> tuple[Path, Path]:
    """Write the code file and `kernel-metadata.json` into `folder`, which is made when it is missing.

    What these files held is replaced; nothing else in the folder is touched. `kaggle kernels push -p` takes
    the folder as it then is.

    Returns:
        The paths of the code file and of the metadata.

    Raises:
        LocalError: the folder cannot be made or written.
    """
    files = {rendered.code_file: rendered.source, METADATA_FILE: rendered.metadata}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            _replace(folder / name, text.encode())
    except OSError as error:
        raise LocalError(f"{folder}: the kernel cannot be written: {error.strerror or error}.") from None
    return folder / rendered.code_file, folder / METADATA_FILE


def _replace(path: Path, data: bytes) -> None:
    """Put `data` at `path` by way of a temporary file beside it, readable as any new file of this user."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.chmod(0o644)  # mkstemp's files are for their owner alone.
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

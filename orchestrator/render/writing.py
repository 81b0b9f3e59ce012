"""Writes a rendered kernel to a folder, whole or not at all."""

from pathlib import Path

from orchestrator.files import write_atomically
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
    for name, text in files.items():
        write_atomically(folder / name, text)
    return folder / rendered.code_file, folder / METADATA_FILE

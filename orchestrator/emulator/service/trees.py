"""Whole folders: removing them whatever their modes, and copying them to be read only."""

import os
import shutil
import stat
from pathlib import Path


def make_writable(folder: Path) -> None:
    """Give the owner back every folder and file below `folder`: scripts may leave them with any mode."""
    folder.chmod(folder.stat().st_mode | stat.S_IRWXU)
    for current, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(current, name)
            if not path.is_symlink():
                needed = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR
                path.chmod(path.stat().st_mode | needed)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, read-only or not; nothing happens when it is missing."""
    if folder.is_dir() and not folder.is_symlink():
        make_writable(folder)
        shutil.rmtree(folder)


def copy_read_only(source: Path, target: Path) -> None:
    """Copy a folder, following symlinks, and take the right to write from the copy.

    A hard link would share the mode and the content with the user's own file; a copy costs disk and time, but
    no script can harm the original through it.
    """
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for current, _, files in os.walk(target, topdown=False):
        for name in files:
            Path(current, name).chmod(0o444)
        Path(current).chmod(0o555)

"""A place that looks like the script's own and can be written, for scripts that write beside themselves.

Kaggle mounts inputs read-only, while many scripts (all of Coqui's recipes) put their output, speakers.json or
a phoneme cache into `os.path.dirname(os.path.abspath(__file__))`. Such a script sees a copy of itself as
`__file__`, in a folder with links to all that lies around the original. Nothing of that folder is kept; run
folders are redirected to the session's outputs (trainer.py).
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

_OWN_PLACE = re.compile(rb"\b(?:__file__|sys\.argv\[0\]|sys\.path\[0\])")


def writable_script(  # noqa: PLR0913 - what is copied, where to, and why.
    script: Path,
    source: bytes,
    inputs: Sequence[str],
    folder: Path,
    say: Callable[[str], None],
    *,
    changed: bool = False,
) -> Path:
    """Return the path that the script is to see as its own.

    Args:
        script: the script.
        source: its content, in UTF-8.
        inputs: the folders of the session's inputs, which are read-only.
        folder: where the copy is made.
        say: writes a line to the log.
        changed: whether the file is in another encoding, in which the trainer could not read it.
    """
    script = script.absolute()
    mount = next((Path(item) for item in inputs if script.is_relative_to(item)), None)
    if mount is None or not (changed or _OWN_PLACE.search(source)):
        return script
    top = Path(os.path.commonpath([str(script), *inputs]))
    if top == Path(top.anchor):
        top = mount
    try:
        copy = _copy(script, top, folder)
        copy.write_bytes(source)
    except OSError as error:
        say(f"the script's folder is read-only, and it cannot be copied: {error.strerror}")
        return script
    if changed:
        say("the script is in UTF-16; it is read all the same")
        return copy
    say(f"the script asks for its own folder, which is read-only: it sees {copy.parent}, where it can write")
    return copy


def _copy(script: Path, top: Path, folder: Path) -> Path:
    place = folder
    for part in script.parent.relative_to(top).parts:
        _link_all(top, place, but=part)
        top, place = top / part, place / part
    _link_all(top, place, but=script.name, deep=True)
    shutil.copyfile(script, place / script.name)
    return place / script.name


def _link_all(source: Path, place: Path, *, but: str, deep: bool = False) -> None:
    """Link everything in a folder but one name. Deep: folders are folders, so that `os.walk` sees all."""
    place.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name == but:
                continue
            if deep and entry.is_dir():
                _link_all(Path(entry.path), place / entry.name, but="", deep=True)
                continue
            with contextlib.suppress(FileExistsError):  # Of an earlier training in this session, or rank 0.
                (place / entry.name).symlink_to(entry.path)

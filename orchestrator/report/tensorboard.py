"""TensorBoard on the event files of all sessions of a run.

Each session's run folder holds those of the sessions before it, copied: of files with one name the largest is
the whole one. In one folder they make one curve, since their names begin with the time.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from orchestrator.errors import LocalError, UsageError
from orchestrator.results import PulledSession

_EVENTS = "**/*events.out.tfevents.*"
_NAME = re.compile(r"events\.out\.tfevents\.[0-9A-Za-z._-]{1,200}")
_LOOPBACK = "127.0.0.1"
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def event_files(sessions: Iterable[PulledSession]) -> list[Path]:
    """The event files of a run's sessions, each once, in the order of their names.

    Raises:
        UsageError: none were pulled.
    """
    largest: dict[str, Path] = {}
    looked = []
    for item in sessions:
        looked.append(item.folder)
        for place in sorted((item.folder / "training").glob(_EVENTS)):
            if not place.is_file() or not _NAME.fullmatch(place.name):
                continue
            if place.name not in largest or place.stat().st_size > largest[place.name].stat().st_size:
                largest[place.name] = place
    if not largest:
        where = looked[-1] if looked else "here"
        raise UsageError(
            f"No event files of TensorBoard were pulled to {where} or its like.",
            hint='`kgtts pull` brings them when [pull] include has "newest-events", as it has by itself',
        )
    return [largest[name] for name in sorted(largest)]


def gather(files: Sequence[Path], folder: Path, run: str) -> None:
    """Put links to the files into `folder`/`run`, or copies where the system gives no links.

    Raises:
        LocalError: the folder cannot be written to.
    """
    place = folder / (re.sub(r"[^0-9A-Za-z._-]", "_", run)[:80].strip(".") or "run")
    try:
        place.mkdir(parents=True)
        for file in files:
            try:
                (place / file.name).symlink_to(file.resolve())
            except OSError:  # Windows gives links to administrators only.
                shutil.copyfile(file, place / file.name)
    except OSError as error:
        raise LocalError(f"{place} cannot be written: {error.strerror or error}.") from error


def command_of(
    *,
    find: Callable[[str], object | None] = importlib.util.find_spec,
    which: Callable[[str], str | None] = shutil.which,
) -> list[str]:
    """How TensorBoard is started here: as the shell would, else by this Python where it has the package.

    Raises:
        LocalError: it is not installed.
    """
    if (place := which("tensorboard")) is not None:
        return [place]
    if find("tensorboard") is not None:
        # -P: no folder of that name in the working directory is taken for it.
        return [sys.executable, "-P", "-m", "tensorboard.main"]
    raise LocalError(
        "TensorBoard is not installed.",
        hint="pip install tensorboard; `kgtts metrics` shows the losses without it",
    )


def serve(command: Sequence[str], folder: Path, port: int, *, run: Run = subprocess.run) -> None:
    """Run TensorBoard on `folder`, on loopback alone, until it ends; it says its own address.

    Args:
        command: from `command_of`.
        folder: the event files, in folders that name their runs.
        port: where it listens; 0 for any free one.
        run: starts a process and waits for it.

    Raises:
        LocalError: it did not start, or ended with an error.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
    asked = ["--logdir", str(folder), "--host", _LOOPBACK, "--port", str(port)]
    try:
        ended = run([*command, *asked], env=env, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise LocalError(f"TensorBoard could not be started: {error.strerror or error}.") from error
    if ended.returncode:
        raise LocalError(
            f"TensorBoard ended with exit code {ended.returncode}.",
            hint="--port 0 takes any free port, where the one asked for was taken",
        )

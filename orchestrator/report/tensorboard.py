"""Run TensorBoard on the event files of all sessions of a run.

Each session's run folder has copies of the earlier sessions' event files; of several with the same name, the
largest is the complete one. Their names begin with the time, so in one folder they make one curve.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kernel_template.contract import TRAINING_FOLDER
from orchestrator.errors import LocalError, UsageError
from orchestrator.results import PulledSession

_EVENTS = "**/*events.out.tfevents.*"
_NAME = re.compile(r"events\.out\.tfevents\.[0-9A-Za-z._-]{1,200}")
_LOOPBACK = "127.0.0.1"
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def event_files(sessions: Iterable[PulledSession]) -> list[Path]:
    """The event files of a run's sessions, each once, in the order of their names.

    Raises:
        UsageError: there are none.
    """
    largest: dict[str, Path] = {}
    for item in sessions:
        for place in sorted((item.folder / TRAINING_FOLDER).glob(_EVENTS)):
            if not place.is_file() or not _NAME.fullmatch(place.name):
                continue
            if place.name not in largest or place.stat().st_size > largest[place.name].stat().st_size:
                largest[place.name] = place
    if not largest:
        raise UsageError(
            "No event files of TensorBoard were pulled with this run.",
            hint='`kgtts pull` downloads them if include in [pull] has "newest-events", as by default',
        )
    return [largest[name] for name in sorted(largest)]


def gather(files: Sequence[Path], folder: Path, run: str) -> None:
    """Put links to the files into `folder`/`run`, or copies if the system refuses links.

    Raises:
        LocalError: the folder cannot be written to.
    """
    place = folder / (re.sub(r"[^0-9A-Za-z._-]", "_", run)[:80].strip(".") or "run")
    try:
        place.mkdir(parents=True)
        for file in files:
            try:
                (place / file.name).symlink_to(file.resolve())
            except OSError:  # Windows allows links to administrators only.
                shutil.copyfile(file, place / file.name)
    except OSError as error:
        raise LocalError(f"{place} cannot be written: {error.strerror or error}.") from error


def command_of(
    *,
    find: Callable[[str], object | None] = importlib.util.find_spec,
    which: Callable[[str], str | None] = shutil.which,
) -> list[str]:
    """The command that starts TensorBoard: the program on the PATH, or else this Python's package.

    Raises:
        LocalError: it is not installed.
    """
    if (place := which("tensorboard")) is not None:
        return [place]
    if find("tensorboard") is not None:
        # -P: a folder of that name in the working directory must not be imported.
        return [sys.executable, "-P", "-m", "tensorboard.main"]
    raise LocalError(
        "TensorBoard is not installed.",
        hint="pip install tensorboard; `kgtts metrics` shows the losses without it",
    )


def serve(command: Sequence[str], folder: Path, port: int, *, run: Run = subprocess.run) -> None:
    """Run TensorBoard on `folder` until it ends. It listens on 127.0.0.1 only, and prints its address.

    Args:
        command: from `command_of`.
        folder: has a folder of event files for each run.
        port: the port; 0 for any free one.
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
            hint="if the port is in use, --port 0 takes any free one",
        )

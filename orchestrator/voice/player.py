"""The programs that play sound on each system, none of which is ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import LocalError

_FFPLAY = ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-i")
# The path comes through a variable: in PowerShell's words it would have to be quoted.
_POWERSHELL = "(New-Object Media.SoundPlayer $env:KGTTS_SOUND).PlaySync()"
_PLAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "darwin": (("afplay",), _FFPLAY),
    "win32": (("powershell", "-NoProfile", "-NonInteractive", "-Command", _POWERSHELL), _FFPLAY),
}
_ELSEWHERE = (("pw-play",), ("paplay",), ("aplay", "-q"), _FFPLAY)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def find_players(
    *, platform: str = sys.platform, which: Callable[[str], str | None] = shutil.which
) -> list[list[str]]:
    """The commands that can play a file here, the system's own first; the file's path comes behind them."""
    known = _PLAYERS.get(platform, _ELSEWHERE)
    found = [(which(command[0]), command) for command in known]
    return [[place, *command[1:]] for place, command in found if place is not None]


def play(file: Path, players: Sequence[Sequence[str]], *, run: Run = subprocess.run) -> None:
    """Play a file with the first player that can, and wait until it is over.

    Raises:
        LocalError: none can; a machine without a sound card has players all the same.
    """
    path = str(file.resolve())
    env = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
    env["KGTTS_SOUND"] = path
    why = "no program that plays sound was found"
    for command in players:
        behind = () if command[-1] == _POWERSHELL else (path,)
        try:
            ended = run(
                [*command, *behind],
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            why = f"{Path(command[0]).name} could not be started: {error.strerror or error}"
            continue
        if ended.returncode == 0:
            return
        words = (ended.stderr or ended.stdout or "").strip().splitlines()
        said = "".join(letter for letter in (words[-1] if words else "") if letter.isprintable())[:200]
        why = f"{Path(command[0]).name} failed: {said or f'exit code {ended.returncode}'}"
    raise LocalError(
        f"The speech could not be played here: {why}.",
        hint="kgtts say with --out said.wav writes it to a file",
    )

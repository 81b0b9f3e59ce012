"""Write speech as WAV, and play it with a program of this system."""

import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestrator import untrusted
from orchestrator.errors import LocalError
from orchestrator.files import replacing

_SAMPLE_BYTES = 2
_LOUDEST = 32_767  # The largest 16-bit sample.

_FFPLAY = ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-i")
# PowerShell reads the path from an environment variable: within a command it would need quoting.
_SOUND_PLAYER = "(New-Object Media.SoundPlayer $env:KGTTS_SOUND).PlaySync()"
_SILENT = ("-NoProfile", "-NonInteractive", "-Command", _SOUND_PLAYER)
_PLAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "darwin": (("afplay",), _FFPLAY),
    "win32": (("powershell", *_SILENT), ("pwsh", *_SILENT), _FFPLAY),
}
_OTHER_PLAYERS = (("pw-play",), ("paplay",), ("aplay", "-q"), _FFPLAY)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pcm16(samples: Any, silence_s: float, sample_rate: int) -> bytes:
    """Samples, and the silence after them, as 16-bit little-endian PCM.

    The voice's own loudness is kept, so that two voices can be compared; what is louder than 1 is clipped.

    Args:
        samples: a numpy array of float32, from -1 to 1.
        silence_s: the silence in seconds.
        sample_rate: samples per second.
    """
    loud = (samples.clip(-1.0, 1.0) * _LOUDEST).round().astype("<i2").tobytes()
    return bytes(loud) + bytes(_SAMPLE_BYTES * round(silence_s * sample_rate))


def write_wav(path: Path, sample_rate: int, parts: Iterable[bytes]) -> float:
    """Write mono 16-bit samples to `path`, completely or not at all; parts are written as they come.

    Returns:
        How many seconds of sound were written.

    Raises:
        LocalError: the folder cannot be written to, or is full; `path` is as it was.
    """
    written = 0
    with replacing(path) as file, wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(_SAMPLE_BYTES)
        sound.setframerate(sample_rate)
        for part in parts:
            sound.writeframes(part)
            written += len(part)
    return written / _SAMPLE_BYTES / sample_rate


def find_players(
    *, platform: str = sys.platform, which: Callable[[str], str | None] = shutil.which
) -> list[list[str]]:
    """The commands that can play a sound file on this system, the preferred one first.

    Args:
        platform: the system, as `sys.platform` names it.
        which: finds a program on the PATH.
    """
    known = _PLAYERS.get(platform, _OTHER_PLAYERS)
    found = [(which(command[0]), command) for command in known]
    return [[place, *command[1:]] for place, command in found if place is not None]


def play(file: Path, players: Sequence[Sequence[str]], *, run: Run = subprocess.run) -> None:
    """Play a file with the first player that works, and wait until it has ended.

    Args:
        file: a WAV file.
        players: the commands, from `find_players`.
        run: starts a program and waits for it.

    Raises:
        LocalError: no player works; a machine without a sound card has players all the same.
    """
    path = str(file.resolve())
    env = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
    env["KGTTS_SOUND"] = path
    why = "no program that plays sound was found"
    for command in players:
        arguments = () if command[-1] == _SOUND_PLAYER else (path,)
        try:
            ended = run(
                [*command, *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError as error:
            why = f"{Path(command[0]).name} could not be started: {error.strerror or error}"
            continue
        if ended.returncode == 0:
            return
        lines = (ended.stderr or ended.stdout or "").strip().splitlines()
        said = untrusted.one_line(lines[-1] if lines else "", 200)
        why = f"{Path(command[0]).name} failed: {said or f'exit code {ended.returncode}'}"
    raise LocalError(
        f"The speech could not be played on this machine: {why}.",
        hint="write it to a file with `kgtts say --out said.wav`",
    )

"""Write speech as WAV, FLAC, Ogg Vorbis or MP3, and play it with a program of this system."""

import importlib
import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kernel_template.sound import SAMPLE_BYTES
from orchestrator import untrusted
from orchestrator.errors import LocalError, UsageError
from orchestrator.files import replacing

_BLOCK = 65_536  # Bytes.
_LARGEST_WAV = (1 << 32) - (1 << 16)  # Bytes of samples, so that the header's sizes fit.
_PLAYED_SHARE = 0.5  # A player that ends sooner than this share of the sound has played nothing.
_TELLING_S = 1.0  # A shorter sound shows nothing: programs need time to start.

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


@dataclass(frozen=True, slots=True)
class _Format:
    """A file format that soundfile writes: its names there, and for people."""

    major: str
    subtype: str
    label: str


_FORMATS = {
    ".flac": _Format("FLAC", "PCM_16", "FLAC"),
    ".ogg": _Format("OGG", "VORBIS", "Ogg Vorbis"),
    ".mp3": _Format("MP3", "MPEG_LAYER_III", "MP3"),
}
_WAV = ("", ".wav", ".wave")


def check_format(path: Path) -> None:
    """Check, before anything is spoken, that sound can be written in the format of a file's ending.

    Raises:
        UsageError: kgtts writes no such files.
        LocalError: the package for this format is not installed, or too old.
    """
    ending = path.suffix.lower()
    if ending in _WAV:
        return
    form = _FORMATS.get(ending)
    if form is None:
        raise UsageError(
            f"kgtts cannot write {path}: it writes files that end with .wav, {', '.join(_FORMATS)}.",
            hint=f"--out {path.with_suffix('.wav')}",
        )
    available = _soundfile(form).available_formats()
    if form.major not in available:
        raise LocalError(
            f"The installed soundfile cannot write {form.label} files.",
            hint="pip install --upgrade 'kgtts[speak]', or write a .wav file",
        )


def _soundfile(form: _Format) -> Any:
    try:
        return importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: its library is missing.
        raise LocalError(
            f"Writing {form.label} files needs the package soundfile, which is not installed.",
            hint='pip install "kgtts[speak]", or write a .wav file',
        ) from error


def write_sound(
    path: Path, sample_rate: int, parts: Iterable[bytes], *, largest_wav: int = _LARGEST_WAV
) -> float:
    """Write mono 16-bit samples to `path`, completely or not at all; parts are written as they come.

    The ending decides about the format: WAV, FLAC, Ogg Vorbis or MP3; without one it is WAV.

    Args:
        path: the file.
        sample_rate: samples per second.
        parts: 16-bit samples, one after the other.
        largest_wav: bytes of samples that a WAV file may have.

    Returns:
        How many seconds of sound were written.

    Raises:
        UsageError, LocalError: as `check_format`; or the folder cannot be written to, or is full. `path` is
            as it was.
    """
    check_format(path)
    form, written = _FORMATS.get(path.suffix.lower()), 0
    with replacing(path) as file, _writer(file, form, sample_rate, path) as write:
        for part in parts:
            if form is None and written + len(part) > largest_wav:
                raise UsageError(
                    f"The speech is too long for {path}: a WAV file can have 4 GB.",
                    hint=f"--out {path.with_suffix('.flac')}",
                )
            write(part)
            written += len(part)
    return written / SAMPLE_BYTES / sample_rate


@contextmanager
def _writer(
    file: IO[bytes], form: _Format | None, sample_rate: int, path: Path
) -> Iterator[Callable[[bytes], object]]:
    """Give a function that appends samples to an open file."""
    if form is None:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(SAMPLE_BYTES)
            sound.setframerate(sample_rate)
            yield sound.writeframes
        return
    soundfile = _soundfile(form)

    def write(part: bytes) -> None:
        # libsndfile's Vorbis encoder puts what it gets at once on the stack.
        for at in range(0, len(part), _BLOCK):
            encoded.buffer_write(part[at : at + _BLOCK], dtype="int16")

    try:
        with soundfile.SoundFile(
            file, "w", samplerate=sample_rate, channels=1, format=form.major, subtype=form.subtype
        ) as encoded:
            yield write
    except soundfile.SoundFileError as error:
        why = untrusted.one_line(str(error), 200).rstrip(".")
        raise LocalError(
            f"{path} could not be written as {form.label} with {sample_rate} samples per second: {why}.",
            hint=f"--out {path.with_suffix('.wav')}",
        ) from error


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


def play(
    file: Path,
    players: Sequence[Sequence[str]],
    seconds: float,
    *,
    run: Run = subprocess.run,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Play a file with the first player that works, and wait until it has ended.

    Some players end without an error on a machine that has no sound card: one that ends much sooner than the
    sound counts as failed.

    Args:
        file: a WAV file.
        players: the commands, from `find_players`.
        seconds: how long the sound is.
        run: starts a program and waits for it.
        clock: monotonic seconds.

    Raises:
        LocalError: nothing was played, and why.
    """
    path = str(file.resolve())
    env = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
    env["KGTTS_SOUND"] = path
    why = "no program that plays sound was found"
    for command in players:
        arguments = () if command[-1] == _SOUND_PLAYER else (path,)
        began = clock()
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
        took = clock() - began
        early = seconds >= _TELLING_S and took < seconds * _PLAYED_SHARE
        if ended.returncode == 0 and not early:
            return
        lines = (ended.stderr or ended.stdout or "").strip().splitlines()
        said = untrusted.one_line(lines[-1] if lines else "", 200)
        how = f"ended after {took:.1f} of {seconds:.1f} s" if ended.returncode == 0 else "failed"
        why = f"{Path(command[0]).name} {how}: {said or f'exit code {ended.returncode}'}"
    raise LocalError(
        f"Nothing was played, since this machine could not play the speech: {why}.",
        hint="write it to a file with `kgtts say --out said.wav`",
    )

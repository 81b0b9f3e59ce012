"""Bangla speech for the demo's dataset, spoken on this machine by eSpeak NG's `bn` as a woman.

The library comes from the optional package `espeakng-loader` (eSpeak NG 1.52) and is called through ctypes,
in a process of its own: eSpeak NG carries state from one utterance to the next (pitch flutter continues), so
only a fresh process speaks the same sentences with the same samples. Nothing of eSpeak NG is bundled, since
it is under GPL-3.0-or-later. It sounds like a robot, but its dataset needs no download and fits its text.
"""

import array
import ctypes
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import wave
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Protocol, cast

from orchestrator.emulator.options import INSTALL_HINT
from orchestrator.errors import LocalError

SAMPLE_RATE = 22_050  # Hz; what eSpeak NG produces and what the base voice is made for.

_PACKAGE = "espeakng_loader"
_TIMEOUT_S = 120
VOICE = "bn+f1"  # The base voice speaks as eSpeak NG's plain `bn`, a man: what is learnt can be heard.
WORDS_A_MINUTE = 150  # As the base voice speaks.
_RATE_PARAMETER = 1  # espeakRATE
_OUTPUT_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback, in the caller's thread.
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: an error is returned; the process lives on.
_CHARS_UTF8 = 1  # espeakCHARS_UTF8
_POSITION_CHARACTER = 1  # espeak_POSITION_TYPE
# eSpeak NG keeps its data path in 160 bytes (N_PATH_HOME). If the given path is longer, as that of a virtual
# environment deep in a home directory may be, it silently uses the path that it was compiled with.
_LONGEST_DATA_PATH = 120

_COMPOSED = (("ড\u09bc", "\u09dc"), ("ঢ\u09bc", "\u09dd"), ("য\u09bc", "\u09df"))

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Loader(Protocol):
    """The part of `espeakng_loader` in use."""

    def get_library_path(self) -> str: ...
    def get_data_path(self) -> str: ...


def speak(utterances: Mapping[str, str], folder: Path) -> list[Path]:
    """Speak each text into `folder/NAME.wav`: mono, 16 bit, `SAMPLE_RATE`; the paths in the order given.

    Args:
        utterances: texts by name; a name becomes a file name and must hold no path separator.
        folder: an existing folder.

    The same utterances in the same order give the same bytes with the same release of eSpeak NG.

    Raises:
        LocalError: the package is missing or does not work here, or a text contains nothing to speak.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        raise LocalError(
            "The demo's speech needs the package espeakng-loader, which is not installed.", hint=INSTALL_HINT
        )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "orchestrator.emulator.demo.speech", str(folder)],
            input=json.dumps(dict(utterances)).encode(),
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise LocalError(f"eSpeak NG did not finish within {_TIMEOUT_S} s.", hint=INSTALL_HINT) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"its process ended with {done.returncode}"
        raise LocalError(f"The demo's speech could not be made: {why}", hint=INSTALL_HINT)
    return [folder / f"{name}.wav" for name in utterances]


def child_environment(*first: Path) -> dict[str, str]:
    """The environment of a child process that imports this package: no Kaggle credentials, no GPU.

    Args:
        first: folders to put first on the module path.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
    known = environment.get("PYTHONPATH", "")
    paths = [*map(str, first), str(Path(__file__).resolve().parents[3]), *([known] if known else [])]
    return environment | {"PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""}


def _speak_all(utterances: Mapping[str, str], folder: Path) -> None:
    """Speak all texts in this process; see `speak`."""
    loader = cast("_Loader", importlib.import_module(_PACKAGE))
    library = ctypes.CDLL(loader.get_library_path())
    with tempfile.TemporaryDirectory(prefix="kgtts-espeak-") as short:
        data = _reachable(Path(loader.get_data_path()), Path(short))
        rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), _DONT_EXIT)
        if rate != SAMPLE_RATE or library.espeak_SetVoiceByName(VOICE.encode()) != 0:
            raise LocalError(f"eSpeak NG's data in {data.resolve()} has no Bangla voice.")
        library.espeak_SetParameter(_RATE_PARAMETER, WORDS_A_MINUTE, 0)
        for name, text in utterances.items():
            _write_wav(folder / f"{name}.wav", _samples(library, text))


def _reachable(data: Path, short: Path) -> Path:
    """The data path, or a short link to it if it is too long for eSpeak NG."""
    if len(os.fsencode(data)) <= _LONGEST_DATA_PATH:
        return data
    link = short / data.name
    link.symlink_to(data, target_is_directory=True)
    return link


def _samples(library: ctypes.CDLL, text: str) -> "array.array[int]":
    spoken = array.array("h")

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if count > 0:  # The last call of an utterance has no samples and a null pointer.
            spoken.extend(samples[:count])
        return 0  # Continue.

    callback = _CALLBACK(collect)  # The variable keeps it alive while C uses it.
    library.espeak_SetSynthCallback(callback)
    raw = _composed(text).encode() + b"\0"
    failed = library.espeak_Synth(
        raw, ctypes.c_size_t(len(raw)), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
    )
    if failed or not any(spoken):
        raise LocalError(f"The text {text!r} has no words to speak.")
    return spoken


def _composed(text: str) -> str:
    """Spell ড়, ঢ় and য় as one letter each: after a nukta, eSpeak NG loses the vowel sign."""
    return reduce(lambda spelled, pair: spelled.replace(*pair), _COMPOSED, text)


def _write_wav(path: Path, samples: "array.array[int]") -> None:
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())


if __name__ == "__main__":
    try:
        _speak_all(json.load(sys.stdin), Path(sys.argv[1]))
    except (LocalError, OSError) as failure:
        raise SystemExit(str(failure)) from failure

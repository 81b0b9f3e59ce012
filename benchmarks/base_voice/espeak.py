"""Speech of eSpeak NG with the times of its words and phonemes, through the package espeakng-loader.

eSpeak NG carries state from one utterance to the next, so a list of sentences sounds the same only
when a fresh process speaks it from its start: `speak` gives each portion of the list a process of its own.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

RATE = 22_050  # Hz
SYNCHRONOUS = 2
FLAGS = 0x8001  # DONT_EXIT and PHONEME_EVENTS
PORTION = 250
WORD, PHONEME = 1, 7


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Spoken:
    """One utterance: `samples` (int16), `words` (sample, character) and `phonemes` (sample, name)."""

    def __init__(
        self, samples: np.ndarray, words: Sequence[tuple[int, int]], phonemes: Sequence[tuple[int, str]]
    ) -> None:
        self.samples, self.words, self.phonemes = samples, words, phonemes


def speak_here(texts: Sequence[str], voice: str, speed: int) -> list[Spoken]:
    """Speak all texts in this process."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path()
    short = None
    if len(data) > 120:
        short = tempfile.TemporaryDirectory()
        link = Path(short.name, "espeak-ng-data")
        link.symlink_to(data)
        data = str(link)
    if library.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(data), FLAGS) != RATE:
        raise SystemExit("eSpeak NG does not start")
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise SystemExit(f"eSpeak NG has no voice {voice}")
    library.espeak_SetParameter(1, speed, 0)
    result = []
    for text in texts:
        chunks, words, phonemes = [], [], []

        def collect(samples: np.ndarray, count: int, events: Any) -> int:
            if count > 0:
                chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            at = 0
            while events and events[at].type:
                event = events[at]
                if event.type == WORD:
                    words.append((event.sample, event.text_position - 1))
                elif event.type == PHONEME:
                    phonemes.append((event.sample, bytes(event.name).decode("utf-8", "replace")))
                at += 1
            return 0

        callback = _CALLBACK(collect)
        library.espeak_SetSynthCallback(callback)
        raw = text.encode() + b"\0"
        if library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, 1, 0, 1, None, None) or not chunks:
            raise SystemExit(f"nothing to speak in {text!r}")
        result.append(Spoken(np.concatenate(chunks), words, phonemes))
    return result


def speak(texts: Sequence[str], voice: str, speed: int, workers: int) -> list[Spoken]:
    """Speak the texts in fresh processes, `PORTION` texts each; gives `Spoken` in order."""
    portions = [texts[at : at + PORTION] for at in range(0, len(texts), PORTION)]

    def portion(some: Sequence[str]) -> list[Spoken]:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "in").write_text("\n".join(some), encoding="utf-8")
            subprocess.run([sys.executable, __file__, voice, str(speed), folder], check=True)
            with np.load(Path(folder, "out.npz")) as stored:
                samples = np.split(stored["flat"], np.cumsum(stored["lengths"])[:-1])
            events = json.loads(Path(folder, "events.json").read_text(encoding="utf-8"))
        return [Spoken(one, *two) for one, two in zip(samples, events, strict=True)]

    with ThreadPoolExecutor(workers) as pool:
        return [one for spoken in pool.map(portion, portions) for one in spoken]


if __name__ == "__main__":
    _voice, _speed, _folder = sys.argv[1:]
    _spoken = speak_here(Path(_folder, "in").read_text(encoding="utf-8").split("\n"), _voice, int(_speed))
    np.savez(
        Path(_folder, "out.npz"),
        flat=np.concatenate([one.samples for one in _spoken]),
        lengths=[len(one.samples) for one in _spoken],
    )
    Path(_folder, "events.json").write_text(
        json.dumps([(one.words, one.phonemes) for one in _spoken]), encoding="utf-8"
    )

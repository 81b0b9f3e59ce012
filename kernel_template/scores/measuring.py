"""Lets voices speak held-out sentences, and measures them against the recordings, within a time limit.

Sounds and samples.json are written into each voice's folder.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Protocol

import numpy as np

from kernel_template.contract import SAMPLES_FILE, MeanScore, Measure, SentenceScores, Speaker
from kernel_template.scores.models import Models
from kernel_template.scores.program import NO_TIME, ScoringPlan, Voice
from kernel_template.scores.sounds import Sound, compare, load, resampled
from kernel_template.tools.files import json_bytes, write_atomic

_DIGITS = 4
_RECOGNISER_NEEDS_S = 180.0
_MARGIN = 1.2  # The next voice may take this much longer than the slowest so far.


class Voiced(Protocol):
    """A loaded voice, as finish.speak_program has it."""

    sample_rate: int

    def speak(self, text: str, speaker: str | None = None) -> tuple[Any, str, list[str]]:
        """Return samples, the text as it was spoken, and the characters that the voice does not know."""


def open_checkpoint(config: Path, checkpoint: Path, letters: dict[str, int] | None) -> Voiced:
    """Load a checkpoint with Coqui, which the recordings alone do not need."""
    from kernel_template.finish.speak_program import LoadedVoice  # noqa: PLC0415

    return LoadedVoice(config, checkpoint, letters)


class Measuring:
    """Measures voices.

    Args:
        plan: what to do.
        say: prints a record under a tag.
        clock: seconds since the program was started.
        open_voice: loads a voice from configuration, checkpoint and counts of letters.
    """

    def __init__(
        self,
        plan: ScoringPlan,
        say: Callable[[str, Mapping[str, Any]], None],
        clock: Callable[[], float],
        open_voice: Callable[[Path, Path, dict[str, int] | None], Voiced] = open_checkpoint,
    ) -> None:
        self._open = open_voice
        self._plan = plan
        self._say = say
        self._clock = clock
        self._slowest = 0.0

    def run(self) -> None:
        """Measure all voices for which there is time."""
        plan = self._plan
        self._recorded = [_read(Path(path)) for path in plan["sounds"]]
        self._models = self._load_models()
        self._models.learn_speaker(self._recorded)
        for voice in plan["voices"]:
            left = plan["limit_s"] - self._clock()
            speaks = voice["of"] != Speaker.RECORDINGS
            if left <= (self._slowest * _MARGIN if speaks else 0.0):
                self._skip(voice, NO_TIME)
                continue
            began = self._clock()
            try:
                self._measure(voice, began)
            except Exception as error:  # noqa: BLE001 - the other voices are still measured.
                self._skip(voice, f"{type(error).__name__}: {' '.join(str(error).split())}")
            if speaks:
                self._slowest = max(self._slowest, self._clock() - began)

    def _load_models(self) -> Models:
        """Load the models; a recogniser, which may have to be downloaded, only if there is time for it."""
        name, left = self._plan["recogniser"], self._plan["limit_s"] - self._clock()
        if name is None or left >= _RECOGNISER_NEEDS_S:
            return Models.load(name)
        models = Models.load(None)
        models.missing[Measure.CER] = (
            f"{name} needs {_RECOGNISER_NEEDS_S:.0f} s, and {left:.0f} s are left (scores.share)"
        )
        return models

    def _skip(self, voice: Voice, why: str) -> None:
        self._say("skipped", {"of": voice["of"], "global_step": voice["global_step"], "why": why})

    def _measure(self, voice: Voice, began: float) -> None:
        folder = Path(voice["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        sounds, samples = self._spoken(voice, folder)
        speakers = [item["speaker"] for item in self._plan["sentences"]]
        measured: list[SentenceScores] = []
        for number, (asked, sound) in enumerate(zip(self._plan["sentences"], sounds, strict=True)):
            scores: dict[str, float] = {}
            if sound is not None:
                scores = sound.plain_measures(asked["text"])
                recorded = self._recorded[number]
                if voice["of"] != Speaker.RECORDINGS and recorded is not None:
                    scores |= compare(sound, recorded)
                scores |= self._models.measure(sound, asked["text"], sentence=number, speakers=speakers)
            rounded = {str(name): round(value, _DIGITS) for name, value in scores.items()}
            measured.append({"file": asked["file"], "scores": rounded, "error": samples[number]["error"]})
        if not any(item["scores"] for item in measured):
            raise ValueError(samples[0]["error"] or "no sentence could be spoken")
        step = voice["global_step"]
        told = {"global_step": step, "checkpoint": voice["name"], "samples": samples}
        write_atomic(folder / SAMPLES_FILE, json_bytes(told))
        self._say(
            "scored",
            {
                "of": voice["of"],
                "global_step": step,
                "checkpoint": voice["name"],
                "seconds": round(self._clock() - began, 2),
                "means": means(measured),
                "sentences": measured,
                "missing": self._models.missing,
            },
        )

    def _spoken(self, voice: Voice, folder: Path) -> tuple[list[Sound | None], list[dict[str, Any]]]:
        """Write the sounds of a voice. Returns them, and what is recorded of each."""
        speaks = None
        if voice["of"] != Speaker.RECORDINGS:
            letters = _counts(voice["letters"])
            speaks = self._open(Path(voice["config"] or ""), Path(voice["checkpoint"] or ""), letters)
        sounds: list[Sound | None] = []
        samples: list[dict[str, Any]] = []
        for number, asked in enumerate(self._plan["sentences"]):
            record: dict[str, Any] = {"file": asked["file"], "text": asked["text"], "error": None}
            sound = None
            try:
                if speaks is None:
                    values, rate = _recording(Path(self._plan["sounds"][number]))
                else:
                    values, said, _ = speaks.speak(asked["text"], asked["speaker"])
                    rate = speaks.sample_rate
                    if said != asked["text"]:
                        record["spoken"] = said
                _write(folder / asked["file"], values, rate)
                record |= {"sample_rate": rate, "seconds": round(len(values) / rate, 3)}
                sound = Sound(resampled(values, rate))
            except Exception as error:  # noqa: BLE001 - the other sentences are still spoken.
                record["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            sounds.append(sound)
            samples.append(record)
        return sounds, samples


def means(measured: Sequence[SentenceScores]) -> dict[str, MeanScore]:
    """The mean of each measure over the sentences that have it, and the standard deviation between them."""
    values: dict[str, list[float]] = {}
    for item in measured:
        for name, value in item["scores"].items():
            values.setdefault(name, []).append(value)
    return {
        name: {
            "mean": round(fmean(found), _DIGITS),
            "spread": round(stdev(found), _DIGITS) if len(found) > 1 else 0.0,
            "count": len(found),
        }
        for name, found in values.items()
    }


def _read(path: Path) -> Sound | None:
    try:
        return Sound(load(path))
    except Exception:  # noqa: BLE001 - soundfile has errors of its own; the recordings' record says more.
        return None


def _recording(path: Path) -> tuple[Any, int]:
    import soundfile  # noqa: PLC0415 - the laptop's side may not have it.

    values, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    return values.mean(axis=1), int(rate)


def _write(path: Path, samples: Any, rate: int) -> None:
    import soundfile  # noqa: PLC0415 - as above.

    clipped = np.clip(np.nan_to_num(np.asarray(samples, dtype=np.float32)), -1.0, 1.0)
    soundfile.write(str(path), clipped, rate, subtype="PCM_16", format="WAV")


def _counts(path: str | None) -> dict[str, int] | None:
    try:
        found = json.loads(Path(path or "").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

"""Measures that need a model: speaker similarity, a predicted opinion score, a recogniser's character errors.

The first two bring their models in their packages and work offline. Their dependencies are not installed:
torch is there, and Resemblyzer's voice detector needs a compiler and is not used.
"""

import importlib
import importlib.util
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernel_template.contract import Measure
from kernel_template.scores.sounds import RATE, Sound, mel_spectrogram
from kernel_template.text.speaking import spoken

_PARTIAL, _STEP = 160, 77  # Frames that Resemblyzer looks at at once, and between two looks: 1.3 a second.
_WINDOW = 400  # Samples: 25 ms.
_LEAST_COVERED = 0.75  # Of the last look; a shorter rest is left out.
_LEVEL_DB = -30.0  # Quieter sounds are made this loud, as in Resemblyzer's training.
_LAYERS = (40, 256, 3)  # Mel bands, hidden units, layers.

Vector = Any  # An array of numpy.


class MissingModelError(Exception):
    """A model cannot be loaded; the text says why."""


def device() -> str:
    """Where models run: the training has ended, so the GPU is free."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class SpeakerEncoder(torch.nn.Module):
    """Resemblyzer's encoder (0.1.4): the same speaker's sounds give vectors that point the same way.

    Raises:
        MissingModelError: its package is not installed, or has other weights.
    """

    def __init__(self) -> None:
        super().__init__()
        bands, hidden, layers = _LAYERS
        self.lstm = torch.nn.LSTM(bands, hidden, layers, batch_first=True)
        self.linear = torch.nn.Linear(hidden, hidden)
        place = _package("resemblyzer", "Resemblyzer") / "pretrained.pt"
        try:
            stored = torch.load(place, map_location="cpu", weights_only=True)
            self.load_state_dict(stored["model_state"], strict=False)
        except (OSError, RuntimeError, KeyError) as error:
            raise MissingModelError(f"the weights in Resemblyzer cannot be used: {error}") from error
        self.eval().to(device())

    @torch.inference_mode()
    def embed(self, sound: Sound) -> Vector | None:
        """Return the unit vector of a sound's speaker; None if the sound is silent."""
        samples = sound.voice
        if not len(samples):
            return None
        level = 10 * np.log10(np.mean(samples.astype(float) ** 2) + 1e-12)
        samples = samples * np.float32(10 ** (max(_LEVEL_DB - level, 0.0) / 20))
        frames = mel_spectrogram(samples, _WINDOW, _WINDOW, _LAYERS[0]).T.astype(np.float32)
        starts = list(range(0, max(1, len(frames) - _PARTIAL + _STEP + 1), _STEP))
        if len(starts) > 1 and (len(frames) - starts[-1]) / _PARTIAL < _LEAST_COVERED:
            starts.pop()
        padded = np.pad(frames, ((0, max(0, starts[-1] + _PARTIAL - len(frames))), (0, 0)))
        looks = np.stack([padded[start : start + _PARTIAL] for start in starts])
        _, (hidden, _) = self.lstm(torch.from_numpy(looks).to(device()))
        vectors = torch.relu(self.linear(hidden[-1]))
        vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-9)
        return unit(vectors.mean(dim=0).cpu().numpy())


def unit(vector: Vector) -> Vector:
    """Return a vector at length 1."""
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def opinion_score() -> Callable[[Sound], float]:
    """Return DistillMOS (0.9.1): it predicts how well people would rate a sound, from 1 to 5.

    Raises:
        MissingModelError: its package is not installed or does not work here.
    """
    _package("distillmos", "distillmos")
    try:
        model = importlib.import_module("distillmos.sqa").ConvTransformerSQAModel()
        model.eval().to(device())
    except Exception as error:
        raise MissingModelError(f"distillmos does not work here: {type(error).__name__}: {error}") from error

    @torch.inference_mode()
    def score(sound: Sound) -> float:
        return float(model(torch.from_numpy(sound.samples)[None].to(device())).reshape(-1)[0])

    return score


def recogniser(name: str) -> Callable[[Sound], str]:
    """Load a speech recogniser of Hugging Face, which needs transformers, and internet for a new one.

    Raises:
        MissingModelError: it cannot be loaded.
    """
    try:
        pipeline = importlib.import_module("transformers").pipeline
        model = pipeline("automatic-speech-recognition", model=name, device=device())
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise MissingModelError(f"{name} cannot be loaded: {type(error).__name__}: {why}") from error

    def recognise(sound: Sound) -> str:
        return str(model({"raw": sound.samples, "sampling_rate": RATE})["text"])

    return recognise


def character_errors(heard: str, text: str) -> float:
    """Return how many characters must change from what was heard to the text, as a share of the text's.

    Both are compared as they are spoken: numbers in words, without punctuation. Can be above 1.
    """
    ours, wanted = _plain(heard), _plain(text)
    row = list(range(len(wanted) + 1))
    for number, letter in enumerate(ours, start=1):
        before, row[0] = row[0], number
        for place, other in enumerate(wanted, start=1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (letter != other)),
            )
    return row[-1] / max(1, len(wanted))


def _plain(text: str) -> str:
    kept = "".join(
        letter if unicodedata.category(letter)[0] in "LMN" else " "
        for letter in unicodedata.normalize("NFC", spoken(text).text)
    )
    return " ".join(kept.split())


def _package(module: str, distribution: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingModelError(f"{distribution} is not installed")
    return Path(spec.submodule_search_locations[0])


@dataclass
class Models:
    """The models that could be loaded, and why others could not.

    Attributes:
        missing: by measure, why it is not measured.
    """

    missing: dict[str, str] = field(default_factory=dict)
    _encoder: SpeakerEncoder | None = None
    _opinion: Callable[[Sound], float] | None = None
    _recognise: Callable[[Sound], str] | None = None
    _speaker: list[Vector | None] = field(default_factory=list)

    @classmethod
    def load(cls, asr: str | None) -> "Models":
        """Load all models; `asr` names a recogniser."""
        models = cls()
        models._encoder = models._try(Measure.SIMILARITY, SpeakerEncoder)
        models._opinion = models._try(Measure.MOS, opinion_score)
        if asr:
            models._recognise = models._try(Measure.CER, lambda: recogniser(asr))
        return models

    def _try(self, measure: Measure, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except MissingModelError as error:
            self.missing[measure] = str(error)
            return None

    def learn_speaker(self, recordings: Sequence[Sound | None]) -> None:
        """Note the speaker that voices are compared with: one recording for each sentence, or None."""
        if self._encoder is not None:
            self._speaker = [None if item is None else self._encoder.embed(item) for item in recordings]

    def measure(
        self, sound: Sound, text: str, *, sentence: int, speakers: Sequence[str | None]
    ) -> dict[str, float]:
        """Measure a sound.

        Args:
            sound: the sentence as it was spoken.
            text: what it says.
            sentence: its number. Its own recording is no reference for similarity if there are others.
            speakers: who speaks each sentence; only the same speaker's recordings are references.
        """
        found: dict[str, float] = {}
        if self._encoder is not None and (vector := self._encoder.embed(sound)) is not None:
            known = [
                (number, other)
                for number, other in enumerate(self._speaker)
                if other is not None and speakers[number] == speakers[sentence]
            ]
            others = [other for number, other in known if number != sentence] or [other for _, other in known]
            if others:
                found[Measure.SIMILARITY] = float(unit(vector) @ unit(np.mean(others, axis=0)))
        if self._opinion is not None:
            found[Measure.MOS] = self._opinion(sound)
        if self._recognise is not None:
            found[Measure.CER] = character_errors(self._recognise(sound), text)
        return found

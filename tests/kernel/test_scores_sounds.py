"""What is measured of sounds: known ones rank as they must, and models are used from their packages."""

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import Measure
from tests.kernel.kit import put
from tests.support import NEEDS_TORCH, Later

pytest.importorskip("scipy")
np, soundfile = (pytest.importorskip(name) for name in ("numpy", "soundfile"))

from kernel_template.scores.program import ScoringPlan, Voice  # noqa: E402 - it needs the packages above.
from kernel_template.scores.sounds import RATE, Sound, compare, load, resampled, warp  # noqa: E402

pytestmark = NEEDS_TORCH
torch: Any = Later("torch")
measuring: Any = Later("kernel_template.scores.measuring")
models: Any = Later("kernel_template.scores.models")

# Resonances of five vowels in Hz.
_VOWELS = ((730, 1090), (270, 2290), (300, 870), (530, 1840), (570, 840))


def speech(pitch: float, *, stretch: float = 1.0, formants: float = 1.0) -> Sound:
    """Five vowels with pauses between them, at a pitch that falls."""
    parts = [np.zeros(int(0.2 * RATE))]
    for number, vowel in enumerate(_VOWELS):
        time = np.arange(int(0.25 * stretch * RATE)) / RATE
        f0 = pitch * (1.1 - 0.05 * number)
        part = np.zeros(len(time))
        for harmonic in range(1, int(4000 / f0)):
            gain = sum(1 / (1 + ((harmonic * f0 - formants * place) / 90) ** 2) for place in vowel)
            part += gain * np.sin(2 * np.pi * harmonic * f0 * time)
        parts += [part * np.hanning(len(time)), np.zeros(int(0.05 * RATE))]
    samples = np.concatenate([*parts, np.zeros(int(0.3 * RATE))])
    return Sound((0.3 * samples / np.abs(samples).max()).astype(np.float32))


def with_noise(sound: Sound, level: float) -> Sound:
    """The same with noise."""
    noise = np.random.default_rng(1).standard_normal(len(sound.samples))
    return Sound((sound.samples + level * noise).astype(np.float32))


def hum(seconds: float = 2.0) -> Sound:
    """A tone of 120 Hz."""
    return Sound((0.2 * np.sin(2 * np.pi * 120 * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32))


def test_known_sounds_rank() -> None:
    """Mel distance: the recording, the same spoken slower, another speaker, noise, a hum."""
    recorded = speech(200)
    others = [
        recorded,
        speech(200, stretch=1.3),
        speech(205, formants=1.2),
        with_noise(speech(205, formants=1.2), 0.02),
        hum(),
    ]
    distances = [compare(sound, recorded)[Measure.MEL_DISTANCE] for sound in others]
    assert distances == sorted(distances)
    assert distances[0] < 1e-6
    assert distances[1] < 0.5 * distances[2]


def test_pitch_is_measured_in_semitones() -> None:
    """A voice an octave above is twelve semitones off, however fast it speaks."""
    recorded = speech(110)
    assert compare(recorded, recorded)[Measure.F0_ERROR] == 0.0
    assert compare(speech(220, stretch=1.2), recorded)[Measure.F0_ERROR] == pytest.approx(12.0, abs=1.0)
    pitch = speech(180).pitch
    assert np.nanmedian(pitch) == pytest.approx(180, rel=0.1)
    assert np.isnan(speech(180).pitch).any()


def test_pace_loudness_and_silence() -> None:
    """Rate counts letters in the time of speech; a quieter copy is as many decibels quieter."""
    sound = speech(200)
    found = sound.plain_measures("আমি ভাত")
    assert found[Measure.RATE] == pytest.approx(6 / 1.5, rel=0.15)
    quiet = Sound((sound.samples / 10).astype(np.float32)).plain_measures("আমি ভাত")
    assert found[Measure.LOUDNESS] - quiet[Measure.LOUDNESS] == pytest.approx(20, abs=0.5)
    assert 0.2 < found[Measure.SILENCE] < 0.6


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.zeros(5), np.zeros(0), np.full(900, 1e-7)])
def test_silence_has_nothing_to_compare(samples: Any) -> None:
    """A sound without speech gives no distance, no rate, and no error."""
    silent = Sound(samples.astype(np.float32))
    assert compare(silent, speech(200)) == compare(speech(200), silent) == {}
    assert silent.plain_measures("আমি").keys() == {Measure.SILENCE}


def test_a_click_is_short_enough_to_measure() -> None:
    """A sound shorter than a window of pitch has a distance and no pitch."""
    click = Sound(speech(200).speech[2000:2500].astype(np.float32))
    assert compare(click, speech(200)).keys() <= {Measure.MEL_DISTANCE}


def test_the_cheapest_path_is_found() -> None:
    """A path begins and ends in the corners, goes one step at a time, and follows what is cheap."""
    costs = np.ones((4, 6))
    cheap = [(0, 0), (1, 1), (1, 2), (2, 3), (3, 4), (3, 5)]
    for cell in cheap:
        costs[cell] = 0.0
    assert [tuple(cell) for cell in warp(costs).tolist()] == cheap
    assert warp(np.zeros((1, 1))).tolist() == [[0, 0]]


def test_files_are_read_at_one_rate(tmp_path: Path) -> None:
    """Other rates, and two channels, become mono at 16 kHz."""
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], axis=1), 44_100)
    sound = load(tmp_path / "a.wav")
    assert len(sound) == RATE
    assert np.abs(np.fft.rfft(sound)).argmax() == 440
    assert resampled(tone, RATE).dtype == np.float32


def test_means_say_how_far_sentences_differ() -> None:
    """The mean, standard deviation and count of each measure over those sentences that have it."""
    found = measuring.means(
        [
            {"file": "01.wav", "scores": {"mos": 3.0, "rate": 10.0}, "error": None},
            {"file": "02.wav", "scores": {"mos": 4.0}, "error": None},
            {"file": "03.wav", "scores": {}, "error": "ValueError: x"},
        ]
    )
    assert found["mos"] == {"mean": 3.5, "spread": round(math.sqrt(0.5), 4), "count": 2}
    assert found["rate"] == {"mean": 10.0, "spread": 0.0, "count": 1}


class Talker:
    """A voice that says everything in the same way, and cannot say one sentence."""

    sample_rate = 22_050

    def __init__(self, pitch: float, clock: list[float]) -> None:
        self._pitch, self._clock = pitch, clock

    def speak(self, text: str, speaker: str | None = None) -> tuple[Any, str, list[str]]:
        """Take four seconds."""
        self._clock[0] += 4.0
        if "ঔ" in text:
            raise ValueError("no\nsound")
        return resampled(speech(self._pitch).samples, RATE, self.sample_rate), text.strip("।"), []


def measured(tmp_path: Path, limit_s: float, recogniser: str | None = None) -> list[tuple[str, Any]]:
    """What the program prints of recordings, a base voice and two steps, three sentences each."""
    texts = ("আমি ভাত খাই।", "ঔষধ কোথায়?", "কেমন আছেন?")
    for number in range(2):  # The third cannot be read.
        soundfile.write(tmp_path / f"{number}.wav", speech(200).samples, RATE)
    clock = [0.0]

    def voice(of: str, step: int | None, pitch: str = "") -> Voice:
        folder = str(tmp_path / "out" / f"{of}{step or ''}")
        return {
            "of": of,
            "global_step": step,
            "config": "c",
            "checkpoint": pitch,
            "name": "c.pth",
            "letters": None,
            "folder": folder,
        }

    plan: ScoringPlan = {
        "sentences": [
            {"file": f"0{n}.wav", "text": text, "recording": f"{n}.wav", "speaker": None}
            for n, text in enumerate(texts)
        ],
        "sounds": [str(tmp_path / f"{number}.wav") for number in range(3)],
        "voices": [
            voice("step", 9, "200"),
            voice("recordings", None),
            voice("base", 0, "no"),
            voice("step", 5, "90"),
        ],
        "recogniser": recogniser,
        "limit_s": limit_s,
    }

    def opened(_config: Path, checkpoint: Path, _letters: Any) -> Talker:
        return Talker(float(str(checkpoint)), clock)

    said: list[tuple[str, Any]] = []
    measuring.Measuring(plan, lambda tag, record: said.append((tag, record)), lambda: clock[0], opened).run()
    return said


def test_each_voice_is_measured(tmp_path: Path) -> None:
    """A sentence or a voice that fails is named, and the others are measured."""
    said = measured(tmp_path, 1000.0)
    assert [(tag, record["of"], record["global_step"]) for tag, record in said] == [
        ("scored", "step", 9),
        ("scored", "recordings", None),
        ("skipped", "base", 0),
        ("scored", "step", 5),
    ]
    newest, recordings, _, older = (record for _, record in said)
    assert said[2][1]["why"].startswith("ValueError: could not convert string to float")
    assert [item["error"] for item in newest["sentences"]] == [None, "ValueError: no sound", None]
    assert newest["sentences"][2]["scores"].keys() == {
        "rate",
        "loudness",
        "silence",
    }  # Nothing to compare with.
    assert newest["means"]["mel_distance"]["mean"] < 0.5 < older["means"]["mel_distance"]["mean"]
    assert "mel_distance" not in recordings["means"]
    assert "LibsndfileError" in recordings["sentences"][2]["error"]
    assert newest["missing"].keys() == {"similarity", "mos"}
    told = json.loads((tmp_path / "out" / "step9" / "samples.json").read_text(encoding="utf-8"))
    assert (told["global_step"], told["samples"][0]["spoken"]) == (9, "আমি ভাত খাই")
    sound, rate = soundfile.read(tmp_path / "out" / "step9" / "00.wav")
    assert (rate, told["samples"][0]["seconds"]) == (22_050, round(len(sound) / rate, 3))


def test_a_recogniser_needs_time(tmp_path: Path) -> None:
    """A recogniser is not even loaded if little time is left, and the reason is said."""
    said = measured(tmp_path, 100.0, "owner/large")
    assert said[0][1]["missing"]["cer"] == "owner/large needs 180 s, and 100 s are left (scores.share)"


def test_what_would_take_too_long_is_skipped(tmp_path: Path) -> None:
    """The next voice begins only if there is time for one as slow as the slowest so far."""
    said = measured(tmp_path, 26.0)
    assert [(tag, record["global_step"]) for tag, record in said] == [
        ("scored", 9),
        ("scored", None),
        ("skipped", 0),
        ("skipped", 5),
    ]
    assert said[-1][1]["why"] == "no time is left"


@pytest.mark.parametrize(
    ("heard", "text", "share"),
    [
        ("আমি ভাত খাই", "আমি ভাত খাই।", 0.0),
        ("আমি ভাত", "আমি ভাত খাই", 4 / 11),
        ("", "আমি", 1.0),
        ("পাঁচ টাকা", "৫ টাকা", 0.0),
        ("আমি আমি আমি", "আমি", 8 / 3),
    ],
)
def test_character_errors(heard: str, text: str, share: float) -> None:
    """Characters to change, as a share of the text's; signs do not count, and numbers are words."""
    assert models.character_errors(heard, text) == pytest.approx(share)


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, **sources: str) -> None:
    """Make packages importable."""
    for name, source in sources.items():
        put(folder / name / "__init__.py", "")
        put(folder / name / "sqa.py", source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delitem(sys.modules, f"{name}.sqa", raising=False)
    monkeypatch.syspath_prepend(str(folder))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without their packages no model is loaded, and each measure says why."""
    monkeypatch.setattr(sys, "path", [])
    for name in ("resemblyzer", "distillmos", "transformers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = models.Models.load("owner/recogniser")
    assert found.missing["similarity"] == "Resemblyzer is not installed"
    assert found.missing["mos"] == "distillmos is not installed"
    assert found.missing["cer"].startswith("owner/recogniser cannot be loaded: ModuleNotFoundError")
    assert found.measure(speech(200), "আমি", sentence=0, speakers=[None]) == {}


def test_similarity_is_to_the_other_recordings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A recording is not compared with itself, and a speaker only with own recordings."""
    install(monkeypatch, tmp_path, resemblyzer="")
    torch.manual_seed(1)
    layers = torch.nn.ModuleDict(
        {"lstm": torch.nn.LSTM(40, 256, 3, batch_first=True), "linear": torch.nn.Linear(256, 256)}
    )
    large = {name: 8 * values for name, values in layers.state_dict().items()}  # Sounds make a difference.
    torch.save({"model_state": large}, tmp_path / "resemblyzer" / "pretrained.pt")
    found = models.Models.load(None)
    assert "similarity" not in found.missing
    one, other = speech(200), speech(100, formants=0.8)
    found.learn_speaker([one, other, one, None])
    speakers = ["a", "b", "a", "a"]
    own = found.measure(one, "আমি", sentence=0, speakers=speakers)[Measure.SIMILARITY]
    assert own == pytest.approx(1.0, abs=1e-5)
    assert found.measure(other, "আমি", sentence=0, speakers=speakers)[Measure.SIMILARITY] < own
    mixed = found.measure(one, "আমি", sentence=0, speakers=[None] * 4)[Measure.SIMILARITY]
    assert mixed < own


def test_an_unfit_package_is_a_missing_measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights of another form, and a package that fails, are reasons and no errors."""
    install(monkeypatch, tmp_path, resemblyzer="", distillmos="raise ImportError('no torchaudio')")
    torch.save({"other": 1}, tmp_path / "resemblyzer" / "pretrained.pt")
    found = models.Models.load(None)
    assert "cannot be used" in found.missing["similarity"]
    assert found.missing["mos"] == "distillmos does not work here: ImportError: no torchaudio"


def test_models_from_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The opinion score's model and the recogniser get the samples at 16 kHz."""
    source = """
import torch
class ConvTransformerSQAModel(torch.nn.Module):
    def forward(self, sound):
        assert sound.ndim == 2
        return 1 + 4 * sound.abs().amax(dim=1, keepdim=True)
"""
    install(monkeypatch, tmp_path, distillmos=source)
    asked: list[Any] = []

    def pipeline(task: str, **options: Any) -> Any:
        asked.append((task, options["model"]))
        return lambda given: {"text": "আমি ভাত" if given["sampling_rate"] == RATE else ""}

    stub = types.ModuleType("transformers")
    stub.__dict__["pipeline"] = pipeline
    monkeypatch.setitem(sys.modules, "transformers", stub)
    found = models.Models.load("owner/recogniser")
    scores = found.measure(speech(200), "আমি ভাত খাই", sentence=0, speakers=[None])
    assert asked == [("automatic-speech-recognition", "owner/recogniser")]
    assert scores[Measure.MOS] == pytest.approx(1 + 4 * 0.3, abs=1e-4)
    assert scores[Measure.CER] == pytest.approx(4 / 11)


def test_a_recogniser_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why a recogniser cannot be loaded is said in one line."""
    stub = types.ModuleType("transformers")

    def pipeline(*_: Any, **__: Any) -> Any:
        raise OSError("no\nsuch model")

    stub.__dict__["pipeline"] = pipeline
    monkeypatch.setitem(sys.modules, "transformers", stub)
    with pytest.raises(models.MissingModelError, match="x cannot be loaded: OSError: no such model"):
        models.recogniser("x")

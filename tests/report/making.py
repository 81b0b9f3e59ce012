"""Makes what a pulled run looks like: sessions with measurements, states, settings and spoken sentences."""

import io
import json
import math
import random
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

SENTENCES = (
    "আপনাকে স্বাগতম, আমি বাংলায় কথা বলতে শিখছি।",
    "আজ সকালে নদীর ধারে ঠান্ডা হাওয়া বইছে।",
)
RATE = 22050
GIB = 1024.0


@dataclass(frozen=True, slots=True)
class Made:
    """A run to make.

    Attributes:
        run: its id.
        kernel: the kernel's name, as in state.json.
        sessions: how many sessions it has.
        epochs: epochs of each.
        steps: steps of an epoch.
        print_every: how many steps there are between two that are measured.
        learning_rate: its setting.
        sentences: what it speaks.
        seed: the seed of its noise.
        held_out: the held-out sentences that are spoken and measured; none by default.
        loss: the evaluation's mel loss by the share of the run that is done.
    """

    run: str = "3f9c1a7be204"
    kernel: str = "asha/bangla-voice"
    sessions: int = 3
    epochs: int = 8
    steps: int = 100
    print_every: int = 5
    learning_rate: float = 0.0002
    sentences: tuple[str, ...] = SENTENCES
    seed: int = 7
    held_out: tuple[str, ...] = ()
    loss: Callable[[float], float] = lambda share: 18 + 26 * math.exp(-4 * share)

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.sessions * self.epochs * self.steps

    @property
    def train_points(self) -> int:
        """Measured training steps."""
        return len(range(0, self.total, self.print_every))

    @property
    def eval_points(self) -> int:
        """Evaluations."""
        return self.sessions * self.epochs

    def write(self, root: Path) -> Path:
        """Write the run to `root`/session-01 and so on, as passes pull it; return `root`."""
        noise = random.Random(self.seed)  # noqa: S311  # Noise of made-up measurements.
        lines: list[str] = []
        history: list[dict[str, Any]] = []
        for number in range(1, self.sessions + 1):
            folder = root / f"session-{number:02d}"
            folder.mkdir(parents=True)
            lines += [json.dumps(event) for event in self._events(number, noise)]
            (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            history.append(self._session(number))
            write_json(folder / "state.json", self._state(number, history))
            write_json(folder / "config.json", self._config())
            self._speak(folder, number)
            if self.held_out:
                self._speak_held_out(folder, number)
        return root

    def _events(self, number: int, noise: random.Random) -> Iterator[dict[str, Any]]:
        first = (number - 1) * self.epochs * self.steps
        begin = 240.0
        yield {"event": "start", "t": begin, "seconds": {"install": 95.0, "total": begin}, "session": number}
        for epoch in range((number - 1) * self.epochs, number * self.epochs):
            for step in range(0, self.steps, self.print_every):
                done = epoch * self.steps + step
                time = begin + (done - first) * 0.6
                place = {"t": time, "epoch": epoch, "epochs": self.epochs * self.sessions, "session": number}
                losses = dict(_losses(done / self.total, noise, self.learning_rate))
                yield {"event": "progress", **place, "step": step, "global_step": done, "losses": losses}
            end = (epoch + 1) * self.steps
            time = begin + (end - first) * 0.6
            place = {"t": time, "epoch": epoch, "global_step": end, "session": number}
            yield {"event": "resources", "t": time, "session": number, **_resources(end / self.total, noise)}
            share = end / self.total
            mel = self.loss(share) + noise.uniform(-0.4, 0.4)
            evaluated = {"avg_loss_mel": mel, "avg_loss_gen": 2.1 + noise.random() / 5, "avg_loss_kl": 1.4}
            yield {"event": "eval", **place, "losses": evaluated}
            yield {"event": "epoch", **place, "seconds": self.steps * 0.6, "losses": {}}
        if self.held_out:
            yield from self._scores(number)
        yield {"event": "checkpoint", **place, "path": f"checkpoint_{end}.pth", "best": False}
        yield {"event": "checkpoint", **place, "path": f"best_model_{end}.pth", "best": True}

    def _scores(self, number: int) -> Iterator[dict[str, Any]]:
        """The scores of a session; the first one measures the recordings and the base voice, too."""
        first = [("recordings", None, 0.0), ("base", 0, 1.0)] if number == 1 else []
        share = math.exp(-1.5 * number / self.sessions)
        for of, step, far in [*first, ("step", number * self.epochs * self.steps, share)]:
            yield score_event(of, step, far, len(self.held_out), session=number)

    def _speak_held_out(self, folder: Path, number: int) -> None:
        step = number * self.epochs * self.steps
        for name, pitch, clarity in (
            ("recordings", 210, 1.0),
            ("base", 130, 0.5),
            (f"step_{step}", 183 + self.seed, number / self.sessions),
        ):
            place = folder / "validation_samples" / "held_out" / name
            place.mkdir(parents=True)
            records = []
            for index, text in enumerate(self.held_out, start=1):
                write_tone(place / f"{index:02d}.wav", seconds=0.4, pitch=pitch, clarity=clarity)
                records.append({"file": f"{index:02d}.wav", "text": text, "error": None, "seconds": 0.4})
            write_json(place / "samples.json", {"global_step": step, "samples": records})

    def _session(self, number: int) -> dict[str, Any]:
        last = number == self.sessions
        return {
            "session": number,
            "kernel": f"{self.kernel}-{'ab'[(number + 1) % 2]}",
            "from_step": (number - 1) * self.epochs * self.steps,
            "to_step": number * self.epochs * self.steps,
            "from_epoch": (number - 1) * self.epochs,
            "to_epoch": number * self.epochs,
            "reason": "finished" if last else "budget",
            "seconds": self._seconds,
            "train_seconds": self._seconds - 300,
        }

    @property
    def _seconds(self) -> float:
        return 360.0 + self.epochs * self.steps * 0.6

    def _state(self, number: int, history: list[dict[str, Any]]) -> dict[str, Any]:
        in_steps = self.epochs * self.steps * 0.55
        return {
            "schema": 1,
            "run": {"id": self.run, "session": number, "kernel": history[-1]["kernel"], "kgtts": "0.1.0"},
            "status": "complete",
            "reason": history[-1]["reason"],
            "message": "The training ran to its end; the newest checkpoint is best_model.pth.",
            "done": number == self.sessions,
            "done_reason": "epochs",
            "global_step": history[-1]["to_step"],
            "epoch": history[-1]["to_epoch"] - 1,  # The one in which it was saved.
            "epochs": self.epochs * self.sessions,
            "steps_per_epoch": self.steps,
            "seconds_per_epoch": self.steps * 0.6,
            "best_loss": 18.52,
            "learned": {"batch_size": None, "accumulate": 1},
            "resources": {"seconds": self._seconds, "step_seconds": in_steps, "samples_per_s": 41.7},
            "seconds": {"total": self._seconds, "install": 95.0},
            "environment": {
                "python": "3.12.11",
                "torch": "2.8.0+cu126",
                "tts": "0.28.0",
                "gpus": ["Tesla T4", "Tesla T4"],
            },
            "checkpoints": [],
            "history": list(history),
        }

    def _config(self) -> dict[str, Any]:
        return {
            "model": "vits",
            "batch_size": 16,
            "lr_gen": self.learning_rate,
            "lr_disc": 0.0002,
            "audio": {"sample_rate": RATE, "fft_size": 1024, "mel_fmax": None},
            "characters": {"characters": "অআইঈউঊকখগঘঙ", "punctuations": "।,?! "},
            "test_sentences": [[text] for text in self.sentences],
        }

    def _speak(self, folder: Path, number: int) -> None:
        step = number * self.epochs * self.steps
        place = folder / "validation_samples" / f"step_{step}"
        place.mkdir(parents=True)
        records: list[dict[str, Any]] = []
        for index, text in enumerate(self.sentences, start=1):
            name = f"{index:02d}.wav"
            write_tone(
                place / name,
                seconds=1.2 + 0.3 * index,
                clarity=number / self.sessions,
                pitch=150 + 20 * index,
            )
            records.append({"file": name, "text": text, "error": None, "peak": 0.7, "unknown": []})
        write_json(
            place / "samples.json", {"global_step": step, "best": number == self.sessions, "samples": records}
        )


def score_event(
    of: str, step: int | None, far: float, count: int, *, session: int = 1, **more: object
) -> dict[str, Any]:
    """A `scores` event; `far` is how far the voice is from the speaker: 0 (she herself) to 1."""
    sentences = []
    for index in range(count):
        wobble = 0.3 * math.sin(7 * index + 3 * far)
        scores = {
            "mel_distance": 5 + 6 * far + wobble,
            "f0_error": 1 + 3 * far + wobble / 3,
            "similarity": 0.95 - 0.4 * far + wobble / 20,
            "mos": 4.4 - 1.5 * far + wobble / 4,
            "rate": 12.0 + wobble,
            "loudness": -21.0 + wobble,
            "silence": 0.12,
        }
        if of == "recordings":
            del scores["mel_distance"], scores["f0_error"]
        sentences.append({"file": f"{index + 1:02d}.wav", "scores": scores, "error": None})
    told: dict[str, Any] = {
        "global_step": step,
        "session": session,
        "sentences": sentences,
        "means": {},
        "missing": {},
    }
    return {"event": "scores", "t": 1.0, "of": of, **told, **more}


def _losses(share: float, noise: random.Random, learning_rate: float) -> Iterator[tuple[str, float]]:
    yield "loss_disc", 2.6 - 0.3 * share + noise.uniform(-0.15, 0.15)
    yield "loss_gen", 2.0 + 0.4 * share + noise.uniform(-0.2, 0.2)
    yield "loss_kl", 1.3 + 2 * math.exp(-9 * share) + noise.uniform(-0.1, 0.1)
    yield "loss_feat", 3.0 + 2 * share + noise.uniform(-0.4, 0.4)
    yield "loss_mel", 17 + 28 * math.exp(-5 * share) + noise.uniform(-1.5, 1.5)
    yield "loss_duration", 1.2 + math.exp(-3 * share) + noise.uniform(-0.1, 0.1)
    yield "grad_norm_0", 5 + noise.uniform(-2, 2)
    yield "current_lr_0", learning_rate * 0.9**share
    yield "step_time", 0.55 + noise.uniform(0, 0.05)


def _resources(share: float, noise: random.Random) -> dict[str, Any]:
    cards = [
        {
            "utilisation": 88 + noise.uniform(-6, 6) - 4 * card,
            "memory_used_mb": 11.2 * GIB + noise.uniform(-200, 200),
            "memory_total_mb": 15 * GIB,
        }
        for card in range(2)
    ]
    figures = {"disk_used_bytes": 2.1e9 + 3e9 * share, "disk_limit_bytes": 19e9, "ram_used_bytes": 9e9}
    rates = {"samples_per_s": 41 + noise.uniform(-2, 2), "loader_wait_share": 0.03, "goodput": 0.78}
    return {"gpus": cards, **figures, **rates}


def write_json(place: Path, value: Any) -> None:
    """Write JSON as the kernel does."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_tone(  # noqa: PLR0913  # What a voice sounds like.
    place: Path,
    *,
    seconds: float = 0.5,
    pitch: float = 180.0,
    clarity: float = 1.0,
    loudness: float = 0.6,
    width: int = 2,
) -> None:
    """Write a WAV file of something like a vowel: harmonics, and noise where it is unclear."""
    place.write_bytes(_tone(seconds, pitch, clarity, loudness, width))


@lru_cache(maxsize=256)
def _tone(seconds: float, pitch: float, clarity: float, loudness: float, width: int) -> bytes:
    time = np.arange(int(seconds * RATE)) / RATE
    glide = 2 * np.pi * (pitch * time + 15 * np.sin(5 * time))
    voice = sum(np.sin(glide * part) / part for part in range(1, 9)) / 2.5
    syllables = np.abs(np.sin(4 * np.pi * time))
    hiss = np.random.default_rng(3).uniform(-0.8, 0.8, len(time))
    samples = np.clip(loudness * (clarity * voice * syllables + (1 - clarity) * hiss), -1, 1)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(RATE)
        if width == 1:
            file.writeframes((128 + samples * 127).astype("u1").tobytes())
        else:
            whole = (samples * 32767).astype("<i4") * 256 ** (width - 2)
            file.writeframes(whole.view("u1").reshape(-1, 4)[:, :width].tobytes())
    return content.getvalue()


def write_data_set(folder: Path, sentences: tuple[str, ...]) -> Path:
    """Write a dataset as LJSpeech lays it out."""
    (folder / "wavs").mkdir(parents=True)
    rows = []
    for number, text in enumerate(sentences, start=1):
        write_tone(folder / "wavs" / f"bn_{number:04d}.wav", seconds=0.6, pitch=210)
        rows.append(f"bn_{number:04d}|{text}|{text}\n")
    (folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")
    return folder

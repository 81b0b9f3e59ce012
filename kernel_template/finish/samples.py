"""The test sentences, spoken by the newest checkpoint and the best model into `validation_samples/step_<N>/`.

The voice that the run began with speaks them once, into `validation_samples/base/`.

A voice that cannot speak yet is no reason to lose a session: every failure here is a warning.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.start.environment import Paths
from kernel_template.tools.files import WriteFile, json_bytes
from kernel_template.tools.json_program import VoiceProgram
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint

_LIMIT_S = 600.0
_MAX_SENTENCES = 20


def checkpoints_to_hear(whole: list[Checkpoint]) -> list[Checkpoint]:
    """Which checkpoints speak: the newest, where the training stands, and the best model, which is exported.

    The trainer's best is that of the eval loss, which for a GAN is no judge of sound: ears decide.
    """
    newest = max(whole, key=lambda item: (item.global_step, not item.best), default=None)
    best = max((item for item in whole if item.best), key=lambda item: item.global_step, default=None)
    if newest is None:
        return []
    return [newest] if best is None or best.global_step == newest.global_step else [newest, best]


def sentences_to_speak(settings: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The sentences to speak: the settings', or else the configuration's own.

    The configuration has them as texts, as lists that begin with the text (then speaker, style, language),
    or as objects with a `text`.
    """
    chosen = list(settings.get("sentences") or []) or config.get("test_sentences") or []
    if not isinstance(chosen, list):
        return []
    texts = []
    for item in chosen:
        text = item[0] if isinstance(item, list) and item else item
        text = text.get("text") if isinstance(text, dict) else text
        if isinstance(text, str) and text.strip():
            texts.append(text.strip())
    return texts[:_MAX_SENTENCES]


def has_spoken(folder: Path, sentences: Sequence[str]) -> bool:
    """Whether each of `sentences` was spoken into `folder`, or tried; not where that was cut off."""
    try:
        told = json.loads((folder / "samples.json").read_text(encoding="utf-8"))["samples"]
        return set(sentences) <= {item["text"] for item in told}
    except (OSError, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class SampleSpeaker:
    """Speaks sentences with `speak_program.py`.

    Args:
        program: that program, in the training's environment: on the same card.
        paths: the session's folders.
        report: where results are said.
        write: how files are written.
    """

    program: VoiceProgram
    paths: Paths
    report: Reporter
    write: WriteFile

    def speak(
        self,
        checkpoint: Checkpoint,
        config: Path,
        sentences: list[str],
        folder: Path,
        *,
        limit_s: float = _LIMIT_S,
    ) -> None:
        """Speak `sentences` with `checkpoint`; what fails is said as a warning.

        Args:
            checkpoint: the model.
            config: its configuration.
            sentences: what it says.
            folder: where that goes.
            limit_s: seconds that this may take, at most ten minutes.
        """
        try:
            self._speak(checkpoint, config, sentences, folder, min(limit_s, _LIMIT_S))
        except OSError as error:
            self.report.warn(f"The samples could not be made: {error}.")

    def _speak(
        self, checkpoint: Checkpoint, config: Path, sentences: list[str], folder: Path, limit_s: float
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        told = self.program(
            config, checkpoint.path, sentences, folder, tag="sample", limit_s=limit_s, hear=self._say
        )
        results = told.records
        spoken = [record for record in results if not record.get("error")]
        self.write(
            folder / "samples.json",
            json_bytes(
                {
                    "global_step": checkpoint.global_step,
                    "best": checkpoint.best,
                    "checkpoint": self.paths.relative(checkpoint.path),
                    "samples": results,
                }
            ),
        )
        if told.end.cut is not None:
            self.report.warn(
                f"Speaking the test sentences with {checkpoint.path.name} was cut off; {len(spoken)} of "
                f"{len(sentences)} are there."
            )
        elif told.end.returncode != 0 or len(spoken) < len(sentences):
            wrong = next((record["error"] for record in results if record.get("error")), None)
            why = wrong or told.last_words
            self.report.warn(
                f"{len(spoken)} of {len(sentences)} test sentences could be spoken with "
                f"{checkpoint.path.name}: {why}"
            )
        if folder != self.paths.base_samples:  # What it lacks is no fault of the run.
            self._warn_of_unheard(spoken)

    def _warn_of_unheard(self, spoken: list[dict[str, Any]]) -> None:
        """Say what a listener would miss: letters that the voice does not know, and silence."""
        unknown = dict.fromkeys(letter for record in spoken for letter in record.get("unknown") or [])
        if unknown:
            self.report.warn(
                f"The voice's vocabulary lacks {', '.join(repr(letter) for letter in unknown)}: the test "
                "sentences were spoken without."
            )
        silent = [str(record.get("file")) for record in spoken if record.get("silent")]
        if silent:
            self.report.warn(f"{', '.join(silent)} of the samples can hardly be heard: the voice is silent.")

    def _say(self, record: Mapping[str, Any]) -> None:
        if record.get("error"):
            return
        self.report.say(
            f"  {record.get('file')} ({float(record.get('seconds') or 0):.1f} s): {record.get('text')}"
        )

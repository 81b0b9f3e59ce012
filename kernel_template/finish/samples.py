"""Lets the newest checkpoint and the best model speak the test sentences into validation_samples/step_N/.

The voice that the run began with speaks them once, into validation_samples/base/. A failure is a warning; it
never costs the session.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kernel_template.contract import SAMPLES_FILE, SpokenSample, SpokenSamples
from kernel_template.finish.voice_program import VoiceProgram
from kernel_template.settings import SamplesSettings
from kernel_template.tools.files import WriteFile, json_bytes
from kernel_template.tools.paths import Paths
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, best_of

_LIMIT_S = 600.0
_MAX_SENTENCES = 20


def checkpoints_to_hear(whole: list[Checkpoint]) -> list[Checkpoint]:
    """Choose who speaks: the newest checkpoint, and the best model, which is exported.

    The trainer's best model has the lowest evaluation loss. For a GAN that says little about the sound, so
    people compare the two by ear; `run.best_by` chooses it by a score instead.
    """
    newest = max(whole, key=lambda item: item.rank, default=None)
    best = best_of(whole)
    if newest is None:
        return []
    return [newest] if best is None or best.global_step == newest.global_step else [newest, best]


def sentences_to_speak(settings: SamplesSettings, config: Mapping[str, Any]) -> list[str]:
    """Choose the sentences: those of the settings, else those of the configuration.

    The configuration has texts, lists that begin with the text (then speaker, style, language), or objects
    with a `text`.
    """
    chosen = settings["sentences"] or config.get("test_sentences") or []
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
    """Whether all `sentences` were tried into `folder`; False if that was interrupted."""
    try:
        samples = json.loads((folder / SAMPLES_FILE).read_text(encoding="utf-8"))["samples"]
        return set(sentences) <= {item["text"] for item in samples}
    except (OSError, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class SampleSpeaker:
    """Speaks sentences with a checkpoint.

    Args:
        program: `finish.speak_program`, on the GPU that trained.
        paths: the session's folders.
        report: prints messages.
        write: writes files.
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
        """Speak `sentences` with `checkpoint`; a failure is printed as a warning.

        Args:
            checkpoint: the model.
            config: its configuration.
            sentences: what to speak.
            folder: where the recordings go.
            limit_s: seconds for all of it, at most ten minutes.
        """
        try:
            self._speak(checkpoint, config, sentences, folder, min(limit_s, _LIMIT_S))
        except OSError as error:
            self.report.warn(f"The test sentences could not be spoken: {error}.")

    def _speak(
        self, checkpoint: Checkpoint, config: Path, sentences: list[str], folder: Path, limit_s: float
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Nobody knows the texts and the recordings that the base voice was trained on.
        own = folder != self.paths.base_samples
        result = self.program(
            config,
            checkpoint.path,
            sentences,
            folder,
            tag="sample",
            limit_s=limit_s,
            on_record=self._print,
            letters=self.paths.letters if own else None,
            recordings=self.paths.recordings if own else None,
        )
        results = result.records
        spoken = [record for record in results if not record.get("error")]
        content: SpokenSamples = {
            "global_step": checkpoint.global_step,
            "best": checkpoint.best,
            "checkpoint": self.paths.relative(checkpoint.path),
            "samples": cast("list[SpokenSample]", results),
        }
        self.write(folder / SAMPLES_FILE, json_bytes(content))
        if result.end.stop_cause is not None:
            self.report.warn(
                f"Speaking the test sentences with {checkpoint.path.name} was stopped: {len(spoken)} of "
                f"{len(sentences)} were spoken."
            )
        elif result.end.returncode != 0 or len(spoken) < len(sentences):
            wrong = next((record["error"] for record in results if record.get("error")), None)
            why = wrong or result.last_line
            self.report.warn(
                f"Only {len(spoken)} of {len(sentences)} test sentences could be spoken with "
                f"{checkpoint.path.name}: {why}"
            )
        if own:  # What the base voice lacks is not the run's fault.
            self._warn_of_faults(spoken)

    def _warn_of_faults(self, spoken: list[dict[str, Any]]) -> None:
        """Warn of letters that the voice does not know, and of what is odd about the sound."""
        unknown = dict.fromkeys(letter for record in spoken for letter in record.get("unknown") or [])
        if unknown:
            self.report.warn(
                f"The voice does not know {', '.join(repr(letter) for letter in unknown)}: the test "
                "sentences were spoken without them."
            )
        odd: dict[str, list[str]] = {}
        for record in spoken:
            for item in record.get("odd") or []:
                odd.setdefault(item["kind"], []).append(f"{record['file']} {item['what']}")
        for found in odd.values():
            others = f"; the same is odd in {len(found) - 1} of the other sentences" if len(found) > 1 else ""
            self.report.warn(f"The voice sounds odd: {found[0]}{others}.")

    def _print(self, record: Mapping[str, Any]) -> None:
        if record.get("error"):
            return
        self.report.say(
            f"  {record.get('file')} ({float(record.get('seconds') or 0):.1f} s): {record.get('text')}"
        )

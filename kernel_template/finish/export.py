"""Exports the best model to voice/voice.onnx, with its description voice/voice.json, to speak without torch.

Once in a run, the voice that the run began with is exported beside it as voice/base.onnx and voice/base.json,
so that the two can be compared. A failed export is a warning; it never costs the session.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from kernel_template.contract import (
    OWN_PREFIX,
    VOICE_CARD,
    VOICE_MODEL,
    VOICE_TOKENS,
    CheckState,
    Export,
    ExportState,
    Run,
)
from kernel_template.events import ExportEvent
from kernel_template.finish.voice_program import ProgramResult, VoiceProgram
from kernel_template.tools.files import (
    WriteFile,
    folder_bytes,
    human_seconds,
    human_size,
    json_bytes,
    sha256_of,
)
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import StopCause
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, best_of

EXPORT_LIMIT_S = 300.0  # A full VITS took 27 s on two cores, with imports and comparison.
_KEEP_FREE = 50_000_000  # Bytes for state.json, metrics.jsonl and the manifest, which are written later.


class SessionCard(TypedDict):
    """What the description of a voice says about the session that exported it."""

    run: Run
    made: str  # ISO 8601, UTC.


def voice_checkpoint(whole: list[Checkpoint]) -> Checkpoint | None:
    """Choose what to export: the best checkpoint, else the newest."""
    return best_of(whole) or max(whole, key=lambda item: item.global_step, default=None)


def free_bytes(folder: Path, limit: int | None) -> int:
    """Bytes that may still be written below `folder`, by the disk and by `limit`."""
    free = shutil.disk_usage(folder).free
    return free if limit is None else min(free, limit - folder_bytes(folder))


@dataclass(frozen=True, slots=True)
class VoiceExporter:
    """Exports a voice outside the outputs, and moves it there once it is checked.

    Args:
        program: `finish.export_program`, in an environment without GPU.
        paths: the session's folders.
        report: prints messages and the event.
        write: writes files.
        limit_s: seconds for all of it, at most EXPORT_LIMIT_S.
        disk_limit: bytes that the outputs may take; None for what the disk has.
        name: the name of both files, without extension.
        letters: how often the voice's training texts had each letter; None if that is not known.
        recordings: what the speaker's recordings are like; None if that is not known.
    """

    program: VoiceProgram
    paths: Paths
    report: Reporter
    write: WriteFile
    limit_s: float = EXPORT_LIMIT_S
    disk_limit: int | None = None
    name: str = Path(VOICE_CARD).stem
    letters: Mapping[str, int] | None = None
    recordings: Mapping[str, Any] | None = None

    @property
    def _is_own(self) -> bool:
        """Whether this is the session's own voice, rather than the base voice."""
        return self.name == Path(VOICE_CARD).stem

    def export(self, checkpoint: Checkpoint, config: Path, sentences: list[str], card: SessionCard) -> Export:
        """Export `checkpoint`; a failure is printed as a warning.

        Args:
            checkpoint: the model.
            config: its configuration.
            sentences: sentences to compare model and export on.
            card: what else goes into the description.

        Returns:
            The `export` of state.json.
        """
        try:
            self.paths.temp.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="voice-", dir=self.paths.temp) as folder:
                export = self._export(Path(folder), checkpoint, config, sentences, card)
        except (OSError, ValueError, KeyError, TypeError) as error:
            export = {"state": ExportState.FAILED, "why": f"{type(error).__name__}: {error}"}
        export["checkpoint"] = self.paths.relative(checkpoint.path)
        export["global_step"], export["best"] = checkpoint.global_step, checkpoint.best
        message = (
            f"The {'voice' if self._is_own else 'base voice'} was not exported to ONNX: {export['why']}."
        )
        if export["state"] == ExportState.FAILED:
            self.report.warn(message)
        elif export["state"] == ExportState.UNSUPPORTED:
            self.report.say(message)
        if self._is_own:
            self.report.event(ExportEvent(export))
        return export

    def _export(
        self, folder: Path, checkpoint: Checkpoint, config: Path, sentences: list[str], card: SessionCard
    ) -> Export:
        limit = min(self.limit_s, EXPORT_LIMIT_S)
        letters = None
        if self.letters:
            letters = folder / "letters.json"
            self.write(letters, json_bytes(self.letters))
        result = self.program(
            config, checkpoint.path, sentences, folder, tag="export", limit_s=limit, letters=letters
        )
        if not result.records or result.records[-1].get("state") != ExportState.MADE:
            return _not_made(result, limit)
        return self._move(folder, checkpoint, card, result.end.seconds)

    def _move(self, folder: Path, checkpoint: Checkpoint, card: SessionCard, seconds: float) -> Export:
        """Move the files to the outputs; the description last, since it has the model's hash."""
        described = json.loads((folder / VOICE_CARD).read_text(encoding="utf-8"))
        size = (folder / VOICE_MODEL).stat().st_size
        if (
            size != described["onnx"]["size"]
            or sha256_of(folder / VOICE_MODEL) != described["onnx"]["sha256"]
        ):
            return {"state": ExportState.FAILED, "why": f"{VOICE_MODEL} does not match its description"}
        place = self.paths.voice
        place.mkdir(parents=True, exist_ok=True)
        free = free_bytes(self.paths.working, self.disk_limit) - _KEEP_FREE
        if size > free:
            why = f"it needs {human_size(size)}, but only {human_size(max(free, 0))} may still be written"
            return {"state": ExportState.FAILED, "why": why}
        model, description = place / f"{self.name}.onnx", place / f"{self.name}.json"
        description.unlink(missing_ok=True)
        part = place / f"{OWN_PREFIX}voice.part"
        source = {
            "checkpoint": self.paths.relative(checkpoint.path),
            "global_step": checkpoint.global_step,
            "best": checkpoint.best,
        }
        try:
            shutil.copyfile(folder / VOICE_MODEL, part)
            part.replace(model)
            onnx = {**described["onnx"], "file": model.name}
            text = described["text"]
            if self._is_own and (folder / VOICE_TOKENS).is_file():
                self.write(place / VOICE_TOKENS, (folder / VOICE_TOKENS).read_bytes())
            if self.recordings:
                described = {**described, "recordings": self.recordings}
            self.write(description, json_bytes({**described, "onnx": onnx, **card, **source}))
        except OSError:
            for left in (part, model, *([place / VOICE_TOKENS] if self._is_own else ())):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
            raise
        check = described["check"]
        self._report(size, seconds, check, text)
        weights = described.get("weights") or {}
        if weights.get("stored") == "float32":
            self.report.say(f"{model.name} keeps its weights in 32 bits: {weights.get('why')}.")
        return {
            "state": ExportState.MADE,
            "why": None,
            "file": self.paths.relative(model),
            "size": size,
            "sha256": described["onnx"]["sha256"],
            "seconds": round(seconds, 2),
            "speakable": text["speakable"],
            "check": check,
        }

    def _report(self, size: int, seconds: float, check: Mapping[str, Any], text: Mapping[str, Any]) -> None:
        name = f"{self.name}.onnx"
        self.report.say(f"✓ {name}: {human_size(size)}, exported in {human_seconds(seconds)}")
        if check["state"] == CheckState.PASSED:
            self.report.say(
                f"✓ {name} speaks like the checkpoint: in {check['sentences']} texts the samples differ by "
                f"at most {check['difference']:.1g} of the loudest sample (allowed: {check['tolerance']:g})"
            )
        elif check["state"] == CheckState.FAILED:
            self.report.warn(f"{name} does not speak like the checkpoint: {check['why']}.")
        else:
            self.report.say(f"{name} was not compared with the checkpoint: {check['why']}.")
        if not text["speakable"]:
            self.report.warn(f"`kgtts say` cannot speak with {name}: {text['why']}.")


def _not_made(result: ProgramResult, limit: float) -> Export:
    """Describe an export that gave no file."""
    if result.end.stop_cause is not None:
        late = result.end.stop_cause is StopCause.TIME_LIMIT
        why = f"it took longer than {human_seconds(limit)}" if late else "the session was told to stop"
        return {"state": ExportState.FAILED, "why": why}
    if not result.records:
        why = f"the program ended with exit code {result.end.returncode}: {result.last_line[:300]}"
        return {"state": ExportState.FAILED, "why": why}
    record = result.records[-1]
    why = str(record.get("why"))
    if missing := record.get("missing"):
        why += f"; add {missing} to voice.packages"
    unsupported = record.get("state") == ExportState.UNSUPPORTED
    return {"state": ExportState.UNSUPPORTED if unsupported else ExportState.FAILED, "why": why}

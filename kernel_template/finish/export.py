"""The best model as `voice/voice.onnx`, with `voice/voice.json`: to speak without torch or TTS.

Once in a run the voice that it began with comes beside it as `voice/base.onnx` and `voice/base.json`, so that
the two can be compared.

A voice that cannot be exported is no reason to lose a session: every failure here is a warning.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.start.environment import Paths
from kernel_template.tools.files import WriteFile, human_seconds, human_size, json_bytes, sha256_of
from kernel_template.tools.json_program import Told, VoiceProgram
from kernel_template.tools.process import Cut
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.usage.usage import folder_bytes

EXPORT_LIMIT_S = 300.0  # A full VITS took 27 s on two cores, imports and comparison included.
_VOICE = "voice.onnx"
_CARD = "voice.json"
# State.json, metrics.jsonl and the manifest come after it.
_ROOM_LEFT = 50_000_000


def voice_checkpoint(whole: list[Checkpoint]) -> Checkpoint | None:
    """What is exported: the newest best model, or the newest checkpoint where none was kept."""
    best = [item for item in whole if item.best]
    return max(best or whole, key=lambda item: item.global_step, default=None)


def room_in(folder: Path, limit: int | None) -> int:
    """Bytes that may still be written below `folder`: what the disk has, and what `limit` leaves."""
    free = shutil.disk_usage(folder).free
    return free if limit is None else min(free, limit - folder_bytes(folder))


@dataclass(frozen=True, slots=True)
class VoiceExporter:
    """Exports with `export_program.py`, outside of the outputs.

    Args:
        program: that program, in an environment without cards.
        paths: the session's folders.
        report: where results are said.
        write: how files are written.
        limit_s: seconds that all of it may take, at most EXPORT_LIMIT_S.
        disk_limit: bytes that the outputs may take; None for what the disk has.
        name: what both files are called among the outputs.
    """

    program: VoiceProgram
    paths: Paths
    report: Reporter
    write: WriteFile
    limit_s: float = EXPORT_LIMIT_S
    disk_limit: int | None = None
    name: str = "voice"

    @property
    def _what(self) -> str:
        return "voice" if self.name == "voice" else f"{self.name} voice"

    def export(
        self, checkpoint: Checkpoint, config: Path, sentences: list[str], card: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Export `checkpoint`; what fails is said as a warning.

        Args:
            checkpoint: the model.
            config: its configuration.
            sentences: what it is compared on.
            card: what else goes into voice.json: the run's stamp, and when.

        Returns:
            The `export` of state.json: `state` is made, unsupported or failed, with `why`; a made one has
            the file, its size and hash, and the `check`. (VoiceStage adds `skipped`.)
        """
        source = {
            "checkpoint": self.paths.relative(checkpoint.path),
            "global_step": checkpoint.global_step,
            "best": checkpoint.best,
        }
        try:
            self.paths.temp.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="voice-", dir=self.paths.temp) as folder:
                record = self._export(Path(folder), checkpoint, config, sentences, {**card, **source})
        except (OSError, ValueError, KeyError, TypeError) as error:
            record = {"state": "failed", "why": f"{type(error).__name__}: {error}"}
        record = {**record, **source}
        if record["state"] == "failed":
            self.report.warn(f"The {self._what} was not exported to ONNX: {record['why']}.")
        elif record["state"] == "unsupported":
            self.report.say(f"The {self._what} was not exported to ONNX: {record['why']}.")
        if self.name == "voice":
            self.report.event("export", **record)
        return record

    def _export(
        self,
        folder: Path,
        checkpoint: Checkpoint,
        config: Path,
        sentences: list[str],
        card: Mapping[str, Any],
    ) -> dict[str, Any]:
        limit = min(self.limit_s, EXPORT_LIMIT_S)
        told = self.program(config, checkpoint.path, sentences, folder, tag="export", limit_s=limit)
        if not told.records or told.records[-1].get("state") != "made":
            return _not_made(told, limit)
        return self._keep(folder, card, told.end.seconds)

    def _keep(self, folder: Path, card: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Bring both files among the outputs; the description last, as it names the other's hash."""
        voice = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        size = (folder / _VOICE).stat().st_size
        if size != voice["onnx"]["size"] or sha256_of(folder / _VOICE) != voice["onnx"]["sha256"]:
            return {"state": "failed", "why": f"{_VOICE} is not what was described"}
        place = self.paths.voice
        place.mkdir(parents=True, exist_ok=True)
        room = room_in(self.paths.working, self.disk_limit) - _ROOM_LEFT
        if size > room:
            why = f"it has {human_size(size)}, for which the outputs have no room left"
            return {"state": "failed", "why": why}
        kept, described = place / f"{self.name}.onnx", place / f"{self.name}.json"
        described.unlink(missing_ok=True)
        part = place / ".kgtts-voice.part"
        try:
            shutil.copyfile(folder / _VOICE, part)
            part.replace(kept)
            onnx = {**voice["onnx"], "file": kept.name}
            self.write(described, json_bytes({**voice, "onnx": onnx, **card}))
        except OSError:
            for left in (part, kept):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
            raise
        check, text = voice["check"], voice["text"]
        self._say(size, seconds, check, text)
        return {
            "state": "made",
            "why": None,
            "file": self.paths.relative(kept),
            "size": size,
            "sha256": voice["onnx"]["sha256"],
            "seconds": round(seconds, 2),
            "speakable": text["speakable"],
            "check": check,
        }

    def _say(self, size: int, seconds: float, check: Mapping[str, Any], text: Mapping[str, Any]) -> None:
        self.report.say(f"✓ {self.name}.onnx: {human_size(size)}, exported in {human_seconds(seconds)}")
        if check["state"] == "passed":
            self.report.say(
                f"✓ It speaks as the checkpoint does: in {check['sentences']} texts the samples differ by at "
                f"most {check['difference']:.1g} of the loudest (allowed: {check['tolerance']:g})"
            )
        elif check["state"] == "failed":
            self.report.warn(f"{self.name}.onnx does not speak as the checkpoint does: {check['why']}.")
        else:
            self.report.say(f"{self.name}.onnx was not compared with the checkpoint: {check['why']}.")
        if not text["speakable"]:
            self.report.warn(f"kgtts say cannot speak with {self.name}.onnx: {text['why']}.")


def _not_made(told: Told, limit: float) -> dict[str, Any]:
    """What is told of an export that gave no file."""
    if told.end.cut is not None:
        late = told.end.cut is Cut.TIME_LIMIT
        why = f"it was not done after {human_seconds(limit)}" if late else "the session was told to stop"
        return {"state": "failed", "why": why}
    if not told.records:
        why = f"the program ended with exit code {told.end.returncode}: {told.last_words[:300]}"
        return {"state": "failed", "why": why}
    result = told.records[-1]
    why = str(result.get("why"))
    if missing := result.get("missing"):
        why += f"; add {missing} to voice.packages"
    state = "unsupported" if result.get("state") == "unsupported" else "failed"
    return {"state": state, "why": why}

"""The stages after a training that left a result: the voice's export to ONNX, and its spoken sentences."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kernel_template.context import SessionContext
from kernel_template.contract import BASE_CARD, VOICE_CARD, Export, ExportState, Stage
from kernel_template.finish.export import EXPORT_LIMIT_S, SessionCard, VoiceExporter, voice_checkpoint
from kernel_template.finish.samples import SampleSpeaker, checkpoints_to_hear, has_spoken, sentences_to_speak
from kernel_template.finish.voice_program import VoiceProgram
from kernel_template.start.config_file import PreparedConfig
from kernel_template.start.inputs import Inputs
from kernel_template.start.install import add_packages
from kernel_template.tools.espeak import with_espeak
from kernel_template.tools.outcome import KernelFailure
from kernel_template.train.checkpoints import Checkpoint
from kernel_template.train.command import training_environment

_EXPORTED = "vits"  # The only architecture that Coqui exports.
# Seconds that the session must have left. If time is short, as in sessions of minutes, the newest
# checkpoint's samples come first. Kaggle's sessions have five minutes left.
_EXPORT_NEEDS_S = 40.0
_MORE_SAMPLES_NEED_S = 60.0
# The base voice is exported once in a run, in its first session that has this much time.
_BASE_NEEDS_S = 120.0


@dataclass(frozen=True, slots=True)
class VoiceStage:
    """Exports the voice and lets it speak. A failure here is a warning; it never costs the session."""

    context: SessionContext

    def run(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        """Export the voice, then let it speak."""
        report = self.context.report
        if self.context.settings["voice"]["onnx"]:
            with report.stage(Stage.EXPORT, "Voice"):
                self._export(prepared)
                self._export_base(inputs, prepared)
        with report.stage(Stage.SAMPLES, "Samples"):
            self._speak(inputs, prepared)

    def _config(self, checkpoint: Checkpoint) -> Path:
        folder = self.context.outputs.run_folder(checkpoint)
        return folder / "config.json" if folder is not None else self.context.paths.config

    def _sentences(self, prepared: PreparedConfig) -> list[str]:
        return sentences_to_speak(self.context.settings["samples"], prepared.values)

    def _export(self, prepared: PreparedConfig) -> None:
        context = self.context
        model = str(prepared.values.get("model"))
        chosen = voice_checkpoint(context.checkpoints.whole())
        if chosen is None:
            self._skip(ExportState.SKIPPED, "there is no checkpoint")
        elif model != _EXPORTED:
            self._skip(ExportState.UNSUPPORTED, f"Coqui cannot export {model} models to ONNX")
        elif context.budget.left < _EXPORT_NEEDS_S:
            self._skip(ExportState.SKIPPED, "the session has no time left for it")
        else:
            self._install_packages()
            # The rest of the time is for the samples and the hashes.
            exporter = self._exporter(VOICE_CARD, context.budget.left / 2, self._letters())
            context.record.export = exporter.export(
                chosen, self._config(chosen), self._sentences(prepared), self._session_card()
            )

    def _install_packages(self) -> None:
        """Install what the export needs; if that fails, the export says what is missing."""
        context = self.context
        try:
            add_packages(context, context.settings["voice"]["packages"], limit_s=context.budget.left / 3)
        except KernelFailure as failure:
            context.report.warn(failure.message)

    def _export_base(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        """Export the voice that the run began with, unless an earlier session did."""
        context, export, left = self.context, self.context.record.export, self.context.budget.left
        resumed = context.record.resumed
        before = _base_export(resumed.state.get("export")) if resumed is not None else None
        if export is not None and before is not None:
            context.record.export = {**export, "base": before}
        elif (
            export is not None
            and export["state"] == ExportState.MADE
            and context.budget.left >= _BASE_NEEDS_S
        ):
            base = Checkpoint(inputs.checkpoint, 0, best=False)
            exporter = self._exporter(BASE_CARD, left / 3)
            made = exporter.export(base, inputs.config, self._sentences(prepared), self._session_card())
            made["session"] = context.settings["run"]["session"]
            context.record.export = {**export, "base": made}

    def _session_card(self) -> SessionCard:
        """What a voice's description says about the session."""
        context = self.context
        return {"run": context.settings["run"], "made": context.tools.now().isoformat(timespec="seconds")}

    def _letters(self) -> dict[str, int] | None:
        """How often the training texts had each letter; None if the host did not count them."""
        try:
            counts = json.loads(self.context.paths.letters.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return {str(letter): int(count) for letter, count in counts.items()} or None

    def _recordings(self) -> dict[str, Any] | None:
        """What the speaker's recordings are like; None if the host could not measure them."""
        try:
            found = json.loads(self.context.paths.recordings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _exporter(self, card: str, limit_s: float, letters: Mapping[str, int] | None = None) -> VoiceExporter:
        context = self.context
        return VoiceExporter(
            program=self._voice_program("finish.export_program", gpu=False),
            paths=context.paths,
            report=context.report,
            write=context.tools.write,
            limit_s=min(EXPORT_LIMIT_S, limit_s),
            disk_limit=context.settings["disk"]["limit_bytes"],
            name=Path(card).stem,
            letters=letters,
            recordings=self._recordings() if card == VOICE_CARD else None,
        )

    def _skip(self, state: ExportState, why: str) -> None:
        self.context.report.say(f"The voice was not exported: {why}.")
        self.context.record.export = {"state": state, "why": why}

    def _speak(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        context, paths, report = self.context, self.context.paths, self.context.report
        speaking = checkpoints_to_hear(context.checkpoints.whole())
        if not context.settings["samples"]["enabled"] or not speaking:
            why = "samples.enabled is false" if speaking else "there is no checkpoint"
            report.say(f"No sentences are spoken: {why}.")
            return
        sentences = self._sentences(prepared)
        if not sentences:
            report.say("No sentences are spoken: set samples.sentences to hear the voice.")
            return
        asked = [(item, self._config(item), paths.step_samples(item.global_step)) for item in speaking]
        if not has_spoken(paths.base_samples, sentences):
            base = Checkpoint(inputs.checkpoint, 0, best=False)
            asked.insert(1, (base, inputs.config, paths.base_samples))  # Once in a run, so before the others.
        gpu = context.settings["accelerator"] is not None
        speaker = SampleSpeaker(
            program=self._voice_program("finish.speak_program", gpu=gpu),
            paths=paths,
            report=report,
            write=context.tools.write,
        )
        for number, (checkpoint, config, folder) in enumerate(asked):
            if number and context.budget.left < _MORE_SAMPLES_NEED_S:
                names = ", ".join(item.path.name for item, _, _ in asked[number:])
                report.say(f"No time is left to speak the test sentences with {names}.")
                break
            speaker.speak(checkpoint, config, sentences, folder, limit_s=context.budget.left)

    def _voice_program(self, module: str, *, gpu: bool) -> VoiceProgram:
        context, tools = self.context, self.context.tools
        env = training_environment(with_espeak(tools.env, context.paths.temp / "bin"), gpu=gpu)
        return VoiceProgram(context.run_child, tools.programs, module, env, context.paths.temp, tools.write)


def _base_export(export: object) -> Export | None:
    """The base voice's export in the parent's state.json, if it need not be tried again."""
    base = export.get("base") if isinstance(export, Mapping) else None
    if not isinstance(base, Mapping) or base.get("state") not in {ExportState.MADE, ExportState.UNSUPPORTED}:
        return None
    return cast("Export", dict(base))

"""What comes of the training once it has ended well: the voice as ONNX, and the test sentences spoken."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.context import Tools
from kernel_template.finish.export import EXPORT_LIMIT_S, VoiceExporter, voice_checkpoint
from kernel_template.finish.outputs import Outputs
from kernel_template.finish.record import SessionRecord
from kernel_template.finish.samples import SampleSpeaker, checkpoints_to_hear, has_spoken, sentences_to_speak
from kernel_template.start.config_file import PreparedConfig
from kernel_template.start.environment import Paths
from kernel_template.start.inputs import Inputs
from kernel_template.start.install import Installer
from kernel_template.start.packages import wheelhouse_of
from kernel_template.tools.failure import KernelFailure
from kernel_template.tools.json_program import VoiceProgram
from kernel_template.tools.process import RunChild
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, CheckpointShelf
from kernel_template.train.command import training_environment
from kernel_template.train.host_link import SessionBudget

_EXPORTED = "vits"  # The one architecture that Coqui exports.
# Seconds that the session must have left for what is not the newest checkpoint's samples: those come first
# where time is short, as in sessions of minutes. Kaggle's have five minutes left.
_EXPORT_NEEDS_S = 40.0
_OTHERS_NEED_S = 60.0
# The base voice is made once in a run, in its first session that has as much time.
_BASE_NEEDS_S = 120.0


@dataclass(frozen=True, slots=True)
class VoiceStage:
    """Makes what can be heard; nothing that fails here costs the session.

    Args:
        settings: the kernel's settings.
        tools: the world.
        run_child: runs the programs.
        paths: the session's folders.
        report: where all is said.
        record: takes the `export` of state.json.
        shelf: the checkpoints.
        outputs: knows the run folder.
        budget: the session's time.
    """

    settings: Mapping[str, Any]
    tools: Tools
    run_child: RunChild
    paths: Paths
    report: Reporter
    record: SessionRecord
    shelf: CheckpointShelf
    outputs: Outputs
    budget: SessionBudget

    def __call__(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        """Export, then speak: the export is shorter, and what the session was for."""
        if (self.settings.get("voice") or {}).get("onnx"):
            with self.report.stage("export", "Voice"):
                self._export(prepared)
                self._export_base(inputs, prepared)
        with self.report.stage("samples", "Samples"):
            self._speak(inputs, prepared)

    def _config(self, checkpoint: Checkpoint) -> Path:
        folder = self.outputs.run_folder(checkpoint)
        return folder / "config.json" if folder is not None else self.paths.config

    def _sentences(self, prepared: PreparedConfig) -> list[str]:
        return sentences_to_speak(self.settings["samples"], prepared.values)

    def _export(self, prepared: PreparedConfig) -> None:
        model = str(prepared.values.get("model"))
        chosen = voice_checkpoint(self.shelf.whole())
        if model != _EXPORTED or chosen is None:
            why = f"Coqui exports no {model} model to ONNX" if chosen else "there is no checkpoint"
            self._skip("unsupported" if chosen else "skipped", why)
            return
        if self.budget.left < _EXPORT_NEEDS_S:
            self._skip("skipped", "the session has no time left for it")
            return
        self._provide()
        # What is left is for the samples and the hashes, too.
        exporter = self._exporter("voice", self.budget.left / 2)
        self.record.export = exporter.export(
            chosen, self._config(chosen), self._sentences(prepared), self._card()
        )

    def _provide(self) -> None:
        """Install what the export needs and the image lacks; without it the export says what is missing."""
        installer = Installer(
            capture=self.tools.capture,
            run=self.run_child,
            env=self.tools.env,
            versions=self.tools.versions,
            programs=self.tools.programs,
            temp=self.paths.temp,
            report=self.report,
            limit_s=self.budget.left / 3,
        )
        try:
            installer.add(
                self.settings["voice"]["packages"],
                internet=bool(self.settings["internet"]),
                wheelhouse=wheelhouse_of(self.settings, self.paths.input),
            )
        except KernelFailure as failure:
            self.report.warn(failure.message)

    def _export_base(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        """The voice that the run began with, unless an earlier session has exported it."""
        resumed, record = self.record.resumed, dict(self.record.export or {})
        told = resumed.state.get("export") if resumed is not None else None
        before = told.get("base") if isinstance(told, Mapping) else None
        if isinstance(before, Mapping) and before.get("state") in {"made", "unsupported"}:
            self.record.export = {**record, "base": dict(before)}
        elif record.get("state") == "made" and self.budget.left >= _BASE_NEEDS_S:
            base = Checkpoint(inputs.checkpoint, 0, best=False)
            exporter = self._exporter("base", self.budget.left / 3)
            made = exporter.export(base, inputs.config, self._sentences(prepared), self._card())
            session = self.settings["run"]["session"]
            self.record.export = {**record, "base": {**made, "session": session}}

    def _card(self) -> dict[str, Any]:
        """What a voice's description tells of the session."""
        return {"run": self.settings["run"], "made": self.tools.now().isoformat(timespec="seconds")}

    def _exporter(self, name: str, limit_s: float) -> VoiceExporter:
        return VoiceExporter(
            program=self._voice_program("finish.export_program", gpu=False),
            paths=self.paths,
            report=self.report,
            write=self.tools.write,
            limit_s=min(EXPORT_LIMIT_S, limit_s),
            disk_limit=(self.settings.get("disk") or {}).get("limit_bytes"),
            name=name,
        )

    def _skip(self, state: str, why: str) -> None:
        self.report.say(f"The voice was not exported: {why}.")
        self.record.export = {"state": state, "why": why}

    def _speak(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        heard = checkpoints_to_hear(self.shelf.whole())
        if not self.settings["samples"]["enabled"] or not heard:
            self.report.say(
                "No samples: " + ("they are switched off." if heard else "there is no checkpoint.")
            )
            return
        sentences = self._sentences(prepared)
        if not sentences:
            self.report.say("No test sentences: name some in samples.sentences to hear the voice.")
            return
        asked = [
            (item, self._config(item), self.paths.samples / f"step_{item.global_step}") for item in heard
        ]
        if not has_spoken(self.paths.base_samples, sentences):
            asked.append(
                (Checkpoint(inputs.checkpoint, 0, best=False), inputs.config, self.paths.base_samples)
            )
        speaker = SampleSpeaker(
            program=self._voice_program(
                "finish.speak_program", gpu=self.settings.get("accelerator") is not None
            ),
            paths=self.paths,
            report=self.report,
            write=self.tools.write,
        )
        for number, (checkpoint, config, folder) in enumerate(asked):
            if number and self.budget.left < _OTHERS_NEED_S:
                break
            speaker.speak(checkpoint, config, sentences, folder, limit_s=self.budget.left)

    def _voice_program(self, module: str, *, gpu: bool) -> VoiceProgram:
        env = training_environment(self.tools.env, gpu=gpu)
        return VoiceProgram(
            self.run_child, self.tools.programs, module, env, self.paths.temp, self.tools.write
        )

"""The stages before the training. What takes long runs in the background, beside the others.

A thread checks that TTS can be imported, and installs it if not. Meanwhile the inputs are searched, the
checkpoint to continue from is copied and hashed, and the GPUs are checked. The log keeps the order of the
stages: the thread's messages are held until its stage begins. If several stages fail, the session fails with
the first one in their order. Nothing is installed on a machine that is not the one asked for.
"""

import shutil
from dataclasses import dataclass, replace

from kernel_template.context import SessionContext
from kernel_template.contract import EndReason, Stage
from kernel_template.start.background import BackgroundWork, Cancellation
from kernel_template.start.config_file import ConfigMaker, PreparedConfig, read_config, speed_keys
from kernel_template.start.environment import REPORTED, describe_environment, environment_record
from kernel_template.start.gpu import check_gpus, list_gpus, missing_gpus
from kernel_template.start.inputs import Inputs, find_inputs
from kernel_template.start.install import Installer, add_packages
from kernel_template.start.packages import phonemizer_packages, wheelhouse_finder
from kernel_template.start.parent import ResumePoint, open_parent
from kernel_template.start.probe import PROBE, Probe, check_cuda
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import ChildPlan, capture_output, capture_through, child_environment

_WARM_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class StartStages:
    """Prepares the training."""

    context: SessionContext

    def run(self) -> tuple[Inputs, PreparedConfig]:
        """Run the stages before the training.

        Raises:
            KernelFailure: the training cannot begin.
            OSError: a file could not be written.
        """
        context, settings, report = self.context, self.context.settings, self.context.report
        tools, record = context.tools, context.record
        with self._background() as background:
            with report.stage(Stage.ENVIRONMENT, "Environment"):
                self._make_folders()
                background.start()
                gpus = list_gpus(tools.capture, tools.env)
                record.environment = describe_environment(context.paths, gpus, report)
                if missing_gpus(settings, gpus) is None:
                    background.allow()
            self._check_stopped()
            with report.stage(Stage.INPUTS, "Inputs"):
                inputs = find_inputs(context.paths.input, settings, report)
                record.resumed = self._take_over()
                if context.head is not None:
                    context.head.tell_parent(record.resumed, context.paths)
            with report.stage(Stage.GPU, "GPU"):
                check_gpus(settings, gpus, report)
            self._check_stopped()
            with report.stage(Stage.INSTALL, "Coqui TTS"):
                probe = background.result(report)
                check_cuda(settings, probe, report)
                record.environment = environment_record(tools.versions(REPORTED), gpus)
                report.parallel_seconds[Stage.INSTALL] = background.seconds
            self._check_stopped()
            with report.stage(Stage.PREPARE, "Configuration"):
                prepared = self._prepare(inputs)
                self._install_phonemizer(inputs, prepared)
                context.outputs.reserve()
        return inputs, prepared

    def _take_over(self) -> ResumePoint | None:
        """Continue from the first of the sessions before that has a whole checkpoint; None at the base voice.

        Raises:
            KernelFailure: none has.
        """
        context = self.context
        if context.member is not None:
            return context.member.parent(context.paths)
        for warning in context.place.warnings:
            context.report.warn(warning)
        parents = context.place.parents
        for number, asked in enumerate(parents, 1):
            context.settings["resume"] = asked
            try:
                return open_parent(context, asked).take_over()
            except KernelFailure as failure:
                if failure.reason is not EndReason.WRONG_PARENT or number == len(parents):
                    raise
                context.report.warn(f"{failure.message} An earlier session is continued instead.")
        return None

    def _make_folders(self) -> None:
        context, paths = self.context, self.context.paths
        for folder in (paths.working, paths.temp, paths.training):
            folder.mkdir(parents=True, exist_ok=True)
        context.report.metrics = context.open_log(paths.metrics)

    def _background(self) -> BackgroundWork[Probe]:
        """Check that TTS can be imported, and install it if not, in a thread."""
        context, tools = self.context, self.context.tools
        install = context.settings["install"]
        cancellation = Cancellation(context.stop)
        run = tools.runner(cancellation)
        capture = capture_through(run) if tools.capture is capture_output else tools.capture

        def work(background: BackgroundWork[Probe]) -> Probe:
            installer = Installer(
                capture=capture,
                run=run,
                env=tools.env,
                versions=tools.versions,
                programs=tools.programs,
                temp=context.paths.temp,
                report=background.messages,
                wait_until_allowed=background.wait_until_allowed,
            )
            return installer.ensure(
                install["packages"],
                internet=context.settings["internet"],
                wheelhouse=wheelhouse_finder(install, context.paths.input),
            )

        def warm() -> None:
            # While a checkpoint of 1 GB is copied: bring the training's imports into the disk's cache.
            env = child_environment(tools.env, {"CUDA_VISIBLE_DEVICES": ""})
            plan = ChildPlan(
                tools.programs.command(PROBE, "warm", context.settings["training"]["model"]),
                tools.programs.environment(env),
                limit_s=_WARM_LIMIT_S,
                grace_s=0.0,
            )
            run(plan, lambda _text, *, is_bar: None)  # noqa: ARG005 - the signature is the runner's.

        afterwards = warm if context.settings["resume"] is not None else None
        return BackgroundWork(work, afterwards, cancellation, tools.clock)

    def _install_phonemizer(self, inputs: Inputs, prepared: PreparedConfig) -> None:
        """Install what makes the training's phonemes; perhaps it needs none, so this never fails."""
        context = self.context
        path = context.tools.env.get("PATH")
        has_espeak = any(shutil.which(name, path=path) for name in ("espeak-ng", "espeak"))
        try:
            script = inputs.script.read_text(encoding="utf-8", errors="replace") if inputs.script else ""
        except OSError:
            script = ""
        packages = phonemizer_packages(prepared.values, script, has_espeak=has_espeak)
        try:
            add_packages(context, packages)
        except KernelFailure as failure:
            context.report.warn(f"The voice is trained on phonemes. {failure.message}")

    def _prepare(self, inputs: Inputs) -> PreparedConfig:
        """Make the configuration from that of the run that is continued, else from the base voice's."""
        context, resumed = self.context, self.context.record.resumed
        if resumed is not None and (resumed.folder / "config.json").is_file():
            try:
                read_config(resumed.folder / "config.json")
            except KernelFailure as failure:
                context.report.warn(f"{failure.message} The base voice's configuration is used instead.")
            else:
                inputs = replace(inputs, config=resumed.folder / "config.json")
        training, speed = context.settings["training"], speed_keys(context.settings)
        prepared = ConfigMaker(inputs, training, context.paths, context.report, speed).make()
        context.tools.write(context.paths.config, prepared.data)
        if resumed is not None:  # The trainer looks for it here when it continues.
            context.tools.write(resumed.folder / "config.json", prepared.data)
        return prepared

    def _check_stopped(self) -> None:
        if (word := self.context.stop.received) is not None:
            raise KernelFailure(
                EndReason.INTERRUPTED,
                f"The session was told to stop ({word}) before the training began.",
            )

"""From the kernel's start to the training's: what takes long runs beside what else has to be done.

The import of TTS is proved, and where it fails TTS is installed, in a thread of its own, while the inputs are
searched, the checkpoint of the session before is copied and hashed, and the cards are compared. Nothing is
said out of order: the thread's lines wait until its stage comes, and what fails first in the stages' order
is what the session fails with. Nothing is installed on a machine that is not the one asked for.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from kernel_template.context import Tools
from kernel_template.finish.outputs import Outputs
from kernel_template.finish.record import SessionRecord
from kernel_template.start.config_file import ConfigMaker, PreparedConfig, read_config, speed_keys
from kernel_template.start.environment import REPORTED, Paths, describe_environment, environment_record
from kernel_template.start.gpu import check_gpus, list_gpus, missing_gpus
from kernel_template.start.inputs import Inputs, find_inputs
from kernel_template.start.install import Installer
from kernel_template.start.packages import wheelhouse_of
from kernel_template.start.probe import PROBE, Probe, check_cuda
from kernel_template.start.takeover import Parent
from kernel_template.tools.failure import EndReason, KernelFailure
from kernel_template.tools.process import (
    ChildPlan,
    StopFlag,
    StopSign,
    capture_output,
    capture_through,
    child_environment,
)
from kernel_template.tools.report import Reporter

_JOIN_S = 30.0
_WARM_LIMIT_S = 120.0


class Relay:
    """Keeps what a thread says until the main thread says it, which alone may print in a notebook."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[tuple[str, bool] | None] = queue.SimpleQueue()

    def say(self, text: str) -> None:
        """Keep a line."""
        self._said.put((text, False))

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self._said.put((message, True))

    def close(self) -> None:
        """No more comes."""
        self._said.put(None)

    def replay(self, report: Reporter) -> None:
        """Say what was kept, and what comes as it comes, until no more does."""
        while (item := self._said.get()) is not None:
            text, is_warning = item
            (report.warn if is_warning else report.say)(text)


class Abandon:
    """The stop sign of a thread's children: the session's own, or that they are no longer needed."""

    def __init__(self, session: StopSign) -> None:
        self._session = session
        self._own: str | None = None

    @property
    def received(self) -> str | None:
        """A word once the children are to end."""
        return self._own or self._session.received

    @received.setter
    def received(self, word: str | None) -> None:
        self._own = word


class Background:
    """Work in a thread whose result is waited for later; leaving the context ends it, whatever it does.

    Args:
        work: the work; it says things to the relay.
        after: what may go on once the result is there, until it is no longer needed; None for nothing.
        abandon: ends the children of both.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        work: Callable[["Background"], Probe],
        after: Callable[[], None] | None,
        abandon: Abandon,
        clock: Callable[[], float],
    ) -> None:
        self.relay = Relay()
        self.seconds = 0.0
        self._work = work
        self._after = after
        self._abandon = abandon
        self._clock = clock
        self._result: Probe | None = None
        self._error: BaseException | None = None
        self._allowed = threading.Event()
        self._awaited = False
        self._thread = threading.Thread(target=self._run, name="kgtts-start", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandon.received = "abandoned"
        self._allowed.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def allow(self) -> None:
        """Open the gate."""
        self._allowed.set()

    def gate(self) -> None:
        """Wait for `allow`, in the thread.

        Raises:
            KernelFailure: the work is no longer needed.
        """
        self._allowed.wait()
        if self._abandon.received is not None:
            raise KernelFailure(
                EndReason.INTERRUPTED, "The session was stopped before anything was installed."
            )

    def result(self, report: Reporter) -> Probe:
        """Say what the thread says until it is done. Returns what it found, or raises what it raised."""
        self._awaited = True
        self.relay.replay(report)
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def _run(self) -> None:
        began = self._clock()
        try:
            self._result = self._work(self)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is waited for.
            self._error = error
        self.seconds = self._clock() - began
        self.relay.close()
        if self._after is not None and self._error is None and not self._awaited:
            with contextlib.suppress(Exception):  # A kindness that may fail.
                self._after()


@dataclass(frozen=True, slots=True)
class Start:
    """Makes all ready for the training.

    Args:
        settings: the kernel's settings.
        tools: the world.
        stop: whether the session was told to stop.
        paths: the session's folders.
        report: where all is said.
        record: what is known for state.json.
        outputs: keeps room for the session's own files.
        make_folders: makes the session's folders.
    """

    settings: Mapping[str, Any]
    tools: Tools
    stop: StopFlag
    paths: Paths
    report: Reporter
    record: SessionRecord
    outputs: Outputs
    make_folders: Callable[[], None]

    def __call__(self) -> tuple[Inputs, PreparedConfig]:
        """Run the stages before the training.

        Raises:
            KernelFailure: the training cannot begin.
            OSError: something could not be written.
        """
        report, settings, tools = self.report, self.settings, self.tools
        with self._background() as background:
            with report.stage("environment", "Environment"):
                self.make_folders()
                background.start()
                gpus = list_gpus(tools.capture, tools.env)
                self.record.environment = describe_environment(self.paths, gpus, report)
                if missing_gpus(settings, gpus) is None:
                    background.allow()
            self._check_stopped()
            with report.stage("inputs", "Inputs"):
                inputs = find_inputs(self.paths.input, settings, report)
                if settings.get("resume"):
                    parent = Parent(settings["resume"], self.paths, report, tools.write)
                    self.record.resumed = parent.take()
            with report.stage("gpu", "GPU"):
                check_gpus(settings, gpus, report)
            self._check_stopped()
            with report.stage("install", "Coqui TTS"):
                probe = background.result(report)
                check_cuda(settings, probe, report)
                self.record.environment = environment_record(tools.versions(REPORTED), gpus)
                report.beside["install"] = background.seconds
            self._check_stopped()
            with report.stage("prepare", "Configuration"):
                prepared = self._prepare(inputs)
                self.outputs.reserve()
        return inputs, prepared

    def _background(self) -> Background:
        """The proof that TTS can be imported, with the installation where it cannot."""
        tools, settings = self.tools, self.settings
        abandon = Abandon(self.stop)
        run = tools.runner(abandon)
        capture = capture_through(run) if tools.capture is capture_output else tools.capture

        def work(background: Background) -> Probe:
            installer = Installer(
                capture=capture,
                run=run,
                env=tools.env,
                versions=tools.versions,
                programs=tools.programs,
                temp=self.paths.temp,
                report=background.relay,
                gate=background.gate,
            )
            return installer.ensure(
                settings["install"]["packages"],
                internet=bool(settings["internet"]),
                wheelhouse=wheelhouse_of(settings, self.paths.input),
            )

        def warm() -> None:
            # While a checkpoint of 1 GB is copied: the training's imports are read from the disk once.
            env = child_environment(tools.env, {"CUDA_VISIBLE_DEVICES": ""})
            plan = ChildPlan(
                tools.programs.command(PROBE, "warm", str(settings["training"]["model"])),
                tools.programs.environment(env),
                limit_s=_WARM_LIMIT_S,
                grace_s=0.0,
            )
            run(plan, lambda _text, *, is_bar: None)  # noqa: ARG005 - what the runner calls it with.

        return Background(work, warm if settings.get("resume") else None, abandon, tools.clock)

    def _prepare(self, inputs: Inputs) -> PreparedConfig:
        """The configuration: made from the base voice's, or from that of the run that is continued."""
        resumed = self.record.resumed
        if resumed is not None and (resumed.folder / "config.json").is_file():
            try:
                read_config(resumed.folder / "config.json")
            except KernelFailure as failure:
                self.report.warn(f"{failure.message} The base voice's is used in its place.")
            else:
                inputs = replace(inputs, config=resumed.folder / "config.json")
        training, speed = self.settings["training"], speed_keys(self.settings)
        prepared = ConfigMaker(inputs, training, self.paths, self.report, speed).make()
        self.tools.write(self.paths.config, prepared.data)
        if resumed is not None:  # Where the trainer looks for it when it continues.
            self.tools.write(resumed.folder / "config.json", prepared.data)
        return prepared

    def _check_stopped(self) -> None:
        if self.stop.received is not None:
            raise KernelFailure(
                EndReason.INTERRUPTED,
                f"The session was told to stop ({self.stop.received}) before the training began.",
            )

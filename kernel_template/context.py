"""What all stages of a session share: settings, folders, reports, and the outside world."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kernel_template.contract import ROOT_VARIABLE
from kernel_template.finish.outputs import Outputs
from kernel_template.finish.record import SessionRecord
from kernel_template.place import Place
from kernel_template.settings import SessionSettings
from kernel_template.start.environment import installed_versions
from kernel_template.tools.files import LineFile, WriteFile, write_atomic
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import Capture, ChildRunner, RunChild, StopFlag, StopSign, capture_output
from kernel_template.tools.report import Reporter, print_line
from kernel_template.train.checkpoints import CheckpointStore
from kernel_template.train.host_link import HostLink, SessionBudget
from kernel_template.usage.meter import Meter

if TYPE_CHECKING:
    from kernel_template.mirror import Mirror
    from kernel_template.nodes.head import Head
    from kernel_template.nodes.member import Member


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


def default_root() -> Path:
    """Kaggle's folder, /kaggle; elsewhere and in the emulator the environment names another."""
    return Path(os.environ.get(ROOT_VARIABLE) or "/kaggle")


@dataclass(frozen=True, slots=True)
class Tools:
    """The outside world, which tests replace.

    Args:
        root: the folder that holds input, working and temp.
        clock: seconds, monotonic.
        now: the wall clock, in UTC.
        out: prints a line to the log.
        env: the environment of child processes, from which Kaggle's own variables are removed.
        programs: the programs of this package, and the interpreter that runs all children.
        run: runs a child and passes on its lines; None for the real thing.
        capture: runs a short program.
        versions: the installed versions of distributions, by name.
        write: writes a whole file.
        sleep: waits for some seconds.
    """

    root: Path = field(default_factory=default_root)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now
    out: Callable[[str], None] = print_line
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    programs: PackagePrograms = field(default_factory=PackagePrograms)
    run: RunChild | None = None
    capture: Capture = capture_output
    versions: Callable[[tuple[str, ...]], dict[str, str]] = installed_versions
    write: WriteFile = write_atomic
    sleep: Callable[[float], None] = time.sleep

    def runner(self, stop: StopSign) -> RunChild:
        """What runs children until `stop` says to end them."""
        return self.run if self.run is not None else ChildRunner(stop=stop, clock=self.clock)


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all stages of one session share; `create` makes it.

    Attributes:
        settings: what the session was asked to do.
        tools: the outside world.
        place: where it runs, and what it can continue from.
        mirror: copies what it saves to another folder; None if it works in the one that is kept.
        head: tells the other machines what to do; None on one machine, and on those.
        member: hears that on another machine; None on machine 0.
        stop: whether the session was told to stop.
        run_child: runs a child until the session is told to stop.
        paths: the session's folders and files.
        report: prints lines and events, and knows the session's time.
        checkpoints: the checkpoints in the working folder.
        host: the files through which the training's host is asked and answers.
        budget: the session's time limit.
        record: what goes into state.json.
        outputs: writes the session's own files.
        meter: measures GPU, memory, disk and time.
    """

    settings: SessionSettings
    tools: Tools
    place: Place
    mirror: "Mirror | None"
    head: "Head | None"
    member: "Member | None"
    stop: StopFlag
    run_child: RunChild
    paths: Paths
    report: Reporter
    checkpoints: CheckpointStore
    host: HostLink
    budget: SessionBudget
    record: SessionRecord
    outputs: Outputs
    meter: Meter

    @classmethod
    def create(
        cls, place: Place, tools: Tools, head: "Head | None" = None, member: "Member | None" = None
    ) -> Self:
        """Make the context of a session that begins now. Nothing is written yet."""
        settings, stop, paths = place.settings, StopFlag(), place.paths
        for side in (head, member):
            if side is not None:
                side.stop = stop
        mirror = None
        if place.copy_to is not None:
            from kernel_template.mirror import Mirror  # noqa: PLC0415 - Kaggle does not get it.

            mirror = Mirror(paths.working, place.copy_to)
        report = Reporter(session=settings["run"]["session"], clock=tools.clock, out=tools.out)
        checkpoints, host = CheckpointStore(paths), HostLink(paths, tools.write)
        meter = Meter(
            settings=settings,
            paths=paths,
            host=host,
            report=report,
            clock=tools.clock,
            capture=tools.capture,
            env=tools.env,
        )
        return cls(
            settings=settings,
            tools=tools,
            place=place,
            mirror=mirror,
            head=head,
            member=member,
            stop=stop,
            run_child=tools.runner(stop),
            paths=paths,
            report=report,
            checkpoints=checkpoints,
            host=host,
            budget=SessionBudget(settings, lambda: report.elapsed),
            record=SessionRecord(settings, tools.now(), checkpoints, host, meter.summary),
            outputs=Outputs(paths, checkpoints, report, tools.write),
            meter=meter,
        )

    def open_log(self, path: Path) -> LineFile:
        """Open a log below the working folder; if it cannot be written, say so once and continue."""

        def on_error(error: OSError) -> None:
            self.report.say(
                f"⚠ {path.name} can no longer be written ({error.strerror}); the session goes on without it."
            )

        return LineFile(path, on_error=on_error)

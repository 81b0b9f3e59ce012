"""Show a session on this machine while it trains, let Ctrl-C stop it, and say how it ended."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import click

from kernel_template.contract import EndReason, Status
from orchestrator.cli.context import Interrupted
from orchestrator.cli.notifying import addresses, tell_events
from orchestrator.cli.show.follow import OWN_WORDS, Show, display
from orchestrator.cli.show.passes import print_verdict
from orchestrator.errors import KgttsError, RunFailedError
from orchestrator.formatting import counted
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import SessionState, SessionStatus
from orchestrator.notify import Event, EventKind
from orchestrator.places.inputs import Tree
from orchestrator.places.local import LAST_STOP, Ended, LocalPlace
from orchestrator.places.series import Series
from orchestrator.ports import SystemClock
from orchestrator.render.kernel import OwnMachine, render_kernel
from orchestrator.results import Results
from orchestrator.run.decide import is_done, why_done
from orchestrator.run.outlook import read_pulled, verdict_of
from orchestrator.run.plan import Background, KnownBackground, earlier_losses, read_plan
from orchestrator.run.progress import Progress, follow, parse_event
from orchestrator.untrusted import terminal_line

_GO_ON = "`kgtts train` goes on from there"
_STOPPING = {
    1: "Saving, which takes up to some minutes. Ctrl-C twice more ends it at once.",
    2: "Still saving. Ctrl-C once more ends it at once; what came after the last checkpoint is then lost.",
    LAST_STOP: "Ending at once.",
}


def run_session(
    series: Series, place: LocalPlace, machine: OwnMachine, trees: Mapping[str, Tree]
) -> tuple[Ended, int]:
    """Run the next session of a run, with its progress on the screen.

    Returns:
        How it ended, and how often the person asked to stop it.
    """
    number, ref = place.newest() + 1, place.ref(place.newest() + 1)
    source = render_kernel(series.settings, series.stamp, machine=machine).source
    series.remember()
    history = () if series.result is None else series.result.history
    around = Background(
        replace(series.stamp, session=number),
        read_plan(source),
        history,
        earlier=earlier_losses(series.folder, series.run_id, number),
        on_interrupt="Ctrl-C saves and stops; `kgtts train` goes on from there.",
    )
    with display(str(ref), KnownBackground(around)) as show:
        view = _View(show)
        view.state(SessionState.RUNNING)
        # Behind the page, which has handlers of its own.
        with stop_requests() as stops:
            ended = place.run(source, trees, view.line, stops, view.stopping)
        view.state(SessionState.COMPLETE if ended.exit_code == 0 else SessionState.ERROR)
    return ended, stops()


class _View:
    """Passes on what a session says, with the progress that follows from it."""

    def __init__(self, show: Show) -> None:
        self._show, self._progress = show, Progress()

    def state(self, state: SessionState) -> None:
        """Show a change of the session's state."""
        self._show(SessionStatus(state), self._progress)

    def line(self, line: LogLine) -> None:
        """Show a line of the log."""
        self._progress = follow(self._progress, line.text)
        self._show(line, self._progress)

    def stopping(self, count: int) -> None:
        """Say what becomes of a request to stop."""
        self._show(LogLine(OWN_WORDS, 0.0, _STOPPING[count]), self._progress)


@contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Count Ctrl-C, a termination and a terminal that is closed, in place of what they do.

    What is ignored, as under nohup, stays ignored. Gives a function that says how many have come.
    """
    count, before = 0, {}

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        try:
            before[number] = signal.signal(number, note)
        except ValueError:  # Not in the main thread.
            break
    try:
        yield lambda: count
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@dataclass(frozen=True, slots=True)
class Shown:
    """A session that has ended, and the run that it belongs to.

    Attributes:
        series: the run, as it was before.
        results: the results on this machine.
        ended: how the session ended.
        stops: how often the person asked to stop it.
    """

    series: Series
    results: Results
    ended: Ended
    stops: int

    @property
    def name(self) -> str:
        """The session in words."""
        return f"Session {self.ended.number} of run {self.series.run_id}"

    @property
    def step(self) -> int:
        """The step of the run's newest checkpoint."""
        steps = [
            item.global_step or 0 for item in (self.series.result, self.ended.result) if item is not None
        ]
        return max(steps, default=0)


def finish(shown: Shown) -> None:
    """Say how a session ended and what to type next.

    Raises:
        Interrupted: the person stopped it.
        RunFailedError: it failed.
    """
    ended, result = shown.ended, shown.ended.result
    if result is None and ended.exit_code == 0 and ended.number is None:
        click.echo("\n".join(map(terminal_line, ended.tail[-1:])))  # Its own word why there is nothing to do.
        return
    if result is not None and result.status == Status.COMPLETE:
        _completed(shown)
    elif shown.stops or (result is not None and result.reason == EndReason.INTERRUPTED):
        kept = f"step {shown.step} is saved" if shown.step else "nothing was saved yet"
        raise Interrupted(f"Stopped; {kept}.", hint=_GO_ON)
    else:
        raise _failure(shown)


def _completed(shown: Shown) -> None:
    series, result = shown.series, shown.ended.result
    assert result is not None
    assert shown.ended.folder is not None
    over = is_done(series.settings, result)
    verdict = verdict_of(read_pulled(series.folder), result.history, is_over=over)
    if over:
        words = f"The run is done at step {shown.step}: {why_done(result.done_reason)}."
    else:
        words = f"{shown.name} has ended: {terminal_line(result.message)}"
    click.secho(words, fg="green")
    click.echo(f"  results    {_near(shown.ended.folder.path)}")
    print_verdict(verdict)
    if over:
        click.echo('Next: kgtts say "আমি বাংলায় গান গাই।" to hear it; kgtts report --open; kgtts voice package')
    else:
        click.echo("Next: kgtts train goes on; kgtts report --open shows the run so far")
    heard = [] if verdict is None else [verdict.headline, verdict.what_to_do]
    _tell(shown, EventKind.DONE if over else EventKind.SESSION, "\n".join([words, *heard]))


def _failure(shown: Shown) -> RunFailedError:
    ended, result = shown.ended, shown.ended.result
    tail = "".join(
        f"\n  | {terminal_line(line)}" for line in ended.tail if line.strip() and not parse_event(line)
    )
    if result is not None and result.message:
        cause = terminal_line(result.message)
    else:
        cause = f"its process ended with exit code {ended.exit_code}"
    kept = f" Step {shown.step} is saved." if shown.step else ""
    what = shown.name if ended.number is not None else f"A session of run {shown.series.run_id}"
    error = RunFailedError(f"{what} failed: {cause}{kept}{tail}")
    where = "" if ended.folder is None else f"the whole log is {_near(ended.folder.log)}; "
    error.hint = f"{where}mend the cause, then `kgtts train` goes on"
    _tell(shown, EventKind.FAILED, f"{what} failed: {cause}")
    return error


def _tell(shown: Shown, kind: EventKind, text: str) -> None:
    """Tell those who are elsewhere, as [notify] says."""
    series, settings = shown.series, shown.series.settings
    if not addresses(settings):
        return
    files: Sequence[Path] = ()
    if kind is EventKind.DONE:
        from orchestrator.notify.files import files_of_run  # noqa: PLC0415 - as in `notifying.tell`.

        with suppress(KgttsError):
            files = files_of_run(shown.results, series.kernel, series.run_id)
    title = {
        EventKind.DONE: "the voice is done",
        EventKind.FAILED: "the run failed",
        EventKind.SESSION: f"{counted(shown.step, 'step')} are saved",
    }[kind]
    key = f"{series.kernel} {series.run_id} {shown.ended.number} {kind}"
    event = Event(kind, key, f"{series.kernel.slug}: {title}", text, files)
    tell_events(settings, [event], SystemClock().now())


def _near(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path

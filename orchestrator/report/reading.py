"""A pulled run as its report shows it. What a folder holds comes from a server: nothing in it is trusted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import STATE_FILE
from orchestrator.errors import UsageError
from orchestrator.metrics import (
    FindingKind,
    MetricsTable,
    find_warnings,
    read_run,
)
from orchestrator.models import SessionSummary
from orchestrator.report.settings import CONFIG, read_settings
from orchestrator.report.sounds import (
    Recording,
    Room,
    Sentence,
    other_recordings,
    read_recordings,
    read_sentences,
)
from orchestrator.report.texts import as_list, as_number, as_object, one_line, read_object
from orchestrator.report.wav import Clip
from orchestrator.results import PulledSession, newest_run, pulled_sessions
from orchestrator.run.state import SessionResult, read_state

_LARGEST_STATE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning that was found: a sentence, and where it is from (`curves`, `kernel` or `sound`)."""

    source: str
    text: str
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What the run's sessions took, in seconds; None where no session tells.

    Attributes:
        total: of all sessions, as Kaggle counts them.
        known: of those sessions that tell how long their steps took.
        in_steps: of those, in optimizer steps.
    """

    total: float
    known: float
    in_steps: float | None

    @property
    def goodput(self) -> float | None:
        """The share of the time that was spent in steps."""
        return self.in_steps / self.known if self.in_steps is not None and self.known > 0 else None


@dataclass(frozen=True, slots=True)
class RunData:
    """All that a report says of a run.

    Attributes:
        name: how to call the run, on one line.
        run: its id, where one is known.
        folder: where its newest session lies.
        sessions: how many sessions were pulled.
        result: what the newest session's state says.
        state: that state as it is.
        table: the measurements.
        history: the chain of sessions.
        spent: their time.
        settings: the newest session's settings.
        before: the settings of the run before this one, and how that is called.
        sentences: what was spoken.
        recordings: the speaker's own, with what is said in them.
        notices: the warnings found.
        refused_sounds: recordings that found no room.
    """

    name: str
    run: str | None
    folder: Path
    sessions: int
    result: SessionResult | None
    state: Mapping[str, Any]
    table: MetricsTable
    history: tuple[SessionSummary, ...]
    spent: Spent
    settings: Mapping[str, str]
    before: tuple[str, Mapping[str, str]] | None
    sentences: tuple[Sentence, ...]
    recordings: tuple[tuple[str, Clip], ...]
    notices: tuple[Notice, ...]
    refused_sounds: int = 0

    @property
    def session_seconds(self) -> dict[int, float]:
        """How long each session took."""
        return {item.session: item.seconds for item in self.history}


def read_report(
    source: Path | Sequence[PulledSession], *, recordings: Path | None = None, room: Room | None = None
) -> RunData:
    """Read a run.

    Args:
        source: a folder with pulled sessions, whose newest run is taken; or sessions of one run.
        recordings: the data set's folder, where it is at hand.
        room: how much sound may be taken in.

    Raises:
        UsageError: there is nothing of a run, or no recording where they were said to be.
        LocalError: a file cannot be read.
    """
    found = newest_run(pulled_sessions(source)) if isinstance(source, Path) else list(source)
    if not found:
        raise UsageError(
            f"{source} holds no session of a run.", hint="bring one with `kgtts pull`, or name its folder"
        )
    room = Room() if room is None else room
    newest = found[-1]
    states = [read_object(item.folder / STATE_FILE) for item in found]
    state: Mapping[str, Any] = next((item for item in reversed(states) if item), {})
    result = next((told for item in reversed(found) if (told := _result(item.folder))), None)
    table = read_run(found)
    best = table.best_steps()
    known = _recordings(recordings) if recordings is not None else []
    sentences = read_sentences(
        [item.folder for item in found], best[-1] if best else None, room, recordings=known
    )
    history = result.history if result is not None else ()
    return RunData(
        name=_name(newest, result, state),
        run=one_line(newest.run) if newest.run else None,
        folder=newest.folder,
        sessions=len(found),
        result=result,
        state=state,
        table=table,
        history=history,
        spent=_spent(history, states),
        settings=read_settings(_configured(found), state),
        before=_before(found),
        sentences=tuple(sentences),
        recordings=tuple(other_recordings(known, sentences, room)),
        notices=(*_of_curves(table), *_of_sounds(sentences)),
        refused_sounds=room.refused,
    )


def _recordings(folder: Path) -> list[Recording]:
    """The data set's recordings: whoever names a folder would wonder where they are."""
    found = [item for item in read_recordings(folder) if _is_there(item.place)]
    if not found:
        raise UsageError(
            f"{folder} holds no recordings: it, or a folder in it, should have a metadata.csv with lines "
            "such as name|text, and name.wav in wavs/ beside that.",
            hint="name the data set's own folder, or leave --recordings out",
        )
    return found


def _is_there(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # A name that is too long is one from a list alone.
        return False


def _result(folder: Path) -> SessionResult | None:
    place = folder / STATE_FILE
    try:
        return read_state(place.read_bytes()) if place.stat().st_size <= _LARGEST_STATE else None
    except OSError:
        return None


def _name(newest: PulledSession, result: SessionResult | None, state: Mapping[str, Any]) -> str:
    """The kernel without the letter of its turn; else the run, or the folder below the one that it is in."""
    kernel = as_object(state.get("run")).get("kernel")
    if isinstance(kernel, str) and kernel.strip():
        return one_line(kernel, 200).removesuffix("-a").removesuffix("-b")
    if result is not None and result.run:
        return result.run
    # A session's folder is called as those of all other runs are.
    return one_line("/".join(newest.folder.resolve().parts[-2:]), 200)


def _configured(found: Sequence[PulledSession]) -> Path:
    """The newest folder with a configuration."""
    with_one = [item.folder for item in found if (item.folder / CONFIG).is_file()]
    return with_one[-1] if with_one else found[-1].folder


def _before(found: Sequence[PulledSession]) -> tuple[str, Mapping[str, str]] | None:
    """The settings of the run that lies beside this one and was written to before it."""
    place = found[-1].folder.resolve().parent
    # Passes of a later run bring its sessions to SLUG/RUN/session-NN; others lie in SLUG itself.
    beside = pulled_sessions(place.parent if place.name == found[-1].run else place)
    changed = max(item.changed for item in found)
    others = [
        item
        for item in beside
        if item.run is not None and item.run != found[-1].run and item.changed <= changed
    ]
    for item in sorted(others, key=lambda item: item.changed, reverse=True):
        settings = read_settings(item.folder, read_object(item.folder / STATE_FILE))
        if settings:
            return one_line(item.run), settings
    return None


def _spent(history: Sequence[SessionSummary], states: Sequence[Mapping[str, Any]]) -> Spent:
    total, known, steps = 0.0, 0.0, None
    for state in states:
        resources = as_object(state.get("resources"))
        taken, in_steps = as_number(resources.get("seconds")), as_number(resources.get("step_seconds"))
        total += as_number(as_object(state.get("seconds")).get("total")) or 0.0
        if taken is not None and in_steps is not None:
            known, steps = known + taken, (steps or 0.0) + in_steps
    return Spent(sum(item.seconds for item in history) or total, known, steps)


def _of_curves(table: MetricsTable) -> Iterator[Notice]:
    for finding in find_warnings(table):
        source = "kernel" if finding.kind is FindingKind.KERNEL else "curves"
        yield Notice(source, one_line(finding.message), finding.step)


def _of_sounds(sentences: Sequence[Sentence]) -> Iterator[Notice]:
    """What ears would find in what the run's own steps spoke; the base voice's faults are not the run's."""
    for sentence in sentences:
        text = sentence.text if len(sentence.text) <= 60 else f"{sentence.text[:59]}…"  # noqa: PLR2004
        own = [item for item in sentence.spoken if item.step]
        unknown = dict.fromkeys(letter for spoken in own for letter in spoken.unknown)
        if unknown:
            listed = ", ".join(f"“{letter}”" for letter in unknown)
            yield Notice("sound", f"The vocabulary lacks {listed}, which is left out of: {text}")
        for spoken in own:
            if spoken.silent:
                yield Notice("sound", f"Can hardly be heard ({spoken.label}): {text}", spoken.step)
            if spoken.clipped:
                yield Notice("sound", f"Too loud, so clipped ({spoken.label}): {text}", spoken.step)
            if spoken.clip is None and spoken.trouble:
                trouble = spoken.trouble.rstrip(".")
                yield Notice("sound", f"Not to be played ({spoken.label}): {trouble}: {text}", spoken.step)


def card_names(data: RunData) -> list[str]:
    """The GPUs of the newest session; none on a CPU machine."""
    return [one_line(name, 80) for name in as_list(as_object(data.state.get("environment")).get("gpus"))]

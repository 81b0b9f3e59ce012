"""Read a pulled run for its report. The files come from a server: nothing in them is trusted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import CONFIG_FILE, PLACES
from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.metrics import (
    FindingKind,
    MetricsTable,
    Scores,
    Verdict,
    find_warnings,
    judge,
    read_run,
    read_scores,
)
from orchestrator.metrics.answers import Heard
from orchestrator.models import SessionSummary
from orchestrator.report.held_out import HeldOutSentence, read_held_out
from orchestrator.report.settings import read_settings
from orchestrator.report.sounds import (
    Clip,
    Recording,
    Sentence,
    SoundBudget,
    other_recordings,
    read_recordings,
    read_sentences,
)
from orchestrator.results import PulledSession, newest_run, pulled_sessions
from orchestrator.run.state import SessionResult, StateError, parse_state

_LONGEST_QUOTE = 60  # Characters of a sentence in a warning.


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning: a sentence, and where it comes from (`curves`, `files`, `session` or `sound`)."""

    source: str
    text: str
    step: int | None = None


@dataclass(frozen=True, slots=True)
class TimeUsed:
    """How long the run's sessions took, in seconds.

    Attributes:
        total: of all sessions.
        measured: of the sessions that measured their steps.
        in_steps: of these, the part that was spent in optimizer steps; None if no session measured it.
    """

    total: float
    measured: float
    in_steps: float | None

    @property
    def goodput(self) -> float | None:
        """The share of the measured time that was spent in optimizer steps."""
        return self.in_steps / self.measured if self.in_steps is not None and self.measured > 0 else None


@dataclass(frozen=True, slots=True)
class RunData:
    """Everything that a report says about a run.

    Attributes:
        name: how to call the run, on one line.
        run: its id, if it is known.
        folder: the folder of its newest session.
        sessions: how many sessions were pulled.
        result: the newest session's state.json, if one can be read.
        state: the same file, unchecked; empty if there is none.
        state_fault: why the newest state.json cannot be used; None if it can, or if there is none.
        table: the measurements.
        scores: the scores of the held-out sentences.
        verdict: what all of it says about the voice.
        history: the chain of sessions.
        time: how long they took.
        settings: the newest session's settings.
        before: the id and the settings of the previous run in the same place.
        held_out: the held-out sentences, by the speaker, the base voice and the voice.
        sentences: the test sentences.
        recordings: some of the speaker's recordings, with their transcripts.
        notices: the warnings.
        refused_sounds: how many recordings were left out because the page would become too large.
    """

    name: str
    run: str | None
    folder: Path
    sessions: int
    result: SessionResult | None
    state: Mapping[str, Any]
    state_fault: str | None
    table: MetricsTable
    scores: Scores
    verdict: Verdict
    history: tuple[SessionSummary, ...]
    time: TimeUsed
    settings: Mapping[str, str]
    before: tuple[str, Mapping[str, str]] | None
    held_out: tuple[HeldOutSentence, ...]
    sentences: tuple[Sentence, ...]
    recordings: tuple[tuple[str, Clip], ...]
    notices: tuple[Notice, ...]
    refused_sounds: int = 0

    @property
    def session_seconds(self) -> dict[int, float]:
        """How many seconds each session took."""
        return {item.session: item.seconds for item in self.history}


def read_report(
    source: Path | Sequence[PulledSession],
    *,
    recordings: Path | None = None,
    budget: SoundBudget | None = None,
) -> RunData:
    """Read a pulled run.

    Args:
        source: a folder with pulled sessions, of which the newest run is read; or the sessions of one run.
        recordings: the folder of the dataset, to play the speaker's recordings.
        budget: how much sound may be read.

    Raises:
        UsageError: there is no session of a run, or no recording in that folder.
        LocalError: a file cannot be read.
    """
    found = newest_run(pulled_sessions(source)) if isinstance(source, Path) else list(source)
    if not found:
        raise UsageError(
            f"There is no session of a run in {source}.",
            hint="download one with `kgtts pull`, or name the folder of a run",
        )
    budget = SoundBudget() if budget is None else budget
    newest = found[-1]
    states = [untrusted.as_object(untrusted.read_json_object(item.files.state)) for item in found]
    state: Mapping[str, Any] = next((state for state in reversed(states) if state), {})
    result, fault = _newest_result(found)
    table = read_run(found)
    scores = read_scores(table, state)
    best = best_step(state, table)
    folders = [item.folder for item in found]
    known = _recordings(recordings) if recordings is not None else []
    held_out = read_held_out(folders, best, scores, budget)
    sentences = read_sentences(folders, best, budget, recordings=known)
    history = result.history if result is not None else ()
    return RunData(
        name=_name(newest, result, state),
        run=untrusted.one_line(newest.run) if newest.run else None,
        folder=newest.folder,
        sessions=len(found),
        result=result,
        state=state,
        state_fault=fault,
        table=table,
        scores=scores,
        verdict=judge(
            table,
            scores,
            heard=_heard(sentences),
            session_seconds={item.session: item.seconds for item in history},
            is_over=result is not None and result.done,
        ),
        history=history,
        time=_time_used(history, states),
        settings=read_settings(_configured(found), state),
        before=_before(found),
        held_out=tuple(held_out),
        sentences=tuple(sentences),
        recordings=tuple(other_recordings(known, sentences, budget)),
        notices=(*_of_files(result, fault), *_of_curves(table), *_of_sounds(sentences)),
        refused_sounds=budget.refused,
    )


def best_step(state: Mapping[str, Any], table: MetricsTable) -> int | None:
    """The step of the model that is exported: the best by score if that was asked for, or the trainer's."""
    chosen = untrusted.as_object(untrusted.as_object(state.get("scores")).get("best"))
    found = untrusted.count(chosen.get("global_step"))
    best = table.best_steps()
    return found if found is not None else best[-1] if best else None


def _heard(sentences: Sequence[Sentence]) -> Heard:
    """How the newest model spoke the test sentences."""
    own = [[sample for sample in sentence.samples if sample.step] for sentence in sentences]
    newest = [samples[-1] for samples in own if samples and samples[-1].clip is not None]
    silent, steady = (sum(getattr(sample, name) for sample in newest) for name in ("silent", "steady"))
    return Heard(len(newest), silent, steady)


def _recordings(folder: Path) -> list[Recording]:
    """The recordings of a dataset.

    Raises:
        UsageError: there are none.
    """
    found = [item for item in read_recordings(folder) if _is_there(item.place)]
    if not found:
        raise UsageError(
            f"There are no recordings in {folder}. It, or a folder in it, should have a metadata.csv with "
            "lines such as name|text, and beside that a folder wavs with name.wav.",
            hint="name the folder of the dataset, or leave out --recordings",
        )
    return found


def _is_there(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # The name is too long for a file.
        return False


def _newest_result(sessions: Sequence[PulledSession]) -> tuple[SessionResult | None, str | None]:
    """The newest state.json that can be used, and why the newest one cannot, if that is so."""
    faults: list[str] = []
    for item in reversed(sessions):
        data = untrusted.read_bytes(item.files.state)
        if data is None:
            continue
        try:
            return parse_state(data), next(iter(faults), None)
        except StateError as error:
            faults.append(error.message)
    return None, next(iter(faults), None)


def _name(newest: PulledSession, result: SessionResult | None, state: Mapping[str, Any]) -> str:
    """The kernel without the letter of its turn, or the run's id, or the newest session's folder."""
    kernel = untrusted.text(untrusted.as_object(state.get("run")).get("kernel"), 200)
    if kernel and kernel.partition("/")[0] in PLACES:
        return kernel.partition("/")[2]
    if kernel:
        return kernel.removesuffix("-a").removesuffix("-b")
    if result is not None and result.run:
        return result.run
    # With the folder above: other runs have session folders of the same name.
    return untrusted.one_line("/".join(newest.folder.resolve().parts[-2:]), 200)


def _configured(found: Sequence[PulledSession]) -> Path:
    """The newest session's folder that has a configuration."""
    with_one = [item.folder for item in found if (item.folder / CONFIG_FILE).is_file()]
    return with_one[-1] if with_one else found[-1].folder


def _before(found: Sequence[PulledSession]) -> tuple[str, Mapping[str, str]] | None:
    """The id and the settings of the run in the same place that was changed before this one."""
    place = found[-1].folder.resolve().parent
    # The first run of a slug lies in SLUG itself, a later one in SLUG/RUN.
    beside = pulled_sessions(place.parent if place.name == found[-1].run else place)
    changed = max(item.changed for item in found)
    others = [
        item
        for item in beside
        if item.run is not None and item.run != found[-1].run and item.changed <= changed
    ]
    for item in sorted(others, key=lambda item: item.changed, reverse=True):
        state = untrusted.as_object(untrusted.read_json_object(item.files.state))
        settings = read_settings(item.folder, state)
        if settings:
            return untrusted.one_line(item.run), settings
    return None


def _time_used(history: Sequence[SessionSummary], states: Sequence[Mapping[str, Any]]) -> TimeUsed:
    total, measured, steps = 0.0, 0.0, None
    for state in states:
        resources = untrusted.as_object(state.get("resources"))
        taken = untrusted.seconds(resources.get("seconds"))
        in_steps = untrusted.seconds(resources.get("step_seconds"))
        total += untrusted.seconds(untrusted.as_object(state.get("seconds")).get("total")) or 0.0
        if taken is not None and in_steps is not None:
            measured, steps = measured + taken, (steps or 0.0) + in_steps
    return TimeUsed(sum(item.seconds for item in history) or total, measured, steps)


def _of_files(result: SessionResult | None, fault: str | None) -> Iterator[Notice]:
    if result is not None and fault is not None:
        yield Notice(
            "files",
            f"The newest state.json cannot be used, since {fault}. Progress and sessions are those of "
            f"session {result.session}.",
        )


def _of_curves(table: MetricsTable) -> Iterator[Notice]:
    for finding in find_warnings(table):
        source = "session" if finding.kind is FindingKind.KERNEL else "curves"
        yield Notice(source, untrusted.one_line(finding.message), finding.step)


def _of_sounds(sentences: Sequence[Sentence]) -> Iterator[Notice]:
    """Faults of the run's own samples; those of the base voice are not the run's."""
    for sentence in sentences:
        text = (
            sentence.text
            if len(sentence.text) <= _LONGEST_QUOTE
            else f"{sentence.text[: _LONGEST_QUOTE - 1]}…"
        )
        own = [sample for sample in sentence.samples if sample.step]
        unknown = dict.fromkeys(letter for sample in own for letter in sample.unknown)
        if unknown:
            listed = ", ".join(unknown)
            yield Notice("sound", f"Not in the voice's vocabulary, so not spoken: {listed} in “{text}”")
        for sample in own:
            which = f"“{text}” ({sample.label})"
            if sample.silent:
                yield Notice("sound", f"Almost silent: {which}", sample.step)
            for what in sample.odd:
                yield Notice("sound", f"Odd sound: {which} {what}", sample.step)
            if sample.clipped:
                yield Notice("sound", f"Too loud, so the sound is distorted: {which}", sample.step)
            if sample.clip is None and sample.trouble:
                yield Notice("sound", f"Cannot be played: {which}: {sample.trouble}", sample.step)


def gpu_names(data: RunData) -> list[str]:
    """The names of the newest session's GPUs; empty on a machine without."""
    environment = untrusted.as_object(data.state.get("environment"))
    return [untrusted.one_line(name, 80) for name in untrusted.as_list(environment.get("gpus"))]

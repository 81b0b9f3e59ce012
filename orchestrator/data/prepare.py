"""Make a dataset of a folder of recordings: only what changed is worked on."""

from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.data.checks import Rules, judge
from orchestrator.data.findings import KINDS, NEVER_ACCEPTED, Outcome
from orchestrator.data.pool import cores, work_all
from orchestrator.data.report import page, quarantine_table, report_json
from orchestrator.data.store import Layout, Store
from orchestrator.data.study import Found, Listener, Request, ensure_nothing_is_lost, find, jobs_for
from orchestrator.data.summary import Summary, summarize
from orchestrator.data.work import Job, Worked, part_file
from orchestrator.errors import UsageError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset that was made.

    Attributes:
        layout: where it is.
        outcome: what became of each row and recording.
        summary: the dataset in numbers.
        worked: how many recordings were worked on now; the others had not changed.
        changed: whether the dataset differs from what it was.
        strangers: files among its recordings that kgtts did not make.
    """

    layout: Layout
    outcome: Outcome
    summary: Summary
    worked: int
    changed: bool
    strangers: tuple[str, ...]


def prepare(request: Request, target: Path, listener: Listener, accept: tuple[str, ...] = ()) -> Prepared:
    """Make the dataset of a folder of recordings, or bring it up to date.

    Args:
        request: the recordings, and what they become.
        target: the folder to make it in (`store`).
        listener: hears how far it is.
        accept: ids or recordings that come back from quarantine, now and in later runs.

    Raises:
        UsageError: as `study.find`; the target is among the recordings; `accept` names what cannot be used.
        LocalError: the folder cannot be written to.
    """
    source, place = request.folder.resolve(), target.resolve()
    if place == source or source.is_relative_to(place):
        raise UsageError(
            f"{target} has the recordings in it; the dataset needs a folder of its own.",
            hint="give another folder with --to",
        )
    found = find(request, leave_out=target)
    with Store(target).opened() as store:
        outcome, count = _work(found, request, store, listener, accept)
        return _publish(found, request, store, outcome, count)


def _work(
    found: Found, request: Request, store: Store, listener: Listener, accept: tuple[str, ...]
) -> tuple[Outcome, int]:
    """Work on what changed, and judge all. Returns the outcome, and how many were worked on."""
    idents = {item.recording.name: item.id for item in found.pairs}
    worked: dict[str, Worked] = {}
    jobs: list[Job] = []
    for job in jobs_for(found, request):
        ident = idents[job.name]
        known = store.known(job, ident, request.settings)
        if known is None:
            jobs.append(replace(job, out=store.layout.staging / ident))
        else:
            worked[job.name] = known
    listener.started(len(jobs))
    paths = {job.name: job.path for job in jobs}
    for item in work_all(jobs, request.settings, request.processes or cores()):
        worked[item.name] = item
        store.remember(item, paths[item.name], idents[item.name], request.settings)
        listener.advanced(item.name)
    accepted = [*store.read_accepted(), *accept]
    rules = Rules(request.settings, request.speak, frozenset(accepted))
    outcome = judge(found.pairs, worked, found.outcome, rules)
    _refuse_to_accept(outcome, accept)
    ensure_nothing_is_lost(outcome, found.folder)
    if accept:
        lines = dict.fromkeys(accepted)
        store.write_if_changed(store.layout.accepted, "".join(f"{line}\n" for line in lines))
    return outcome, len(jobs)


def _refuse_to_accept(outcome: Outcome, accept: tuple[str, ...]) -> None:
    """Say which of the accepted names mean nothing, or what cannot be used whatever one wants."""
    for name in accept:
        meant = [item for item in outcome.utterances if name in (item.id, item.recording)]
        if not meant:
            raise UsageError(
                f"--accept {name}: there is no such utterance.",
                hint="quarantine/quarantine.csv lists their ids",
            )
        for item in meant:
            for reason in item.reasons:
                if reason.kind in NEVER_ACCEPTED:
                    kind = KINDS[reason.kind]
                    raise UsageError(
                        f"--accept {name}: it cannot be used: {kind.title} {reason.what}".rstrip() + ".",
                        hint=kind.done.rpartition(": ")[2],
                    )


def _publish(found: Found, request: Request, store: Store, outcome: Outcome, count: int) -> Prepared:
    """Put everything in its place; what makes the dataset finished is written last."""
    layout = store.layout
    idents = {item.recording.name: item.id for item in found.pairs}
    places: dict[tuple[str, int], Path] = {}
    for item in outcome.utterances:
        if item.part is not None:
            folder = layout.quarantine if item.reasons else layout.wavs
            places[item.recording, item.part] = part_file(folder / idents[item.recording], item.part)
    summary = summarize(outcome)
    text = metadata(outcome)
    changed = store.arrange(places, idents, text)
    store.write_if_changed(layout.quarantine / "quarantine.csv", quarantine_table(outcome))
    store.write_if_changed(layout.report, report_json(found, outcome, summary, request.settings))
    store.write_if_changed(layout.page, page(found, outcome, summary, request.settings))
    if text:
        store.write_if_changed(layout.metadata, text)
    store.finish(idents)
    strangers = store.strangers(places.values())
    return Prepared(layout, outcome, summary, count, changed, tuple(strangers))


def metadata(outcome: Outcome) -> str:
    """The dataset's texts, as Coqui's ljspeech formatter reads them: `id|raw|normalized`.

    With several speakers each row ends in one column more, the speaker, which that formatter ignores.
    """
    kept = outcome.kept
    has_speakers = len({item.speaker for item in kept}) > 1
    rows = []
    for item in kept:
        columns = [item.id, item.raw, item.spoken, *([item.speaker] if has_speakers else [])]
        rows.append("|".join(column.replace("|", " ") for column in columns) + "\n")
    return "".join(rows)

"""What `--from PLACE` does: results in a bucket or a folder, shown and brought as those of Kaggle are."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kernel_template.contract import LOCAL, SKYPILOT, STATE_FILE, EndReason
from orchestrator.cli.context import load, on_interrupt, print_json
from orchestrator.cli.show.console import quoted, warn
from orchestrator.cli.show.runs import row, session_line
from orchestrator.cli.show.transfer import Silent
from orchestrator.errors import CredentialsError
from orchestrator.files import home_folder
from orchestrator.formatting import counted, duration, losses, moment, size
from orchestrator.kaggle.auth import NoLoginError, find_credentials
from orchestrator.results import Results, SessionFolder, pulled_sessions
from orchestrator.settings.selection import select_outputs
from orchestrator.untrusted import file_name, terminal_line

if TYPE_CHECKING:
    from orchestrator.download import Refused
    from orchestrator.places.reading import Chosen, RunThere, SessionThere
    from orchestrator.run.collect import Choose
    from orchestrator.settings.sections import Pull

F = TypeVar("F", bound=Callable[..., Any])


def place_option(command: F) -> F:
    """Give a command `--from`."""
    return click.option(
        "--from",
        "place",
        metavar="PLACE",
        help="Read a folder or a bucket (s3://..., gs://...; extra cloud) instead: docs/skypilot.md.",
    )(command)


def pull_from(
    place: str,
    wanted: str | None,
    folder: Path | None,
    choose: "Choose | None",
    listen: Callable[[], Silent],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring a run's sessions to this machine, and print what came.

    Args:
        place: the bucket or folder.
        wanted: the run; None is the newest there.
        folder: the folder for the run; None is its own in [pull] to.
        choose: which files; None is [pull]'s choice, and checkpoints of the newest session alone.
        listen: makes what hears of every file of a session.
        dry_run: only list what would come.
        as_json: print JSON.

    Raises:
        LocalError, ServiceError, UsageError: they cannot be read or written, or files were refused.
    """
    from orchestrator.run.collect import refusal  # noqa: PLC0415 - pydantic

    plan = _plan(_find(place, wanted, say=not as_json), folder, choose)
    if dry_run:
        found, refused = _outline(plan, as_json=as_json)
    else:
        found, refused = _bring(plan, listen, as_json=as_json)
    if as_json:
        print_json({"from": place, "sessions": found})
    if (failure := refusal(refused)) is not None:
        raise failure


def _outline(plan: "Sequence[Chosen]", *, as_json: bool) -> tuple[list[dict[str, Any]], list["Refused"]]:
    """List what would come; as JSON, and the refused names."""
    from orchestrator.places.reading import plan_session  # noqa: PLC0415 - fsspec, pydantic

    documents, refusals = [], list["Refused"]()
    for session, files, chosen in plan:
        planned, refused, left_out = plan_session(session, files, chosen)
        rows = sorted(planned, key=lambda item: item.path)
        total, to_come = sum(row.size or 0 for row in rows), sum((row.size or 0) - row.here for row in rows)
        listed = [{"path": str(item.path), "size": item.size, "here": item.here} for item in rows]
        documents.append(_document(session, files, listed, refused, left_out))
        refusals += refused
        if as_json:
            continue
        for item in rows:
            here = "  here" if item.here and item.here == item.size else ""
            click.echo(f"{size(item.size or 0):>10}  {file_name(item.path)}{here}")
        words = f"{size(total):>10}  in {counted(len(rows), 'file')}, {size(to_come)} to come"
        click.echo(f"{click.style(words, fg='green')}  to {files.path}{os.sep}; {left_out} not chosen")
    return documents, refusals


def _bring(
    plan: "Sequence[Chosen]", listen: Callable[[], Silent], *, as_json: bool
) -> tuple[list[dict[str, Any]], list["Refused"]]:
    """Bring all sessions; as JSON, and the refused names."""
    from orchestrator.places.reading import bring_session  # noqa: PLC0415 - as above

    newest, needed = plan[-1][0].number, _chosen(load().settings.pull)
    documents, refusals, unchosen = [], list["Refused"](), 0
    hint = "run the same command again to continue it"
    with on_interrupt("Stopped; the files that are here are complete.", hint=hint):
        for session, files, chosen in plan:
            is_newest = session.number == newest
            with listen() as listener:
                brought = bring_session(session, files, chosen, listener, needed=needed, is_newest=is_newest)
            fetched, unchosen = brought.transfer.files, unchosen + brought.left_out
            listed = [{"path": str(i.path), "size": i.size, "unchanged": i.unchanged} for i in fetched]
            documents.append(_document(session, files, listed, brought.transfer.refused, brought.left_out))
            refusals += brought.transfer.refused
            fresh = [file for file in fetched if not file.unchanged]
            same = f", {len(fetched) - len(fresh)} unchanged" if len(fresh) < len(fetched) else ""
            total = size(sum(file.size for file in fresh))
            words = f"{session.ref}: {counted(len(fresh), 'file')}, {total}{same}"
            if not as_json:
                click.echo(f"{click.style(words, fg='green')}  in {files.path}{os.sep}")
    if unchosen and not as_json:
        click.echo(f"Not chosen: {unchosen} more; --all downloads every file.")
    return documents, refusals


def _document(
    session: "SessionThere",
    files: SessionFolder,
    listed: list[dict[str, Any]],
    refused: "Sequence[Refused]",
    left_out: int,
) -> dict[str, Any]:
    return {
        "kernel": str(session.kernel),
        "session": session.number,
        "run": session.state.run,
        "status": session.state.status,
        "folder": str(files.path),
        "files": listed,
        "refused": [item.name for item in refused],
        "left_out": left_out,
    }


def brought_from(place: str, wanted: str | None) -> str:
    """Bring what reports and tables are made of, and return the folder of the run's sessions.

    Raises:
        ServiceError, LocalError, UsageError: it cannot be read, or not be written here.
    """
    from orchestrator.places.reading import without_weights  # noqa: PLC0415 - as above

    plan = _plan(_find(place, wanted), None, without_weights(_chosen(load().settings.pull)))
    _bring(plan, Silent, as_json=True)
    return str(plan[-1][1].path.parent)


def here_alone() -> str | None:
    """The folder of results, if there is no login and this folder's run has been trained on this machine."""
    try:
        find_credentials(os.environ, home_folder())
    except NoLoginError:
        settings = load().settings
        to = Path(settings.pull.to)
        sessions = pulled_sessions(to / settings.kernel.slug)
        return settings.pull.to if any(item.files.elsewhere is not None for item in sessions) else None
    except CredentialsError:
        return None
    return None


def log_here() -> Path | None:
    """The log of the newest session on this machine, if `here_alone`."""
    if (place := here_alone()) is None:
        return None
    log = Results(Path(place)).find(None, load().settings.kernel.slug)[-1].files.log
    return log if log.is_file() else None


def status_from(place: str, wanted: str | None, *, as_json: bool) -> None:
    """Show how far a run in a bucket or folder is.

    Raises:
        ServiceError, LocalError, UsageError: it cannot be read.
    """
    run = _find(place, wanted, say=not as_json)
    newest, state = run.newest, run.newest.state
    if as_json:
        print_json(_status_json(run))
        return
    stopped = "stopped" if state.reason == EndReason.INTERRUPTED else state.status
    word = "done" if state.done else stopped
    click.echo(f"{newest.ref}  {click.style(word, fg='green' if state.done else 'yellow', bold=True)}")
    row("run", f"{run.id}, session {newest.number}")
    row("progress", _progress(run))
    if newest.heard is not None:
        ago = max(timedelta(0), datetime.now(UTC) - newest.heard)
        row("heard of", f"{moment(newest.heard)}, {duration(ago)} ago")
    if newest.is_running:
        ask = " (sky jobs queue)" if newest.kernel.owner == SKYPILOT else ""
        row("note", f"it said nothing of its end: it trains, or it was killed after that{ask}")
    row("ended", state.message or None)
    if state.history:
        click.echo("  sessions")
    for item in state.history:
        click.echo(f"    {terminal_line(session_line(item))}")
    if newest.kernel.owner == LOCAL:
        click.echo(
            "Next: kgtts report" if state.done else "Next: kgtts train goes on, if it does not train now"
        )
    else:
        click.echo(f"Next: kgtts pull --from {quoted(place)}")


def _find(place: str, wanted: str | None, *, say: bool = True) -> "RunThere":
    from orchestrator.places.reading import find_run  # noqa: PLC0415 - as above

    run = find_run(place, wanted)
    if run.others and say:
        others = ", ".join(run.others)
        click.echo(
            f"Note: {place} holds {counted(len(run.others), 'other run')}: {others}. Name one to see it.",
            err=True,
        )
    for folder in run.damaged:
        warn(f"{terminal_line(folder)}/{STATE_FILE} is damaged, so this session is left out.", err=True)
    return run


def _plan(run: "RunThere", folder: Path | None, choose: "Choose | None") -> "Sequence[Chosen]":
    from orchestrator.places.reading import plan_run  # noqa: PLC0415 - as above

    settings = load().settings.pull
    return plan_run(run, Results(Path(settings.to)), _chosen(settings), folder=folder, choose=choose)


def _chosen(settings: "Pull") -> "Choose":
    return partial(select_outputs, include=settings.include, exclude=settings.exclude)


def _progress(run: "RunThere") -> str:
    state = run.newest.state
    epochs = f" of {state.epochs}" if state.epochs else ""
    epoch = f"epoch {state.epochs_done}{epochs}" if state.epoch is not None else ""
    parts = [epoch, losses(run.newest.losses)]
    return ", ".join([f"checkpoint of step {state.global_step or 0}", *(part for part in parts if part)])


def _status_json(run: "RunThere") -> dict[str, Any]:
    newest, state = run.newest, run.newest.state
    return {
        "run": run.id,
        "kernel": str(newest.kernel),
        "session": newest.number,
        "status": state.status,
        "reason": state.reason or None,
        "message": state.message or None,
        "heard": None if newest.heard is None else newest.heard.isoformat(),
        "done": state.done,
        "global_step": state.global_step,
        "epoch": None if state.epoch is None else state.epochs_done,
        "epochs": state.epochs,
        "losses": dict(newest.losses),
        "history": [asdict(item) for item in state.history],
        "other_runs": list(run.others),
    }

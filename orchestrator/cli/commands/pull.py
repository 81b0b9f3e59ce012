"""`kgtts pull`: bring a session's results to this machine."""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from orchestrator.cli.context import (
    find,
    is_verbose,
    json_option,
    load,
    on_interrupt,
    print_json,
    run_argument,
    workbench,
)
from orchestrator.cli.places import place_option, pull_from
from orchestrator.cli.show.transfer import Silent, bars_or_lines
from orchestrator.download import Counts
from orchestrator.formatting import counted, size
from orchestrator.results import Results, SessionFolder
from orchestrator.run.collect import Collected, Outline, collect, folder_of, outline, refusal
from orchestrator.run.context import Target
from orchestrator.settings import select_outputs
from orchestrator.untrusted import file_name


@click.command()
@run_argument
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to fill. Default: the run's own folder in runs/.",
)
@click.option("--all", "everything", is_flag=True, help="Download every file, not only what [pull] chooses.")
@click.option("--include", metavar="GLOB", multiple=True, help="Only matching files. Can be repeated.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Leave out matching files. Can be repeated.")
@place_option
@click.option("--dry-run", is_flag=True, help="List what would be downloaded, with sizes, and stop.")
@json_option
def pull(
    run: str | None,
    *,
    folder: Path | None,
    everything: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    place: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Download a session's checkpoints, logs, config and samples.

    A file appears complete and checked, or not at all. Files that are here already are not downloaded again,
    and an interrupted pull continues where it stopped. You can pull from any session whose
    outputs you may see. With --from, all sessions of a run come, with checkpoints of the newest alone.
    """
    if everything and include:
        raise click.UsageError("--all takes every file and --include chooses some; give one of them.")
    to = ""
    if everything and folder is not None:  # Nothing of the settings is needed, which take a while to load.
        needed = choose = partial(select_outputs, include=("*",), exclude=exclude)
    else:
        settings = load().settings.pull
        to = settings.to
        needed = partial(select_outputs, include=settings.include, exclude=settings.exclude)
        choose = partial(
            select_outputs,
            include=("*",) if everything else include or settings.include,
            exclude=exclude or (() if everything else settings.exclude),
        )
    listen = Silent if as_json else bars_or_lines
    if place is not None:
        chosen = choose if everything or include or exclude else None
        pull_from(place, run, folder, chosen, listen, dry_run=dry_run, as_json=as_json)
        return
    with workbench() as bench:
        target, files = find(bench, run), SessionFolder(folder or Path())
        if folder is None:
            target, files = folder_of(bench, target, Results(Path(to)))
        if dry_run:
            found = outline(bench, target, files.path, choose)
            _print_outline(found, target, files.path, as_json=as_json)
            if (failure := refusal(found.refused)) is not None:
                raise failure
            return
        interrupted = on_interrupt(
            "Stopped; the files that are here are complete.", hint="run the same pull again to continue it"
        )
        with interrupted, listen() as listener:
            collected = collect(bench, target, files.path, choose, listener, run=files.run, needed=needed)
        if folder is None and collected.target.ref.version is not None:
            files.name_version(collected.target.ref)
    _print_collected(collected, as_json=as_json)
    if is_verbose():
        click.echo(_cost(collected.transfer.counts), err=True)
    if (left_out := collected.failure or collected.emptiness) is not None:
        raise left_out


def _cost(counts: Counts) -> str:
    """Write what a transfer cost."""
    return (
        f"{size(counts.received)} received, {size(counts.again)} of it fetched again; "
        f"{size(counts.resumed)} were here from an earlier pull; {counts.requests} requests, "
        f"{counts.retries} retries, {counts.connections} connections"
    )


def _print_outline(found: Outline, target: Target, place: Path, *, as_json: bool) -> None:
    files = sorted(found.files, key=lambda file: file.path)
    if as_json:
        print_json(
            {
                "kernel": str(target.ref.kernel),
                "version": target.ref.version,
                "state": found.status.state.value,
                "folder": str(place),
                "files": [{"path": str(file.path), "size": file.size, "here": file.here} for file in files],
                "size": sum(file.size or 0 for file in files),
                "to_come": found.to_come,
                "refused": [item.name for item in found.refused],
                "left_out": found.left_out,
            }
        )
        return
    for file in files:
        here = "" if not file.here else "  here" if file.here == file.size else f"  {size(file.here)} here"
        click.echo(f"{'?' if file.size is None else size(file.size):>10}  {file_name(file.path)}{here}")
    for item in found.refused:
        click.secho(f"   refused  {item.name!r} {item.reason}", fg="yellow")
    total = size(sum(file.size or 0 for file in files))
    words = f"{total:>10}  in {counted(len(files), 'file')}, {size(found.to_come)} to come"
    click.echo(f"{click.style(words, fg='green')}  to {place}{os.sep}")
    _print_left_out(found.left_out)


def _print_collected(collected: Collected, *, as_json: bool) -> None:
    files = sorted(collected.transfer.files, key=lambda file: file.path)
    if as_json:
        print_json(
            {
                "kernel": str(collected.target.ref.kernel),
                "version": collected.target.ref.version,
                "state": collected.status.state.value,
                "folder": str(collected.folder),
                "files": [
                    {"path": str(file.path), "size": file.size, "unchanged": file.unchanged} for file in files
                ],
                "refused": [item.name for item in collected.transfer.refused],
                "left_out": collected.left_out,
                "transfer": asdict(collected.transfer.counts),
            }
        )
        return
    fresh = [file for file in files if not file.unchanged]
    same = f", {len(files) - len(fresh)} unchanged" if len(fresh) < len(files) else ""
    total = size(sum(file.size for file in fresh))
    words = f"{collected.target.ref}: {counted(len(fresh), 'file')}, {total}{same}"
    click.echo(f"{click.style(words, fg='green')}  in {collected.folder}{os.sep}")
    _print_left_out(collected.left_out)
    if not collected.status.state.is_success:
        click.secho(f"The session ended with {collected.status.state}; see session.log there.", fg="yellow")


def _print_left_out(count: int) -> None:
    if count:
        click.echo(f"Not chosen: {count} more; --all downloads every file.")

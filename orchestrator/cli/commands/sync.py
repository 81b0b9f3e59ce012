"""`kgtts sync` and `watch`: the chain of sessions, one pass at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.context import (
    Interrupted,
    Workbench,
    data_folder,
    duration_option,
    json_option,
    load,
    print_json,
    settings_options,
    workbench,
)
from orchestrator.cli.show import pass_words
from orchestrator.errors import (
    KgttsError,
    RefusedError,
    RunFailedError,
    ServiceError,
    UsageError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from orchestrator.run.passes import Collecting, Pass
    from orchestrator.settings import Settings

_LONGEST_WAIT = timedelta(minutes=15)
_SHORTEST_WAIT = timedelta(seconds=15)
_MOST_UNREACHED = 20  # Passes in a row: about four hours.


@click.command(short_help="One pass: observe, collect, continue")
@click.option("--no-pull", is_flag=True, help="Do not bring results here.")
@click.option(
    "--summary",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="GITHUB_STEP_SUMMARY",
    help="Append a Markdown summary to this file; default: GitHub's, where it is set.",
)
@click.option(
    "--outputs",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="GITHUB_OUTPUT",
    help="Append outputs of a GitHub step to this file; default: GitHub's, where it is set.",
)
@settings_options
@json_option
def sync(
    *,
    no_pull: bool,
    summary: Path | None,
    outputs: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make one pass over the run that kgtts.toml describes, in seconds; for cron and GitHub Actions.

    It reads the run from Kaggle and starts its first session, reports the running one, brings an ended one's
    results, or pushes the next. It needs no memory of earlier passes, and two at once do no harm.
    """
    from orchestrator.cli.github.reporting import report_failure, report_pass  # noqa: PLC0415  # As above.
    from orchestrator.cli.show import outlook  # noqa: PLC0415  # Start-up.

    try:
        settings = load(config_path, overrides).settings
        with workbench() as bench:
            done = one_pass(bench, settings, pull=not no_pull)
            ahead = outlook.look_ahead(bench, settings, done)
    except KgttsError as error:
        report_failure(error, summary)
        raise
    report_pass(done, ahead, summary=summary, outputs=outputs)
    if as_json:
        print_json({**pass_words.as_dict(done), **outlook.as_dict(ahead)})
    else:
        pass_words.print_pass(done)
        if ahead.forecast is not None:
            click.echo(f"  left       {outlook.in_words(ahead.forecast)}")
    raise_failure(done)


@click.command(short_help="Pass after pass until the run is over")
@duration_option("--timeout", help="How long at most, such as 90m. The run goes on after it.")
@click.option("--no-pull", is_flag=True, help="Do not bring results here.")
@settings_options
def watch(
    *, timeout: timedelta | None, no_pull: bool, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Follow a run from session to session until it is over, starting each as `kgtts sync` would."""
    settings = load(config_path, overrides).settings
    with workbench() as bench, way_back():
        watch_run(bench, settings, timeout=timeout, pull=not no_pull)


@contextmanager
def way_back() -> Iterator[None]:
    """Whoever stops waiting is told how to come back to the run; its present session is not all of it."""
    try:
        yield
    except (Interrupted, WaitTimeoutError) as left:
        raise type(left)(left.message, hint="`kgtts watch` comes back to the run") from None
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped in the middle of a pass; what it did is on Kaggle, and the next one goes on from there.",
            hint="`kgtts watch` comes back to the run",
        ) from None


def one_pass(
    bench: Workbench, settings: "Settings", *, pull: bool, retry: bool = False, new: bool = False
) -> "Pass":
    """One pass, with this machine's other passes waiting for their turn."""
    from orchestrator.cli.show.transfer_display import Silent  # noqa: PLC0415  # As above.
    from orchestrator.locks import machine_lock  # noqa: PLC0415  # As above.
    from orchestrator.ports import SystemClock  # noqa: PLC0415  # As above.
    from orchestrator.run.passes import sync as make_pass  # noqa: PLC0415  # Slow to import.
    from orchestrator.run.push import Service  # noqa: PLC0415  # As above.

    owned = settings.with_owner(bench.kaggle.username)
    return make_pass(
        owned,
        Service(bench.kaggle, bench.ledger, SystemClock()),
        collecting=collecting(owned, Silent()) if pull else None,
        retry=retry,
        new=new,
        scratch=data_folder() / "kept",
        lock=machine_lock(data_folder(), f"{bench.kaggle.service} {owned.kernel.owner}/{owned.kernel.slug}"),
    )


def collecting(settings: "Settings", listener: Any) -> "Collecting":
    """Results go below `[pull] to`, as `[pull]` chooses them."""
    from orchestrator.results import Results  # noqa: PLC0415  # As above.
    from orchestrator.run.passes import Collecting  # noqa: PLC0415  # Slow to import.
    from orchestrator.settings import select_outputs  # noqa: PLC0415  # As above.

    def choose(names: Sequence[str]) -> Sequence[str]:
        return select_outputs(names, settings.pull.include, settings.pull.exclude)

    return Collecting(Results(Path(settings.pull.to)), choose, listener)


def watch_run(  # Two commands, and what differs between them.
    bench: Workbench,
    settings: "Settings",
    *,
    timeout: timedelta | None,
    pull: bool,
    first: "Pass | None" = None,
    quiet: bool = False,
) -> None:
    """Pass after pass, following each session, until the run is over.

    Args:
        bench: what works.
        settings: the settings.
        timeout: how long at most.
        pull: whether passes bring results here.
        first: a pass that was just made.
        quiet: show nothing (the caller prints JSON).

    Raises:
        RunFailedError: the run failed, stalled or hangs.
        WaitTimeoutError: the time is over; the run goes on.
        Interrupted: Ctrl-C; the run goes on.
    """
    from orchestrator.cli.show.follow import follow_session, pause  # noqa: PLC0415  # As above.
    from orchestrator.cli.show.live_background import Surroundings  # noqa: PLC0415  # As above.
    from orchestrator.ports import SystemClock  # noqa: PLC0415  # As above.
    from orchestrator.run.decide import RunState  # noqa: PLC0415  # Slow to import.

    clock = SystemClock()
    deadline = None if timeout is None else clock.monotonic() + timeout.total_seconds()

    def left() -> timedelta | None:
        return None if deadline is None else timedelta(seconds=max(0.0, deadline - clock.monotonic()))

    done, end = first, None
    unreached = 0
    while True:
        if done is None:
            try:
                done = one_pass(bench, settings, pull=pull)
            except ServiceError as error:
                # A pass that cannot reach Kaggle is no failed run; one that never can is said in the end.
                unreached += 1
                if unreached > _MOST_UNREACHED:
                    raise
                click.secho(f"Warning: {error.message} The next pass tries again.", fg="yellow", err=True)
                pause(min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**unreached), left(), clock)
                continue
            unreached = 0
            if not quiet:
                pass_words.print_pass(done)
        if done.state is RunState.RUNNING:
            target = _running(bench, done)
            around = Surroundings(bench.kaggle, target.ref)
            end = follow_session(bench.campaign, target, timeout=left(), quiet=quiet, surroundings=around)
        elif done.state is RunState.WAITING:
            until = done.decision.until
            wait = _LONGEST_WAIT if until is None else max(timedelta(seconds=5), until - clock.now())
            pause(min(wait, _LONGEST_WAIT), left(), clock)
        else:
            if done.state is RunState.FAILED and end is not None:
                raise end.failure()  # With the end of the log that was just seen.
            raise_failure(done)
            return
        done = None


def not_pushed(done: "Pass") -> KgttsError:
    """Why `kgtts push` pushed nothing."""
    from orchestrator.run.decide import RunState  # noqa: PLC0415  # Slow to import.

    reason = done.decision.reason
    if done.state is RunState.WAITING:
        return RefusedError(reason, hint="`kgtts watch` waits and then goes on; `kgtts quota` shows the week")
    if done.state in (RunState.DONE, RunState.LIMITED):
        return UsageError(
            reason, hint="raise its target or limit in kgtts.toml, or begin another run with --new"
        )
    ref = done.view.newest.ref if done.view is not None else ""
    if done.state is RunState.ZOMBIE:
        return RunFailedError(reason, hint=f"stop it on its page: kgtts open {ref}")
    return UsageError(
        reason, hint=f"kgtts status {ref} --watch follows it; `kgtts watch` also goes on after it"
    )


def _running(bench: Workbench, done: "Pass") -> Any:
    from orchestrator.run.campaign import Target  # noqa: PLC0415  # Start-up.

    if done.launched is not None:
        return done.launched.target
    assert done.view is not None
    ref = done.view.newest.ref
    return Target(ref, bench.ledger.of_kernel(ref))


def raise_failure(done: "Pass") -> None:
    """A run that failed, stalled or hangs is an error with an exit code.

    Raises:
        RunFailedError: with the next step.
    """
    from orchestrator.run.decide import RunState  # noqa: PLC0415  # Slow to import.

    if done.state not in (RunState.FAILED, RunState.STALLED, RunState.ZOMBIE) or done.view is None:
        return
    newest = done.view.newest
    ref = newest.ref
    hint = f"kgtts logs {ref}; when it is mended, `kgtts push` goes on"
    if newest.result is not None and newest.result.reason == "wrong_parent":
        hint = f"kgtts logs {ref}; where nothing is left to go on from, `kgtts push --new` begins again"
    if done.state is RunState.ZOMBIE:
        hint = f"look at it with `kgtts open {ref}` and stop it there, or `kgtts cancel {ref}`"
    raise RunFailedError(done.decision.reason, hint=hint)

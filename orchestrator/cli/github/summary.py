"""A pass as GitHub's job summary in Markdown, step outputs and annotations."""

import re
from pathlib import Path

from orchestrator.cli.github.outputs import append, in_actions, print_annotation, write_outputs
from orchestrator.cli.show.console import shown
from orchestrator.cli.show.passes import forecast_line, pass_json
from orchestrator.cli.show.runs import quota_line
from orchestrator.errors import KgttsError
from orchestrator.formatting import duration, size, spark
from orchestrator.run.look import Pass
from orchestrator.run.outlook import Outlook
from orchestrator.run.view import RunView
from orchestrator.untrusted import terminal_text

_ESCAPES = {
    **{ord(letter): f"\\{letter}" for letter in "\\`*_[]|#~$!"},
    **{ord(letter): f"&#{ord(letter)};" for letter in "&<>@"},
}
_WWW = re.compile(r"www\.", re.IGNORECASE)  # GitHub makes a link of it.
_WIDTH = 60  # Bars of a curve that fit on one line of a narrow page.


def report_pass(
    done: Pass,
    outlook: Outlook,
    *,
    summary: Path | None,
    outputs: Path | None,
    is_news: bool = False,
    has_told: bool = False,
) -> None:
    """Write the summary and the step's outputs to the given files; in Actions, annotate warnings.

    Args:
        done: the pass.
        outlook: what lies ahead.
        summary: the file for the summary.
        outputs: the file for the outputs.
        is_news: whether the pass is the first to find the run over, failed or stalled.
        has_told: whether anybody was notified of anything.
    """
    if summary is not None:
        append(summary, markdown(done, outlook))
    if outputs is not None:
        write_outputs(outputs, outputs_of(done, is_news=is_news, has_told=has_told))
    if in_actions():
        for warning in done.warnings:
            print_annotation("warning", shown(warning))


def report_failure(error: KgttsError, summary: Path | None) -> None:
    """Write into the summary why no pass could be made."""
    if summary is not None:
        append(summary, failure(error))


def outputs_of(done: Pass, *, is_news: bool, has_told: bool = False) -> dict[str, object]:
    """Give the outputs of action.yml; `done` and `over` mean that no pass will push another session."""
    known = pass_json(done)
    named = {name: known[name] for name in ("state", "global_step", "session", "done", "over")}
    named |= {"alert": is_news, "remember": is_news or has_told or done.collected is not None}
    if done.collected is None:
        return {**named, "pulled": None, "artifact": None}
    folder = done.collected.folder
    # With the kernel, as one workflow may train several voices. Both have only characters allowed here.
    name = f"{done.collected.target.ref.slug}-{folder.name}"
    return {**named, "pulled": folder.absolute(), "artifact": name}


def markdown(done: Pass, outlook: Outlook) -> str:
    """Write a pass as Markdown: state, progress, curve, quota and sessions; a server's words are escaped."""
    view = done.view
    lines = [f"## kgtts: {done.state.value}", "", escape(done.decision.reason), ""]
    if done.pushed is not None:
        lines += [f"Pushed {escape(str(done.pushed.target.ref))}: <{_address(done.pushed.url)}>", ""]
    lines += [f"> {escape(warning)}\n" for warning in done.warnings]
    if done.collected is not None:
        total = size(sum(file.size for file in done.collected.transfer.files))
        lines += [f"Pulled {escape(done.collected.folder.name)}: {total}.", ""]
        if (left_out := done.collected.failure) is not None:
            lines += [f"> {escape(left_out.message)}\n"]
    if view is not None:
        lines += [*_facts(view, outlook), "", *_curve(outlook), *_sessions(view, outlook)]
    elif outlook.quota is not None:
        lines += [_quota(outlook), ""]
    return "\n".join(lines) + "\n"


def failure(error: KgttsError) -> str:
    """Write as Markdown why a pass could not be made."""
    lines = ["## kgtts: the pass failed", "", escape(error.message), ""]
    if error.hint:
        lines += [f"Next: {escape(error.hint)}", ""]
    return "\n".join(lines) + "\n"


def _facts(view: RunView, outlook: Outlook) -> list[str]:
    epoch = max([0, *(item.to_epoch for item in view.history)])
    rows = [f"Run {escape(view.run_id)}: epoch **{epoch}** of {outlook.epochs}, step **{view.global_step}**"]
    if outlook.verdict is not None:
        rows.insert(0, f"**{escape(outlook.verdict.headline)}**")
        if (loss := outlook.verdict.loss) is not None:
            where = "" if loss.lowest_step is None else f", step {loss.lowest_step}"
            rows.append(f"Lowest eval loss: {loss.lowest:.4f} ({escape(loss.words)}{where})")
    if outlook.forecast is not None:
        rows.append(f"Left: {forecast_line(outlook.forecast)}")
    if outlook.quota is not None:
        rows.append(_quota(outlook))
    return [f"- {row}" for row in rows]


def _quota(outlook: Outlook) -> str:
    week = outlook.quota
    assert week is not None
    return f"Quota: {quota_line(week)}"


def _curve(outlook: Outlook) -> list[str]:
    curve = outlook.curve
    if len(curve) < 2:  # noqa: PLR2004  # One point is not a curve.
        return []
    first, last = curve[0], curve[-1]
    bars = spark([item.loss for item in curve], _WIDTH)
    return [
        f"Eval loss {first.loss:.4f} → {last.loss:.4f} (steps {first.step} – {last.step}):",
        "",
        f"`{bars}`",
        "",
    ]


def _sessions(view: RunView, outlook: Outlook) -> list[str]:
    if not view.history:
        return []
    losses = {item.session: item.loss for item in outlook.curve}  # The last one of each session.
    lines = [
        "| session | where | steps | epochs | eval loss | time | ended |",
        "|---:|---|---:|---:|---:|---:|---|",
    ]
    for item in view.history:
        loss = f"{losses[item.session]:.4f}" if item.session in losses else ""
        lines.append(
            f"| {item.session} | {escape(item.place)} | {item.from_step} – {item.to_step} "
            f"| {item.from_epoch} – {item.to_epoch} | {loss} "
            f"| {duration(item.seconds)} | {escape(item.reason)} |"
        )
    return [*lines, ""]


def escape(text: str) -> str:
    """Escape text so that Markdown shows it literally, on one line, with no mentions and no links."""
    literal = terminal_text(" ".join(text.split())).translate(_ESCAPES).replace("://", "&#58;//")
    return _WWW.sub(lambda found: f"{found[0][:3]}&#46;", literal)


def _address(url: str) -> str:
    """Remove what would end the brackets around an address."""
    return "".join(letter for letter in url if letter not in "<>\\" and not letter.isspace())

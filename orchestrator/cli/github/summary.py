"""A pass as Markdown, for GitHub's job summary."""

from typing import TYPE_CHECKING

from orchestrator import formatting
from orchestrator.cli.show.outlook import in_words

if TYPE_CHECKING:
    from orchestrator.errors import KgttsError
    from orchestrator.run.outlook import Outlook
    from orchestrator.run.passes import Pass
    from orchestrator.run.view import RunView

_ESCAPES = {
    **{ord(letter): f"\\{letter}" for letter in "\\`*_[]|#~$!"},
    **{ord(letter): f"&#{ord(letter)};" for letter in "&<>@"},
}
_WIDTH = 60  # Bars of a curve: what a narrow page shows on one line.


def markdown(done: "Pass", outlook: "Outlook") -> str:
    """State, progress, curve, quota and the chain of sessions; everything from a server is escaped."""
    view = done.view
    lines = [f"## kgtts: {done.state.value}", "", escape(done.decision.reason), ""]
    if done.pushed is not None:
        lines += [f"Pushed {escape(str(done.pushed.target.ref))}: <{_address(done.pushed.url)}>", ""]
    lines += [f"> {escape(warning)}\n" for warning in done.warnings]
    if done.collected is not None:
        size = formatting.size(sum(file.size for file in done.collected.transfer.files))
        lines += [f"Pulled {escape(done.collected.folder.name)}: {size}.", ""]
    if view is not None:
        lines += [*_facts(view, outlook), "", *_curve(outlook), *_sessions(view, outlook)]
    elif outlook.quota is not None:
        lines += [_quota(outlook), ""]
    return "\n".join(lines) + "\n"


def failure(error: "KgttsError") -> str:
    """What stands in the summary where a pass could not be made."""
    lines = ["## kgtts: the pass failed", "", escape(error.message), ""]
    if error.hint:
        lines += [f"Next: {escape(error.hint)}", ""]
    return "\n".join(lines) + "\n"


def _facts(view: "RunView", outlook: "Outlook") -> list[str]:
    result = view.resumable.result if view.resumable is not None else None
    epoch = max([0, *(item.to_epoch for item in view.history)])
    rows = [f"Run {escape(view.run_id)}: epoch **{epoch}** of {outlook.epochs}, step **{view.global_step}**"]
    if result is not None and result.best_loss is not None:
        rows.append(f"Best eval loss: {result.best_loss:.4f}")
    if outlook.forecast is not None:
        rows.append(f"Left: {in_words(outlook.forecast)}")
    if outlook.quota is not None:
        rows.append(_quota(outlook))
    return [f"- {row}" for row in rows]


def _quota(outlook: "Outlook") -> str:
    week = outlook.quota
    assert week is not None
    refresh = f", refreshes {formatting.weekday(week.refreshes_at)}" if week.refreshes_at is not None else ""
    return f"Quota: {formatting.hours(week.left)} left of {formatting.hours(week.allowed)}{refresh}"


def _curve(outlook: "Outlook") -> list[str]:
    curve = outlook.curve
    if len(curve) < 2:  # noqa: PLR2004  # A point is no curve.
        return []
    first, last = curve[0], curve[-1]
    bars = formatting.spark([item.loss for item in curve], _WIDTH)
    return [
        f"Eval loss {first.loss:.4f} → {last.loss:.4f} (steps {first.step} – {last.step}):",
        "",
        f"`{bars}`",
        "",
    ]


def _sessions(view: "RunView", outlook: "Outlook") -> list[str]:
    if not view.history:
        return []
    losses = {item.session: item.loss for item in outlook.curve}  # The last of each session.
    lines = [
        "| session | kernel | steps | epochs | eval loss | time | ended |",
        "|---:|---|---:|---:|---:|---:|---|",
    ]
    for item in view.history:
        loss = f"{losses[item.session]:.4f}" if item.session in losses else ""
        lines.append(
            f"| {item.session} | {escape(item.kernel)} | {item.from_step} – {item.to_step} "
            f"| {item.from_epoch} – {item.to_epoch} | {loss} "
            f"| {formatting.duration(item.seconds)} | {escape(item.reason)} |"
        )
    return [*lines, ""]


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line, mentioning nobody and linking nowhere."""
    return " ".join(text.split()).translate(_ESCAPES).replace("://", "&#58;//")


def _address(url: str) -> str:
    """An address that cannot leave the brackets it is written in."""
    return "".join(letter for letter in url if letter not in "<>\\" and not letter.isspace())

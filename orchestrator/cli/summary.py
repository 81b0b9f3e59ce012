"""A pass as Markdown, for GitHub's job summary."""

from typing import TYPE_CHECKING

from orchestrator.cli import words

if TYPE_CHECKING:
    from orchestrator.chain.passes import Pass

_BARS = "▁▂▃▄▅▆▇█"


def markdown(done: "Pass") -> str:
    """State, progress and the chain of sessions; everything from a server is escaped."""
    view = done.view
    lines = [f"## kgtts: {done.state.value}", "", escape(done.decision.reason), ""]
    if done.launched is not None:
        lines += [f"Pushed `{done.launched.target.ref}`: {done.launched.url}", ""]
    if view is not None:
        lines += [f"Run `{view.run_id}`, step **{view.global_step}**.", ""]
        if view.history:
            lines += ["| session | kernel | steps | time | ended |", "|---|---|---|---|---|"]
            lines += [
                f"| {item.session} | {escape(item.kernel)} | {item.from_step} – {item.to_step} "
                f"| {words.duration(item.seconds)} | {escape(item.reason)} |"
                for item in view.history
            ]
            lines += ["", f"Steps over the sessions: {spark([item.to_step for item in view.history])}", ""]
    return "\n".join(lines) + "\n"


def spark(values: list[int]) -> str:
    """Numbers as a row of bars."""
    top = max(values, default=0) or 1
    return "".join(_BARS[min(len(_BARS) - 1, value * len(_BARS) // (top + 1))] for value in values)


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in flat)

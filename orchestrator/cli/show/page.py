"""The live page of a session: its rows in blocks, arranged for a terminal of any size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.control import Control
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment
from rich.table import Table
from rich.text import Text

from kernel_template.contract import Stage
from orchestrator import formatting, untrusted
from orchestrator.cli.show.console import ASCII, UNICODE, Signs, fit
from orchestrator.cli.show.passes import ends_in_words
from orchestrator.cli.show.runs import colour, position, quota_line
from orchestrator.formatting import spark
from orchestrator.models import SessionState
from orchestrator.run.live import Card, Curve, Feed, Resources
from orchestrator.run.plan import Background, Ends, ends, goes_on

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_TALL = 32  # Rows; from here on, blank lines separate the blocks.
# On a low screen, blocks shrink in this order; the log fills what is left anyway.
_GIVES_WAY = ("log", "sessions", "warnings", "losses", "machine", "quota", "foot", "progress", "head")
_LABEL = 11
_VALUE = 9
_MEMORY = 20  # Such as `524.3 MB of 16.1 GB`.
_NARROW = 70  # Below, labels and curves take less.
_LEAST_LOG = 3
_MOST_LOSSES = 6
_MOST_SPARK = 60
_WATCHED = ("loss_mel", "loss_gen", "loss_disc", "loss_kl", "loss_duration", "loss_feat")


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that one drawing shows.

    Attributes:
        name: the session, `owner/slug/version`.
        feed: what its log and its states have told.
        background: the run around it.
        now: seconds of the monotonic clock that the feed uses.
        clock: the wall clock, UTC.
    """

    name: str
    feed: Feed
    background: Background
    now: float
    clock: datetime


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that belong together; `least` of them stay on a low screen."""

    name: str
    rows: "Sequence[RenderableType]"
    least: int
    newest_last: bool = False


def blocks(scene: Scene, width: int, signs: Signs) -> list[Block]:
    """Lay out the page's blocks for a terminal of that width, in columns."""
    found = ends(scene.feed, scene.background, now=scene.now, clock=scene.clock)
    parts = [
        Block("head", [_head(scene, width, signs)], 1),
        Block("progress", [*_progress(scene, found, width, signs)], 2),
        Block("losses", [*_losses(scene.feed, width, signs)], 2),
        Block("machine", [*_machine(scene.feed, width, signs)], 1),
        Block("quota", [*_quota(scene.background, width, signs)], 1),
        Block("sessions", [*_sessions(scene, width, signs)], 1, newest_last=True),
        Block("warnings", [*_warnings(scene.feed, width, signs)], 1, newest_last=True),
        Block("log", [*_log(scene.feed, width, signs)], _LEAST_LOG, newest_last=True),
        Block("foot", [Text(fit(scene.background.on_interrupt, width, ""), "dim")], 1),
    ]
    return [part for part in parts if part.rows]


def _row(label: str, text: str, width: int, signs: Signs, style: str = "") -> Text:
    row = Text(end="")
    row.append(f"{label:<{_LABEL}}"[:width], "dim")
    row.append(fit(untrusted.terminal_line(text), width - _LABEL, signs.ellipsis), style)
    return row


def _head(scene: Scene, width: int, signs: Signs) -> Text:
    state, stamp = scene.feed.state, scene.background.stamp
    elapsed = scene.feed.elapsed(scene.now)
    row = Text(end="")
    row.append(fit(untrusted.terminal_line(scene.name), width, signs.ellipsis), "bold")
    more = [(str(state), f"bold {colour(state)}")]
    if elapsed is not None:
        more.append((formatting.duration(elapsed), ""))
    if stamp is not None:
        more += [(f"session {stamp.session}", ""), (f"run {stamp.id}", "dim")]
    for text, style in more:
        if row.cell_len + 2 + len(text) <= width:
            row.append("  ")
            row.append(text, style)
    return row


def _progress(scene: Scene, found: Ends, width: int, signs: Signs) -> "Iterable[RenderableType]":
    feed, progress = scene.feed, scene.feed.progress
    yield _row("progress", _standing(feed), width, signs)
    fraction = _fraction(scene)
    yield _bar(fraction, width)
    target, session = ends_in_words(found)
    plan = scene.background.plan
    aim = f"step {plan.until_step}" if plan.until_step else f"{progress.epochs or plan.epochs or 0} epochs"
    if progress.end_status is not None:
        yield _row("ended", progress.end_message or progress.end_status, width, signs)
        if goes_on(progress):
            yield _row("run", "continues with another session", width, signs, "bold")
    elif target is not None:
        yield _row("target", f"{aim} {target}", width, signs)
    if session is not None:
        yield _row("session", session, width, signs)
    if progress.checkpoint:
        step = "" if feed.saved_step is None else f", step {feed.saved_step}"
        yield _row(
            "saved", f"{PurePath(untrusted.terminal_line(progress.checkpoint)).name}{step}", width, signs
        )


def _standing(feed: Feed) -> str:
    progress = feed.progress
    if progress.epoch is None:
        if progress.stage is not None:
            return f"stage {progress.stage}"
        return "waiting for a machine" if feed.state is SessionState.QUEUED else "starting"
    parts = position(progress)
    if progress.stage not in (None, Stage.TRAIN):
        parts.append(f"stage {progress.stage}")
    return ", ".join(parts)


def _fraction(scene: Scene) -> float:
    """Give the share of the way to the target that is done, 0 to 1; the nearer target counts."""
    progress, until = scene.feed.progress, scene.background.plan.until_step
    done = progress.fraction or 0.0
    if until and progress.global_step is not None:
        done = max(done, progress.global_step / until)
    return min(1.0, max(0.0, done))


def _bar(fraction: float, width: int) -> "RenderableType":
    label = _LABEL if width >= _NARROW else 0
    row = Table.grid()
    room = max(1, width - label - 8)
    row.add_column(width=label)
    row.add_column(width=room)
    row.add_column(width=8)
    bar = ProgressBar(total=1.0, completed=fraction, width=room)
    row.add_row(Text(""), bar, Text(f" {fraction:6.1%}"))
    return row


def _losses(feed: Feed, width: int, signs: Signs) -> Iterable[Text]:
    """Make one row for each loss: the trainer's running mean and the evaluation, with their curves."""
    train, evaluation = feed.train, feed.evaluation
    for name in _watched(train, evaluation):
        short = name.replace("loss_", "")
        row = Text(end="")
        row.append(f"{fit(short, _LABEL - 1, ''):<{_LABEL}}", "dim")
        pair = [("train", train.get(name)), ("eval", evaluation.get(f"avg_{name}"))]
        known = [(kind, curve) for kind, curve in pair if curve is not None and curve.last is not None]
        titles = width >= _NARROW
        each = (width - _LABEL) // max(1, len(pair))
        room = max(0, min(_MOST_SPARK, each - _VALUE - 3 - (6 if titles else 0)))
        for kind, curve in known:
            bars = spark(curve.values, room, signs.bars)
            if titles:
                row.append(f"{kind:<6}", "dim")
            row.append(f"{_figure(curve.last):>{_VALUE}} ", "bold")
            row.append(f"{bars:<{room}}  ", "cyan" if kind == "train" else "magenta")
        if known:
            yield row


def _watched(train: dict[str, Curve], evaluation: dict[str, Curve]) -> list[str]:
    names = {*train, *(name.removeprefix("avg_") for name in evaluation)}
    first = [name for name in _WATCHED if name in names]
    return (first or sorted(name for name in names if "loss" in name))[:_MOST_LOSSES]


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.2e}"  # noqa: PLR2004  # The column's width.


def _machine(feed: Feed, width: int, signs: Signs) -> Iterable[Text]:
    """Make rows of the last measurement: one for each GPU, and those for storage, speed and batch."""
    told = feed.resources
    if told is not None:
        for index, (card, curve) in enumerate(zip(told.cards, feed.cards, strict=False)):
            yield _row(f"GPU {index}", _card(card, curve, width - _LABEL, signs), width, signs)
        for label, text in (("storage", _storage(told)), ("speed", _speed(told))):
            if text:
                yield _row(label, text, width, signs)
    if feed.batch is not None:
        size, accumulate = feed.batch
        yield _row(
            "batch", f"{size} at once, {accumulate} per step: more did not fit into the memory", width, signs
        )


def _card(card: Card, curve: Curve, width: int, signs: Signs) -> str:
    use = "    ?" if card.utilisation is None else f"{card.utilisation:3.0f} %"
    memory = "" if card.used is None else formatting.size(round(card.used))
    if card.used is not None and card.total is not None:
        memory += f" of {formatting.size(round(card.total))}"
    memory = f"{memory:<{_MEMORY}}"
    room = max(0, min(_MOST_SPARK, width - len(use) - len(memory) - 4))
    newest = curve.values[-room:] if room else []
    bars = spark([0.0, *newest, 100.0], room + 2, signs.bars)[1:-1]  # On a scale of 0 to 100 %.
    return f"{use}  {memory}  {bars}"


def _storage(told: Resources) -> str:
    parts = []
    if told.disk is not None:
        limit = "" if told.disk_limit is None else f" of {formatting.size(round(told.disk_limit))}"
        parts.append(f"disk {formatting.size(round(told.disk))}{limit}")
    if told.ram is not None:
        parts.append(f"RAM {formatting.size(round(told.ram))}")
    return ", ".join(parts)


def _speed(told: Resources) -> str:
    known = (
        (told.samples_per_s, "{:.1f} samples/s"),
        (told.goodput, "{:.0%} of the time in steps"),
        (told.waiting, "{:.0%} waiting for data"),
    )
    return ", ".join(form.format(value) for value, form in known if value is not None)


def _quota(background: Background, width: int, signs: Signs) -> Iterable[Text]:
    week = background.quota
    if week is not None:
        yield _row("quota", quota_line(week), width, signs)


def _sessions(scene: Scene, width: int, signs: Signs) -> Iterable[Text]:
    history = scene.background.history
    for index, item in enumerate(history):
        steps = f"step {item.from_step} to {item.to_step}"
        spent = f"{formatting.duration(item.seconds):>13}  {item.reason:<12}"
        text = f"{item.session:>2}  {steps:<22}{spent}{item.place}"
        yield _row("" if index else "sessions", text, width, signs)


def _warnings(feed: Feed, width: int, signs: Signs) -> Iterable[Text]:
    for text in feed.progress.warnings[-3:]:
        yield _row("warning", text, width, signs, "yellow")


def _log(feed: Feed, width: int, signs: Signs) -> Iterable[Text]:
    for line in feed.tail:
        row = Text(end="")
        row.append(signs.edge, "dim")
        row.append(fit(line, width - len(signs.edge), signs.ellipsis))
        yield row


class Page:
    """One drawing of the page, as high as its console; each row is erased before it is written.

    Terminals differ on how wide some Bangla signs are, so parts of an earlier row could stay otherwise.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        width, height = options.max_width, options.height or options.size.height
        signs = ASCII if options.ascii_only else UNICODE
        one_row = options.update(width=width, height=1, no_wrap=True, overflow="crop")
        rows = arrange(blocks(self._scene, width, signs), height)
        for index, row in enumerate(rows):
            if index:
                yield Segment.line()
            yield Control((ControlType.ERASE_IN_LINE, 2))
            lines = console.render_lines(row, one_row, pad=False)
            for segment in lines[0] if lines else ():
                # A terminal that is not UTF-8 shows what it can.
                text = segment.text.encode(console.encoding, "replace").decode(console.encoding)
                yield Segment(text, segment.style)


def arrange(parts: Sequence[Block], height: int) -> "list[RenderableType]":
    """Give the rows of all blocks that fit into `height`, in their order, the last block at the bottom."""
    kept = {part.name: len(part.rows) for part in parts}
    gaps = len(parts) - 2 if height >= _TALL else 0
    for least in ({part.name: min(part.least, len(part.rows)) for part in parts}, dict.fromkeys(kept, 0)):
        for name in _GIVES_WAY:
            over = sum(kept.values()) - (height - gaps)
            if over > 0 and name in kept:
                kept[name] -= min(over, kept[name] - least[name])
    rows: list[RenderableType] = []
    for index, part in enumerate(parts):
        count = kept[part.name]
        if index == len(parts) - 1:
            rows += [Text()] * (height - len(rows) - count)
        elif index and gaps:
            rows.append(Text())
        if count:
            rows += part.rows[-count:] if part.newest_last else part.rows[:count]
    return rows[:height]

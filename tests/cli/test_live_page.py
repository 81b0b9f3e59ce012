"""The live page at several sizes: what is on it, that it fits, and that nothing on it steers the terminal."""

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from orchestrator.cli.show.page import Page, Scene
from orchestrator.cli.show.runs import summary
from orchestrator.kaggle.logs import LogLine
from orchestrator.models import Quota, SessionState, SessionStatus, SessionSummary
from orchestrator.render.stamp import RunStamp
from orchestrator.run.live import Curve, Feed
from orchestrator.run.plan import Background, Plan

CLOCK = datetime(2026, 11, 22, 12, tzinfo=UTC)
BANGLA = "আমি বাংলায় গান গাই " * 12
SIZES = [(60, 24), (80, 24), (120, 40), (200, 60), (30, 8), (12, 3), (1, 1)]
STEP: dict[str, Any] = {
    "epoch": 12,
    "epochs": 50,
    "step": 300,
    "steps_per_epoch": 600,
    "global_step": 7500,
    "losses": {"loss_mel": 18.5, "loss_gen": 2.25, "loss_disc": 2.5},
    "eta_s": 3600.0,
}
CARDS = [
    {"index": 0, "utilisation": 87, "memory_used_mb": 9000, "memory_total_mb": 15360},
    {"index": 1, "utilisation": 12, "memory_used_mb": 500, "memory_total_mb": 15360},
]
MACHINE: dict[str, Any] = {
    "gpus": CARDS,
    "disk_used_bytes": 3_100_000_000,
    "disk_limit_bytes": 18_000_000_000,
    "ram_used_bytes": 8_000_000_000,
    "samples_per_s": 21.31,
    "loader_wait_share": 0.031,
    "goodput": 0.84,
}
AROUND = Background(
    RunStamp("3f9c12ab", 2, "asha/bangla-tts-a/1", "0" * 64, "asha/bangla-tts-b", "0.1.0"),
    Plan(has_gpu=True, epochs=50, budget_s=21600.0, limit_s=18000.0),
    [SessionSummary(1, "asha/bangla-tts-a", 0, 6000, 0, 10, "budget", 21000.0)],
    Quota(timedelta(hours=4), timedelta(hours=6), timedelta(hours=30), CLOCK + timedelta(days=2)),
)


def event(kind: str, t: float = 600.0, **fields: Any) -> str:
    """Return a line as the kernel prints it."""
    return "@kgtts " + json.dumps({"event": kind, "t": t, **fields})


def feed(lines: Sequence[str], *, now: float = 600.0) -> Feed:
    """Return a running session that has printed these lines."""
    told = Feed()
    told.take(SessionStatus(SessionState.RUNNING), now)
    for line in lines:
        told.take(LogLine("stdout", 0.0, line), now)
    return told


TRAINING = [
    event("stage", 60.0, name="train", state="start"),
    event("progress", **{**STEP, "global_step": 7400, "losses": {"loss_mel": 30.0}}),
    event("progress", **STEP),
    event("eval", epoch=11, global_step=7400, losses={"avg_loss_mel": 20.125}),
    event("checkpoint", path="training/voice/checkpoint_7200.pth", global_step=7200, best=False),
    event("resources", **MACHINE),
    event("warning", message="loss_disc is nan at step 40"),
    BANGLA,
]


def draw(
    told: Feed,
    background: Background = AROUND,
    size: tuple[int, int] = (80, 24),
    *,
    now: float = 600.0,
    encoding: str = "utf-8",
    **options: Any,
) -> list[str]:
    """Return the page's rows as a console of that size shows them."""
    raw = draw_raw(told, background, size, now=now, encoding=encoding, **options)
    return raw.replace("\x1b[2K", "").split("\n")


def draw_raw(
    told: Feed,
    background: Background,
    size: tuple[int, int],
    *,
    now: float = 600.0,
    encoding: str = "utf-8",
    **options: Any,
) -> str:
    """Return everything that is written for one drawing."""
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding, newline="")
    width, height = size
    console = Console(
        file=file,
        width=width,
        height=height,
        force_terminal=True,
        color_system=options.pop("color_system", None),
        legacy_windows=False,
        _environ={},
        **options,
    )
    page = Page(Scene("asha/bangla-tts-b/1", told, background, now, CLOCK))
    console.print(page, end="", height=height, crop=False)
    file.flush()
    return written.getvalue().decode(encoding)


def test_everything_is_on_the_page() -> None:
    """State, run, progress, ends, losses, machine, quota, sessions, warnings and log are shown."""
    text = "\n".join(draw(feed(TRAINING)))
    for part in (
        "asha/bangla-tts-b/1  running  10 min 0 s  session 2  run 3f9c12ab",
        "epoch 12 of 50, step 300 of 600, global step 7500",
        "25.0%",
        "50 epochs in about 1 h 0 min, within this session",
        "ends in at most 5 h 50 min",
        "checkpoint_7200.pth, step 7200",
        "18.500 █▁",
        "eval     20.125",
        "GPU 0       87 %  9.4 GB of 16.1 GB",
        "GPU 1       12 %",
        "disk 3.1 GB of 18.0 GB, RAM 8.0 GB",
        "21.3 samples/s, 84% of the time in steps, 3% waiting for data",
        "20.00 h of 30.00 h left, refreshes Tuesday 12:00 UTC",
        "1  step 0 to 6000           5 h 50 min  budget      asha/bangla-tts",
        "loss_disc is nan at step 40",
        "আমি বাংলায়",
        "Ctrl-C leaves this page; the run goes on.",
    ):
        assert part in text, part
    assert "@kgtts" not in text


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fills_its_screen_and_no_more(size: tuple[int, int]) -> None:
    """It has as many rows as the screen, none wider; the first says what is shown."""
    many = [*TRAINING, *(f"{BANGLA} {number}" for number in range(80))]
    rows = draw(feed(many), size=size)
    assert len(rows) == size[1]
    assert max(map(cell_len, rows)) <= size[0]
    assert rows[0].startswith("asha/bangla-tts-b/1"[: size[0] - 1])


def test_a_low_screen_keeps_what_matters() -> None:
    """The log and earlier sessions are dropped before the progress."""
    text = "\n".join(draw(feed(TRAINING), size=(80, 5)))
    assert "epoch 12 of 50" in text
    assert "running" in text
    assert "step 0 to 6000" not in text


def test_every_row_is_wiped_before_it_is_written() -> None:
    """Nothing of an earlier drawing stays, and the screen is never cleared as a whole."""
    written = draw_raw(feed(TRAINING), AROUND, (80, 24))
    assert written.count("\x1b[2K") == 24
    assert written.startswith("\x1b[2K")
    assert "\x1b[2J" not in written


def test_without_colour_nothing_is_coloured() -> None:
    """NO_COLOR keeps bold and dim, but no colours; without a colour system there are no codes."""
    plain = draw_raw(feed(TRAINING), AROUND, (80, 24)).replace("\x1b[2K", "")
    assert "\x1b" not in plain
    bare = draw_raw(feed(TRAINING), AROUND, (80, 24), color_system="standard", no_color=True)
    assert "\x1b[2m" in bare
    assert "\x1b[3" not in bare
    assert "\x1b[3" in draw_raw(feed(TRAINING), AROUND, (80, 24), color_system="standard")


def test_a_terminal_of_ascii_gets_ascii() -> None:
    """Curves, bars and borders have ASCII signs; missing letters become question marks."""
    rows = draw(feed(TRAINING), encoding="ascii")
    text = "\n".join(rows)
    assert text.isascii()
    assert "18.500 #_" in text
    assert any(row.startswith("| ???") for row in rows)


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\u202e\x9b1m"


def test_hostile_text_is_shown_as_text() -> None:
    """No markup or code in a line, warning, loss name, stage, path or message takes effect."""
    lines = [
        HOSTILE,
        event("progress", **{**STEP, "losses": {f"loss_{HOSTILE}": 1.0}}),
        event("warning", message=HOSTILE),
        event("checkpoint", path=f"a/{HOSTILE}b.pth", global_step=1, best=False),
    ]
    for end in ([event("stage", name=HOSTILE, state="start")], [event("end", status="x", message=HOSTILE)]):
        written = draw_raw(feed([*lines, *end]), Background(), (120, 40)).replace("\x1b[2K", "")
        assert "[red]x[/red]" in written
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(written)


def test_a_plain_line_obeys_nothing_either() -> None:
    """Without a page, the lines of a pipe or a job's log are safe as well."""
    lines = [
        event("stage", name="train", state="start"),
        event("progress", **{**STEP, "losses": {f"loss_{HOSTILE}\n::error::x": 1.0}}),
    ]
    line = summary(feed(lines).progress)
    assert line.isprintable()
    assert "[red]x[/red]" in line


NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
VALUES = st.one_of(
    NUMBERS,
    st.lists(st.one_of(NUMBERS, st.dictionaries(st.sampled_from([*CARDS[0], "x"]), NUMBERS)), max_size=3),
    st.dictionaries(st.sampled_from(["loss_mel", "avg_loss_mel", "loss_\x1b"]), NUMBERS, max_size=3),
)
KINDS = ["stage", "progress", "epoch", "eval", "checkpoint", "warning", "resources", "oom", "start", "end"]
FIELDS = [*STEP, *MACHINE, "t", "name", "state", "message", "path", "status", "reason", "accumulate"]
EVENTS = st.builds(
    lambda kind, fields: "@kgtts " + json.dumps({**fields, "event": kind}),
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from([*FIELDS, "batch_size"]), VALUES),
)


@settings(max_examples=60)
@given(
    st.lists(st.one_of(EVENTS, st.text(max_size=20)), max_size=12),
    st.integers(min_value=1, max_value=130),
    st.integers(min_value=1, max_value=45),
)
def test_whatever_a_log_says_is_drawn(lines: list[str], width: int, height: int) -> None:
    """With events of other types or versions, or out of order, the page is drawn and fits."""
    rows = draw(feed(lines), size=(width, height))
    assert len(rows) == height
    assert max(map(cell_len, rows)) <= width


def test_before_the_first_word_the_page_says_what_it_waits_for() -> None:
    """A queued session has neither losses nor times."""
    waiting = Feed()
    text = "\n".join(draw(waiting, Background()))
    assert "queued" in text
    assert "waiting for a machine" in text
    waiting.take(SessionStatus(SessionState.RUNNING), 0.0)
    assert "starting" in "\n".join(draw(waiting, Background()))


@pytest.mark.parametrize(
    ("reason", "said"), [("budget", True), ("time_limit", True), ("finished", False), ("until_step", False)]
)
def test_a_session_that_ends_says_whether_the_run_goes_on(reason: str, *, said: bool) -> None:
    """The end of a session says what happens to the run."""
    end = event("end", status="complete", reason=reason, message="The session is over.", global_step=7500)
    text = "\n".join(draw(feed([*TRAINING, end])))
    assert "The session is over." in text
    assert ("continues with another session" in text) is said
    assert "ends in" not in text


def test_times_count_on_between_two_words() -> None:
    """Elapsed time and both ends follow the clock, also after a log was replayed."""
    told = feed(TRAINING, now=900.0)  # Heard late: what is newest tells the start best.
    told.take(LogLine("stdout", 0.0, event("progress", 660.0, **STEP)), 665.0)
    text = "\n".join(draw(told, now=725.0))
    assert "12 min 0 s" in text
    assert "in about 59 min 0 s" in text


def test_a_gpu_is_drawn_against_its_whole_scale() -> None:
    """A GPU that is half used looks half used."""
    told = feed([event("resources", gpus=[{"utilisation": use}]) for use in (0, 50, 100)])
    assert "GPU 0      100 %" + " " * 24 + "▁▅█" in "\n".join(draw(told))
    told = feed([event("resources", gpus=CARDS) for _ in range(200)])
    assert max(row.count("▇") for row in draw(told)) == 40


def test_steps_that_are_done_again_are_counted_once() -> None:
    """After running out of memory steps are repeated; curves have each once."""
    told = feed(
        [event("progress", **{**STEP, "global_step": step}) for step in (10, 20, 30)]
        + [event("oom", batch_size=8, accumulate=2, global_step=10)]
        + [event("progress", **{**STEP, "global_step": step}) for step in (20, 25)]
    )
    assert told.train["loss_mel"].steps == [10, 20, 25]
    assert "8 at once, 2 per step: more did not fit into the memory" in "\n".join(draw(told))


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    """A thousand epochs take no more room than a hundred."""
    curve = Curve()
    for step in range(20_000):
        curve.add(step, float(step))
    assert len(curve.steps) == len(curve.values) <= 4096
    assert curve.steps[-1] == curve.last == 19_999
    assert curve.steps[0] < 2_000


def test_earlier_sessions_begin_the_curves() -> None:
    """The run's curve begins with pulled sessions; repeated steps come once."""
    told = feed([event("progress", **{**STEP, "global_step": step}) for step in (20, 30)])
    earlier = Curve()
    for step in (5, 15, 25):
        earlier.add(step, 40.0)
    told.precede({"loss_mel": earlier}, {"avg_loss_mel": earlier})
    assert told.train["loss_mel"].steps == [5, 15, 20, 30]
    assert told.evaluation["avg_loss_mel"].steps == [5, 15, 25]

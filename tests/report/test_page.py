"""Reports in a real browser: what is drawn, what is heard, and what a hostile run cannot do."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.report import read_report, write_comparison, write_report
from tests.report.browser import Browser, find_browser
from tests.report.making import SENTENCES, Made, write_data_set

BROWSER = find_browser()
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed"),
    pytest.mark.xdist_group("browser"),
]
HOSTILE_NAME = (
    """</title></script><script>window.hit = 1</script><img src=x onerror="window.hit = 2">&amp;{{ 7*7 }}"""
)
HOSTILE_TEXT = (
    """"><svg onload="window.hit = 3"></svg> 'আমি' </h3><iframe src="https://example.org/x"> ক্\u200dষ"""
)
HOSTILE = Made(
    run="<b>run</b>",
    kernel=HOSTILE_NAME,
    sentences=(HOSTILE_TEXT, *SENTENCES),
    held_out=(HOSTILE_TEXT, SENTENCES[0]),
    sessions=3,
    epochs=6,
    steps=50,
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    assert BROWSER is not None
    with Browser(BROWSER) as started:
        yield started


@pytest.fixture
def shown(browser: Browser, page: Path) -> Browser:
    """The browser showing the report at laptop size; it is reopened only if a test has changed it."""
    if browser.shows != page:
        browser.open(page)
        browser.shows = page
    return browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three sessions with hostile names and sentences."""
    folder = tmp_path_factory.mktemp("report")
    data = read_report(
        HOSTILE.write(folder / "run"), recordings=write_data_set(folder / "data", SENTENCES[:1])
    )
    write_report(data, folder / "report.html")
    return folder / "report.html"


def points(browser: Browser, chart: str, label: str) -> list[dict[str, int]]:
    """The points of a chart's traces with this name: given, calculated by Plotly, and drawn as marks."""
    return list(
        browser(
            f"""(() => {{
              const titles = [...document.querySelectorAll("figcaption")];
              const title = titles.find((e) => e.innerText === {chart!r});
              const plot = title.parentElement.querySelector(".chart");
              return plot.data.map((trace, i) => ({{ trace, i }}))
                .filter(({{ trace }}) => trace.name === {label!r})
                .map(({{ trace, i }}) => ({{
                  given: trace.y.filter((y) => y !== null).length, calculated: plot.calcdata[i].length,
                  marks: plot.querySelectorAll(".scatterlayer .trace")[i].querySelectorAll(".point").length,
                  length: plot.querySelectorAll(".scatterlayer .trace")[i].querySelector("path.js-line")
                    ?.getTotalLength() ?? 0,
                }}));
            }})()"""
        )
    )


def test_the_report_opens_without_a_complaint(shown: Browser, page: Path) -> None:
    """The page logs nothing, violates no policy, and requests nothing but itself."""
    shown("document.querySelector('#details').open = true")
    shown.wait("document.querySelector('#details .chart').calcdata")
    assert shown.said == []
    assert shown.asked == [page.as_uri()]


def test_curves_have_as_many_points_as_the_data(shown: Browser) -> None:
    """Every measured step and evaluation is a point of its curve, smoothed or not."""
    raw, smoothed = points(shown, "loss_mel", "training")
    assert raw["given"] == raw["calculated"] == HOSTILE.train_points
    assert smoothed["given"] == smoothed["calculated"] == HOSTILE.train_points
    (evaluated,) = points(shown, "loss_mel", "evaluation")
    assert evaluated["given"] == evaluated["calculated"] == evaluated["marks"] == HOSTILE.eval_points
    assert min(raw["length"], smoothed["length"], evaluated["length"]) > 300
    (best,) = points(shown, "loss_mel", "best model")
    assert best["marks"] == 1
    (rate,) = points(shown, "current_lr_0", "training")[:1]
    assert rate["calculated"] == HOSTILE.train_points
    (voice,) = points(shown, "Distance to the recording (dB)", "the voice")
    assert (voice["calculated"], voice["marks"]) == (HOSTILE.sessions, HOSTILE.sessions)
    (speaker,) = points(shown, "Likeness to the speaker", "the speaker")
    assert speaker["calculated"] == HOSTILE.sessions
    (busy,) = points(shown, "GPU busy (%)", "GPU 1")
    assert busy["calculated"] == HOSTILE.eval_points
    borders = shown("document.querySelector('.chart').layout.shapes.map((s) => [s.x0, s.label.text])")
    assert borders == [[300, "session 2"], [600, "session 3"]]


def test_every_sentence_can_be_played_and_seen(shown: Browser) -> None:
    """The samples of each sentence and a recording can be played, and have spectrograms."""
    shown(
        "Promise.all([...document.querySelectorAll('audio')].map("
        "(a) => a.readyState || new Promise((r) => a.onloadedmetadata = r)))"
    )
    durations = shown("[...document.querySelectorAll('audio')].map((a) => a.duration)")
    assert len(durations) == 3 * 3 + 1 + 2 * 3
    assert all(seconds > 0.3 for seconds in durations)
    shown("document.querySelector('canvas').scrollIntoView()")
    shown.wait("document.querySelector('canvas').dataset.painted")
    colours = shown(
        "new Set(new Uint32Array(document.querySelector('canvas').getContext('2d')"
        ".getImageData(0, 0, 80, 80).data.buffer)).size"
    )
    assert colours > 50
    shown("(async () => { const a = document.querySelector('audio'); await a.play(); a.pause(); })()")
    assert shown.said == []


def test_hostile_texts_are_shown_as_text(shown: Browser) -> None:
    """A run's name and a sentence with markup are shown as text."""
    assert shown("window.hit ?? null") is None
    assert shown("document.querySelector('h1 bdi').textContent") == HOSTILE_NAME
    assert shown("document.querySelector('.sentence h3').textContent") == HOSTILE_TEXT
    assert shown("document.title").startswith(HOSTILE_NAME)
    assert shown("document.querySelectorAll('iframe, img, main script, h3 svg').length") == 0


def test_a_phone_shows_all_of_it(browser: Browser, page: Path) -> None:
    """On a phone nothing is wider than the screen, and touching a chart scrolls the page."""
    browser.open(page, width=390, height=844)
    assert browser("document.documentElement.scrollWidth") == 390
    assert (
        browser(
            "Math.max(...[...document.querySelectorAll('.chart svg.main-svg')].map((e) => e.clientWidth))"
        )
        < 390
    )
    assert browser("document.querySelector('.chart').layout.dragmode") is False
    assert browser.said == []


def test_dark_and_light(shown: Browser) -> None:
    """Page and charts follow the system's colour scheme, even while the page is open."""
    ink = "document.querySelector('.chart').layout.font.color"
    before = shown(f"[getComputedStyle(document.body).color, {ink}]")
    shown.prefer(dark=True)
    shown.wait(f"{ink} !== {before[1]!r}")
    assert shown("getComputedStyle(document.body).color") != before[0]
    shown.prefer(dark=False)
    shown.wait(f"{ink} === {before[1]!r}")


def test_it_works_by_keyboard(shown: Browser) -> None:
    """The skip link has the first focus, and the controls work by keyboard."""
    shown("document.activeElement.blur(); window.scrollTo(0, 0)")
    shown.press("Tab")
    assert shown("document.activeElement.textContent") == "Skip to the content"
    shown("document.getElementById('smoothing').focus()")
    shown.press("End")
    assert shown("document.getElementById('smoothing-value').textContent") == "0.99"
    shown("document.getElementById('scale').value = 'log'")
    shown("document.getElementById('scale').dispatchEvent(new Event('change'))")
    shown.wait("document.querySelector('.chart').layout.yaxis.type === 'log'")
    shown("document.getElementById('axis').value = 'hour'")
    shown("document.getElementById('axis').dispatchEvent(new Event('change'))")
    shown.wait("document.querySelector('.chart').layout.xaxis.title.text === 'hours'")
    shown.shows = None  # As it was changed.
    assert shown.said == []


def test_a_hovered_point_tells_its_values(shown: Browser) -> None:
    """Hovering shows the step and the value of each curve."""
    shown("Plotly.Fx.hover(document.querySelector('.chart'), {xval: 300})")
    shown.wait("document.querySelector('.chart .hoverlayer').textContent")
    told = shown("document.querySelector('.chart .hoverlayer').textContent")
    assert "300" in told
    assert "training" in told
    assert "evaluation" in told


def test_a_screen_reader_finds_its_way(shown: Browser) -> None:
    """Headings skip no level, controls have labels, and each chart has a description and a table."""
    levels = shown("[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert shown("document.documentElement.lang") == "en"
    assert shown("[...document.querySelectorAll('select, input')].every((e) => e.labels.length)")
    assert shown(
        "[...document.querySelectorAll('audio, canvas, .chart, [tabindex]')]"
        ".every((e) => e.ariaLabel?.length > 5)"
    )
    assert shown("document.querySelector('.chart').ariaLabel").startswith(
        "Chart of loss_mel. training: 180 values"
    )
    assert shown("[...document.querySelectorAll('figure')].every((e) => e.querySelector('tbody tr'))")
    assert shown("document.querySelectorAll('.sentence h3')[1].lang") == "bn"


def test_two_runs_share_their_axes(browser: Browser, tmp_path: Path) -> None:
    """Two runs share the charts, their samples are side by side, and their differing settings are listed."""
    one = read_report(Made(run="one", epochs=4).write(tmp_path / "one"))
    two = read_report(Made(run="two", epochs=3, learning_rate=0.001, sessions=2).write(tmp_path / "two"))
    write_comparison(one, two, tmp_path / "compare.html")
    browser.open(tmp_path / "compare.html")
    assert browser.said == []
    assert points(browser, "loss_mel", "A training")[0]["calculated"] == 3 * 4 * 20
    assert points(browser, "loss_mel", "B training")[0]["calculated"] == 2 * 3 * 20
    assert browser("document.querySelector('.sentence').querySelectorAll('audio').length") == 2
    rows = browser(
        "[...document.querySelector('#settings table').rows].map((r) => [...r.cells].map((c) => c.innerText))"
    )
    assert rows == [
        ["Setting", "A", "B"],
        ["lr_gen", "0.0002", "0.001"],
        ["session.target_epochs", "12", "6"],
    ]


def test_names_of_sessions_stand_apart(browser: Browser, tmp_path: Path) -> None:
    """The names of many sessions do not overlap, even with two runs."""
    one = read_report(Made(run="one", epochs=1, sessions=24).write(tmp_path / "one"))
    two = read_report(Made(run="two", epochs=1, sessions=20).write(tmp_path / "two"))
    write_comparison(one, two, tmp_path / "compare.html")
    browser.open(tmp_path / "compare.html")
    browser.wait("document.documentElement.dataset.charts")
    apart = browser(
        """[...document.querySelectorAll(".chart")].filter((plot) => plot.calcdata).map((plot) => {
          const boxes = [...plot.querySelectorAll(".shape-label")].map((e) => e.getBoundingClientRect());
          return boxes.length > 3 && boxes.every((one, i) => boxes.slice(i + 1).every((two) =>
            one.right < two.left || two.right < one.left || one.bottom < two.top || two.bottom < one.top));
        })"""
    )
    assert len(apart) > 3
    assert all(apart)
    assert browser("document.querySelector('.chart').layout.shapes.length") == 23 + 19


def test_gaps_and_single_points_are_drawn(browser: Browser, tmp_path: Path) -> None:
    """NaN leaves a gap in its curve, and a single step is drawn."""
    folder = tmp_path / "session-01"
    folder.mkdir()
    events = [
        {"event": "progress", "t": 1.0, "global_step": step, "session": 1, "losses": {"loss_mel": loss}}
        for step, loss in ((1, 5.0), (2, float("nan")), (3, 4.0))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    data = read_report(tmp_path)
    write_report(data, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    assert browser.said == []
    assert points(browser, "loss_mel", "training")[0]["calculated"] == 3
    assert points(browser, "loss_mel", "training")[0]["given"] == 2
    assert "loss_mel is not a number (NaN) at step 2" in browser(
        "document.querySelector('.notices').innerText"
    )
    assert datetime.now(UTC).strftime("%Y-") in browser("document.querySelector('footer').innerText")

"""The page of a blind test in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.report.blind import make_blind_test, write_blind_test
from orchestrator.report.sounds import read_clip
from orchestrator.report.voices import SpokenVoice
from orchestrator.report.votes import count_votes, read_ballots
from tests.report.browser import Browser, find_browser
from tests.report.making import write_tone

BROWSER = find_browser()
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed"),
    pytest.mark.xdist_group("browser"),
]
READY = "document.documentElement?.dataset.ready === 'yes'"
CAN_CHOOSE = "!document.querySelector('.choice').disabled"
TEXTS = ("আমার সোনার বাংলা।", """</p><img src=x onerror="window.hit = 1"> ক্\u200dষ""")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    assert BROWSER is not None
    with Browser(BROWSER) as started:
        yield started


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A blind test of two tones and two sentences, one of them hostile; of another file for each test."""
    voices = []
    for name, pitch in (("the old", 120), ("the new", 240)):
        write_tone(tmp_path / "tone.wav", seconds=0.15, pitch=pitch)
        voices.append(SpokenVoice(name, dict.fromkeys(TEXTS, read_clip(tmp_path / "tone.wav"))))
    test = make_blind_test(*voices, seed=len(str(tmp_path)), question=f"Better? {tmp_path.name}")
    write_blind_test(test, tmp_path / "ab.html")
    return tmp_path / "ab.html"


def show(browser: Browser, page: Path, *, width: int = 1100, height: int = 800) -> None:
    """Open the page."""
    browser.visit(page.resolve().as_uri(), READY, width=width, height=height)


def hear(browser: Browser) -> None:
    """Play both sounds by keyboard."""
    for number in ("1", "2"):
        browser.press(number)
        browser.wait(f"document.getElementById('play-{int(number) - 1}').classList.contains('heard')")
    browser.wait(CAN_CHOOSE)


def test_it_works_by_keyboard(browser: Browser, page: Path) -> None:
    """Keys play, choose and go back; nobody can choose unheard; the result names voices, not places."""
    show(browser, page)
    browser.press("ArrowRight")
    assert browser("document.getElementById('place').textContent") == "Sentence 1 of 2"
    hear(browser)
    browser.press("ArrowRight")
    browser.wait("document.getElementById('place').textContent === 'Sentence 2 of 2'")
    assert not browser(CAN_CHOOSE)
    browser.press("Backspace")
    assert browser("document.querySelector('.choice[aria-pressed=true]').dataset.choice") == "1"
    browser.press("ArrowLeft")
    hear(browser)
    browser.press("ArrowDown")
    browser.wait("!document.getElementById('end').hidden")
    result = browser("document.getElementById('result').value")
    (ballot,) = read_ballots("page", result)
    first = json.loads(result)["votes"][0]["first"]
    assert ballot.choices == {1: first, 2: "same"}
    assert ballot.names == ("the old", "the new")
    assert browser("document.activeElement.id") == "end-title"
    assert browser.said == []
    assert browser.asked == [page.resolve().as_uri()]


def test_it_works_by_touch_on_a_phone(browser: Browser, page: Path) -> None:
    """On a phone all fits the width, buttons are large enough for a finger, and hostile text is text."""
    show(browser, page, width=360, height=740)
    assert browser("document.documentElement.scrollWidth") == 360
    assert (
        browser(
            "Math.min(...[...document.querySelectorAll('#trial button')].filter((b) => !b.hidden)"
            ".map((b) => b.getBoundingClientRect().height))"
        )
        >= 44
    )
    texts = set()
    for _ in TEXTS:
        texts.add(browser("document.getElementById('sentence').textContent"))
        for number in (0, 1):
            browser(f"document.getElementById('play-{number}').click()")
            browser.wait(f"document.getElementById('play-{number}').classList.contains('heard')")
        browser.wait(CAN_CHOOSE)
        browser("document.querySelector('.choice').click()")
    assert texts == set(TEXTS)
    assert browser("window.hit ?? null") is None
    browser.wait("!document.getElementById('end').hidden")
    browser("document.getElementById('listener').value = 'Rima \\u202e\"'")
    browser("document.getElementById('listener').dispatchEvent(new Event('input'))")
    (ballot,) = read_ballots("page", browser("document.getElementById('result').value"))
    assert ballot.listener == 'Rima "'
    (tally,) = count_votes([ballot])
    assert (tally.votes["A"], tally.votes["B"], tally.first) == (1, 1, 1.0)
    assert browser("document.documentElement.scrollWidth") == 360


def test_it_remembers_after_a_reload(browser: Browser, page: Path) -> None:
    """Answers survive that the page is loaded again; the same person counts once."""
    show(browser, page)
    hear(browser)
    browser.press("ArrowLeft")
    show(browser, page)
    assert browser("document.getElementById('place').textContent") == "Sentence 2 of 2"
    hear(browser)
    browser.press("ArrowRight")
    browser.wait("!document.getElementById('end').hidden")
    before = read_ballots("page", browser("document.getElementById('result').value"))
    show(browser, page)
    after = read_ballots("page", browser("document.getElementById('result').value"))
    assert len(count_votes([*before, *after])[0].listeners) == 1


def test_results_can_be_copied(browser: Browser, page: Path) -> None:
    """The button copies the result; a sound that cannot be played does not stop the test."""
    show(browser, page)
    browser("""{
      const data = JSON.parse(document.getElementById('data').textContent);
      HTMLMediaElement.prototype.play = () => Promise.reject(new Error('no such codec'));
    }""")
    for _ in TEXTS:
        browser.press("1")
        browser.wait(CAN_CHOOSE)
        assert "cannot be played" in browser("document.getElementById('trouble').textContent")
        browser.press("ArrowDown")
    browser.wait("!document.getElementById('end').hidden")
    browser("document.getElementById('copy').click()")
    browser.wait("document.getElementById('told').textContent")
    assert browser("document.getElementById('told').textContent").startswith(("Copied", "Select"))
    assert browser("getSelection().toString() || document.getElementById('result').value").startswith("{")
    assert browser.said == []

"""The page in a real browser: typing, playing, errors, keyboard, phone, both languages, hostile text."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.serve import Access, Limits, Server, open_voices
from tests.report.browser import Browser, find_browser
from tests.serve.making import TOKEN, held_voices, running
from tests.text.test_vocabulary import RELEASED
from tests.voice.making import graph, put_voice, rules

BROWSER = find_browser()
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed"),
    pytest.mark.xdist_group("browser"),
]
READY = "document.documentElement?.dataset.ready"
TEXT = "আমি তুমি। বই ২৫টি ☺\n\nতুমি?"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    assert BROWSER is not None
    with Browser(BROWSER) as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two voices; texts of at most 200 characters."""
    folder = tmp_path_factory.mktemp("voices")
    # The letters of the released Bangla voices, so that numbers and Latin letters are read as words.
    letters = {letter: number for number, letter in enumerate(sorted(RELEASED.letters), start=4)}
    text = rules(characters=letters, steps=[])
    places = [(name, put_voice(folder / name, graph(factor=0.001), text=text)) for name in ("asha", "rina")]
    with running(open_voices(places), limits=Limits(text=200)) as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: Server) -> Browser:
    """The page as a new visitor sees it, in English."""
    browser.visit(server.url, READY)
    browser("localStorage.clear(); sessionStorage.clear()")
    browser("document.querySelector('[data-language=en]').click()")
    return browser


def write(page: Browser, text: str) -> None:
    """Type a text and wait until the page shows how it is read."""
    page("document.getElementById('text').focus()")
    page.write(text)
    page.wait("document.querySelectorAll('#sentences li').length")


def words(page: Browser, name: str) -> str:
    """The text of an element."""
    return str(page(f"document.getElementById('{name}').innerText"))


def sentences(page: Browser) -> list[str]:
    """The sentences that are shown."""
    return list(page("[...document.querySelectorAll('#sentences button')].map((one) => one.textContent)"))


def test_a_text_is_shown_as_it_is_read_and_heard(page: Browser) -> None:
    """The sentences appear as they are read; speaking plays them; what is left out is named."""
    write(page, TEXT)
    assert sentences(page) == ["আমি তুমি।", "বই পঁচিশটি", "তুমি?"]
    assert "no sound: ☺ (WHITE SMILING FACE)" in words(page, "losses")
    assert page("document.querySelector('#sentences button').disabled") is True
    page("document.getElementById('speak').click()")
    page.wait("!document.getElementById('download').disabled")
    page.wait("document.querySelector('#sentences [aria-current=true]')")
    assert "seconds of speech" in words(page, "status")
    page.wait("Number(document.getElementById('seek').value) > 0.2")
    page("document.getElementById('stop').click()")
    assert words(page, "status") == "Stopped."
    assert page("document.getElementById('stop').disabled") is True
    page("document.querySelectorAll('#sentences button')[2].click()")
    page.wait("document.querySelectorAll('#sentences button')[2].getAttribute('aria-current') === 'true'")
    page.wait("!document.querySelector('.round.playing')")
    assert page.said == []
    assert {address.partition("/v1")[0].rpartition(":")[0] for address in page.asked} == {"http://127.0.0.1"}


def test_the_keyboard_is_enough(page: Browser) -> None:
    """Ctrl + Enter speaks, Escape stops, and every control has a label."""
    page("document.body.tabIndex = -1; document.body.focus()")
    page.press("Tab")
    assert page("document.activeElement.textContent") == "Skip to the text"
    write(page, "আমি আমি আমি আমি। তুমি।")
    page.press("Enter", control=True)
    page.wait("document.querySelector('.round.playing')")
    page.press("Escape")
    page.wait("!document.querySelector('.round.playing')")
    assert page(
        "[...document.querySelectorAll('button, select, input:not([hidden]), textarea')]"
        ".every((e) => e.ariaLabel || e.innerText || e.labels?.length || !e.checkVisibility())"
    )
    assert page(
        "document.querySelector('[role=status]') !== null && document.querySelector('[role=alert]') !== null"
    )


def test_both_languages(page: Browser, server: Server) -> None:
    """All words change with the language, which is remembered; a visitor gets the browser's own first."""
    english = set(page("document.body.innerText").splitlines())
    page("document.querySelector('[data-language=bn]').click()")
    assert page("document.documentElement.lang") == "bn"
    bangla = set(page("document.body.innerText").splitlines())
    assert english & bangla <= {"বাংলা", "English", "asha", "rina", "", f"{server.url}/v1"}
    assert "০ / ২০০ অক্ষর" in bangla
    page("window.isOld = true; location.reload()")
    page.wait(f"!window.isOld && document.documentElement?.lang === 'bn' && {READY}")
    page("document.getElementById('speak').click()")
    assert words(page, "notice") == "শোনানোর মতো কিছু লেখা নেই।"


def test_errors_are_sentences(page: Browser) -> None:
    """An empty text, one that is too long and one that cannot be said are told in the page."""
    page("document.getElementById('speak').click()")
    assert words(page, "notice") == "There is nothing to say."
    page("document.getElementById('text').focus()")
    page.write("আ" * 201)
    assert page("document.getElementById('count').className").endswith("over")
    page("document.getElementById('speak').click()")
    page.wait("document.getElementById('notice').innerText.includes('takes 200 at most')")
    assert page("document.getElementById('heard').hidden") is True
    page("document.getElementById('text').value = ''")
    page.write("☺☺")
    page("document.getElementById('speak').click()")
    page.wait("document.getElementById('notice').innerText.includes('WHITE SMILING FACE')")
    assert page("document.querySelector('.round').disabled") is True


def test_speed_and_voice_are_used(page: Browser) -> None:
    """What is chosen is what is asked for, and the speed is remembered."""
    write(page, "আমি তুমি আমি তুমি")
    lasts = []
    for speed in ("1", "2"):
        page(f"document.getElementById('speed').value = '{speed}'")
        page("document.getElementById('speed').dispatchEvent(new Event('input'))")
        page("document.getElementById('voice').value = 'rina'")
        page("document.getElementById('speak').click()")
        page.wait("!document.getElementById('download').disabled")
        lasts.append(float(page("document.getElementById('seek').max")))
    assert lasts[0] == pytest.approx(2 * lasts[1], rel=0.1)
    assert page("localStorage.getItem('speed')") == "2"


def test_what_was_heard_is_downloaded(page: Browser) -> None:
    """The WAV file holds what was heard; other formats come from the server."""
    page(
        "window.saved = []; URL.createObjectURL = (blob) => { window.saved.push(blob); return 'blob:x'; };"
        "HTMLAnchorElement.prototype.click = function () { window.saved.push(this.download); }; undefined"
    )
    write(page, "আমি। তুমি।")
    page("document.getElementById('speak').click()")
    page.wait("!document.getElementById('download').disabled")
    for kind in ("wav", "mp3", "opus"):
        page(f"document.getElementById('format').value = '{kind}'")
        page("document.getElementById('download').click()")
        page.wait(f"window.saved.at(-1)?.endsWith?.('{'ogg' if kind == 'opus' else kind}')")
    saved = json.loads(
        page(
            "Promise.all(window.saved.filter((one) => one instanceof Blob).map(async (blob) => {"
            "const view = new DataView(await blob.arrayBuffer());"
            "return [blob.type, blob.size, view.getUint32(24, true), view.getUint32(40, true)];"
            "})).then(JSON.stringify)"
        )
    )
    assert [one[0] for one in saved] == ["audio/wav", "audio/mpeg", "audio/ogg"]
    assert saved[0][2:] == [8_000, saved[0][1] - 44]


def test_hostile_text_stays_text(page: Browser) -> None:
    """HTML, emoji and marks of direction are shown as they are and never become markup."""
    write(page, "<img src=x onerror=alert(1)> আমি \u202eতুমি\u202c 👨‍👩‍👧 <script>alert(2)</script>")
    page("document.getElementById('speak').click()")
    page.wait("!document.getElementById('download').disabled")
    assert page("document.querySelectorAll('main img, main script, main b').length") == 0
    assert page.said == []


def test_a_phone_shows_all_of_it(browser: Browser, server: Server) -> None:
    """On a phone nothing is wider than the screen, and what is touched is large enough."""
    for width in (320, 390):
        browser.visit(server.url, READY, width=width, height=700)
        write(browser, TEXT + "কখগ" * 30)
        assert browser("document.documentElement.scrollWidth") == width
        assert browser(
            "[...document.querySelectorAll('button, select')].filter((e) => e.checkVisibility())"
            ".every((e) => e.getBoundingClientRect().height >= 34)"
        )


def test_the_token_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    """The page asks for the token; a wrong one is refused, the right one opens; it is in no address."""
    voices, held = held_voices(tmp_path)
    held.more.release(9)
    with running(voices, Access(token=TOKEN)) as server:
        browser.visit(server.url, READY)
        browser("sessionStorage.clear()")
        assert browser("document.getElementById('ask').checkVisibility()") is False
        refused = "document.getElementById('token').validationMessage"
        opened = "document.getElementById('ask').checkVisibility()"
        for token, shown in (("wrong-wrong-wrong-wrong", refused), (TOKEN, opened)):
            browser(f"document.getElementById('token').value = '{token}'")
            browser("document.getElementById('token').dispatchEvent(new Event('input'))")
            browser("document.querySelector('#door button').click()")
            browser.wait(shown)
        write(browser, "আমি")
        browser("document.getElementById('speak').click()")
        browser.wait("!document.getElementById('download').disabled")
        assert not [address for address in browser.asked if TOKEN in address]
        assert browser("sessionStorage.getItem('token')") == TOKEN


def test_a_server_that_ends_is_told(browser: Browser, tmp_path: Path) -> None:
    """If speech breaks off, the page says so, and what was heard stays; later it says that nobody answers."""
    voices, held = held_voices(tmp_path)
    with running(voices, limits=Limits(grace_s=0.1)) as server:
        browser.visit(server.url, READY)
        browser("document.querySelector('[data-language=en]').click()")
        write(browser, "আমি। তুমি।")
        browser("document.getElementById('speak').click()")
        browser.wait("document.querySelector('.round').disabled === false")
        server.stop()
        browser.wait("document.getElementById('notice').innerText.includes('The server is being stopped')")
        held.more.release(9)
        assert browser("document.getElementById('download').disabled") is False
    browser("document.getElementById('speak').click()")
    browser.wait("document.getElementById('notice').innerText.includes('cannot be reached')")

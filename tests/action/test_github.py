"""What GitHub reads from kgtts: outputs, annotations and the summary are safe against hostile text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.github.outputs import annotation, write_outputs
from orchestrator.cli.github.summary import escape, failure
from orchestrator.errors import LocalError
from tests.action.runner import read_outputs
from tests.support import Cli

HOSTILE = "50% done\r\n::set-output name=done::true\nEOF\ndone=true\n"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=80)


@given(TEXTS, TEXTS)
def test_an_annotation_is_one_line_that_says_it_all(title: str, message: str) -> None:
    """Any text gives one command, and unescaped it is the text again."""
    command = annotation("error", message, title=title)
    assert "\n" not in command
    head, _, shown = command.removeprefix("::error title=").partition("::")
    for code, letter in (("%3A", ":"), ("%2C", ",")):
        head = head.replace(code, letter)
    for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        head, shown = head.replace(code, letter), shown.replace(code, letter)
    assert (head, shown) == (title, message)


def test_an_annotation_escapes_what_ends_it() -> None:
    """Percent signs and line ends are escaped, in properties colons and commas too."""
    assert annotation("warning", "5%\r\n::error::x", title="a:b,c") == (
        "::warning title=a%3Ab%2Cc::5%25%0D%0A::error::x"
    )


def test_outputs_hold_any_value(tmp_path: Path) -> None:
    """A value with line ends, delimiters or other outputs stays one value."""
    file = tmp_path / "outputs"
    file.write_text("earlier=1\n")
    write_outputs(file, {"state": HOSTILE, "done": False, "pulled": None, "step": 12, "odd": "\ud800আ"})
    first = file.read_text(encoding="utf-8")
    assert read_outputs(first) == {
        "earlier": "1",
        "state": HOSTILE.replace("\r\n", "\n"),
        "done": "false",
        "pulled": "",
        "step": "12",
        "odd": "?আ",
    }
    frames = [line.partition("<<")[2] for line in first.splitlines() if "<<kgtts-" in line]
    assert len(set(frames)) == len(frames) == 5


def test_text_from_a_server_is_only_text_in_the_summary() -> None:
    """Markup, tables, mentions, links, line ends and HTML have no effect."""
    shown = escape("# a|b <img src=x>\n@all ![i](https://x.y) `c` $m$ ~d~ &amp; _e_ *f*")
    assert shown == (
        "\\# a\\|b &#60;img src=x&#62; &#64;all \\!\\[i\\](https&#58;//x.y) \\`c\\` \\$m\\$ \\~d\\~ "
        "&#38;amp; \\_e\\_ \\*f\\*"
    )
    assert failure(LocalError("no | room", hint="free some")) == (
        "## kgtts: the pass failed\n\nno \\| room\n\nNext: free some\n\n"
    )


def test_in_actions_an_error_is_an_annotation(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a step it is one command on the error stream; elsewhere it is coloured text."""
    Path("kgtts.toml").touch()
    assert cli("sync").err.startswith("Error: No Kaggle credentials were found")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = cli("sync")
    assert result.code == 3
    assert result.err.startswith("::error title=kgtts::No Kaggle credentials were found")
    assert "%0ANext: " in result.err
    assert result.err.count("\n") == 1

"""`kgtts data check` and `kgtts data prepare` as people type them."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ExitCode
from tests.data.making import TEXTS, said, write, write_csv
from tests.support import Cli

HOSTILE = 'x" onload="alert(1)<script>alert(1)<'
EVIL = "<img src=x onerror=alert(1)> আমি"
NEED_THE_EXTRA = (
    "orchestrator.data",
    "orchestrator.cli.show.dataset",
)  # Modules, by the beginning of their names.


@pytest.fixture
def recordings(workplace: Path) -> Path:
    """Three recordings, of which one is clipped and one has no text."""
    folder = workplace / "My recordings"
    for number in range(2):
        write(folder / f"Rec {number}.wav", said(TEXTS[number + 6], 22_050), 22_050)
    write(folder / "loud.wav", np.clip(said(TEXTS[8], 22_050, level=3), -1, 1), 22_050)
    write(folder / "alone.flac", said(TEXTS[9], 22_050), 22_050)
    rows = [("ফাইল", "বাক্য"), ("rec 0", TEXTS[6]), ("Rec 1.wav", TEXTS[7]), ("loud", TEXTS[8]), ("no", EVIL)]
    write_csv(folder / "transcript.csv", rows)
    return folder


def test_check_shows_what_is_wrong_and_changes_nothing(cli: Cli, recordings: Path, workplace: Path) -> None:
    """By kind, with file, line, what it is and what would be done; then numbers and a verdict."""
    before = sorted(workplace.rglob("*"))
    result = cli("data", "check", recordings)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    headings = [line for line in lines if not line.startswith(" ")]
    assert "clipped, so distorted (1) - quarantine: record it with less gain" in headings
    at = lines.index("recording without a text (1) - quarantine: add its row to the transcript")
    assert lines[at + 1] == "  alone.flac"
    assert "  transcript.csv:5: 'no'" in lines
    assert lines[-1] == f'Next: kgtts data prepare "{recordings}" --to data'
    assert "Utterances     2" in result.out
    assert "Only enough for a trial" in result.out
    assert sorted(workplace.rglob("*")) == before


def test_check_prints_json(cli: Cli, recordings: Path) -> None:
    """Every finding, every utterance with its place, and the summary."""
    told = cli("data", "check", recordings, "--json").json
    assert {item["id"]: item["place"] for item in told["utterances"]} == {
        "Rec_0": "dataset",
        "Rec_1": "dataset",
        "alone": "quarantine",
        "loud": "quarantine",
    }
    assert told["summary"]["utterances"] == 2
    found = [item for item in told["findings"] if item["kind"] == "clipped"]
    assert found[0]["file"] == "loud.wav"
    assert found[0]["done"] == "quarantine: record it with less gain"


class _Page(HTMLParser):
    """Collects the elements of a page, and the attributes that name something to load or to run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def test_the_page_is_safe_and_holds_its_sounds(cli: Cli, recordings: Path, workplace: Path) -> None:
    """No name and no text becomes an element, nothing is loaded, and what is doubtful can be heard."""
    name = "ক&lt;script&gt;' onload='x" if sys.platform == "win32" else HOSTILE
    (recordings / "Rec 0.wav").rename(recordings / f"{name}.wav")
    with (recordings / "transcript.csv").open("a", encoding="utf-8", newline="") as file:
        file.write(f'"loud","{EVIL}"\r\n')
    result = cli("data", "check", recordings, "--html", "found.html")
    assert result.code == 0, result.said
    text = (workplace / "found.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert not page.tags & {"script", "img", "iframe", "object", "base", "form"}
    assert page.handlers == []
    assert all(address.startswith(("#", "data:audio/wav;base64,", "data:,")) for address in page.addresses)
    assert sum(address.startswith("data:audio") for address in page.addresses) == 3
    assert "default-src 'none'; style-src 'sha256-" in text
    assert len(text) < 2_000_000


def test_prepare_makes_the_dataset_and_says_where_it_is(cli: Cli, recordings: Path, workplace: Path) -> None:
    """Then a second time, with nothing to do; then with what was accepted."""
    result = cli("data", "prepare", recordings, "--to", "My voice")
    assert (result.code, result.err) == (0, "")
    assert "4 recordings worked on, 0 unchanged." in result.out
    place = Path("My voice")
    assert f"{place / 'MyTTSDataset'}: 2 utterances\n" in result.out
    assert (
        f"{place / 'quarantine' / 'quarantine.csv'}: 2 with the reason; --accept ID takes one back"
        in result.out
    )
    assert 'Next: kgtts data upload "My voice"; to train on this machine' in result.out
    assert 'kgtts train --data "My voice"' in result.out
    again = cli("data", "prepare", recordings, "--to", "My voice").out
    assert "0 recordings worked on, 4 unchanged." in again
    assert "2 utterances (unchanged)" in again
    told = cli("data", "prepare", recordings, "--to", "My voice", "--accept", "loud", "--json").json
    assert (told["worked_on"], told["changed"], told["summary"]["utterances"]) == (0, True, 3)
    text = (workplace / "My voice" / "MyTTSDataset" / "metadata.csv").read_text(encoding="utf-8")
    assert [line.split("|")[0] for line in text.splitlines()] == ["Rec_0", "Rec_1", "loud"]


def test_the_rate_is_the_base_voices(cli: Cli, recordings: Path, workplace: Path) -> None:
    """--rate counts more than --base, that more than kgtts.toml, and without all it is 22,050."""

    def rate(*options: str) -> int:
        told = cli("data", "check", recordings, "--json", *options).json
        return int(told["settings"]["rate"])

    assert rate() == 22_050
    (workplace / "kgtts.toml").write_text("[training]\nsample_rate = 24000\n", encoding="utf-8")
    assert rate() == 24_000
    (workplace / "config.json").write_text(
        '{"max_text_len": Infinity, "audio": {"sample_rate": 16000}}', encoding="utf-8"
    )
    assert rate("--base", "config.json") == rate("--base", ".") == 16_000
    assert rate("--base", ".", "--rate", "48000") == 48_000
    (workplace / "config.json").write_text("{}", encoding="utf-8")
    result = cli("data", "check", recordings, "--base", ".")
    assert result.code == ExitCode.USAGE
    assert "has no audio.sample_rate" in result.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "nowhere"], "does not exist"),
        (["check", "."], "There are no recordings in ."),
        (["prepare", "My recordings"], "Missing option '--to'"),
        (["prepare", "My recordings", "--to", "My recordings"], "needs a folder of its own"),
        (["check", "My recordings", "--transcripts", "old.xls"], "is in Excel's old format"),
        (["check", "My recordings", "--rate", "1"], "--rate"),
        (["prepare", "My recordings", "--to", "out", "--accept", "x"], "no such utterance"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    cli: Cli, recordings: Path, workplace: Path, arguments: list[str], says: str
) -> None:
    """With exit code 2, and nothing on standard output."""
    (workplace / "old.xls").write_bytes(b"x")
    if arguments[1] == ".":
        recordings.rename(workplace.parent / "elsewhere")
    result = cli("data", *arguments)
    assert (result.code, result.out) == (ExitCode.USAGE, "")
    assert says in result.err


@pytest.mark.parametrize("missing", ["soundfile", "pyloudnorm"])
def test_without_the_extra_the_command_that_installs_it_is_named(
    cli: Cli, recordings: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """One command, and exit code 8."""
    for name in [name for name in sys.modules if name.startswith(NEED_THE_EXTRA)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    result = cli("data", "check", recordings)
    assert result.code == ExitCode.LOCAL
    assert 'pip install "kgtts[data]"' in result.err
    assert json.dumps(result.out) == '""'


def test_a_dataset_in_which_nothing_is_left_is_an_error(cli: Cli, recordings: Path, workplace: Path) -> None:
    """It has no metadata.csv, also if it had one before, and the report says what is wrong with each."""
    assert cli("data", "prepare", recordings, "--to", "out").code == 0
    write_csv(recordings / "transcript.csv", [("rec 0", "…!"), ("rec 1", "…!")])
    result = cli("data", "prepare", recordings, "--to", "out")
    assert result.code == ExitCode.USAGE
    assert "is empty: nothing can be trained on" in result.err
    assert "nothing in the text can be spoken" in result.out
    assert not (workplace / "out" / "MyTTSDataset" / "metadata.csv").exists()
    assert len(list((workplace / "out" / "quarantine").glob("*.wav"))) == 4


def test_a_dataset_beside_the_recordings_is_not_taken_for_recordings(cli: Cli, recordings: Path) -> None:
    """It may be made in their folder; `check` leaves it out, too."""
    assert cli("data", "prepare", recordings, "--to", recordings / "out").code == 0
    assert cli("data", "check", recordings, "--json").json["summary"]["recordings"] == 4

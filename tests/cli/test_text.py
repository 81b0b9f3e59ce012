"""`kgtts text`: what is printed, named and refused."""

import io
import sys
from pathlib import Path

import pytest

from kernel_template.text.vocabulary import count_letters
from tests.support import Cli
from tests.text.test_vocabulary import RELEASED, WORDS, decomposed
from tests.voice.making import put_session, put_voice, rules

TEXT = "১৯৭৯ সালে ৳২৫,০০০"
SPOKEN = "উনিশশো উনআশি সালে পঁচিশ হাজার টাকা"


@pytest.fixture
def voice(workplace: Path) -> Path:
    """A voice of the released kind, whose training texts had decomposed letters."""
    characters = {letter: number for number, letter in enumerate(sorted(RELEASED.letters), start=4)}
    text = rules(characters=characters, steps=[], counts=count_letters([decomposed(WORDS)]))
    return put_voice(put_session(workplace / "runs" / "bangla-tts", 1) / "voice", b"onnx", text=text)


def test_a_text_is_shown_as_it_is_spoken(cli: Cli) -> None:
    """The spoken text alone goes to standard output; --explain adds what each rule changed."""
    assert cli("text", TEXT).out == f"{SPOKEN}\n"
    assert "    10  number         ৳২৫,০০০ → পঁচিশ হাজার টাকা\n" in cli("text", TEXT, "--explain").out


def test_pieces_come_as_json(cli: Cli) -> None:
    """--json has the place, the rule and the result of each piece."""
    told = cli("text", TEXT, "--json").json
    assert (told["text"], told["spoken"], told["voice"], told["lost"]) == (TEXT, SPOKEN, None, [])
    assert told["pieces"][1] == {
        "start": 10,
        "end": 17,
        "rule": "number",
        "source": "৳২৫,০০০",
        "result": "পঁচিশ হাজার টাকা",
    }


def test_a_text_comes_from_a_file_or_a_pipe(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines stay lines, whether the text comes from a file or standard input."""
    (workplace / "story.txt").write_text("৫টি\n১ম", encoding="utf-8")
    for arguments in (["--file", "story.txt"], ["--file", "-"], []):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("৫টি\n১ম".encode())))
        assert cli("text", *arguments).out == "পাঁচটি\nপ্রথম\n"


def test_a_voices_letters_are_used(cli: Cli, voice: Path) -> None:
    """--voice and --run write the spelling of the training texts, and name what it never met."""
    for arguments in (["--voice", voice], ["--voice", voice.parent], ["--run", "bangla-tts"]):
        told = cli("text", "বড় দুঃখ", *arguments, "--json").json
        assert (told["spoken"], told["doubtful"]) == (decomposed("বড় দুঃখ"), ["ঃ"])
        assert told["voice"].endswith("voice.json")
    assert "BENGALI SIGN VISARGA" in cli("text", "বড় দুঃখ", "--voice", voice).err


def test_losses_are_named_by_kind(cli: Cli) -> None:
    """What a listener would miss is told apart from what has no sound."""
    result = cli("text", "“ঠিক” 中")
    assert (result.code, result.out) == (0, "ঠিক\n")
    assert "would miss it: 中" in result.err
    assert "no sound: “" in result.err
    assert "Bijoy" in cli("text", "Avwg evsjvq Mvb MvB").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ঠিক 中 ☺", "--strict"], "would miss 中 (CJK UNIFIED IDEOGRAPH-4E2D); without sound is ☺"),
        (["hello", "--latin", "omit", "--strict"], "would miss hello"),
        (["আ", "--file", "x"], "TEXT and --file"),
        (["আ", "--run", "x", "--voice", "."], "--run and --voice"),
        (["আ", "--voice", "."], "There is no voice at ."),
        ([" "], "nothing to say"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_a_sentence(
    cli: Cli, workplace: Path, arguments: list[str], words: str
) -> None:
    """--strict and wrong usage end with exit code 2, and print no text."""
    result = cli("text", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err


def test_a_voice_that_speaks_phonemes_has_no_letters(cli: Cli, workplace: Path) -> None:
    """Such a voice is refused with its reason."""
    place = put_voice(workplace / "v", b"onnx", text=rules(speakable=False, why="it speaks phonemes"))
    result = cli("text", "আ", "--voice", place)
    assert (result.code, "it speaks phonemes" in result.err) == (2, True)

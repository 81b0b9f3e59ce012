"""`kgtts say`: which voice speaks, what is written, and what is told."""

import importlib.util
import io
import os
import sys
import wave
from pathlib import Path

import pytest

from tests.support import Cli
from tests.text.test_vocabulary import RELEASED
from tests.voice.making import graph, put_session, put_voice, rules

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="needs onnx and onnxruntime",
)


@pytest.fixture
def runs(workplace: Path) -> Path:
    """Three sessions of a run: the first has the base voice, the second the newest, the third none."""
    runs = workplace / "runs" / "bangla-tts"
    first = put_session(runs, 1) / "voice"
    put_voice(first, graph(factor=0.02), global_step=4, run={"id": "3f9c0a", "session": 1})
    put_voice(first, graph(factor=0.03), "base", global_step=0)
    put_voice(put_session(runs, 2) / "voice", graph())
    put_session(runs, 3)
    return runs


def loudest(file: Path) -> float:
    """The loudest sample of a WAV file, from 0 to 1."""
    with wave.open(str(file)) as sound:
        return max(memoryview(sound.readframes(sound.getnframes())).cast("h")) / 32_767


def test_the_newest_voice_speaks(cli: Cli, runs: Path, workplace: Path) -> None:
    """The newest voice of a run speaks, and names the characters that it left out."""
    for name in ((), ("--run", "3f9"), ("--run", "asha/bangla-tts")):
        result = cli("say", "আমি ☺", "--out", "x.wav", *name)
        assert result.code == 0, result.err
        assert "run 3f9c0a, session 2, step 8" in result.out
        assert "☺ (WHITE SMILING FACE)" in result.err
        assert round(loudest(workplace / "x.wav"), 2) == 0.1  # The id of the space: 10.
    assert sorted(path.name for path in workplace.iterdir()) == ["runs", "x.wav"]


def test_a_missing_voice_is_told_before_a_missing_player(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a voice nothing else matters; with one, a machine without a player is told of --out."""
    monkeypatch.setenv("PATH", "")
    assert "has been downloaded" in cli("say", "আমি").err
    put_voice(put_session(workplace / "runs" / "bangla-tts", 1) / "voice", graph())
    result = cli("say", "আমি")
    assert (result.code, "--out said.wav" in result.err) == (8, True)
    assert "Nothing was played: no program that plays sound" in result.err


def test_json_tells_all(cli: Cli, runs: Path) -> None:
    """`--json` prints one document with the pieces and the speed."""
    told = cli("say", "আমি। তুমিz", "--out", "x.wav", "--json", "--speed", "2").json
    (voice,) = told["voices"]
    assert (voice["run"], voice["global_step"], voice["sample_rate"], voice["file"]) == (
        "3f9c0a",
        8,
        8000,
        "x.wav",
    )
    assert [piece["text"] for piece in voice["pieces"]] == ["আমি।", "তুমিz"]
    assert voice["unknown"] == ["z"]
    assert voice["seconds"] == pytest.approx(sum(piece["seconds"] for piece in voice["pieces"]) + 0.15)
    assert voice["real_time_factor"] > 0


def test_an_odd_sound_is_a_warning(cli: Cli, runs: Path) -> None:
    """A voice that hums, as that of the tests does, is told apart from speech."""
    result = cli("say", "আমি তুমি আমি তুমি আমি", "--out", "x.wav")
    assert "The sound is odd: “আমি তুমি আমি তুমি আমি” is a hum or a hiss rather than speech" in result.err
    (voice,) = cli("say", "আমি তুমি আমি তুমি আমি। " * 3, "--out", "x.wav", "--json").json["voices"]
    (odd,) = [told for told in voice["odd"] if "is a hum or a hiss" in told]
    assert odd.endswith("; the same is odd in 2 other sentences.")


def test_wrapped_lines_are_one_sentence(cli: Cli, runs: Path, workplace: Path) -> None:
    """Only an empty line ends a paragraph."""
    (workplace / "x.txt").write_text("আমি\nতুমি | আমি\n\nতুমি॥", encoding="utf-8")
    (voice,) = cli("say", "--file", "x.txt", "--out", "x.flac", "--json").json["voices"]
    assert [piece["text"] for piece in voice["pieces"]] == ["আমি তুমি |", "আমি", "তুমি॥"]
    assert (workplace / "x.flac").read_bytes().startswith(b"fLaC")


def test_compare_speaks_with_both(cli: Cli, runs: Path, workplace: Path) -> None:
    """`--compare` writes a file of the base voice and one of the tuned voice."""
    result = cli("say", "আ", "--compare", "--out", "x.wav")
    assert result.code == 0, result.err
    assert round(loudest(workplace / "x-base.wav"), 2) == 0.12
    assert round(loudest(workplace / "x-tuned.wav"), 2) == 0.04
    assert [line.split()[0] for line in result.out.splitlines()[::2]] == ["base", "tuned"]


def test_without_a_base_voice_an_earlier_one_is_compared(cli: Cli, runs: Path, workplace: Path) -> None:
    """Without a base voice an earlier session's is compared; without that, it is an error."""
    (runs / "session-01" / "voice" / "base.json").unlink()
    told = cli("say", "আ", "--compare", "--out", "x.wav", "--json").json
    assert [(voice["name"], voice["global_step"]) for voice in told["voices"]] == [
        ("earlier", 4),
        ("tuned", 8),
    ]
    assert (workplace / "x-earlier.wav").is_file()
    (runs / "session-01" / "voice" / "voice.json").write_text("{}")
    result = cli("say", "আ", "--compare", "--out", "x.wav")
    assert (result.code, "no base voice" in result.err) == (2, True)


def test_a_voice_may_be_named(cli: Cli, runs: Path, workplace: Path) -> None:
    """`--voice` takes a folder or a file, and compares with the base voice beside it."""
    told = cli("say", "আ", "--voice", runs / "session-01", "-o", "x.wav", "--json").json
    assert told["voices"][0]["global_step"] == 4
    compared = cli("say", "আ", "--voice", runs / "session-01", "-o", "x.wav", "--json", "--compare").json
    assert [voice["global_step"] for voice in compared["voices"]] == [0, 4]
    result = cli("say", "আ", "--voice", runs / "session-02", "-o", "x.wav", "--compare")
    assert (result.code, "base.json is missing" in result.err) == (2, True)


def test_text_comes_from_a_file_or_a_pipe(
    cli: Cli, runs: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text may be UTF-8 with or without a byte order mark, or UTF-16 as PowerShell writes it."""
    (workplace / "story.txt").write_text("\ufeffআমি\nতুমি", encoding="utf-8")
    (workplace / "windows.txt").write_text("\ufeffআমি\r\nতুমি", encoding="utf-16-le", newline="")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("আমি\nতুমি".encode())))
    for file in ("story.txt", "windows.txt", "-"):
        (voice,) = cli("say", "--file", file, "--out", "x.wav", "--json").json["voices"]
        assert [piece["text"] for piece in voice["pieces"]] == ["আমি তুমি"]
        assert voice["unknown"] == []


@pytest.mark.posix  # Its player is a shell script.
def test_it_is_played(cli: Cli, runs: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first player that is found plays the speech, and no file is left."""
    player = workplace / "bin" / "paplay"
    player.parent.mkdir()
    player.write_text(f'#!/bin/sh\n/bin/cp "$1" "{workplace}/heard.wav"\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", str(player.parent))
    result = cli("say", "আ", "--json")
    assert (result.code, result.json["voices"][0]["file"]) == (0, None)
    assert "said.wav" not in cli("say", "আ").said  # It is gone by then.
    assert round(loudest(workplace / "heard.wav"), 2) == 0.04
    monkeypatch.setenv("PATH", str(workplace))
    result = cli("say", "আ")
    assert (result.code, result.out) == (8, "")
    assert "--out said.wav" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give the text"),
        (["আ", "--file", "x"], "Give the text"),
        (["--file", "gone.txt"], "gone.txt cannot be read"),
        (["--file", "latin.txt"], "not UTF-8"),
        ([" \n"], "nothing to say"),
        (["☺☺"], "there is no letter in it"),
        (["中"], "None of the text's characters"),
        (["।?! … —"], "there is no letter in it"),
        (["১২"], "digits and signs as words"),
        (["\udce9"], "The text is not UTF-8"),
        (["আ", "--noise", "nan"], "'nan' is not a number"),
        (["আ", "--speed", "NaN"], "'NaN' is not a number"),
        (["আ", "--run", "zzz"], "Nothing of zzz has been downloaded"),
        (["আ", "--run", "a/b", "--voice", "."], "each name a voice"),
        (["আ", "--voice", "."], "There is no voice at ."),
        (["আ", "--speed", "0"], "0.25<=x<=4"),
        (["আ", "--speaker", "asha"], "only one speaker"),
    ],
    ids=str,
)
def test_what_cannot_be_said_is_a_sentence(
    cli: Cli, runs: Path, workplace: Path, arguments: list[str], words: str
) -> None:
    """A text that cannot be spoken gives exit code 2 and no file."""
    (workplace / "latin.txt").write_bytes(b"caf\xe9")
    result = cli("say", *arguments, "--out", "x.wav")
    assert result.code == 2
    assert words in result.err
    assert not (workplace / "x.wav").exists()


def test_a_text_of_which_the_cleaning_leaves_nothing(cli: Cli, workplace: Path) -> None:
    """The error blames the cleaning, not the vocabulary."""
    session = put_session(workplace / "runs" / "bangla-tts", 1)
    put_voice(session / "voice", graph(), text=rules(steps=[["drop", "আমি"]]))
    result = cli("say", "আমি", "-o", "x.wav")
    assert (result.code, "nothing is left of it after cleaning" in result.err) == (2, True)
    assert not (workplace / "x.wav").exists()


def test_odd_texts_are_said_as_far_as_they_go(cli: Cli, runs: Path, workplace: Path) -> None:
    """An endless word, several scripts and digits are spoken, into a new folder."""
    for text, unknown in (("আমি" * 400, ""), ("আমি Bab ১২ 7", "১২7")):
        result = cli("say", text, "--out", "new/তুমি.wav", "--json")
        assert result.code == 0, result.err
        assert result.json["voices"][0]["unknown"] == [*unknown]
        assert loudest(workplace / "new" / "তুমি.wav") > 0
    assert f"{Path('new') / 'তুমি.wav'}" in cli("say", "আমি", "--out", "new/তুমি.wav").out


def test_a_voice_of_the_released_kind_says_numbers(cli: Cli, workplace: Path) -> None:
    """Without ৭, ৯ and ৳ it says a year and an amount whole; what it lacks is named by kind."""
    characters = {letter: number for number, letter in enumerate(sorted(RELEASED.letters), start=4)}
    session = put_session(workplace / "runs" / "bangla-tts", 1)
    put_voice(session / "voice", graph(), text=rules(characters=characters, steps=[]))
    (voice,) = cli("say", "১৯৭৯ সালে ৳২৫,০০০", "-o", "x.wav", "--json").json["voices"]
    assert [piece["text"] for piece in voice["pieces"]] == ["উনিশশো উনআশি সালে পঁচিশ হাজার টাকা"]
    assert (voice["unknown"], voice["harmful"], voice["doubtful"]) == ([], [], [])
    result = cli("say", "ডা. সেন এলেন ☺\nবই ৫টি 中", "-o", "x.wav")
    assert "ডাক্তার সেন এলেন বই পাঁচটি" in result.out
    assert "would miss it: 中" in result.err
    assert "no sound: ☺" in result.err
    (voice,) = cli("say", "ডা. সেন এলেন\nবই ৫টি", "-o", "x.wav", "--json").json["voices"]
    assert [piece["text"] for piece in voice["pieces"]] == ["ডাক্তার সেন এলেন বই পাঁচটি"]
    assert "None of the text's characters" in cli("say", "中 ☺", "-o", "y.wav").err


@pytest.mark.posix  # A named pipe.
def test_what_no_file_can_replace_stays(cli: Cli, runs: Path, workplace: Path) -> None:
    """A pipe or a device is not replaced by a WAV file."""
    os.mkfifo(workplace / "pipe")
    result = cli("say", "আ", "--out", "pipe")
    assert (result.code, "a device or a pipe" in result.err) == (2, True)
    assert (workplace / "pipe").is_fifo()


def test_a_run_without_a_voice_and_one_that_cannot_be_spoken(cli: Cli, workplace: Path) -> None:
    """A run without a voice, or with one that needs phonemes, gives exit code 2 and a reason."""
    session = put_session(workplace / "runs" / "bangla-tts", 1)
    result = cli("say", "আ", "-o", "x.wav")
    assert (result.code, "has a voice" in result.err) == (2, True)
    put_voice(session / "voice", graph(), text=rules(speakable=False, why="it speaks phonemes"))
    result = cli("say", "আ", "-o", "x.wav")
    assert (result.code, "it speaks phonemes" in result.err) == (2, True)


def test_without_the_extra_the_exit_code_is_8(cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = cli("say", "আ", "-o", "x.wav")
    assert result.code == 8
    assert 'pip install "kgtts[speak]"' in result.err

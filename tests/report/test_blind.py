"""Blind tests: how the order is drawn, how answers are counted, and the commands for both."""

import json
import math
import random
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ExitCode, UsageError
from orchestrator.report.blind import BlindTest, make_blind_test, write_blind_test
from orchestrator.report.sounds import Clip, SoundBudget, read_clip
from orchestrator.report.voices import SpokenVoice, read_voice
from orchestrator.report.votes import count_votes, read_ballots, tally_json, tally_words
from orchestrator.results import pulled_sessions
from tests.report.making import SENTENCES, Made, write_tone
from tests.support import Cli

HELD_OUT = ("এক দুই তিন।", "চার পাঁচ ছয়।", "সাত আট নয়।")
RUNS = Path("runs") / "bangla-tts"


def tone(folder: Path, **how: Any) -> Clip:
    """A sound."""
    write_tone(folder / "tone.wav", seconds=0.2, **how)
    return read_clip(folder / "tone.wav")


def voice(folder: Path, name: str, count: int, **how: Any) -> SpokenVoice:
    """A voice that says some sentences."""
    return SpokenVoice(name, {f"sentence {number}": tone(folder, **how) for number in range(count)})


def answer(person: str, choices: str, *, test: str = "t", **more: Any) -> str:
    """A result as the page gives it; `choices` has a letter for each sentence: A, B, or - for neither."""
    votes = [
        {"sentence": number, "first": "AB"[number % 2], "choice": {"-": "same"}.get(letter, letter)}
        for number, letter in enumerate(choices, start=1)
    ]
    told = {"kgtts_votes": 1, "test": test, "seed": 1, "question": "?", "a": "old", "b": "new"}
    return json.dumps({**told, "listener": person, "id": person, "votes": votes, **more}, indent=1)


def level(clip: Clip) -> float:
    """The root mean square of a sound."""
    samples = array("h", clip.wav[44:])
    return math.sqrt(sum(value * value for value in samples) / len(samples))


def test_the_order_is_the_seeds(tmp_path: Path) -> None:
    """The same seed draws the same test, another seed another one; each voice comes first in half of it."""
    one, other = voice(tmp_path, "A", 10, pitch=120), voice(tmp_path, "B", 10, pitch=220)
    test = make_blind_test(one, other, seed=5)
    assert test == make_blind_test(one, other, seed=5)
    again = make_blind_test(one, other, seed=6)
    assert (test.id, [pair.text for pair in test.pairs]) != (again.id, [pair.text for pair in again.pairs])
    assert [pair.first for pair in test.pairs].count("A") == 5
    assert {pair.text for pair in test.pairs} == set(one.clips)
    assert len(make_blind_test(one, other, seed=5, most=3).pairs) == 3


def test_the_louder_is_turned_down(tmp_path: Path) -> None:
    """Both sounds of a pair are as loud as the softer one."""
    loud, soft = voice(tmp_path, "A", 1, loudness=0.6), voice(tmp_path, "B", 1, loudness=0.15, pitch=200)
    (pair,) = make_blind_test(loud, soft, seed=1).pairs
    assert level(pair.sounds[0]) == pytest.approx(level(pair.sounds[1]), rel=0.03)
    assert pair.sounds[1].wav == soft.clips["sentence 0"].wav


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    """Voices without a common sentence, and a voice with itself, are errors; other sentences are counted."""
    one = voice(tmp_path, "one", 3)
    with pytest.raises(UsageError, match="no sentence in common"):
        make_blind_test(one, SpokenVoice("other", {"x": one.clips["sentence 0"]}), seed=1)
    with pytest.raises(UsageError, match="sound the same"):
        make_blind_test(one, one, seed=1)
    assert make_blind_test(one, voice(tmp_path, "B", 2, pitch=99), seed=1).left_out == 1


def test_the_page_keeps_the_voices_apart(tmp_path: Path) -> None:
    """The names of the voices stand only in the data for the result; hostile ones are no markup."""
    hostile = """</script><img src=x onerror="hit()"> 'a' \u202e"""
    one = SpokenVoice(hostile, {hostile: tone(tmp_path)})
    other = SpokenVoice("other", {hostile: tone(tmp_path, pitch=99)})
    write_blind_test(make_blind_test(one, other, seed=1, question=hostile), tmp_path / "ab.html", nonce="N")
    page = (tmp_path / "ab.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert page.count("</script>") == 2
    data = page.split('id="data" nonce="N">')[1].split("</script>")[0]
    assert json.loads(data)["result"]["a"] == hostile
    assert "<" not in data
    assert "other" not in page.replace(data, "").split("<body")[1].split("<script")[0]


def test_voices_of_a_run(tmp_path: Path) -> None:
    """The speaker, the base voice, a step and the best model are found; held-out sentences come first."""
    sessions = pulled_sessions(Made(sessions=2, epochs=1, held_out=HELD_OUT).write(tmp_path / "run"))
    best = read_voice(sessions, None, SoundBudget())
    assert best.name == "3f9c1a7be204, step 200"
    assert list(best.clips) == [*HELD_OUT, *SENTENCES]
    assert list(read_voice(sessions, "speaker", SoundBudget()).clips) == list(HELD_OUT)
    assert read_voice(sessions, "base", SoundBudget()).name == "3f9c1a7be204, the base voice"
    assert read_voice(sessions, "100", SoundBudget()).name == "3f9c1a7be204, step 100"
    with pytest.raises(UsageError, match="No sound of 3f9c1a7be204, step 7 was downloaded") as caught:
        read_voice(sessions, "7", SoundBudget())
    assert "100, 200" in (caught.value.hint or "")


def test_answers_are_counted() -> None:
    """Answers for B, for A and for neither make a share with a range; each test is counted by itself."""
    ballots = read_ballots("x", "\n".join(answer(f"p{number}", "BBBBABB-BBBB") for number in range(6)))
    ballots += read_ballots("y", answer("p9", "A", test="u"))
    first, second = count_votes(ballots)
    assert (first.people, first.votes["B"], first.votes["A"], first.votes["same"]) == (6, 60, 6, 6)
    assert first.share == pytest.approx((60 + 3) / 72)
    assert 0.5 < first.low < first.share < first.high < 1
    assert (first.preferred, second.preferred) == ("B", None)
    assert tally_words(first).endswith("by 6 people. B is better: new.")
    assert json.loads(json.dumps(tally_json(first), allow_nan=False))["votes"] == {"A": 6, "same": 6, "B": 60}


def test_few_answers_tell_nothing() -> None:
    """Three answers of one person for B tell nothing, thirty tell that person's taste."""
    (few,) = count_votes(read_ballots("x", answer("p", "BBB")))
    assert (few.preferred, few.share) == (None, 1.0)
    assert few.low < 0.5
    (many,) = count_votes(read_ballots("x", answer("p", "B" * 30)))
    assert many.preferred == "B"
    assert "by 1 person, who likes B better: new. Others may not" in tally_words(many)


def test_people_who_differ_widen_the_range() -> None:
    """Two who always say B and two who always say A are not 40 answers, but four."""
    split = "\n".join(answer(f"p{number}", "AB"[number % 2] * 10) for number in range(4))
    mixed = "\n".join(answer(f"p{number}", ("AB" * 6)[number % 2 :][:10]) for number in range(4))
    (apart,), (alike,) = (count_votes(read_ballots("x", text)) for text in (split, mixed))
    assert apart.share == alike.share == 0.5
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_the_range_holds_the_truth() -> None:
    """Of 200 made-up tests of five people with tastes of their own, the range holds the truth in most."""
    held = 0
    for seed in range(200):
        chance = random.Random(seed)  # noqa: S311  # Made-up people.
        people = []
        for number in range(5):
            taste = min(0.95, max(0.05, chance.gauss(0.6, 0.15)))
            people.append(answer(f"p{number}", "".join("AB"[chance.random() < taste] for _ in range(12))))
        (tally,) = count_votes(read_ballots("x", "\n".join(people)))
        held += tally.low <= 0.6 <= tally.high
    assert held >= 180


def test_results_are_read_from_messages() -> None:
    """Results are found in mails, with curly quotation marks and marks of quoting, and each person once."""
    mail = "Hi! {here} it is:\n" + answer("p", "AB").replace("\n", "\n> ") + "\n-- \n{}"
    assert read_ballots("mail", mail)[0].choices == {1: "A", 2: "B"}
    curly = answer("p", "AB").replace('"', "“")
    assert read_ballots("mail", curly)[0].listener == "p"
    (tally,) = count_votes(read_ballots("x", answer("p", "AAA") + answer("p", "BBB")))
    assert (tally.people, tally.votes["B"]) == (1, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no result",
        "{" * 5000,
        '{"a":' * 5000 + '{"kgtts_votes": 1',
        '{"kgtts_votes":' * 1500,
        json.dumps({"kgtts_votes": 2, "test": "t", "id": "p", "votes": []}),
        answer("p", ""),
        answer("p", "AB", votes="AB"),
        answer("p", "AB", votes=[{"sentence": -1, "choice": "A"}, {"sentence": 1, "choice": "C"}]),
        answer("p", "AB", id=7),
    ],
    ids=[
        *("empty", "prose", "braces", "nested", "nested results", "another version"),
        *("no answer", "answers as text", "other answers", "a number as a name"),
    ],
)
def test_what_is_no_result(text: str) -> None:
    """Other texts, other versions, and results without an answer are an error."""
    with pytest.raises(UsageError, match="contains no result"):
        read_ballots("x", text)


@given(st.text(max_size=60), st.integers(0, 300))
def test_no_text_breaks_the_reading(rubbish: str, at: int) -> None:
    """A result with any text put into it is read, or is an error that says so."""
    whole = answer("p", "ABA-")
    try:
        ballots = read_ballots("x", whole[:at] + rubbish + whole[at:])
    except UsageError:
        return
    for tally in count_votes(ballots):
        assert 0 <= tally.low <= tally.share <= tally.high <= 1


def test_a_blind_test_by_command(cli: Cli, workplace: Path) -> None:
    """`compare --blind` writes the page of two runs, or of a run and its base voice; `votes` counts."""
    Made(run="aaaa1111", sessions=1, epochs=1, held_out=HELD_OUT).write(workplace / RUNS)
    Made(run="bbbb2222", sessions=2, epochs=1, held_out=HELD_OUT).write(workplace / "elsewhere")
    result = cli("compare", "--blind", "aaaa", "elsewhere@100", "--seed", "7")
    assert (result.code, result.err) == (0, "")
    assert "A          aaaa1111, step 100" in result.out
    assert "B          bbbb2222, step 100" in result.out
    assert "seed 7" in result.out
    first = (workplace / "ab.html").read_text(encoding="utf-8")
    assert "aaaa1111" in first
    assert cli("compare", "--blind", "bbbb2222@base", "elsewhere@speaker", "--out", "b.html").code == 2
    result = cli("compare", "--blind", "aaaa", "--out", "b.html")
    assert "aaaa1111, the base voice" in result.out
    (workplace / "one.txt").write_text(answer("Rima\x1b[2J", "BBBB"), encoding="utf-16")
    (workplace / "two.json").write_text(answer("Karim", "BBBA") + answer("Karim", "BBBB"), encoding="utf-8")
    result = cli("votes", "one.txt", "two.json")
    assert result.code == 0
    assert "B was preferred in 100% of 8 answers" in result.out
    assert "\x1b[2J" not in result.out
    assert "1 result came twice" in result.err
    (told,) = cli("votes", "one.txt", "--json").json
    assert (told["people"], told["share_of_b"]) == (1, 1.0)


def test_errors_of_blind_tests(cli: Cli, workplace: Path) -> None:
    """A voice that is not there, three voices, and files that hold no results are errors with a next step."""
    Made(run="aaaa1111", sessions=1, epochs=1, held_out=HELD_OUT).write(workplace / RUNS)
    (workplace / "page.html").write_text("<p>no</p>")
    for words, hint in (
        (("compare", "--blind", "aaaa@7", "aaaa"), "can be heard here: 100"),
        (("compare", "--blind", "a", "b", "c"), "two voices"),
        (("compare", "--blind", "aaaa", "--json"), "--json"),
        (("compare", "aaaa"), "kgtts compare --blind RUN"),
        (("votes", "page.html"), "contains no result"),
        (("votes", "nowhere"), "cannot be read"),
    ):
        result = cli(*words)
        assert (result.code, hint in result.err) == (ExitCode.USAGE, True), result.err


def test_a_page_says_what_it_is(tmp_path: Path) -> None:
    """The page names its seed and its test, and has no name of a voice outside the data."""
    test = BlindTest("0123", 42, ("old", "new"), "Better?", ())
    write_blind_test(test, tmp_path / "ab.html")
    page = (tmp_path / "ab.html").read_text(encoding="utf-8")
    assert "seed 42, test 0123" in page
    assert "There are 0 sentences" in page

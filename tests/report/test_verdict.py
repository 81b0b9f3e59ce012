"""The verdict, the held-out sentences and the scores in reports and comparisons."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import Measure
from orchestrator.report import RunData, read_report, render
from orchestrator.report.comparison import compare_runs, comparison_json
from orchestrator.report.score_table import score_table
from orchestrator.report.sounds import SoundBudget
from orchestrator.report.summary import facts_of
from tests.report.making import Made, score_event, write_json, write_tone
from tests.support import Cli

THEN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HELD_OUT = ("এক দুই তিন।", "চার পাঁচ ছয়।", "সাত আট নয়।", "দশ এগারো।")
HOSTILE = """"><script>hit()</script> \u202eগান\x1b[2J {{ 7*7 }}"""
RUNS = Path("runs") / "bangla-tts"


def text_of(page: str) -> str:
    """The page's text without scripts, styles and tags."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def bounded(folder: Path) -> RunData:
    """A run read without any sound."""
    return read_report(folder, budget=SoundBudget(0))


def test_the_report_begins_with_the_verdict(tmp_path: Path) -> None:
    """Its headline, the three answers, what to do and the scores come before everything else."""
    data = read_report(Made(sessions=2, epochs=10, steps=20, held_out=HELD_OUT).write(tmp_path))
    text = text_of(render([data], written=THEN))
    places = [
        text.index(words) for words in ("Verdict It speaks", "Does it speak?", "What to do", "Progress")
    ]
    assert places == sorted(places)
    assert "It speaks, is nearer to the speaker than the base voice and still improves." in text
    assert "better in 4 of 4 sentences" in text
    assert "Distance to the recording How far the sound is" in text


def test_held_out_sentences_stand_side_by_side(tmp_path: Path) -> None:
    """The speaker, the base voice and the voice say each sentence, with what was measured of it."""
    data = read_report(Made(sessions=2, epochs=1, held_out=HELD_OUT).write(tmp_path))
    assert [sentence.text for sentence in data.held_out] == list(HELD_OUT)
    for sentence in data.held_out:
        assert [(voice.who, voice.step) for voice in sentence.voices] == [
            ("The speaker", None),
            ("The base voice", 0),
            ("The voice", 200),
        ]
        assert all(voice.sample.clip is not None for voice in sentence.voices)
        assert Measure.MEL_DISTANCE in sentence.voices[2].scores
    assert "distance to the recording 6." in render([data], written=THEN).lower()


def test_missing_sounds_are_said(tmp_path: Path) -> None:
    """A sound that is missing, broken or was not spoken leaves the others, and says why it is not there."""
    place = Made(sessions=1, epochs=1, held_out=HELD_OUT[:3]).write(tmp_path) / "session-01"
    spoken = place / "validation_samples" / "held_out"
    (spoken / "base" / "01.wav").unlink()
    (spoken / "step_100" / "02.wav").write_bytes(b"RIFF")
    told = json.loads((spoken / "step_100" / "samples.json").read_text(encoding="utf-8"))
    del told["samples"][2]
    write_json(spoken / "step_100" / "samples.json", told)
    troubles = [[voice.sample.trouble for voice in item.voices] for item in read_report(tmp_path).held_out]
    assert troubles == [
        ["", "01.wav is missing, larger than 16 MB, or not a plain file.", ""],
        ["", "", "02.wav is not a WAV file of PCM samples."],
        ["", "", "it was not spoken."],
    ]
    (spoken / "recordings" / "samples.json").unlink()
    (spoken / "base" / "samples.json").unlink()
    (only, *_) = read_report(tmp_path).held_out
    assert [voice.who for voice in only.voices] == ["The voice"]


def test_hostile_scores_are_text(tmp_path: Path) -> None:
    """Markup, escapes and turned text in scores, names of files and sentences stay text, or are left out."""
    place = Made(sessions=1, epochs=2, held_out=(HOSTILE, *HELD_OUT)).write(tmp_path) / "session-01"
    event = score_event("step", 300, 0.1, 5, missing={"cer": HOSTILE, HOSTILE: "x"})
    event["sentences"][0]["file"] = f"../../{HOSTILE}"
    event["sentences"][1]["scores"] = {HOSTILE: 1, "mos": 1e308, "mel_distance": "7", "rate": True}
    with (place / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
    told = json.loads((place / "state.json").read_text())
    write_json(place / "state.json", {**told, "scores": {"best": {"by": HOSTILE, "global_step": 300}}})
    data = read_report(tmp_path)
    page = render([data], written=THEN)
    assert "<script>hit" not in page
    assert "{{ 7*7 }}" in text_of(page).replace("&#34;", '"')
    assert not {"\u202e", "\x1b"} & set(page.split("<body>")[1].split("<script")[0])
    assert data.scores.steps[-1].means[Measure.MOS].count == 4
    assert {fact.name: fact.value for fact in facts_of(data)}["Best model"] == "step 300"
    json.dumps(comparison_json([data, data]), allow_nan=False)


def test_a_thousand_checkpoints(tmp_path: Path) -> None:
    """A run with scores and sounds of 1,000 steps is read in a few seconds, and shows two of them."""
    place = Made(sessions=1, epochs=1, held_out=HELD_OUT[:1]).write(tmp_path) / "session-01"
    sounds = place / "validation_samples" / "held_out"
    lines = []
    for step in range(1, 1001):
        lines.append(json.dumps(score_event("step", step, 1 / (1 + step / 100), 1)))
        record = {"file": "01.wav", "text": HELD_OUT[0], "error": None}
        write_json(sounds / f"step_{step}" / "samples.json", {"global_step": step, "samples": [record]})
    write_tone(sounds / "step_1000" / "01.wav", seconds=0.1)
    with (place / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    began = time.monotonic()
    data = read_report(tmp_path)
    page = render([data], written=THEN)
    assert time.monotonic() - began < 5
    assert [voice.step for voice in data.held_out[0].voices] == [None, 0, 100, 1000]
    table = score_table(data.scores, 100)
    assert table is not None
    assert table.columns == ("The speaker", "The base voice", "The voice, step 100", "The voice, step 1,000")
    assert "scored steps" in text_of(page)


@pytest.mark.parametrize("scores", [None, {"steps": []}, {"state": "skipped", "why": "off"}])
def test_a_run_without_scores(tmp_path: Path, scores: Any) -> None:
    """An older run, and one whose scores are off, get a verdict by the losses, and no empty table."""
    place = Made(sessions=1, epochs=8).write(tmp_path) / "session-01"
    told = json.loads((place / "state.json").read_text())
    write_json(place / "state.json", {**told, "scores": scores})
    data = read_report(tmp_path)
    text = text_of(render([data], written=THEN))
    assert "no sentences were measured" in text
    assert "All that was measured" not in text
    assert score_table(data.scores, None) is None
    assert data.held_out == ()


def test_two_runs_as_a_table(tmp_path: Path) -> None:
    """Two runs are compared line by line, and their voices sentence by sentence, by the sentences' texts."""
    one = bounded(Made(run="one", sessions=1, held_out=HELD_OUT).write(tmp_path / "one"))
    other = bounded(Made(run="two", sessions=2, held_out=HELD_OUT[::-1]).write(tmp_path / "two"))
    facts = {fact.name: fact for fact in compare_runs([one, other])}
    assert facts["Steps"].values == ("800", "1,600")
    assert facts["Eval loss is"].values[0] == "mel loss on the evaluation recordings"
    assert facts["Distance to the recording"].difference.endswith("of 4 sentences")
    assert "Misheard letters" not in facts
    told = json.loads(json.dumps(comparison_json([one, other]), allow_nan=False))
    assert [(item["run"], item["step"], item["epoch"]) for item in told["runs"]] == [
        ("one", 800, 8),
        ("two", 1600, 16),
    ]
    assert told["second_against_first"]["mel_distance"]["sentences"] == 4
    third = bounded(Made(run="three", sessions=1, epochs=1).write(tmp_path / "three"))
    facts = {fact.name: fact for fact in compare_runs([one, other, third])}
    assert facts["Distance to the recording"].values[2] == ""
    assert not any(fact.difference for fact in facts.values())
    assert "B against A" in text_of(render([one, other], written=THEN))


def test_compare_prints_a_table(cli: Cli, workplace: Path) -> None:
    """`compare` prints the table and the verdicts, with `--json` both for programs; of three runs no page."""
    for number, run in enumerate(("aaaa1111", "bbbb2222", "cccc3333"), start=1):
        Made(run=run, sessions=number, epochs=1, held_out=HELD_OUT).write(
            workplace / "runs" / f"voice-{number}"
        )
    result = cli("compare", "aaaa", "bbbb")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"^Steps +100 +200$", result.out, re.MULTILINE)
    assert re.search(r"^Distance to the recording .* in 0 of 4 sentences$", result.out, re.MULTILINE)
    assert "\nB: It speaks" in result.out
    assert (workplace / "compare.html").is_file()
    (workplace / "compare.html").unlink()
    result = cli("compare", "aaaa", "bbbb", "cccc")
    assert re.search(r"^Steps +100 +200 +300$", result.out, re.MULTILINE)
    assert not (workplace / "compare.html").exists()
    told = cli("compare", "aaaa", "bbbb", "--json").json
    assert told["runs"][1]["verdict"]["speaks"] == "yes"
    assert not (workplace / "compare.html").exists()

"""What a report is made of: sessions, sounds and settings of a pulled folder that cannot be trusted."""

import json
import math
import os
import re
import shutil
from array import array
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.report import read_report, render
from orchestrator.report.charts import MOST_POINTS, thin
from orchestrator.report.html import script_json
from orchestrator.report.settings import differences
from orchestrator.report.sounds import (
    SoundBudget,
    UnreadableSoundError,
    choose_steps,
    read_clip,
    read_recordings,
    read_sentences,
)
from orchestrator.report.summary import facts_of, status_of
from tests.report.making import SENTENCES, Made, write_data_set, write_json, write_tone

THEN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_run_is_summed_up(tmp_path: Path) -> None:
    """The summary gives target, progress, quota, time and machine of all sessions."""
    made = Made(sessions=3, epochs=4)
    data = read_report(made.write(tmp_path))
    facts = {fact.name: (fact.value, fact.more) for fact in facts_of(data)}
    assert facts["Target"] == ("12 epochs", "about 1,200 steps")
    assert facts["Progress"] == ("epoch 12", "100%; saved at step 1,200")
    assert facts["Sessions"] == ("3", "all downloaded")
    assert facts["Best model"] == ("step 1,200", "chosen by the trainer, by the sum of its losses: 18.52")
    assert facts["Lowest eval loss"][1].startswith("mel loss on the evaluation recordings, at step ")
    assert facts["GPU quota used"] == ("0.50 h", "2% of a week's 30 h")
    assert facts["Time spent training"] == ("37%", "11 min 0 s of 30 min 0 s")
    assert facts["Machine"] == ("2 × Tesla T4", "torch 2.8.0+cu126, coqui-tts 0.28.0, Python 3.12.11")
    assert status_of(data)[0] == "done"
    assert (data.name, data.run) == ("asha/bangla-voice", made.run)
    assert data.notices == ()


def test_sentences_are_heard_first_middle_last(tmp_path: Path) -> None:
    """Of five sessions the first, third and last are heard, and the best model if it is another one."""
    data = read_report(Made(sessions=5, epochs=1).write(tmp_path))
    assert [sentence.text for sentence in data.sentences] == list(SENTENCES)
    heard = [(item.step, item.label) for item in data.sentences[0].samples]
    assert heard == [(100, "first"), (300, "middle"), (500, "last, best model")]
    assert choose_steps([1, 2, 3, 4], 2) == {1: "first", 3: "middle", 4: "last", 2: "best model"}
    assert choose_steps([7], None) == {7: "the only one"}
    assert choose_steps([], 3) == {}
    assert choose_steps([0], None) == {0: "base voice, before training"}
    assert choose_steps([0, 4, 9], 4) == {0: "base voice, before training", 4: "first, best model", 9: "last"}


def test_the_base_voice_is_heard_before_all_others(tmp_path: Path) -> None:
    """The base voice comes first, and its faults are not warnings about the run."""
    run = Made(sessions=1, epochs=1).write(tmp_path)
    spoken = run / "session-01" / "validation_samples"
    shutil.copytree(spoken / "step_100", spoken / "base")
    write_tone(spoken / "base" / "01.wav", seconds=1, clarity=0, pitch=99, loudness=0)
    told = json.loads((spoken / "base" / "samples.json").read_text(encoding="utf-8"))
    told["samples"][1] |= {"unknown": ["ঠ"], "spoken": "তিন টাকা"}
    write_json(spoken / "base" / "samples.json", told)
    data = read_report(run)
    heard = [(item.step, item.label) for item in data.sentences[0].samples]
    assert heard == [(0, "base voice, before training"), (100, "the only one, best model")]
    assert data.sentences[0].samples[0].silent
    assert data.sentences[1].samples[0].unknown == ("ঠ (BENGALI LETTER TTHA)",)
    assert [item.spoken for item in data.sentences[1].samples] == ["তিন টাকা", ""]
    assert data.notices == ()


def test_what_was_not_pulled_whole_hides_nothing(tmp_path: Path) -> None:
    """A step without sentences is skipped; of two copies of a step the complete one is used."""
    run = Made(sessions=2, epochs=1).write(tmp_path)
    first, second = (run / f"session-0{number}" / "validation_samples" for number in (1, 2))
    shutil.copytree(first / "step_100", second / "step_100")
    (second / "step_100" / "02.wav").unlink()
    (second / "step_900").mkdir()
    write_json(second / "step_950" / "samples.json", {"samples": []})
    data = read_report(run)
    for sentence in data.sentences:
        heard = [(item.step, item.label, item.clip is not None) for item in sentence.samples]
        assert heard == [(100, "first", True), (200, "last, best model", True)]
    assert data.notices == ()


def test_recordings_stand_beside_the_sentence_they_are_of(tmp_path: Path) -> None:
    """A recording of a test sentence is beside it; if there is none, a few others are shown."""
    run = Made(sessions=1, epochs=1).write(tmp_path / "run")
    own = write_data_set(tmp_path / "own", (SENTENCES[1].replace(" ", "  "), "অন্য বাক্য।"))
    data = read_report(run, recordings=own)
    assert [sentence.recording is not None for sentence in data.sentences] == [False, True]
    assert data.recordings == ()
    other = write_data_set(tmp_path / "other" / "MyTTSDataset", ("এক।", "দুই।", "তিন।", "চার।"))
    data = read_report(run, recordings=other.parent)
    assert [text for text, _ in data.recordings] == ["এক।", "দুই।", "তিন।"]


@pytest.mark.parametrize("name", ["রেকর্ড ১", "clip.001", "a" * 80, "(2) take+"])
def test_recordings_are_called_as_people_call_them(tmp_path: Path, name: str) -> None:
    """Recordings may have names in any script, with spaces and dots."""
    own = write_data_set(tmp_path, ("এক।",))
    (own / "wavs" / "bn_0001.wav").rename(own / "wavs" / f"{name}.wav")
    (own / "metadata.csv").write_text(f"{'ক' * 150}|দুই।|\r\n{name}|এক।|এক।\r\n", encoding="utf-8")
    found = read_recordings(own)[-1]
    assert read_clip(found.place).seconds == pytest.approx(0.6)
    run = Made(sessions=1, epochs=1).write(tmp_path / "run")
    assert [text for text, _ in read_report(run, recordings=own).recordings] == ["এক।"]


def test_what_ears_would_find_is_a_warning(tmp_path: Path) -> None:
    """Unknown characters, silence, clipping and failed sentences are warnings."""
    run = Made(sessions=1, epochs=1, sentences=("এক", "দুই", "তিন", "চার")).write(tmp_path)
    place = run / "session-01" / "validation_samples" / "step_100"
    write_tone(place / "02.wav", loudness=0.0)
    write_tone(place / "03.wav", loudness=9.0)
    told = json.loads((place / "samples.json").read_text(encoding="utf-8"))
    told["samples"][0]["unknown"] = ["ৎ", "\u200d"]
    told["samples"][3] |= {"error": "ValueError: the voice says nothing", "file": "04.wav"}
    write_json(place / "samples.json", told)
    found = [notice.text for notice in read_report(run).notices]
    assert found == [
        (
            "Not in the voice's vocabulary, so not spoken: "
            "ৎ (BENGALI LETTER KHANDA TA), ZERO WIDTH JOINER in “এক”"
        ),
        "Almost silent: “দুই” (the only one, best model)",
        "Too loud, so the sound is distorted: “তিন” (the only one, best model)",
        "Cannot be played: “চার” (the only one, best model): ValueError: the voice says nothing",
    ]


def test_warnings_of_curves_and_kernel_are_in_it(tmp_path: Path) -> None:
    """Findings in the curves and warnings of the kernel are in the report."""
    folder = tmp_path / "session-01"
    folder.mkdir()
    events = [
        {"event": "progress", "t": 1.0, "global_step": 1, "session": 1, "losses": {"loss_mel": math.nan}},
        {"event": "warning", "t": 2.0, "message": "The disk <b>is</b> nearly full.", "session": 1},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    data = read_report(tmp_path)
    assert [notice.source for notice in data.notices] == ["curves", "session"]
    page = render([data], written=THEN)
    assert "The disk &lt;b&gt;is&lt;/b&gt; nearly full." in page


def test_settings_differ_from_the_run_before(tmp_path: Path) -> None:
    """The settings are compared with those of the older run in the same folder."""
    Made(run="older", learning_rate=0.001).write(tmp_path / "older")
    for place in (tmp_path / "older").rglob("*"):
        os.utime(place, (1.0, 1.0))
    Made(run="newer").write(tmp_path)
    data = read_report(tmp_path)
    assert data.run == "newer"
    assert data.before is not None
    assert data.before[0] == "older"
    changes = {item.name: (item.before, item.now) for item in differences(data.before[1], data.settings)}
    assert changes == {"lr_gen": ("0.001", "0.0002")}


@pytest.mark.posix  # A named pipe.
def test_a_folder_may_hold_anything(tmp_path: Path) -> None:
    """Links, pipes and broken files are skipped with a reason, and nothing outside the folder is read."""
    run = Made(sessions=1, epochs=1, sentences=("ক", "খ", "গ", "ঘ")).write(tmp_path / "run")
    place = run / "session-01" / "validation_samples" / "step_100"
    secret = tmp_path / "secret.wav"
    write_tone(secret)
    (place / "01.wav").unlink()
    (place / "01.wav").symlink_to(secret)
    (place / "02.wav").unlink()
    os.mkfifo(place / "02.wav")
    (place / "03.wav").write_bytes((place / "04.wav").read_bytes()[:30])
    told = json.loads((place / "samples.json").read_text(encoding="utf-8"))
    told["samples"][3]["file"] = "../../../../secret.wav"
    write_json(place / "samples.json", told)
    (place.parent / "step_50").symlink_to(place)
    (run / "session-01" / "config.json").write_text("[" * 100_000)
    data = read_report(run)
    assert [sentence.samples[0].clip for sentence in data.sentences] == [None] * 4
    assert [sentence.samples[0].trouble for sentence in data.sentences] == [
        "01.wav is missing, larger than 16 MB, or not a plain file.",
        "02.wav is missing, larger than 16 MB, or not a plain file.",
        "03.wav is not a WAV file of PCM samples.",
        "samples.json names a file that no session of kgtts writes.",
    ]
    assert {name for name in data.settings if not name.startswith("session.")} == set()


def test_an_odd_sound_is_told(tmp_path: Path) -> None:
    """What a session found odd is beside the player, and a voice that hums does not speak."""
    run = Made(sessions=1, epochs=1, sentences=("ক",)).write(tmp_path)
    place = run / "session-01" / "validation_samples" / "step_100" / "samples.json"
    told = json.loads(place.read_text())
    told["samples"][0]["odd"] = [
        {"kind": "steady", "what": "is a hum <b>"},
        {"kind": "silent", "what": "is silent"},
        {"kind": "pause"},
        7,
    ]
    write_json(place, told)
    data = read_report(run)
    (sample,) = data.sentences[0].samples
    assert (sample.odd, sample.steady) == (("is a hum <b>",), True)
    page = render([data], written=THEN)
    assert "Odd: it <bdi>is a hum &lt;b&gt;</bdi>." in page
    assert "No: in 1 of 1 test sentence there is a hum or a hiss" in page


def test_sound_is_bounded(tmp_path: Path) -> None:
    """Recordings beyond the sound budget are left out, and the page says so."""
    run = Made(sessions=2, epochs=1).write(tmp_path)
    size = (run / "session-01" / "validation_samples" / "step_100" / "01.wav").stat().st_size
    data = read_report(run, budget=SoundBudget(2 * size))
    heard = [item.clip is not None for sentence in data.sentences for item in sentence.samples]
    assert heard == [True, True, False, False]
    assert data.refused_sounds == 2
    assert "2 more recordings were left out" in render([data], written=THEN)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_recordings_of_any_width_become_16_bit(tmp_path: Path, width: int) -> None:
    """Samples of 8, 16, 24 and 32 bits sound the same."""
    place = tmp_path / "x.wav"
    write_tone(place, seconds=0.1, width=width)
    clip = read_clip(place)
    write_tone(place, seconds=0.1)
    expected = read_clip(place)
    assert len(clip.wav) == len(expected.wav)
    assert clip.seconds == pytest.approx(0.1, abs=1e-4)
    pairs = zip(array("h", clip.wav[44:]), array("h", expected.wav[44:]), strict=True)
    assert max(abs(one - other) for one, other in pairs) <= (600 if width == 1 else 1)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reading_of_sound(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Overwriting any bytes of a WAV file gives a clip or an UnreadableSoundError."""
    place = tmp_path_factory.mktemp("rubbish") / "x.wav"
    write_tone(place, seconds=0.01)
    whole = place.read_bytes()
    for at in (0, 4, 12, 20, 36):
        content = whole[:at] + data + whole[at + len(data) :]
        place.write_bytes(content)
        try:
            read_clip(place)
        except UnreadableSoundError:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = (
    "run",
    "environment",
    "gpus",
    "resources",
    "seconds",
    "learned",
    "epochs",
    "history",
    "status",
    "kernel",
    "id",
    "scores",
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON), JSON, JSON)
def test_no_state_breaks_a_report(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, object], config: object, samples: object
) -> None:
    """Any JSON in the files of a session gives a report."""
    folder = tmp_path_factory.mktemp("state") / "session-01"
    place = folder / "validation_samples" / "step_1"
    place.mkdir(parents=True)
    base = {"schema": 1, "run": {"id": "x", "session": 1}, "status": "complete"}
    (folder / "state.json").write_text(json.dumps({**base, **state}))
    (folder / "config.json").write_text(json.dumps(config))
    (place / "samples.json").write_text(json.dumps({"samples": samples}))
    data = read_report(folder)
    facts_of(data)
    status_of(data)
    read_sentences([folder], None, SoundBudget())


def test_nothing_in_data_ends_a_script() -> None:
    """JSON for a script has no markup and no line separators, and parses to the same value."""
    value = {"</script><!--": "<script>&amp;\u2028\u2029]]>"}
    text = script_json(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == value


def test_curves_beyond_the_bound_keep_their_peaks() -> None:
    """Up to the limit every point is drawn; beyond it the highest and lowest of each stretch are."""
    assert thin([0.0] * MOST_POINTS, MOST_POINTS) == range(MOST_POINTS)
    values = [math.sin(index / 50) for index in range(100_000)]
    values[12_345], values[54_321], values[70_000] = 9.0, -9.0, math.nan
    chosen = thin(values, 3000)
    assert len(chosen) <= 3000 + 1
    assert {0, 12_345, 54_321, 99_999} <= {*chosen}


def test_a_page_asks_for_nothing_and_allows_no_inline_code(tmp_path: Path) -> None:
    """The page's policy allows one nonce and no address, and its markup has no inline style or handler."""
    data = read_report(Made(sessions=1, epochs=1).write(tmp_path))
    page = render([data], written=THEN, nonce="NONCE")
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    expected = (
        "default-src 'none'; script-src 'nonce-NONCE'; style-src 'nonce-NONCE'; img-src data: blob:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )
    assert policy == [expected]
    markup = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"<[^>]*\s(style|on\w+)=", markup)
    assert not re.search(r"(src|href)=\"(?!#|data:)", markup)
    assert re.findall(r"<script(?![^>]*nonce=\"NONCE\")", page) == []


def test_a_state_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    """The page says why a state.json cannot be used, and shows what the logs have."""
    run = Made(sessions=1, epochs=1).write(tmp_path)
    place = run / "session-01" / "state.json"
    told = json.loads(place.read_text())
    folder = f"{tmp_path.name}/session-01"  # Two runs without a name are not both called session-01.
    for state, words, name in (
        ({**told, "schema": 2}, "by a later kgtts (schema 2)", "asha/bangla-voice"),
        ({**told, "run": 7}, "state.json cannot be used: it names no run and session", folder),
        (["no", "state"], "state.json cannot be used: it is not a JSON object", folder),
    ):
        write_json(place, state)
        data = read_report(run)
        assert words in " ".join(status_of(data))
        assert data.name == name
        assert {fact.name: fact.value for fact in facts_of(data)}["Progress"] == "step 100"
        assert words in render([data], written=THEN)


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    """A folder without sessions is an error."""
    with pytest.raises(UsageError, match="There is no session"):
        read_report(tmp_path)


def test_metadata_of_another_layout_is_no_recording(tmp_path: Path) -> None:
    """Lines of metadata.csv that name another folder or have no text are skipped."""
    leading = "../../etc/passwd|x\n/etc/passwd|x\n..\\\\secret|x\nC:secret|x\n..|x\n"
    (tmp_path / "metadata.csv").write_text(f"{leading}alone\n\n|y\na|\n", encoding="utf-8")
    assert read_recordings(tmp_path) == []

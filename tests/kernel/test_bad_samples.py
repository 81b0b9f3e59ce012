"""Bad samples: each kind of problem in recordings and texts, and how the host handles it."""

import csv
import json
import math
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernel_template.contract import EndReason
from kernel_template.host.protocol import HostReport
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.sample_checks import (
    HARMLESS,
    Expected,
    Problem,
    check_samples,
    text_problems,
    training_letters,
)
from kernel_template.host.sample_filter import SampleFilter
from kernel_template.text.vocabulary import count_letters
from kernel_template.tools.process import ChildEnd
from kernel_template.train.outcome import TrainingResult, training_outcome
from orchestrator.data.measures import measure
from tests.fakes.clock import FakeClock
from tests.kernel.kit import put
from tests.kernel.listed_letters import Letters
from tests.kernel.spoiled import RULES, mixed, recording, sample

RULES_SKIP = replace(RULES, bad_samples="skip")
CONFIGURATION = {"model": "vits", "audio": {"sample_rate": 22050}}


def kinds(found: dict[str, Any], config: Any = None, **model: Any) -> list[str]:
    """Return the kinds of problems of one sample."""
    expected = Expected.of(RULES, config or CONFIGURATION, SimpleNamespace(tokenizer=Letters(), **model))
    (problems,) = check_samples([found], expected)
    return [problem.kind for problem in problems]


def test_a_good_sample_has_no_fault(tmp_path: Path) -> None:
    """A complete recording with the right sample rate and a text within the vocabulary has no problem."""
    assert kinds(sample(recording(tmp_path / "a.wav"))) == []


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ({"rate": 44100}, "sample_rate"),
        ({"channels": 2}, "channels"),
        ({"seconds": 0.39}, "too_short"),
        ({"seconds": 0.0}, "too_short"),
        ({"seconds": 60.5}, "too_long"),
    ],
)
def test_recordings_that_do_not_fit(tmp_path: Path, made: dict[str, Any], kind: str) -> None:
    """A header shows what would harm the voice or stop the training."""
    assert kinds(sample(recording(tmp_path / "a.wav", **made))) == [kind]


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "PCM_U8"),
        ("WAV", "ULAW"),
        ("WAV", "FLOAT"),
        ("WAVEX", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_recordings_in_all_the_forms_that_coqui_reads(tmp_path: Path, kind: str, subtype: str) -> None:
    """The content counts, also of an MP3 or OGG file that is called .wav."""
    soundfile = pytest.importorskip("soundfile")
    path, samples = tmp_path / "a.wav", ([0.1] * 50 + [-0.1] * 50) * 441
    soundfile.write(path, samples, 22050, format=kind, subtype=subtype)
    assert kinds(sample(path)) == []
    soundfile.write(path, samples, 44100, format=kind, subtype=subtype)
    assert kinds(sample(path)) == ["sample_rate"]


def test_recordings_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, empty, truncated and non-audio files are found, and formats that Coqui cannot read."""
    whole = recording(tmp_path / "whole.wav")
    assert kinds(sample(tmp_path / "no.wav")) == ["missing"]
    assert kinds(sample(tmp_path)) == ["missing"]
    assert kinds(sample(put(tmp_path / "empty.wav", b""))) == ["unreadable"]
    assert kinds(sample(put(tmp_path / "cut.wav", whole.read_bytes()[:20_000]))) == ["unreadable"]
    assert kinds(sample(put(tmp_path / "text.wav", "<html>404</html>"))) == ["unreadable"]
    assert kinds(sample(put(tmp_path / "a.ogg", whole.read_bytes()))) == ["unreadable"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["empty_text"]),
        (" \n", ["empty_text"]),
        ("zzz", ["empty_text"]),
        ("আমি zoo", ["unknown_letters"]),
        ("আমি ৫", ["unknown_letters"]),
        ("আমি।", ["unknown_signs"]),
        ("আ\u200cমি", ["unknown_signs"]),
        ("আমি z!", ["unknown_letters", "unknown_signs"]),
        ("খাই 5", ["unknown_letters"]),
        ("আমি $", ["unknown_signs", "not_in_words"]),
        ("আমি" * 20, ["long_text"]),
        ("আমি" * 10, ["long_text"]),
    ],
)
def test_texts(tmp_path: Path, text: str, found: list[str]) -> None:
    """The model's own tokenizer decides; unknown joiners and commas do not exclude a sample."""
    path = recording(tmp_path / "a.wav")
    assert kinds(sample(path, text), {**CONFIGURATION, "max_text_len": 50}) == found
    assert [Problem(kind, "").fatal for kind in found] == [kind not in HARMLESS for kind in found]


def test_what_the_configuration_asks_for(tmp_path: Path) -> None:
    """The check respects resampling, min_audio_len and phoneme input."""
    path = recording(tmp_path / "a.wav", rate=44100, channels=2)
    other = {"model": "glow_tts", "audio": {"sample_rate": 22050, "resample": True}}
    assert kinds(sample(path), other) == []
    assert kinds(sample(recording(path)), {**CONFIGURATION, "min_audio_len": 30_000}) == ["too_short"]
    expected = Expected.of(RULES, {}, SimpleNamespace())
    assert text_problems(sample(path, "zzz"), expected) == []
    phonemes = Expected(tokenizer=SimpleNamespace(use_phonemes=True))
    assert text_problems(sample(path, "zzz"), phonemes) == []


def test_a_text_that_was_not_prepared_is_shown_in_words(tmp_path: Path) -> None:
    """What the voice cannot say is named beside what `kgtts data prepare` would write."""
    (problem,) = text_problems(sample(tmp_path / "a.wav", "আমি ৫"), Expected(tokenizer=Letters()))
    assert problem.detail == "U+09EB BENGALI DIGIT FIVE; in words: আমি পাঁচ"


def test_the_letters_of_the_training_texts_are_counted(tmp_path: Path) -> None:
    """The texts that are trained on are counted as they are after cleaning; those left out are not."""
    heard, given = Heard(), mixed(tmp_path)
    checks = sample_filter(heard)
    checks._rules = replace(checks._rules, letters=str(tmp_path / "letters.json"))
    got = checks.apply({**CONFIGURATION, "text_cleaner": "basic_cleaners"}, {**given, "model": MODEL})
    texts = [item["text"].strip() for item in got["train_samples"]]
    counts = json.loads((tmp_path / "letters.json").read_text(encoding="utf-8"))
    assert counts == count_letters(texts, [["nfc"], ["lower"], ["collapse"]])
    assert "z" not in counts
    assert training_letters({"use_phonemes": True}, got["train_samples"]) == {}


# ---- What is done with them


class Heard(Reporter):
    """Collects what the host prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        super().__init__(Path("no such folder", "HOST_REPORT.json"), self.lines.append)

    @property
    def text(self) -> str:
        """All that was said."""
        return "\n".join(self.lines)


def sample_filter(
    heard: Heard, table: Path | None = None, rendezvous: Rendezvous | None = None, mode: str | None = "skip"
) -> SampleFilter:
    """Make a filter that needs only its arguments."""
    return SampleFilter(
        replace(RULES, bad_samples=mode, table=str(table) if table else None),
        rendezvous or Rendezvous(),
        heard,
        clock=FakeClock(),
        sleep=lambda _seconds: None,
    )


MODEL = SimpleNamespace(tokenizer=Letters())


def test_bad_samples_are_left_out_and_listed(tmp_path: Path) -> None:
    """Good samples stay in their order; the table, counts and examples describe the others."""
    heard, given = Heard(), mixed(tmp_path)
    table = tmp_path / "working" / "bad_samples.csv"
    table.parent.mkdir()
    got = sample_filter(heard, table).apply(CONFIGURATION, {**given, "model": MODEL})
    assert got["train_samples"] == [*given["train_samples"][:4], given["train_samples"][7]]
    assert got["eval_samples"] == given["eval_samples"][:2]
    assert got["model"] is MODEL
    by_kind = {"missing": 1, "sample_rate": 1, "channels": 1, "empty_text": 1, "unknown_letters": 1}
    by_kind["unknown_signs"] = 2
    assert heard.report.bad_samples == {"checked": 11, "left_out": 4, "by_kind": by_kind, "seconds": 6.0}
    assert heard.report.refused is None
    assert list(heard.report.bad_samples["by_kind"]) == list(by_kind)
    (warned,) = heard.report.warnings
    assert warned == (
        "4 of 11 samples cannot be used and are left out: 1 missing, 1 sample rate, 1 channels, "
        "1 empty text, 1 unknown letters (listed in bad_samples.csv)."
    )
    assert "missing: the recording does not exist" in heard.text
    assert "wavs/no.wav: no such file" in heard.text
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["part"], row["file"], row["fault"], row["left_out"]) for row in rows] == [
        ("train", "wavs/no.wav", "missing", "yes"),
        ("train", "wavs/two.wav", "channels", "yes"),
        ("train", "wavs/0.wav", "unknown_letters", "yes"),
        ("train", "wavs/0.wav", "unknown_signs", "yes"),
        ("train", "wavs/1.wav", "unknown_signs", "no"),
        ("eval", "wavs/fast.wav", "sample_rate", "yes"),
        ("eval", "wavs/fast.wav", "empty_text", "yes"),
    ]
    assert rows[2]["text"] == '\'=HYPERLINK("http://x")\\u000aমি\\u001b[31m'
    assert "\x1b" not in heard.text
    assert not list(table.parent.glob(".kgtts-*"))


def test_good_data_is_handed_on(tmp_path: Path) -> None:
    """If all samples are good, there is no table and no warning, and all are passed on."""
    heard, good = Heard(), [sample(recording(tmp_path / "a.wav"))]
    table = tmp_path / "bad_samples.csv"
    got = sample_filter(heard, table).apply(CONFIGURATION, {"train_samples": good, "eval_samples": None})
    assert got == {"train_samples": good, "eval_samples": None}
    assert heard.report.bad_samples == {"checked": 1, "left_out": 0, "by_kind": {}, "seconds": 1.0}
    assert heard.report.warnings == []
    assert not table.exists()


def test_a_session_can_be_refused(tmp_path: Path) -> None:
    """`refuse` ends the training, and the session reports the reason."""
    heard, given = Heard(), mixed(tmp_path)
    with pytest.raises(SystemExit):
        sample_filter(heard, mode="refuse").apply(CONFIGURATION, {**given, "model": MODEL})
    assert heard.lines[-1].startswith("4 of 11 samples cannot be used: 1 missing")
    report = HostReport.read({**asdict(heard.report), "hooks": True})
    assert report.bad_samples is not None
    assert report.bad_samples["left_out"] == 0
    end = ChildEnd(1, 3.0, None)
    outcome = training_outcome(TrainingResult(end, [], None, 0, 16, None, report))
    assert (outcome.reason, outcome.complete, outcome.exit_code) == (EndReason.BAD_DATA, False, 1)
    assert 'data.bad_samples = "skip"' in outcome.message


def test_samples_can_be_kept(tmp_path: Path) -> None:
    """`keep` reports all problems and excludes nothing."""
    heard, given = Heard(), mixed(tmp_path)
    got = sample_filter(heard, mode="keep").apply(CONFIGURATION, {**given, "model": MODEL})
    assert got["train_samples"] == given["train_samples"]
    assert heard.report.bad_samples is not None
    assert heard.report.bad_samples["left_out"] == 0
    assert "are trained on all the same" in heard.report.warnings[0]


def test_more_than_half_is_a_wrong_setting(tmp_path: Path) -> None:
    """If most recordings have another sample rate, the session fails instead of training on the rest."""
    made = [sample(recording(tmp_path / f"{n}.wav", rate=16000)) for n in range(3)]
    good = [sample(recording(tmp_path / f"good{n}.wav")) for n in range(9)]
    for train_part, eval_part, why in (
        (made, [], "That is more than half of them"),
        (good, made[:1], "Nothing is left of the eval part"),
    ):
        heard = Heard()
        with pytest.raises(SystemExit):
            sample_filter(heard).apply(
                CONFIGURATION, {"train_samples": train_part, "eval_samples": eval_part}
            )
        assert why in (heard.report.refused or "")


def test_recordings_under_another_ending_are_found(tmp_path: Path) -> None:
    """Coqui's formatters make names up; what is there under exactly one other ending or case is meant."""
    for name in ("a.wav", "B.WAV", "c.wav", "d.wav"):
        recording(tmp_path / name)
    recording(tmp_path / "d.flac")
    rows = [sample(tmp_path / name) for name in ("a.mp3", "b.wav", "c.wav", "d.mp3")]
    heard = Heard()
    got = sample_filter(heard).apply(CONFIGURATION, {"train_samples": rows, "model": MODEL})
    assert [Path(item["audio_file"]).name for item in got["train_samples"]] == ["a.wav", "B.WAV", "c.wav"]
    assert "2 recordings have another ending than the script takes" in heard.text
    assert rows[0]["audio_file"].endswith("a.mp3")


@pytest.mark.parametrize(("mode", "samples"), [(None, [sample("no.wav")]), ("skip", [1, 2]), ("skip", None)])
def test_what_is_not_checked(mode: str | None, samples: Any) -> None:
    """Nothing is checked without the setting, or if samples do not have Coqui's form."""
    named = {"train_samples": samples}
    assert sample_filter(Heard(), mode=mode).apply(CONFIGURATION, named) is named


def test_other_ranks_take_rank_0s_word(tmp_path: Path) -> None:
    """The other ranks wait for rank 0's result and read no recordings themselves."""
    given = mixed(tmp_path)

    heard: dict[str, Any] = {}

    def listen() -> None:
        other = sample_filter(Heard(), rendezvous=Rendezvous(1, 2, tmp_path))
        heard["got"] = other.apply(CONFIGURATION, {**given, "model": MODEL})

    waiting = threading.Thread(target=listen)
    waiting.start()
    first = sample_filter(Heard(), rendezvous=Rendezvous(0, 2, tmp_path))
    got = first.apply(CONFIGURATION, {**given, "model": MODEL})
    waiting.join(20)
    assert heard["got"] == got


def test_the_report_is_read_with_care() -> None:
    """The host's report can contain anything, since a script can write it."""
    nonsense: list[Any] = [None, 1, {}, {"by_kind": []}]
    for samples in nonsense:
        report = HostReport.read({"bad_samples": samples, "refused": ""})
        assert (report.bad_samples, report.refused) == (None, None)
    report = HostReport.read({"bad_samples": {"checked": "x", "by_kind": {"a": 1, "b": "c"}}})
    assert report.bad_samples == {"checked": None, "left_out": None, "by_kind": {"a": 1, "b": None}}


def test_a_recording_written_into_a_pipe(tmp_path: Path) -> None:
    """Its sizes are 0xFFFFFFFF, since they were not known; what follows is sound, and is measured."""
    path = recording(tmp_path / "a.wav", seconds=2.0)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    assert kinds(sample(path)) == []
    path.write_bytes(bytes(data[:4000]))
    assert kinds(sample(path)) == ["too_short"]


@pytest.mark.parametrize(
    ("loudest", "found"), [(0.9, []), (-1.0, []), (1.5, ["too_loud"]), (float("nan"), ["unreadable"])]
)
def test_samples_beyond_full_scale(tmp_path: Path, loudest: float, found: list[str]) -> None:
    """Coqui would end the training with a bare AssertionError; NaN would spoil the voice."""
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "a.wav"
    soundfile.write(path, [0.1, loudest, *([0.1] * 50 + [-0.1] * 50) * 220], 22050, subtype="FLOAT")
    assert kinds(sample(path)) == found


def tones(*parts: tuple[float, float], rate: int = 22050) -> list[float]:
    """Samples of a hum that has these lengths in seconds and amplitudes, one after the other."""
    return [
        loudest * math.sin(math.tau * 220 * at / rate)
        for seconds, loudest in parts
        for at in range(int(seconds * rate))
    ]


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([(2.0, 0.0)], ["silent"]),
        ([(2.0, 0.001)], ["silent"]),
        ([(2.0, 0.02)], []),
        ([(5.0, 0.0001), (0.2, 0.3), (5.0, 0.0001)], ["silent"]),
        ([(5.0, 0.0001), (0.8, 0.3), (5.0, 0.0001)], []),
        ([(0.4, 0.3), (7.0, 0.0)], []),
        ([(0.3, 0.0), (0.02, 0.5), (0.3, 0.0)], ["silent"]),
        ([(1.0, 0.0001), (0.02, 0.9)] * 3, ["silent"]),
    ],
)
def test_recordings_in_which_there_is_nothing_to_hear(
    tmp_path: Path, parts: list[tuple[float, float]], found: list[str]
) -> None:
    """Digital silence, noise too soft to hear and clicks are no speech, here as in `kgtts data check`."""
    soundfile, numpy = pytest.importorskip("soundfile"), pytest.importorskip("numpy")
    path, samples = tmp_path / "a.wav", tones(*parts)
    soundfile.write(path, samples, 22050, subtype="PCM_16")
    assert kinds(sample(path)) == found
    assert bool(measure(numpy.array(samples, dtype=numpy.float32), 22050).is_silent) is bool(found)


def test_the_end_of_a_line_is_no_letter(tmp_path: Path) -> None:
    """Coqui's ljspeech formatter leaves it in the text, and without a cleaner it stays."""
    assert kinds(sample(recording(tmp_path / "a.wav"), "আমি ভাত খাই\n")) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"text": "ঔঔঔঔ"}, "`characters` from the base voice's config.json"),
        ({"audio_file": "/none/a.wav"}, "in wavs beside the metadata"),
        ({"audio_file": "silent.wav"}, 'data.bad_samples = "keep"'),
    ],
)
def test_advice_for_what_is_most_frequent(tmp_path: Path, bad: dict[str, str], words: str) -> None:
    """Missing files and letters have nothing to do with the sample rate."""
    rows = [sample(recording(tmp_path / f"{n}.wav")) for n in range(2)]
    if bad.get("audio_file") == "silent.wav":
        bad = {"audio_file": str(recording(tmp_path / "silent.wav", loudest=0))}
    rows += [sample(recording(tmp_path / f"{n}.wav")) | bad | {"n": n} for n in range(2, 9)]
    reporter = Reporter(tmp_path / "report.json", lambda _text: None)
    checks = SampleFilter(RULES_SKIP, Rendezvous(), reporter)
    with pytest.raises(SystemExit):
        checks.apply(CONFIGURATION, {"train_samples": rows, "model": SimpleNamespace(tokenizer=Letters())})
    assert reporter.report.refused is not None
    assert words in reporter.report.refused
    assert "sample_rate" not in reporter.report.refused

"""Each kind of fault in recordings and texts is found, with its sentence, and nothing is lost."""

import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data.findings import KINDS, NEVER_ACCEPTED, Outcome, Weight
from orchestrator.data.summary import summarize, verdict
from orchestrator.data.work import Worked
from orchestrator.errors import UsageError
from tests.data.making import (
    TEXTS,
    Samples,
    checked,
    kinds,
    noise,
    said,
    stereo,
    write,
    write_csv,
    write_folder,
)

TEXT = TEXTS[6]


def one(
    folder: Path, samples: Samples, text: str = TEXT, rate: int = 44_100, subtype: str = "PCM_16"
) -> Outcome:
    """Check a single recording."""
    write(folder / "r1.wav", samples, rate, subtype)
    (folder / "metadata.csv").write_text(f"r1|{text}\n", encoding="utf-8")
    return checked(folder)[1]


def words(outcome: Outcome, kind: str) -> str:
    """What is said about the only finding of a kind."""
    (found,) = (item.what for item in outcome.all_findings if item.kind == kind)
    return found


def beyond(text: str) -> Samples:
    """A recording with a few samples at full scale."""
    samples = said(text)
    samples[30_000:30_004] = 1.0
    return samples


def opposite(text: str) -> Samples:
    """Two channels of which one is upside down."""
    both = stereo(said(text))
    both[:, 1] = -both[:, 0]
    return both


def one_sided(text: str) -> Samples:
    """Two channels of which one is silent."""
    both = stereo(said(text))
    both[:, 1] = 0
    return both


SOUNDS: list[tuple[str, Callable[[], Samples], str, str]] = [
    ("clipped", lambda: np.clip(said(TEXT, level=3), -1, 1), "PCM_16", "% of its samples"),
    ("some_clipping", lambda: beyond(TEXT), "PCM_16", "0.004% of its samples"),
    ("silent", lambda: np.zeros(44_100), "PCM_16", "its level is -90 dB"),
    ("too_short", lambda: said("আ", before=0.3, after=0.3), "PCM_16", "s of speech"),
    ("noise", lambda: noise(2, level=0.05), "PCM_16", "dB above the noise"),
    ("noise", lambda: said(TEXT) + noise(9, level=0.05)[: len(said(TEXT))], "PCM_16", "dB above the noise"),
    ("some_noise", lambda: said(TEXT) + noise(9, level=0.01)[: len(said(TEXT))], "PCM_16", "dB above"),
    ("long_pause", lambda: np.concatenate([said(TEXT, after=1), said(TEXT, before=1)]), "PCM_16", "2.0 s"),
    ("channels", lambda: stereo(said(TEXT)), "PCM_16", "2 channels"),
    ("channels", lambda: one_sided(TEXT), "PCM_16", "2 channels; a silent channel is left out"),
    ("channels", lambda: opposite(TEXT), "PCM_16", "its channels cancel each other, so the first is taken"),
    ("format", lambda: said(TEXT), "PCM_24", "24 bit"),
    ("format", lambda: said(TEXT), "PCM_U8", "8 bit"),
    ("format", lambda: said(TEXT), "ULAW", "µ-law"),
    ("format", lambda: said(TEXT), "FLOAT", "32-bit float"),
    ("beyond", lambda: said(TEXT, level=3), "FLOAT", "up to 2."),
    ("silence", lambda: said(TEXT, before=0.6, after=0.6), "PCM_16", "1.0 s"),
    ("loudness", lambda: said(TEXT, level=0.02), "PCM_16", "LUFS, +"),
    ("rate", lambda: said(TEXT), "PCM_16", "44,100 Hz"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "make", "subtype", "says"),
    SOUNDS,
    ids=[f"{item[0]}-{place}" for place, item in enumerate(SOUNDS)],
)
def test_a_sound_is_judged(
    tmp_path: Path, kind: str, make: Callable[[], Samples], subtype: str, says: str
) -> None:
    """What is wrong is said; what cannot be judged is in quarantine, all else in the dataset."""
    outcome = one(tmp_path, make(), subtype=subtype)
    assert says in words(outcome, kind)
    assert bool(outcome.quarantined) is (KINDS[kind].weight is Weight.QUARANTINE)


def test_a_good_recording_gives_no_finding(tmp_path: Path) -> None:
    """22,050 Hz, mono, 16 bit, tight, of the right loudness."""
    samples = said(TEXT, 22_050, before=0.1, after=0.1, level=0.225)
    assert kinds(one(tmp_path, samples, rate=22_050)) == {}


def test_a_low_sample_rate_is_doubtful(tmp_path: Path) -> None:
    """8,000 Hz can be used, but sounds dull."""
    outcome = one(tmp_path, said(TEXT, 8000), rate=8000)
    assert words(outcome, "low_rate") == "8,000 Hz"
    assert len(outcome.kept) == 1


NO_SOUNDS = [
    ("r1.wav", b"", "unreadable", "is empty (0 bytes)"),
    ("r1.wav", b"\n<!DOCTYPE html>", "unreadable", "is a web page, not a sound: its download failed"),
    ("r1.mp3", bytes(range(256)) * 9, "unreadable", "is no sound that can be read (Format not recognised)"),
    ("r1.m4a", b"\0\0\0\x20ftypM4A ", "ffmpeg", "is read by ffmpeg, which is not installed"),
    ("r1.wav", b"RIFF\x24\0\0\0WAVEfmt ", "unreadable", "is no sound that can be read"),
]


@pytest.mark.parametrize("case", NO_SOUNDS, ids=[says for *_, says in NO_SOUNDS])
def test_a_file_that_is_no_sound_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, bytes, str, str]
) -> None:
    """With the reason, and what to do."""
    name, content, kind, says = case
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / name).write_bytes(content)
    (tmp_path / "metadata.csv").write_text(f"r1|{TEXT}\n", encoding="utf-8")
    _, outcome = checked(tmp_path)
    assert says in words(outcome, kind)
    assert len(outcome.quarantined) == 1
    assert kind in NEVER_ACCEPTED


@pytest.mark.posix
def test_ffmpeg_reads_what_libsndfile_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for WAV, and given the whole path, so that no name is taken for an option."""
    tools = tmp_path / "tools"
    write(tools / "answer.wav", said(TEXT), subtype="FLOAT")
    program = tools / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\n"
        "assert pathlib.Path(sys.argv[sys.argv.index('-i') + 1]).is_absolute()\n"
        f"sys.stdout.buffer.write(pathlib.Path({str(tools / 'answer.wav')!r}).read_bytes())\n",
        encoding="utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "-r1.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (folder / "metadata.csv").write_text(f"-r1|{TEXT}\n", encoding="utf-8")
    _, outcome = checked(folder)
    assert len(outcome.kept) == 1


def test_a_file_that_ends_too_early_is_found(tmp_path: Path) -> None:
    """By the size in its header; sizes that a pipe leaves unknown are no fault."""
    whole = write(tmp_path / "r1.wav", said(TEXT)).read_bytes()
    (tmp_path / "r2.wav").write_bytes(whole[: len(whole) // 2])
    unknown = bytearray(whole)
    place = unknown.find(b"data")
    unknown[4:8] = unknown[place + 4 : place + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "r3.wav").write_bytes(unknown)
    (tmp_path / "metadata.csv").write_text(f"r1|{TEXT}\nr2|{TEXT}\nr3|{TEXT}\n", encoding="utf-8")
    _, outcome = checked(tmp_path)
    assert kinds(outcome)["cut_off"] == ["r2.wav"]
    assert "s are missing at its end" in words(outcome, "cut_off")
    assert kinds(outcome)["duplicate"] == ["r3.wav"]


def test_rows_and_recordings_without_each_other_are_named(tmp_path: Path) -> None:
    """A row without a recording, a recording without a row, names that fit several, macOS's notes."""
    for name in ("r1.wav", "r2.wav", "a/x.wav", "b/x.wav"):
        write(tmp_path / name, said(TEXT, level=0.1 + len(name) / 100 + (name[0] == "b") / 10))
    (tmp_path / "._r1.wav").write_bytes(b"notes")
    (tmp_path / "metadata.csv").write_text(f"r1|{TEXT}\nr9|{TEXT}\nx|{TEXT}\n", encoding="utf-8")
    _, outcome = checked(tmp_path)
    found = kinds(outcome)
    assert found["no_recording"] == ["metadata.csv:2"]
    assert found["several"] == ["metadata.csv:3"]
    assert found["no_text"] == ["a/x.wav", "b/x.wav", "r2.wav"]
    assert found["not_a_recording"] == ["._r1.wav"]
    assert [item.id for item in outcome.kept] == ["r1"]


@pytest.mark.posix
def test_links_to_folders_are_named(tmp_path: Path) -> None:
    """What lies behind them is not taken, and nobody wonders where it is."""
    write(tmp_path / "elsewhere" / "r2.wav", said(TEXT))
    folder = tmp_path / "in"
    write(folder / "r1.wav", said(TEXT, level=0.2))
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (folder / "metadata.csv").write_text(f"r1|{TEXT}\n", encoding="utf-8")
    _, outcome = checked(folder)
    assert kinds(outcome)["not_a_recording"] == ["circle", "more"]
    assert [item.id for item in outcome.kept] == ["r1"]


def test_repeated_rows_and_recordings_are_told_apart(tmp_path: Path) -> None:
    """The same text again does no harm; another one cannot be judged."""
    for number in range(1, 8):
        write(tmp_path / f"r{number}.wav", said(TEXT, level=0.1 + number / 50))
    shutil.copy(tmp_path / "r3.wav", tmp_path / "r3 copy.wav")
    shutil.copy(tmp_path / "r4.wav", tmp_path / "r4 copy.wav")
    rows = f"r1|{TEXT}\nr1|{TEXT}\nr2|{TEXT}\nr2|{TEXTS[1]}\nr3|{TEXT}\nr3 copy|{TEXT}\n"
    rows += f"r4|{TEXT}\nr4 copy|{TEXTS[7]}\nr5|…!\nr6|مرحبا {TEXT}\nr7|Avwg evsjvq Mvb MvB\n"
    (tmp_path / "metadata.csv").write_text(rows, encoding="utf-8")
    _, outcome = checked(tmp_path)
    found = kinds(outcome)
    assert found["repeated_row"] == ["metadata.csv:2"]
    assert found["texts_differ"] == ["metadata.csv:4", "r2.wav"]
    assert found["duplicate"] == ["r3 copy.wav"]
    assert found["same_sound"] == ["r4 copy.wav", "r4.wav"]
    assert found["empty_text"] == ["metadata.csv:9"]
    assert found["unsayable"] == ["metadata.csv:10"]
    assert found["spelling"] == ["metadata.csv:11"]
    assert [item.id for item in outcome.kept] == ["r1", "r3"]


def test_a_text_that_does_not_fit_its_length_is_found(tmp_path: Path) -> None:
    """By the letters a second of the others."""
    for number, text in enumerate(TEXTS):
        write(tmp_path / f"r{number:02}.wav", said(text, 22_050), 22_050)
    rows = [f"r{number:02}|{text}\n" for number, text in enumerate(TEXTS)]
    rows[3] = f"r03|{TEXTS[3]} {TEXTS[4]} {TEXTS[5]}\n"
    (tmp_path / "metadata.csv").write_text("".join(rows), encoding="utf-8")
    _, outcome = checked(tmp_path)
    assert kinds(outcome)["text_length"] == ["r03.wav"]
    assert "letters a second; the others have 1" in words(outcome, "text_length")


@pytest.mark.parametrize(("kind", "parts"), [("split", 6), ("long", 1)])
def test_a_long_recording_is_split_if_its_text_has_as_many_sentences(
    tmp_path: Path, kind: str, parts: int
) -> None:
    """Otherwise it stays whole, and that is said."""
    words = [text.rstrip("।") for text in TEXTS[6:]]
    texts = [f"{text} {text} {text} {text}{end}" for text, end in zip(words, "।?!।।।", strict=True)]
    samples = np.concatenate([said(text, 22_050, before=0.3, after=0.3) for text in texts])
    text = " ".join(texts if kind == "split" else [text.strip("।?!") for text in texts])
    outcome = one(tmp_path, samples, text, 22_050)
    assert len(outcome.kept) == parts
    assert kind in kinds(outcome)
    if parts > 1:
        assert [item.raw for item in outcome.kept] == texts
        assert outcome.kept[1].id == "r1-2"


def test_a_recording_of_over_a_minute_is_too_long(tmp_path: Path) -> None:
    """Nobody can tell where its sentences are."""
    outcome = one(tmp_path, said(" ".join(TEXTS * 4).replace("।", ""), 8000), TEXT * 5, 8000)
    assert "1 sentence" in words(outcome, "too_long") or "5 sentences" in words(outcome, "too_long")
    assert outcome.kept == []


def test_speakers_are_kept(tmp_path: Path) -> None:
    """A column names them; or the folders do, if one says so."""
    for number in range(4):
        write(tmp_path / f"s{number % 2}" / f"r{number}.wav", said(TEXTS[number], 22_050), 22_050)
    rows = [
        ("file", "text", "speaker"),
        *((f"r{n}", TEXTS[n], "রহিম" if n % 2 else "করিম") for n in range(4)),
    ]
    write_csv(tmp_path / "t.csv", rows)
    assert {item.speaker for item in checked(tmp_path)[1].kept} == {"রহিম", "করিম"}
    write_csv(tmp_path / "t.csv", [row[:2] for row in rows])
    assert {item.speaker for item in checked(tmp_path)[1].kept} == {""}
    assert {item.speaker for item in checked(tmp_path, by_folder=True)[1].kept} == {"s0", "s1"}


def test_the_twelve_recordings_of_a_new_user(tmp_path: Path) -> None:
    """Every one is in the dataset, with its text as it is spoken."""
    folder = write_folder(tmp_path / "My recordings", converter=shutil.which("ffmpeg"))
    _, outcome = checked(folder)
    assert len(outcome.kept) == 12
    assert outcome.kept[0].spoken == "আমি আজ বারোটি বই কিনেছি।"
    assert outcome.kept[0].raw == TEXTS[0]


def test_the_verdict_says_what_to_add(tmp_path: Path) -> None:
    """Minutes against what Coqui calls reasonable, and the letters that never occur."""
    said_words = verdict(summarize(one(tmp_path, said(TEXT))))
    assert said_words[0].startswith("Only enough for a trial: 0.0 of 120 minutes (Coqui's documentation")
    assert "more utterances like these" in said_words[0]
    assert "The texts never have" in said_words[1]
    assert verdict(summarize(Outcome())) == [
        "Nothing can be trained on yet: no recording has a text that fits."
    ]


def test_a_folder_without_recordings_or_texts_is_refused(tmp_path: Path) -> None:
    """The error says what is missing and what to type."""
    with pytest.raises(UsageError, match="There are no recordings"):
        checked(tmp_path)
    write(tmp_path / "r1.wav", said(TEXT))
    with pytest.raises(UsageError, match="There is no text for the recordings") as caught:
        checked(tmp_path)
    assert "--transcripts FILE" in (caught.value.hint or "")
    (tmp_path / "t.xls").write_bytes(b"")
    with pytest.raises(UsageError, match=r"t\.xls is in Excel's old format"):
        checked(tmp_path)


def test_what_would_be_lost_stops_everything(tmp_path: Path) -> None:
    """A row that is nowhere is a fault in kgtts, not a smaller dataset."""
    folder = write_folder(tmp_path / "in")
    found, outcome = checked(folder)
    assert outcome.unaccounted(found.folder) == []
    gone = outcome.utterances.pop()
    assert gone.row is not None
    assert outcome.unaccounted(found.folder) == [gone.recording, f"transcript.csv:{gone.row.line}"]


def test_what_is_known_about_a_recording_survives_json(tmp_path: Path) -> None:
    """The state file holds it."""
    outcome = one(tmp_path, said(TEXT))
    worked = outcome.kept[0].worked
    assert Worked.from_json(worked.to_json()) == worked

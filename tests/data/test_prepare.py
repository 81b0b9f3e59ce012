"""The dataset: repeatable, incremental, resumable, and never half-written as finished."""

import csv
import io
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kernel_template.text.metadata import Recordings, read_ljspeech
from orchestrator.data.pool import work_all
from orchestrator.data.prepare import prepare
from orchestrator.data.store import Layout, Store
from orchestrator.data.work import AudioSettings, Job, Worked, work
from orchestrator.errors import LocalError, UsageError
from tests.data.making import TEXTS, Heard, prepared, request, said, stereo, write, write_csv, write_folder
from tests.support import REPOSITORY

TEXT = TEXTS[6]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings as a new user has them; copy them to change them."""
    return write_folder(tmp_path_factory.mktemp("in") / "My recordings")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three short recordings, of which one has no text."""
    folder = tmp_path / "in"
    for number in range(3):
        write(folder / f"r{number}.wav", said(TEXTS[number + 6], 22_050, before=0.2, after=0.2), 22_050)
    (folder / "metadata.csv").write_text(f"r0|{TEXTS[6]}\nr1|{TEXTS[7]}\n", encoding="utf-8")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """What is in a folder, without the state."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if not name.startswith(".kgtts/")}


def ids(folder: Path) -> list[str]:
    """The ids in metadata.csv."""
    text = (folder / "MyTTSDataset" / "metadata.csv").read_text(encoding="utf-8")
    return [line.split("|")[0] for line in text.splitlines()]


def quarantined(folder: Path) -> dict[str, str]:
    """What quarantine.csv lists: the reason of each id."""
    text = (folder / "quarantine" / "quarantine.csv").read_text(encoding="utf-8-sig")
    return {row["id"]: row["why"] for row in csv.DictReader(io.StringIO(text))}


def test_the_dataset_is_as_coqui_reads_it(recordings: Path, tmp_path: Path) -> None:
    """One rate, mono, 16 bit, trimmed, of even loudness, not clipped; `id|raw|normalized`."""
    done = prepared(recordings, tmp_path / "out")
    lines = done.layout.metadata.read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"Rec_01|{TEXTS[0]}|আমি আজ বারোটি বই কিনেছি।"
    assert len(lines) == 12
    # A session mends nothing in it.
    found = read_ljspeech(
        done.layout.metadata.read_bytes(), Recordings(path.name for path in done.layout.wavs.iterdir())
    )
    assert (found.text, found.remarks, found.rows) == (None, [], 12)
    for line in lines:
        with wave.open(str(done.layout.wavs / f"{line.split('|')[0]}.wav"), "rb") as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
    for item in done.outcome.kept:
        samples, rate = soundfile.read(done.layout.wavs / f"{item.id}.wav")
        assert np.abs(samples).max() <= 10 ** (-1 / 20) + 1e-4
        loud = np.flatnonzero(np.abs(samples) > 0.02)
        assert 0.05 < loud[0] / rate < 0.15
        assert 0.05 < (len(samples) - loud[-1]) / rate < 0.15


def test_loudness_is_evened_without_clipping(tmp_path: Path) -> None:
    """A soft and a loud reading of one text come out within half a decibel of -23 LUFS."""
    folder = tmp_path / "in"
    for name, level in (("soft", 0.01), ("loud", 0.9)):
        write(folder / f"{name}.wav", stereo(said(TEXT, level=level)), subtype="FLOAT")
    (folder / "metadata.csv").write_text(f"soft|{TEXT}\nloud|{TEXT}\n", encoding="utf-8")
    done = prepared(folder, tmp_path / "out")
    again = prepared(done.layout.wavs.parent, tmp_path / "again")
    for item in again.outcome.kept:
        assert item.worked.measures is not None
        assert abs(item.worked.measures.loudness + 23) < 0.5


def test_it_is_repeatable(recordings: Path, tmp_path: Path) -> None:
    """Two folders made of the same recordings are the same to the last byte."""
    prepared(recordings, tmp_path / "a")
    prepared(recordings, tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_the_recordings_stay_as_they_are(few: Path, tmp_path: Path) -> None:
    """Nothing is written, moved or removed among them."""
    before = content(few)
    prepared(few, tmp_path / "out")
    assert content(few) == before


def test_a_second_run_does_only_what_changed(few: Path, tmp_path: Path) -> None:
    """Nothing; a corrected text; a changed recording; one more; one less; another rate."""
    out = tmp_path / "out"
    assert prepared(few, out).worked == 3
    second = prepared(few, out)
    assert (second.worked, second.changed) == (0, False)
    os.utime(few / "r0.wav", ns=(1, 1))  # Copied: another time, the same content.
    assert prepared(few, out).worked == 0
    (few / "metadata.csv").write_text(f"r0|{TEXTS[6]}\nr1|১টি গান।\nr2|{TEXTS[8]}\n", encoding="utf-8")
    third = prepared(few, out)
    assert (third.worked, third.changed) == (0, True)
    assert ids(out) == ["r0", "r1", "r2"]
    assert "|১টি গান।|একটি গান।" in (out / "MyTTSDataset" / "metadata.csv").read_text(encoding="utf-8")
    size = (few / "r0.wav").stat().st_size
    write(few / "r0.wav", said(TEXTS[6], 22_050, level=0.1, before=0.2, after=0.2), 22_050)
    assert (few / "r0.wav").stat().st_size == size  # Only its time tells.
    assert prepared(few, out).worked == 1
    (few / "r2.wav").unlink()
    assert prepared(few, out).worked == 0
    assert not (out / "MyTTSDataset" / "wavs" / "r2.wav").exists()
    assert prepare(request(few, rate=16_000), out, Heard()).worked == 2  # Of r0 and r1.


def test_a_damaged_file_of_the_dataset_is_made_again(few: Path, tmp_path: Path) -> None:
    """Whoever changes or deletes one gets it back."""
    out = tmp_path / "out"
    prepared(few, out)
    before = content(out)
    damaged = out / "MyTTSDataset" / "wavs" / "r0.wav"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    (out / "MyTTSDataset" / "wavs" / "r1.wav").unlink()
    assert prepared(few, out).worked == 2
    assert content(out) == before


def test_quarantine_comes_back_when_the_user_says_so(few: Path, tmp_path: Path) -> None:
    """`--accept` counts for later runs too; what has no text cannot be accepted."""
    out = tmp_path / "out"
    write(few / "r2.wav", np.clip(said(TEXTS[8], 22_050, level=3), -1, 1), 22_050)
    with (few / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write(f"r2|{TEXTS[8]}\n")
    write(few / "r3.wav", said(TEXTS[9], 22_050), 22_050)
    prepared(few, out)
    assert sorted(quarantined(out)) == ["r2", "r3"]
    assert "clipped, so distorted" in quarantined(out)["r2"]
    assert (out / "quarantine" / "r2.wav").is_file()
    assert ids(out) == ["r0", "r1"]
    done = prepared(few, out, "r2")
    assert (done.worked, ids(out), sorted(quarantined(out))) == (0, ["r0", "r1", "r2"], ["r3"])
    assert prepared(few, out).changed is False
    assert (out / "quarantine" / "accepted.txt").read_text(encoding="utf-8") == "r2\n"
    with pytest.raises(UsageError, match="it cannot be used: recording without a text") as caught:
        prepared(few, out, "r3.wav")
    assert caught.value.hint == "add its row to the transcript"
    with pytest.raises(UsageError, match="no such utterance"):
        prepared(few, out, "r9")
    (out / "quarantine" / "accepted.txt").unlink()
    prepared(few, out)
    assert ids(out) == ["r0", "r1"]


def test_speakers_get_a_column(tmp_path: Path) -> None:
    """The ljspeech formatter does not look at it."""
    folder = tmp_path / "in"
    for number in range(2):
        write(folder / f"s{number}" / "r.wav", said(TEXTS[number + 6], 22_050), 22_050)
    write_csv(folder / "t.csv", [(f"s{number}/r", TEXTS[number + 6]) for number in range(2)])
    done = prepared(folder, tmp_path / "out", by_folder=True)
    lines = done.layout.metadata.read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[3] for line in lines] == ["s0", "s1"]


class StoppedError(BaseException):
    """The process is gone."""


def test_a_kill_at_any_point_costs_nothing(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file was the last that changed, `metadata.csv` is there only if all it names is as it says."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    prepared(few, whole)
    original_replace, original_unlink = Path.replace, Path.unlink
    steps = 0

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path, *args: object, **named: object) -> object:
            nonlocal steps
            if tmp_path / "out" in path.parents:
                steps -= 1
                if steps < 0:
                    raise StoppedError
            return original(path, *args, **named)

        return call

    monkeypatch.setattr(Path, "replace", counted(original_replace))
    monkeypatch.setattr(Path, "unlink", counted(original_unlink))
    # From nothing, and from an older dataset whose every file changes.
    for older, first in ((False, 0), (True, 1)):
        for stop in range(first, 40, 2):
            steps = 10_000
            shutil.rmtree(out, ignore_errors=True)
            if older:
                prepare(request(few, rate=16_000), out, Heard())
            steps = stop
            try:
                prepared(few, out)
                break
            except StoppedError:
                steps = 10_000
                check_finished(out)
                done = prepared(few, out)
                assert done.worked <= 3
                assert content(out) == content(whole)
        else:
            raise AssertionError("more steps than expected")
        assert stop > 8


def check_finished(out: Path) -> None:
    """A dataset that has metadata.csv is whole, and of one rate."""
    if not (out / "MyTTSDataset" / "metadata.csv").exists():
        return
    rates = set()
    for name in ids(out):
        with wave.open(str(out / "MyTTSDataset" / "wavs" / f"{name}.wav"), "rb") as file:
            rates.add(file.getframerate())
    assert len(rates) == 1


def test_a_run_that_was_stopped_goes_on(recordings: Path, tmp_path: Path) -> None:
    """What was done before is not done again."""

    class Impatient(Heard):
        def advanced(self, name: str) -> None:
            super().advanced(name)
            if len(self.names) == 5:
                raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(request(recordings), out, Impatient())
    assert not (out / "MyTTSDataset" / "metadata.csv").exists()
    assert prepared(recordings, out).worked == 7


def test_a_state_that_makes_no_sense_is_ignored(few: Path, tmp_path: Path) -> None:
    """The last line may be half written; then that recording is worked on again."""
    out = tmp_path / "out"
    prepared(few, out)
    state = out / ".kgtts" / "state.jsonl"
    state.write_bytes(state.read_bytes()[:-40] + b'\n{"worked": 1}\n[]\n\xff\n')
    assert prepared(few, out).worked == 1


def test_the_target_is_a_folder_of_its_own(few: Path, tmp_path: Path) -> None:
    """Not the recordings' folder, and no dataset of somebody else; within the recordings it is left out."""
    with pytest.raises(UsageError, match="needs a folder of its own"):
        prepared(few, few)
    with pytest.raises(UsageError, match="needs a folder of its own"):
        prepared(few, few.parent)
    (tmp_path / "other" / "MyTTSDataset").mkdir(parents=True)
    with pytest.raises(UsageError, match="kgtts data prepare did not make it"):
        prepared(few, tmp_path / "other")
    prepared(few, few / "out")
    assert prepared(few, few / "out").worked == 0


def test_two_at_once_are_told_apart(few: Path, tmp_path: Path) -> None:
    """The second says that another is at work."""
    with (
        Store(tmp_path / "out").opened(),
        pytest.raises(LocalError, match="Another kgtts is preparing"),
    ):
        prepared(few, tmp_path / "out")


def test_files_that_kgtts_did_not_make_stay_and_are_named(few: Path, tmp_path: Path) -> None:
    """Somebody put them there for a reason."""
    out = tmp_path / "out"
    prepared(few, out)
    (out / "MyTTSDataset" / "wavs" / "mine.wav").write_bytes(b"x")
    assert prepared(few, out).strangers == ("mine.wav",)


@pytest.mark.posix
def test_a_folder_that_cannot_be_written_to_is_named(few: Path, tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(LocalError, match="Could not write"):
        prepared(few, tmp_path / "out")


def crash(job: Job, settings: AudioSettings) -> Worked:
    """End the process on one recording, as a decoder with a fault does."""
    if job.name == "r2.wav":
        os._exit(3)
    return work(job, settings)


def test_a_recording_that_ends_its_process_is_named(few: Path, tmp_path: Path) -> None:
    """The others are worked on all the same, in processes of their own."""
    jobs = [
        Job(f"r{number}.wav" if number < 3 else f"copy {number}", few / f"r{number % 3}.wav", (), None)
        for number in range(26)
    ]
    found = {item.name: item.error for item in work_all(jobs, AudioSettings(), 2, crash)}
    assert len(found) == 26
    assert {name for name, error in found.items() if error} == {"r2.wav"}
    assert found["r2.wav"] == "ends the program that reads it"


class Removes(Heard):
    """Removes recordings while others are worked on: one that was read, and one that was not."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def advanced(self, name: str) -> None:
        """Remove them after the first."""
        super().advanced(name)
        for path in (self._folder / "r0.wav", self._folder / "r1.wav"):
            path.unlink(missing_ok=True)


def test_recordings_that_go_away_meanwhile_cost_nothing_else(few: Path, tmp_path: Path) -> None:
    """What was read is kept, what was not is named, and a run after that tells what is there."""
    done = prepare(request(few), tmp_path / "out", Removes(few))
    assert [item.id for item in done.outcome.kept] == ["r0"]
    assert quarantined(tmp_path / "out")["r1"].startswith("recording cannot be read")
    (tmp_path / "in" / "r0.wav").write_bytes((tmp_path / "in" / "r2.wav").read_bytes())
    assert prepared(few, tmp_path / "out").worked == 1


def test_the_layout_is_what_the_documents_say(tmp_path: Path) -> None:
    """MyTTSDataset is what is uploaded."""
    layout = Layout(tmp_path)
    assert layout.metadata == tmp_path / "MyTTSDataset" / "metadata.csv"
    assert replace(layout).quarantine == tmp_path / "quarantine"


KILLED = """
import multiprocessing, sys, time
from pathlib import Path
from orchestrator.data.pool import work_all
from orchestrator.data.work import AudioSettings, Job

if __name__ == "__main__":
    jobs = [Job(str(number), Path(sys.argv[1]), (), None) for number in range(30)]
    results = work_all(jobs, AudioSettings(), 2)
    next(results)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.posix
def test_processes_end_with_the_one_that_started_them(few: Path, tmp_path: Path) -> None:
    """Also if that is killed and can tell them nothing."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    command = [sys.executable, str(script), str(few / "r0.wav")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ) as program:
        assert program.stdout is not None
        children = [int(word) for word in program.stdout.readline().split()]
        program.kill()
        # The pipe closes when the last process that holds it has ended.
        assert program.stdout.read() == ""
    assert children

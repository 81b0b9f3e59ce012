"""Files, sizes and hashes of the kernel."""

import contextlib
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import Stage
from kernel_template.events import WarningEvent
from kernel_template.finish.outputs import Outputs
from kernel_template.finish.samples import sentences_to_speak
from kernel_template.start.inputs import Inputs
from kernel_template.tools.files import (
    LineFile,
    human_limit,
    human_seconds,
    human_size,
    json_bytes,
    sha256_of,
    write_atomic,
)
from kernel_template.tools.report import Reporter, print_line
from kernel_template.train.checkpoints import Checkpoint, CheckpointStore
from kernel_template.train.command import reads_config_file
from tests.fakes.clock import FakeClock
from tests.kernel.kit import Log, paths_in, put, put_checkpoint, reporter


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (71_751_499, "71.8 MB"), (1e9, "1.0 GB"), (2e13, "20.0 TB")],
)
def test_sizes_for_people(size: float, text: str) -> None:
    """Sizes use powers of 1000 and one decimal."""
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (12.4, "12 s"), (59.7, "1 min 0 s"), (185, "3 min 5 s"), (23280, "6 h 28 min")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    """A duration has its two largest units."""
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (21600, "6 hours"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (60, "1 minute"),
        (45, "45 seconds"),
        (1.5, "1.5 seconds"),
    ],
)
def test_limits_in_the_guides_words(seconds: float, text: str) -> None:
    """A limit is written in whole hours or minutes if it is one."""
    assert human_limit(seconds) == text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """If the new file cannot be moved into place, the old content stays and no temporary file is left."""
    path = tmp_path / "folder"
    put(path / "inner")
    with pytest.raises(OSError, match="irectory"):
        write_atomic(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_names_that_are_no_text_are_written_escaped() -> None:
    """A file name with broken bytes does not make state.json fail."""
    assert json.loads(json_bytes({"path": "a\udcff.wav"})) == {"path": "a\udcff.wav"}


def test_a_line_file_on_a_full_disk_gives_up_once() -> None:
    """The first error is reported; later lines are dropped silently."""
    told: list[OSError] = []
    file = LineFile(Path("/dev/full"), on_error=told.append)
    file.write("one")
    file.write("two")
    file.close()
    assert [error.errno for error in told] == [errno.ENOSPC]


def test_a_line_file_in_an_impossible_place(tmp_path: Path) -> None:
    """A log that cannot be opened is reported, and writing to it does nothing."""
    told: list[OSError] = []
    file = LineFile(put(tmp_path / "file") / "log.txt", on_error=told.append)
    file.write("one")
    assert len(told) == 1


class FullDisk(io.StringIO):
    """A standard output on a full disk."""

    def write(self, text: str) -> int:
        """Raise the error of a full disk."""
        raise OSError(errno.ENOSPC, "No space left on device")


def test_printing_survives_any_text_and_any_stdout() -> None:
    """Bangla is escaped on an ASCII terminal; a closed or full standard output stops nothing."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as ascii_only, contextlib.redirect_stdout(ascii_only):
        print_line("আ \udcff")
        assert raw.getvalue() == b"\\u0986 \\udcff\n"
    closed = io.StringIO()
    closed.close()
    for broken in (FullDisk(), closed):
        with contextlib.redirect_stdout(broken):
            print_line("x")


def test_events_are_compact_lines(log: Log, clock: FakeClock, tmp_path: Path) -> None:
    """An event is one line with readable Bangla and seconds since the start; metrics.jsonl has no stages."""
    report = Reporter(session=3, clock=clock, out=log)
    report.metrics = LineFile(tmp_path / "metrics.jsonl")
    clock.advance(1.234)
    with report.stage(Stage.GPU, "GPU"):
        report.warn("আ")
    assert '@kgtts {"event":"warning","t":1.23,"message":"আ"}' in log.lines
    report.metrics.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {"event": "warning", "t": 1.23, "message": "আ", "session": 3}
    with pytest.raises(ZeroDivisionError), report.stage(Stage.TRAIN, "T"):
        raise ZeroDivisionError
    assert log.events("stage")[-1]["state"] == "failed"
    report.event(WarningEvent("\udcff"))
    assert log.events("warning")[-1]["message"] == "\udcff"


def test_checkpoints_by_step(root: Path) -> None:
    """The newest has the highest step of all folders; a checkpoint comes before a best model of that step."""
    paths = paths_in(root)
    run = paths.training / "vits"
    for name in ("checkpoint_9.pth", "checkpoint_10.pth", "best_model_10.pth", "best_model.pth"):
        put_checkpoint(run / name)
    put(run / "checkpoint_11.pth", b"PK\x03\x04")
    store = CheckpointStore(paths)
    assert [item.path.name for item in store.whole()] == [
        "checkpoint_9.pth",
        "best_model_10.pth",
        "checkpoint_10.pth",
    ]
    assert [path.name for path in store.damaged] == ["checkpoint_11.pth"]
    assert [path.name for path in store.other_weights()] == ["best_model.pth"]
    put(run / "best_model.pth", b"PK\x03\x04")  # The copy that filled the disk.
    store.whole()
    assert run / "best_model.pth" in store.damaged
    assert store.other_weights() == []


def test_hashes_are_taken_once_a_content(root: Path) -> None:
    """A file is hashed again only if it changed; a missing one is left out."""
    paths = paths_in(root)
    path = put_checkpoint(paths.training / "checkpoint_1.pth")
    store = CheckpointStore(paths)
    first = store.sha256(path)
    assert store.sha256(path) == first
    put_checkpoint(path, "sthgiew")  # As long as the content before.
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    second = store.sha256(path)
    assert second != first
    put_checkpoint(path, "longer weights")
    assert store.sha256(path) not in (first, second)
    gone = Checkpoint(paths.training / "checkpoint_2.pth", 2, best=False)
    assert store.records([gone]) == []


def test_what_a_kill_left_half_written_is_removed(root: Path, log: Log) -> None:
    """Partial checkpoints, which have up to 1 GB, are deleted."""
    paths = paths_in(root)
    part = put(paths.training / "run" / ".kgtts-checkpoint_9.pth.part")
    kept = put(paths.training / "run" / "checkpoint_8.pth")
    Outputs(paths, CheckpointStore(paths), reporter(log), write_atomic).release()
    assert (part.exists(), kept.exists()) == (False, True)


def outputs_in(root: Path, log: Log) -> Outputs:
    """Make the outputs of a session."""
    paths = paths_in(root)
    return Outputs(paths, CheckpointStore(paths), reporter(log), write_atomic)


def test_the_manifest_lists_every_file_once_but_itself(root: Path, log: Log) -> None:
    """A hard link is listed as a second name; files that are still being written are not listed."""
    outputs = outputs_in(root, log)
    run = outputs.paths.training / "run"
    best = put_checkpoint(run / "best_model_9.pth")
    (run / "best_model.pth").symlink_to(best.name)
    put(run / ".kgtts-checkpoint_10.pth.part")
    put(outputs.paths.log, "a line\n")
    for _ in range(2):  # The second time there is a manifest already.
        outputs.write_manifest()
        listed = json.loads(outputs.paths.manifest.read_text())["files"]
        assert [item["path"] for item in listed] == ["train_log.txt", "training/run/best_model_9.pth"]
    assert listed[1]["size"] == best.stat().st_size
    assert listed[1]["sha256"] == sha256_of(best)


def test_a_setting_that_the_training_did_not_use_is_a_warning(root: Path, log: Log) -> None:
    """The warning names the value used, and the configuration that was used is kept."""
    outputs = outputs_in(root, log)
    folder = outputs.paths.training / "run"
    used = put(folder / "config.json", '{"epochs": 5, "audio": {"sample_rate": 22050}}')
    newest = Checkpoint(folder / "checkpoint_1.pth", 1, best=False)
    outputs.final_config(newest, {"epochs": 9, "audio.sample_rate": 22050, "no.such": True})
    told = [event["message"] for event in log.events("warning")]
    assert [text.partition(". ")[0] for text in told] == [
        "The training did not use epochs = 9, but 5",
        "The training did not use no.such = true, but null",
    ]
    assert outputs.paths.config.read_bytes() == used.read_bytes()


def test_the_run_folder_is_the_newest_checkpoints(root: Path, log: Log) -> None:
    """Without a checkpoint it is the last folder with a configuration; without that there is none."""
    outputs, paths = outputs_in(root, log), paths_in(root)
    assert outputs.run_folder(None) is None
    first, second = put(paths.training / "a" / "config.json"), put(paths.training / "b" / "config.json")
    assert outputs.run_folder(Checkpoint(first.parent / "checkpoint_1.pth", 1, best=False)) == first.parent
    assert outputs.run_folder(None) in (first.parent, second.parent)


@pytest.mark.parametrize(
    ("chosen", "own", "spoken"),
    [
        (["a"], ["b"], ["a"]),
        ([], ["b", " ", ["c", "speaker"], {"text": "d"}, {"x": 1}, 7, []], ["b", "c", "d"]),
        ([], "b", []),
        ([], None, []),
    ],
)
def test_which_sentences_are_spoken(chosen: list[str], own: Any, spoken: list[str]) -> None:
    """The settings' sentences come first; the configuration's may have any of Coqui's forms."""
    assert sentences_to_speak({"sentences": chosen, "enabled": True}, {"test_sentences": own}) == spoken


def test_which_scripts_read_the_configuration(root: Path) -> None:
    """The script's text decides; an unreadable script counts as one that does not read it."""

    def inputs(script: Path | None) -> Inputs:
        return Inputs(script, None, root, root, root)

    assert reads_config_file(inputs(None))
    assert reads_config_file(inputs(put(root / "a.py", b"\xff args.config_path")))
    assert not reads_config_file(inputs(put(root / "b.py", "x")))
    assert not reads_config_file(inputs(root / "absent.py"))

"""Resuming from the previous session: what is accepted, refused, replaced by an older file, and copied."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from kernel_template.contract import EndReason
from kernel_template.events import EvalEvent
from kernel_template.settings import ResumeSettings
from kernel_template.start.parent import ParentSession, ResumePoint
from kernel_template.tools.files import LineFile, json_bytes, sha256_of, write_atomic
from kernel_template.tools.outcome import KernelFailure
from tests.kernel.kit import Log, paths_in, put, put_checkpoint, reporter

FOLDER = "training/bangla আ-November-22"
# What is taken over of a run folder.
TAKEN = {"best_model.pth", "best_model_12.pth", "checkpoint_14.pth", "config.json", "trainer_0_log.txt"}
STEPS = {"checkpoint_10.pth": 10, "best_model_12.pth": 12, "checkpoint_14.pth": 14}


def asked(**changes: Any) -> ResumeSettings:
    """Return the settings' `resume` section."""
    base: ResumeSettings = {
        "kernel": "owner/voice-a",
        "version": 3,
        "run": "3f9c",
        "session": 2,
        "global_step": 14,
        "sha256": None,
        "dataset": None,
        "downloads": None,
    }
    return cast("ResumeSettings", {**base, **changes})


def mount(root: Path, place: str = "notebooks/owner/voice-a", **state: Any) -> Path:
    """Mount a session's output."""
    folder = root / "input" / place
    for name in STEPS:
        put_checkpoint(folder / FOLDER / name, name)
    put_checkpoint(folder / FOLDER / "best_model.pth", "best_model_12.pth")
    put(folder / FOLDER / "config.json", "{}")
    put(folder / FOLDER / "trainer_0_log.txt", "log")
    put(folder / FOLDER / ".kgtts-checkpoint_15.pth.part", "half")
    put(folder / "train_log.txt", "before\n")
    lines = [{"event": "progress", "global_step": step} for step in (9, 12, 14, 15)]
    put(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    content = {
        "schema": 1,
        "run": {"id": "3f9c", "session": 2},
        "global_step": 14,
        "checkpoint": f"{FOLDER}/checkpoint_14.pth",
        "best_model": f"{FOLDER}/best_model_12.pth",
        "checkpoints": [
            {
                "path": f"{FOLDER}/{name}",
                "global_step": step,
                "size": (folder / FOLDER / name).stat().st_size,
                "sha256": sha256_of(folder / FOLDER / name),
            }
            for name, step in STEPS.items()
        ],
        "history": [{"session": 1}, {"session": 2, "to_epoch": 5}],
    }
    put(folder / "state.json", json.dumps({**content, **state}))
    return folder


def listed(path: str) -> dict[str, Any]:
    """Return a checkpoint's entry in state.json."""
    return {"path": path, "global_step": 14, "size": 7, "sha256": "0" * 64}


KEPT = "owner/voice-kept"


def flat_mount(root: Path, place: str = f"datasets/{KEPT}", **state: Any) -> Path:
    """Mount a dataset with what was kept of a killed session: its best model and newest checkpoint."""
    made = mount(root, **state)
    folder = root / "input" / place
    folder.mkdir(parents=True)
    for path in [*made.glob("*.*"), *(made / FOLDER).iterdir()]:
        if path.name not in ("best_model.pth", "checkpoint_10.pth") and path.is_file():
            path.rename(folder / path.name)
    shutil.rmtree(made)
    put(folder / "kgtts-kept-3f9c-2-14.json", "{}")
    return folder


def take(root: Path, log: Log, **changes: Any) -> ResumePoint:
    """Resume from the parent."""
    return ParentSession(asked(**changes), paths_in(root), reporter(log), write_atomic).take_over()


def refused(root: Path, log: Log, **changes: Any) -> str:
    """Return the error that refuses a parent; nothing usable was copied."""
    with pytest.raises(KernelFailure) as caught:
        take(root, log, **changes)
    assert caught.value.reason is EndReason.WRONG_PARENT
    assert "run 3f9c after session 2 (owner/voice-a version 3, step 14)" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("place", ["notebooks/owner/voice-a", "voice-a", "kernels/x/owner/voice-a"])
def test_a_parent_is_taken_over(root: Path, log: Log, place: str) -> None:
    """Under each layout, checkpoint, best model, configuration and logs are copied, other checkpoints not."""
    mount(root, place)
    resumed = take(root, log)
    folder = root / "working" / FOLDER
    assert resumed.folder == folder
    assert resumed.checkpoint == folder / "checkpoint_14.pth"
    assert (resumed.best_model, resumed.global_step) == (folder / "best_model_12.pth", 14)
    assert {path.name for path in folder.iterdir()} == TAKEN
    assert resumed.history[-1]["to_epoch"] == 5
    assert (root / "working" / "train_log.txt").read_text() == "before\n"


def test_a_read_only_mount_leaves_files_that_can_be_written(root: Path, log: Log) -> None:
    """Copies are writable, since the trainer appends to its log."""
    folder = mount(root)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    resumed = take(root, log)
    for path in (resumed.folder, *resumed.folder.iterdir()):
        assert path.stat().st_mode & 0o200


def test_the_metrics_never_go_back(root: Path, log: Log) -> None:
    """The parent's lines up to the checkpoint come first, then this session's."""
    mount(root)
    paths, report = paths_in(root), reporter(log)
    report.metrics = LineFile(paths.metrics)
    report.warn("early")
    ParentSession(asked(), paths, report, write_atomic).take_over()
    report.event(EvalEvent(epoch=1, global_step=15, losses={}))
    report.metrics.close()
    events = [json.loads(line) for line in paths.metrics.read_text().splitlines()]
    assert [event.get("global_step", event.get("message")) for event in events] == [9, 12, 14, "early", 15]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"run": {"id": "other", "session": 2}}, "is the output of run other"),
        ({"run": {"id": "3f9c", "session": 1}}, "an older version, session 1 of the same run, at step 14"),
        ({"run": {"id": "3f9c", "session": 3}}, "the output of session 3"),
        ({"run": None}, "the output of run None"),
        ({"global_step": 12}, "an older version: its newest checkpoint is at step 12"),
        ({"global_step": None}, "at step None"),
        ({"schema": 2}, "schema 2 instead of 1"),
        ({"checkpoints": []}, "lists no checkpoint"),
        ({"checkpoints": "x"}, "lists no checkpoint"),
        ({"checkpoints": [listed("../../x/checkpoint_14.pth")]}, "lists no checkpoint"),
        ({"checkpoints": [listed("/x/checkpoint_14.pth")]}, "lists no checkpoint"),
        ({"checkpoints": [listed("checkpoint_14.pth")]}, "lists no checkpoint"),
        ({"checkpoints": [listed("x/model_14.pth")]}, "lists no checkpoint"),
        ({"checkpoints": [{"path": "x/checkpoint_14.pth"}]}, "lists no checkpoint"),
        ({"checkpoints": [listed("x\0/checkpoint_14.pth")]}, "lists no checkpoint"),
        ({"checkpoints": [listed("\ud800/checkpoint_14.pth")]}, "lists no checkpoint"),
        ({"checkpoints": [listed("x/checkpoint_14.pth\n")]}, "lists no checkpoint"),
        ({"checkpoints": [listed("x/checkpoint_১৪.pth")]}, "lists no checkpoint"),
        ({"checkpoints": [{**listed("x/checkpoint_14.pth"), "size": float("inf")}]}, "lists no checkpoint"),
        ({"run": {"id": "\x1b[2Jx\n", "session": 2}}, "is the output of run ?[2Jx?"),
    ],
)
def test_a_wrong_parent_is_refused(root: Path, log: Log, state: dict[str, Any], words: str) -> None:
    """Another run, session, version or format is refused; the error names both."""
    mount(root, **state)
    assert words in refused(root, log)
    assert not list((root / "working").rglob("*.pth"))


DEEP = json.loads("[" * 500 + "]" * 500)
ODD: list[Any] = [None, "x", "\ud800", -1, True, float("inf"), float("nan"), 10**400, [[]], {}, {"a": DEEP}]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
def test_values_of_other_types_do_no_harm(root: Path, log: Log, value: Any) -> None:
    """Whatever stands in state.json, what a session uses has its type, and can be written again."""
    keys = ("epoch", "steps_per_epoch", "seconds_per_epoch", "best_loss", "losses", "learned", "export")
    session = {"session": 1, **dict.fromkeys(("kernel", "from_step", "to_epoch", "reason", "seconds"), value)}
    folder = mount(
        root,
        **dict.fromkeys(keys, value),
        best_model=value,
        checkpoint=value,
        history=[value, {"session": value}, session],
    )
    resumed = take(root, log)
    assert json.loads(json_bytes(resumed.state))["export"].keys() == {"base"}
    assert [item["session"] for item in resumed.history] == [1]
    assert all(
        isinstance(item, int | None) for item in (resumed.state["epoch"], resumed.history[0].get("to_epoch"))
    )
    assert len({item["session"] for item in resumed.history}) == 1
    put(folder / "state.json", "[" * 100_000)
    assert "is damaged" in refused(root, log)


def test_a_damaged_state_is_refused(root: Path, log: Log) -> None:
    """A truncated or missing state.json proves nothing."""
    folder = mount(root)
    put(folder / "state.json", '{"schema": 1, "ru')
    assert "is damaged" in refused(root, log)
    (folder / "state.json").unlink()
    assert "there is no state.json in" in refused(root, log)


def test_another_checkpoint_under_the_same_step_is_refused(root: Path, log: Log) -> None:
    """The hash recorded at the push decides."""
    folder = mount(root)
    told = sha256_of(folder / FOLDER / "checkpoint_14.pth")
    assert "instead of 000000000000…" in refused(root, log, sha256="0" * 64)
    assert take(root, log, sha256=told).global_step == 14


def test_a_parent_that_is_not_mounted(root: Path, log: Log) -> None:
    """The error names the kernel and what to check."""
    paths_in(root)
    with pytest.raises(KernelFailure, match=r"owner/voice-a, .* is not mounted") as caught:
        take(root, log)
    assert caught.value.reason is EndReason.MISSING_INPUT


def test_a_damaged_newest_checkpoint_falls_back(root: Path, log: Log) -> None:
    """The next complete one is used and reported; later metrics are dropped."""
    folder = mount(root)
    put_checkpoint(folder / FOLDER / "checkpoint_14.pth", "checkpoint_1X.pth")
    resumed = take(root, log)
    assert (resumed.checkpoint.name, resumed.global_step) == ("best_model_12.pth", 12)
    assert resumed.best_model == resumed.checkpoint
    (event,) = log.events("warning")
    assert event["message"] == (
        "checkpoint_14.pth is damaged (its SHA-256 differs from the one in state.json); "
        "the training continues from best_model_12.pth instead."
    )
    assert not (resumed.folder / "checkpoint_14.pth").exists()
    assert not list(resumed.folder.glob(".kgtts-*"))
    metrics = (root / "working" / "metrics.jsonl").read_text()
    assert [json.loads(line)["global_step"] for line in metrics.splitlines()] == [9, 12]


def test_missing_and_truncated_checkpoints(root: Path, log: Log) -> None:
    """The oldest complete one is used if need be; with none, each fault is named."""
    folder = mount(root)
    (folder / FOLDER / "checkpoint_14.pth").unlink()
    put(folder / FOLDER / "best_model_12.pth", b"PK")
    resumed = take(root, log)
    assert (resumed.checkpoint.name, resumed.best_model) == ("checkpoint_10.pth", None)
    put(folder / FOLDER / "checkpoint_10.pth", b"")
    message = refused(root, log)
    for words in (
        "checkpoint_14.pth is missing",
        "best_model_12.pth is damaged",
        "checkpoint_10.pth is damaged",
    ):
        assert words in message


def test_a_checkpoint_that_is_no_archive_is_not_taken(root: Path, log: Log) -> None:
    """A file that agrees with state.json can still be truncated."""
    folder = mount(root)
    torn = put(folder / FOLDER / "checkpoint_14.pth", b"PK\x03\x04 the half of a checkpoint")
    state = json.loads((folder / "state.json").read_text())
    for item in state["checkpoints"]:
        if item["path"].endswith(torn.name):
            item |= {"size": torn.stat().st_size, "sha256": sha256_of(torn)}
    put(folder / "state.json", json.dumps(state))
    resumed = take(root, log)
    assert (resumed.checkpoint.name, resumed.global_step) == ("best_model_12.pth", 12)
    assert not (resumed.folder / torn.name).exists()


def test_a_best_model_of_another_training_is_left_behind(root: Path, log: Log) -> None:
    """Coqui would find it in the run folder that it continues in."""
    folder = mount(root)
    other = put_checkpoint(folder / "training/another/best_model_13.pth")
    state = json.loads((folder / "state.json").read_text())
    path = other.relative_to(folder).as_posix()
    item = {"path": path, "global_step": 13, "size": other.stat().st_size, "sha256": sha256_of(other)}
    state |= {"best_model": path, "checkpoints": [*state["checkpoints"], item]}
    put(folder / "state.json", json.dumps(state))
    assert take(root, log).best_model is None
    assert not list((root / "working").rglob("best_model_13.pth"))


def test_a_link_out_of_the_mount_is_not_followed(root: Path, log: Log, tmp_path: Path) -> None:
    """A link to a file outside of the mount is not a checkpoint of the parent."""
    folder = mount(root)
    newest = folder / FOLDER / "checkpoint_14.pth"
    newest.rename(tmp_path / "elsewhere.pth")
    newest.symlink_to(tmp_path / "elsewhere.pth")
    (folder / FOLDER / "link.txt").symlink_to("/etc/passwd")
    resumed = take(root, log)
    assert resumed.global_step == 12
    assert not (resumed.folder / "link.txt").exists()


@pytest.mark.parametrize("place", [f"datasets/{KEPT}", "voice-kept", f"datasets/{KEPT}/deeper"])
def test_a_dataset_with_what_a_killed_session_kept(root: Path, log: Log, place: str) -> None:
    """Its files replace the kernel's output, which may be mounted or not."""
    flat_mount(root, place, status="running")
    resumed = take(root, log, dataset=KEPT)
    folder = root / "working" / FOLDER
    assert (resumed.folder, resumed.checkpoint) == (folder, folder / "checkpoint_14.pth")
    assert resumed.best_model == folder / "best_model_12.pth"
    assert {path.name for path in folder.iterdir()} == TAKEN
    assert [item["session"] for item in resumed.history] == [1, 2]
    assert (root / "working" / "train_log.txt").read_text() == "before\n"


def test_a_dataset_that_holds_its_folders_is_taken_over_too(root: Path, log: Log) -> None:
    """A dataset with folders is accepted as well."""
    mount(root, f"datasets/{KEPT}")
    assert take(root, log, dataset=KEPT).checkpoint == root / "working" / FOLDER / "checkpoint_14.pth"


def test_a_dataset_of_another_session_is_refused(root: Path, log: Log) -> None:
    """An older version, or one of another run, is refused, and none of its files is used."""
    flat_mount(root, run={"id": "3f9c", "session": 1})
    assert "the output of an older version, session 1" in refused(root, log, dataset=KEPT)
    assert not list((root / "working").rglob("*.pth"))


def test_a_damaged_checkpoint_of_a_dataset_falls_back_to_the_best_model(root: Path, log: Log) -> None:
    """Files that were not kept count as missing."""
    folder = flat_mount(root)
    put_checkpoint(folder / "checkpoint_14.pth", "checkpoint_1X.pth")
    assert take(root, log, dataset=KEPT).checkpoint.name == "best_model_12.pth"
    (folder / "best_model_12.pth").unlink()
    message = refused(root, log, dataset=KEPT)
    assert "best_model_12.pth is missing; checkpoint_10.pth is missing" in message


def test_a_dataset_that_is_not_mounted(root: Path, log: Log) -> None:
    """The error names the dataset; a kernel's mount does not replace it."""
    mount(root)
    with pytest.raises(KernelFailure, match=r"dataset owner/voice-kept, .* is not mounted .* it exists"):
        take(root, log, dataset=KEPT)

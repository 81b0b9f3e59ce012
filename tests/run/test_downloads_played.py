"""A session is killed without grace on the emulator: the next one downloads what it kept by itself.

The real client lists and pushes, the real kernel downloads, and the training is made up.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator.faults.kinds import Corrupted, Expired, Fault, Reset
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.emulator.service.state import VersionPaths
from orchestrator.models import KernelRef
from tests.cli.test_secrets import FORMS, searched
from tests.cli.voice import SETTINGS
from tests.run.test_kept import DATASET, KILLED_AT, SLUG
from tests.run.test_mounts import QUEUE_S, REF, SAVES_EACH_EPOCH, Run, account, flip
from tests.support import USER, Cli

pytestmark = pytest.mark.posix

THIRD, FOURTH, FIFTH = f"{REF}-a/2", f"{REF}-a/3", f"{REF}-a/4"


@pytest.fixture
def run(cli: Cli, workplace: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """An account with internet, whose training kills session 2 at step 6, when step 4 is saved as well."""
    options = dict(getattr(request, "param", {}))
    with account(cli, SAVES_EACH_EPOCH + KILLED_AT.format(step=6), **options) as made:
        settings = SETTINGS.replace("internet = false", "internet = true")
        Path("kgtts.toml").write_text(settings, encoding="utf-8")
        made.session(epochs=1)
        made.session(epochs=6)
        yield made


def spoil(run: Run, *faults: Fault) -> None:
    """Give the emulator these faults."""
    run.emulator.server.faults.set(FaultPlan(faults=faults))


def has_dataset(run: Run) -> bool:
    """Return whether anything was handed over through this machine."""
    return run.emulator.backend.datasets.find(USER, SLUG) is not None


def history(told: dict[str, Any]) -> list[tuple[int, int, int, str]]:
    """Return the sessions with their steps and ends."""
    return [(item["session"], item["from_step"], item["to_step"], item["reason"]) for item in told["history"]]


def paths(run: Run, version: str) -> VersionPaths:
    """Return where the emulator stores a version."""
    ref = KernelRef.parse(version)
    assert ref.version is not None
    kernels = run.emulator.backend.kernels
    return kernels.paths(kernels.get(ref.owner, ref.slug), ref.version)


def left(run: Run, version: str) -> str:
    """Return the log and the outputs of a session."""
    stored = paths(run, version)
    files = [stored.log, *(path for path in stored.output.rglob("*") if path.is_file())]
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in files)


def test_a_killed_session_is_downloaded_by_the_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No epoch is trained twice, no byte passes this machine, and no URL is left anywhere."""
    monkeypatch.setenv("KGTTS_DEBUG", "1")
    third = run.sync(epochs=6)
    assert (third["kernel"], third["session"], third["warnings"]) == (THIRD, 3, [])
    assert (
        "continues from step 6. No kernel can mount what session 2 saved, so the session downloads it."
        in (third["reason"])
    )
    assert "X-Goog-Signature=" in paths(run, THIRD).source.read_text(encoding="utf-8")
    run.play(THIRD)
    log = run.log(THIRD)
    assert "✓ Downloaded: training/voice-run/checkpoint_6.pth" in log
    assert f"Continuing from checkpoint_6.pth of session 2 ({REF}-b)" in log
    done = run.sync(epochs=6)
    assert (done["state"], done["global_step"], has_dataset(run)) == ("done", 12, False)
    assert history(done) == [(1, 0, 2, "finished"), (2, 2, 6, "killed"), (3, 6, 12, "finished")]
    said = json.dumps([third, done]) + log
    for arguments in (
        ["-v", "sync"],
        ["-v", "watch"],
        ["-v", "status", THIRD],
        ["status", "--json"],
        ["-v", "pull", THIRD, "--all"],
        ["report", THIRD],
        ["metrics", THIRD],
        ["list", "--all", "--json"],
        ["render"],
    ):
        result = run.kgtts(*arguments)
        assert result.code == 0, result.said
        said += result.said
    for form in FORMS:
        assert form not in said
        assert form not in left(run, THIRD)
        for path in searched(Path.cwd().parent):
            if not path.is_relative_to(Path.cwd() / "kaggle"):
                assert form.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("run", [{"url_lifetime_s": QUEUE_S / 2}], indirect=True)
def test_urls_that_expire_in_the_queue_lead_to_the_dataset(run: Run) -> None:
    """Two sessions end at once without training; the third mounts what this machine uploaded."""
    for number, version in ((3, THIRD), (4, FOURTH)):
        told = run.session(epochs=6)
        assert (told["kernel"], told["session"], has_dataset(run)) == (version, number, False)
        state = json.loads((run.outputs(version) / "state.json").read_text(encoding="utf-8"))
        assert (state["reason"], state["checkpoint"]) == ("handover_failed", None)
        assert state["seconds"]["total"] < 30
        assert "its address has expired (the storage answered 400)" in state["message"]
        assert "EPOCH" not in run.log(version)
        assert "X-Goog" not in left(run, version)
    fifth = run.session(epochs=6)
    assert (fifth["kernel"], fifth["session"]) == (FIFTH, 5)
    assert "handed over as a dataset first. It could not be downloaded 2 times." in fifth["reason"]
    (warning,) = fifth["warnings"]
    assert warning.startswith("Session 4 ended at its start: state.json of session 2")
    assert f"datasets/{DATASET}/state.json (the session before)" in run.log(FIFTH)
    done = run.sync(epochs=6)
    assert (done["state"], done["global_step"]) == ("done", 12)
    assert history(done)[1:] == [
        (2, 2, 6, "killed"),
        (3, 6, 6, "handover_failed"),
        (4, 6, 6, "handover_failed"),
        (5, 6, 12, "finished"),
    ]


def test_a_403_in_the_middle_of_a_file_gets_fresh_urls(run: Run) -> None:
    """The connection breaks and the rest is refused; the next session's URLs work."""
    checkpoint = "storage:*/checkpoint_6.pth"
    spoil(
        run,
        Reset.model_validate({"where": checkpoint, "after": 50, "first": 1}),
        Expired(where=checkpoint, skip=1, first=1, status=403),
    )
    assert run.session(epochs=6)["kernel"] == THIRD
    assert "checkpoint_6.pth of session 2" in run.log(THIRD)
    fourth = run.session(epochs=6)
    assert "so the session downloads it. It could not be downloaded once." in fourth["reason"]
    done = run.sync(epochs=6)
    assert (done["state"], has_dataset(run), history(done)[2][3]) == ("done", False, "handover_failed")


def test_damage_on_the_way_and_in_the_storage(run: Run) -> None:
    """A file damaged on the way is downloaded again; one damaged in storage is skipped and reported."""
    flip(run.checkpoint(f"{REF}-b/1", 6))
    spoil(
        run,
        Corrupted(where="storage:*/checkpoint_4.pth", first=1),
        Reset.model_validate({"where": "storage", "first": 1}),
    )
    run.session(epochs=6)
    log = run.log(THIRD)
    why = "could not be downloaded (its SHA-256 differs from the one in state.json)"
    assert f"checkpoint_6.pth {why}; the training continues from checkpoint_4.pth instead." in log
    assert f"Continuing from checkpoint_4.pth of session 2 ({REF}-b)" in log
    assert not has_dataset(run)

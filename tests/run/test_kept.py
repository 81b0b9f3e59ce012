"""A session is killed without grace on the emulator: the run continues from its last checkpoint.

The pass downloads and uploads over the wire, and the real kernel continues from the dataset that it mounts.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.emulator.faults.kinds import Error
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.errors import ExitCode
from tests.run.test_mounts import REF, SAVES_EACH_EPOCH, Run, account, flip
from tests.support import USER, Cli, eventually

pytestmark = pytest.mark.posix

SLUG = "bangla-tts-kept"
DATASET = f"{USER}/{SLUG}"
# Once its checkpoint is told in state.json, nobody has time to say another word.
KILLED_AT = """    if total == {step}:
        import signal, time
        state = os.path.join(config["output_path"], "..", "state.json")
        while not os.path.exists(state) or f"checkpoint_{{total}}.pth" not in open(state).read():
            print("the training goes on", flush=True)  # The kernel looks at files between lines.
            time.sleep(0.1)
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def run(cli: Cli, workplace: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """An account whose training kills its session the first time that it reaches step 6."""
    options = dict(getattr(request, "param", {}))
    script = SAVES_EACH_EPOCH + KILLED_AT.format(step=options.pop("step", 6))
    with account(cli, script, **options) as made:
        yield made


def test_a_killed_session_loses_nothing_that_it_saved(run: Run) -> None:
    """It is killed at its second checkpoint, and the next continues there: no epoch is trained twice."""
    first = run.session(epochs=1)
    second = run.session(epochs=6)
    third = run.sync(epochs=6)
    assert (third["session"], third["warnings"]) == (3, [])
    assert "continues from step 6" in third["reason"]
    run.play(third["kernel"])
    log = run.log(third["kernel"])
    assert f"datasets/{DATASET}/state.json (the session before)" in log
    assert f"Continuing from checkpoint_6.pth of session 2 ({REF}-b)" in log
    done = run.sync(epochs=6)
    assert (done["state"], done["global_step"], done["run"]) == ("done", 12, first["run"])
    assert [(item["session"], item["from_step"], item["to_step"]) for item in done["history"]] == [
        (1, 0, 2),
        (2, 2, 6),
        (3, 6, 12),
    ]
    assert done["history"][1]["kernel"] == second["kernel"].rpartition("/")[0]
    assert done["history"][1]["seconds"] > 0
    files = run.kgtts("kaggle", "datasets", "files", DATASET)
    assert "checkpoint_6.pth" in files.out
    assert "checkpoint_4.pth" not in files.out


@pytest.mark.parametrize("where", ["api:CreateDataset", "api:StartBlobUpload"])
def test_a_refusal_while_it_is_handed_over_gives_nothing_up(run: Run, where: str) -> None:
    """The pass ends with Kaggle's word and pushes nothing; a later one hands the session over."""
    run.session(epochs=1)
    run.session(epochs=3)
    run.emulator.server.faults.set(FaultPlan(faults=(Error(where=where, status=403),)))
    refused = run.kgtts("sync", "--no-pull", "--set", "training.epochs=6")
    assert (refused.code, "403" in refused.err) == (ExitCode.SERVICE, True)
    run.emulator.server.faults.set(FaultPlan())
    assert "continues from step 6" in run.sync(epochs=6)["reason"]
    assert run.emulator.backend.datasets.find(USER, SLUG) is not None


@pytest.mark.parametrize("run", [{"step": 4, "dataset_processing_s": 3600.0}], indirect=True)
def test_the_first_session_of_a_run_is_killed(run: Run) -> None:
    """There is no other version to mount; the pass waits while Kaggle prepares the dataset."""
    first = run.session(epochs=3)

    def process() -> None:
        with eventually("the dataset is uploaded") as again:
            while run.emulator.backend.datasets.find(USER, SLUG) is None:
                again()
        run.clock.advance(3600)

    kaggle = threading.Thread(target=process)
    kaggle.start()
    second = run.session(epochs=3)
    kaggle.join()
    assert (second["run"], second["session"]) == (first["run"], 2)
    assert f"Continuing from checkpoint_4.pth of session 1 ({REF}-a)" in run.log(second["kernel"])
    done = run.sync(epochs=3)
    assert (done["state"], done["global_step"]) == ("done", 6)
    dataset = run.emulator.backend.datasets.find(USER, SLUG)
    assert dataset is not None
    assert (len(dataset.versions), dataset.private) == (1, True)


@pytest.mark.parametrize("run", [{"keep_failed_outputs": False}], indirect=True)
def test_outputs_that_were_not_kept_leave_the_session_before(run: Run) -> None:
    """Nothing can be handed over, and nothing is tried."""
    first = run.session(epochs=1)
    run.session(epochs=3)
    third = run.session(epochs=2)
    assert (third["session"], third["warnings"]) == (3, [])
    assert f"Continuing from checkpoint_2.pth of session 1 ({REF}-a)" in run.log(third["kernel"])
    assert run.emulator.backend.datasets.find(USER, SLUG) is None
    done = run.sync(epochs=2)
    assert (first["run"], done["state"]) == (third["run"], "done")
    assert [(item["session"], item["to_step"], item["reason"]) for item in done["history"]] == [
        (1, 2, "finished"),
        (2, 2, "killed"),
        (3, 4, "finished"),
    ]


def test_kept_outputs_that_are_damaged_leave_the_session_before(run: Run) -> None:
    """A warning says so, and the run continues in the same pass."""
    run.session(epochs=1)
    second = run.session(epochs=3)
    for step in (4, 6):
        flip(run.checkpoint(second["kernel"], step))
    told = run.sync(epochs=2)
    assert told["pushed"]
    (warning,) = told["warnings"]
    assert warning.startswith("What session 2 kept, up to step 6, is lost: ")
    run.play(told["kernel"])
    assert f"Continuing from checkpoint_2.pth of session 1 ({REF}-a)" in run.log(told["kernel"])

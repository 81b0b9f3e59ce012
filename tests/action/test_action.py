"""The action's own steps with the emulator as Kaggle: passes on fresh machines until the run is done."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.context import workbench
from orchestrator.emulator import Emulator
from orchestrator.models import KernelRef
from orchestrator.run.context import Target
from orchestrator.run.outlook import outlook_of
from orchestrator.run.status import report_session
from orchestrator.settings import load_settings
from orchestrator.voice.package import open_package
from tests.action.machines import SETTINGS, TRAIN, Fleet, Installation, check_out
from tests.action.runner import BASH, Job
from tests.cli.voice import SETTINGS as VOICE_SETTINGS
from tests.cli.voice import make_python, provide_inputs
from tests.notify.listener import listening
from tests.support import KEY, REPOSITORY, USER
from tests.voice.bangla import put_bangla_voice

pytestmark = pytest.mark.xdist_group("action")  # One worker installs what all machines have.

HERE = Path(__file__).parent
MANY_PASSES = 10  # A run of three sessions needs four or five.


@pytest.fixture(scope="module")
def action(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the action."""
    return check_out(tmp_path_factory.mktemp("action"))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the kernel's package, whose kernel trains nothing."""
    place = tmp_path_factory.mktemp("packages")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "kernel_template", place / "kernel_template", ignore=ignored)
    shutil.copy(HERE / "kernel.py.j2", place / "kernel_template" / "kernel.py.j2")
    return place


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    """What the install step makes, which is the same on every machine and run once."""
    with closing(Installation()) as installation:
        yield installation


@pytest.fixture
def kaggle(tmp_path: Path, start_emulator: Callable[..., Emulator]) -> Emulator:
    """A running emulator with the inputs."""
    root = tmp_path / "kaggle"
    for folder in (
        root / "datasets" / USER / "datahrbnn",
        root / "models" / USER / "ttsbnng" / "transformers" / "default" / "1",
    ):
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text("x")
    return start_emulator()


@pytest.fixture
def new_fleet(
    tmp_path: Path, action: Path, packages: Path, kaggle: Emulator, installed: Installation
) -> Callable[..., Fleet]:
    """Makes machines for jobs, with the emulator as Kaggle."""
    return partial(Fleet, tmp_path, action, kaggle, installed=installed, packages=packages)


@pytest.fixture
def fleet(new_fleet: Callable[..., Fleet]) -> Fleet:
    """Machines for jobs."""
    return new_fleet()


def to_the_end(fleet: Fleet, **asked: Any) -> list[Job]:
    """Make pass after pass until the run is done: one in the first session, one after each."""
    jobs: list[Job] = []
    while len(jobs) < MANY_PASSES:
        if len(jobs) > 1:
            fleet.wait()
        jobs.append(fleet.job(**asked))
        assert jobs[-1].ok, jobs[-1].log
        if jobs[-1].outputs["done"] == "true":
            return jobs
    raise AssertionError(jobs[-1].log)


def test_passes_on_fresh_machines_take_a_run_to_its_end(fleet: Fleet) -> None:
    """A pass knows only settings and credentials; all epochs are trained once each."""
    jobs = to_the_end(fleet, checkpoints="true")
    first, last = jobs[0], jobs[-1]
    assert first.outputs == {
        "state": "running",
        "global_step": "0",
        "session": "1",
        "done": "false",
        "over": "false",
        "alert": "false",
        "pulled": "",
    }
    assert (last.outputs["state"], last.outputs["global_step"], last.outputs["session"]) == (
        "done",
        "50",
        "3",
    )
    assert last.outputs["over"] == "true"
    pulled = [job.outputs["pulled"] for job in jobs if job.outputs["pulled"]]
    assert [Path(folder).name for folder in pulled] == ["session-01", "session-02", "session-03"]
    artifacts = fleet.service.artifacts
    for name, step in (("a-session-01", 20), ("b-session-02", 40), ("a-session-03", 50)):
        found = artifacts / f"bangla-tts-{name}" / f"training/voice/checkpoint_{step}.pth"
        assert found.read_bytes() == b"weights %d" % step
        assert "<h1>" in (artifacts / f"bangla-tts-{name}" / "report.html").read_text(encoding="utf-8")
    assert "epoch **5** of 5, step **50**" in last.summary
    assert "Eval loss 90.0000 → 18.0000 (steps 10 – 50)" in last.summary
    assert "Lowest eval loss: 18.0000 (mel loss on the evaluation recordings, step 50)" in last.summary
    too_early = "**Listen to hear whether it speaks. It is too early to say whether to keep training.**"
    assert too_early in last.summary
    assert "Quota: " in last.summary
    assert last.summary.count("asha/bangla-tts-") == 3
    forecasts = [job.summary for job in jobs if "Left: " in job.summary]
    assert forecasts
    assert all("at this pace and quota" in text for text in forecasts)
    assert last.outputs["alert"] == "true"
    again_done = fleet.job(checkpoints="true")
    assert again_done.ok
    assert again_done.outputs["alert"] == "false"
    assert (again_done.outputs["state"], again_done.outputs["pulled"]) == ("done", "")
    said = "".join(job.log for job in jobs).replace(f"::add-mask::{KEY}\n", "")
    assert KEY not in said


def test_the_real_kernel_is_taken_to_its_end(
    tmp_path: Path,
    action: Path,
    installed: Installation,
    start_emulator: Callable[..., Emulator],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The unmodified kernel with a training that its time limit stops: three sessions, five epochs."""
    (tmp_path / "python").mkdir()
    kaggle = start_emulator(python=make_python(tmp_path / "python"))
    provide_inputs(tmp_path / "kaggle", TRAIN)
    settings = VOICE_SETTINGS.replace("epochs = 2", "epochs = 5").replace('"5m"', '"3s"')
    fleet = Fleet(tmp_path, action, kaggle, installed=installed, settings=settings)
    jobs = to_the_end(fleet, checkpoints="true")
    last = jobs[-1].outputs
    assert (last["state"], last["session"], last["global_step"]) == ("done", "3", "10")
    kept = (tmp_path / "github" / "artifacts").rglob("checkpoint_*.pth")
    assert sorted(file.name for file in kept) == ["checkpoint_10.pth", "checkpoint_4.pth", "checkpoint_8.pth"]
    assert "Eval loss 28.2500 → 20.2500 (steps " in jobs[-1].summary
    for name, value in {"KGTTS_KAGGLE_URL": kaggle.url, "KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}.items():
        monkeypatch.setenv(name, value)
    Path("kgtts.toml").write_text(settings.replace("epochs = 5", "epochs = 9"), encoding="utf-8")
    with workbench() as bench:
        target = Target(KernelRef(USER, "bangla-tts-a", 2), None)
        snapshot = bench.snapshot()
        report = report_session(bench, target, snapshot=snapshot)
        raised = outlook_of(
            bench, report, lambda: load_settings(environ={}, cwd=Path.cwd()).settings, snapshot
        )
        assert raised is not None
        assert raised.forecast is not None
        assert (raised.forecast.epochs, raised.forecast.sessions > 0) == (5, True)


def test_an_artifact_that_is_refused_is_not_downloaded_again(fleet: Fleet) -> None:
    """One pass fails and says where the results are; the next downloads nothing."""
    fleet.service.full = True
    pulled: list[str] = []
    failed: list[Job] = []
    while len(pulled) < MANY_PASSES:
        fleet.wait()
        job = fleet.job()
        pulled.append(job.outputs["pulled"])
        if not job.ok:
            failed.append(job)
        if job.outputs["done"] == "true":
            break
    assert [Path(folder).name for folder in pulled if folder] == ["session-01", "session-02", "session-03"]
    assert len(failed) == 3
    assert all("could not be kept as an artifact" in job.log for job in failed)


def test_set_of_one_pass_belongs_to_the_run(fleet: Fleet) -> None:
    """Later passes keep the settings of a manual pass that started the run."""
    assert fleet.job(set="training.batch_size=3").ok
    jobs = to_the_end(fleet)
    assert jobs[-1].outputs["session"] == "3"
    pulled = [job.outputs["pulled"] for job in jobs if job.outputs["pulled"]]
    assert len(pulled) == 3
    refused = fleet.job(set="training.epochs=9\ntraining.batch_size=4")
    assert not refused.ok
    assert "training.batch_size from 3 to 4" in refused.log
    assert fleet.job().outputs["state"] == "done"


def test_a_done_run_is_told_once_and_released(
    tmp_path: Path,
    action: Path,
    kaggle: Emulator,
    installed: Installation,
    packages: Path,
) -> None:
    """Fresh machines tell each end once and show no address; the release has a package that is whole.

    A default artifact is small: voice, report and measurements, no checkpoints.
    """
    voice = put_bangla_voice(tmp_path / "voice").parent
    own = shutil.copytree(packages, tmp_path / "packages")
    kernel = own / "kernel_template" / "kernel.py.j2"
    leaves = f"import shutil; shutil.copytree({str(voice)!r}, work / 'voice')\n"
    kernel.write_text(kernel.read_text(encoding="utf-8") + leaves, encoding="utf-8")
    settings = SETTINGS.replace('"state.json"', '"state.json", "voice/*"')
    fleet = Fleet(tmp_path, action, kaggle, installed=installed, packages=own, settings=settings)
    released = tmp_path / "released"
    with listening() as service:
        environment = {"KGTTS_NOTIFY": service.address, "RELEASED": str(released)}
        environment["PATH"] = os.pathsep.join(
            [put_gh(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        jobs = to_the_end(fleet, environment=environment, release="true")
        fleet.job(environment=environment, release="true")
    ends = [f"bangla-tts: session {number} ended" for number in (1, 2)]
    assert service.titles == [*ends, "bangla-tts: the voice is done"]
    assert [item["filename"] for item in service.heard[-1]["attachments"]] == ["voice.zip"]
    said = "".join(line for job in jobs for line in job.log.splitlines() if "::add-mask::" not in line)
    assert "a-secret-token" not in said
    assert f"::add-mask::{service.address}\n" in jobs[0].log
    assert [place.name for place in released.iterdir()] == ["bangla-tts-a-session-03-step-50"]
    kept = [path for path in fleet.service.artifacts.rglob("*") if path.is_file()]
    assert {"voice.onnx", "report.html", "metrics.jsonl", "state.json"} <= {path.name for path in kept}
    assert [path for path in kept if path.suffix == ".pth"] == []
    assert sum(path.stat().st_size for path in kept) < 30e6
    (release,) = released.iterdir()
    assert sorted(place.name for place in release.iterdir()) == ["report.html", "voice.zip"]
    with open_package(release / "voice.zip") as package:
        assert package.identity


def put_gh(folder: Path) -> str:
    """Put a program beside the others that plays GitHub's for releases. Returns its folder."""
    program = folder / "bin" / "gh"
    program.parent.mkdir()
    lines = (
        f"#!{BASH}",
        "set -euo pipefail",
        "[[ $1 == release ]]; place=$RELEASED/$3",
        "case $2 in",
        "view) [[ -d $place ]] ;;",
        'create) mkdir -p "$place" ;;',
        'upload) shift 5; cp -- "$@" "$place" ;;',
        "esac",
    )
    program.write_text("\n".join(lines), encoding="utf-8")
    program.chmod(0o755)
    return str(program.parent)


def test_a_failed_run_alerts_once(new_fleet: Callable[..., Fleet]) -> None:
    """The first pass that finds it fails its job; later ones report it and succeed."""
    fleet = new_fleet(settings=SETTINGS.replace("epochs = 5", "epochs = 13"))  # With 13 the kernel fails.
    jobs: list[Job] = []
    while len(jobs) < MANY_PASSES and (not jobs or jobs[-1].outputs["state"] != "failed"):
        fleet.wait()
        jobs.append(fleet.job())
    assert not jobs[-1].ok
    assert "No T4 is here." in jobs[-1].log
    for _ in range(2):
        later = fleet.job()
        assert later.ok, later.log
        assert (later.outputs["state"], later.outputs["alert"]) == ("failed", "false")
        assert "::error" not in later.log


def test_a_pass_that_cannot_log_in_fails_with_an_annotation(fleet: Fleet) -> None:
    """A wrong key fails the job, is masked, and is explained in annotation and summary."""
    job = fleet.job(environment={"KAGGLE_KEY": "wrong%key\nin two lines"})
    assert not job.ok
    assert "::add-mask::wrong%25key%0Ain two lines\n" in job.log
    assert "\nin two lines" not in job.log
    assert sum(line.startswith("::error title=kgtts::") for line in job.log.splitlines()) == 1
    assert job.summary.startswith("## kgtts: the pass failed")
    assert job.outputs["state"] == ""


def test_inputs_reach_kgtts_as_they_are(fleet: Fleet, tmp_path: Path) -> None:
    """Hostile inputs are arguments and never code: kgtts refuses each with a message."""
    bait = tmp_path / "bait"
    for text in (
        f"kernel.slug=$(touch {bait})",
        f"kernel.slug=`touch {bait}`",
        f'"; touch {bait}; "',
        "--help",
    ):
        job = fleet.job(set=f"\n  \n{text}\r\n")
        assert not job.ok
        assert "::error title=kgtts::" in job.log, job.log
        assert not bait.exists()
    job = fleet.job(config="no such%0A.toml", pull="false")
    assert not job.ok
    assert "no such%250A.toml" in job.log

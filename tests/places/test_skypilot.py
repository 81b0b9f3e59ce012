"""The task for SkyPilot: what it says, and what is refused before it is written."""

import ast
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import SettingsError, UsageError
from orchestrator.places.series import find_series
from orchestrator.places.skypilot import render_task, write_task
from orchestrator.render.stamp import read_stamp
from orchestrator.results import Results
from orchestrator.run.push import preview
from orchestrator.settings import Settings, load_settings
from tests.places.conftest import settings_for
from tests.support import Cli

# What skypilot 0.14 allows at the top, and in `resources` (sky/utils/schemas.py), of what kgtts writes.
TOP = {"name", "num_nodes", "resources", "envs", "file_mounts", "volumes", "setup", "run"}
RESOURCES = {
    "infra": str,
    "cpus": str,
    "accelerators": str,
    "use_spot": bool,
    "image_id": str,
    "disk_size": int,
    "max_hourly_cost": float,
    "job_recovery": dict,
}


BASH = shutil.which("bash") or "bash"


def task_of(settings: Settings, folder: Path) -> dict[str, Any]:
    """Write the task and read it as SkyPilot would."""
    path, *_ = write_task(render_task(settings, folder), folder)
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def settings_in(kernel: str) -> dict[str, Any]:
    """Return the SETTINGS of a kernel's source."""
    _, _, rest = kernel.partition("\nSETTINGS = ")
    found: dict[str, Any] = ast.literal_eval(rest[: rest.find("\n}\n") + 2])
    return found


def test_a_task_says_what_the_settings_say(inputs: Path, tmp_path: Path) -> None:
    """Machines, price, mounts and results are those of [skypilot], under keys that SkyPilot knows."""
    settings = settings_for(inputs, gpus="A100:2", nodes=2, infra="gcp/us-central1", hours=10, dollars=31)
    task = task_of(settings, tmp_path / "out")
    assert set(task) <= TOP
    assert {key: type(value) for key, value in task["resources"].items()}.items() <= RESOURCES.items()
    assert task["num_nodes"] == 2
    assert task["resources"] == {
        "infra": "gcp/us-central1",
        "accelerators": "A100:2",
        "use_spot": True,
        "disk_size": 100,
        "max_hourly_cost": 1.55,
        "job_recovery": {"recover_on_exit_codes": [75], "max_restarts_on_errors": 0},
    }
    run = render_task(settings, tmp_path).run_id
    assert task["envs"]["KGTTS_RUN"] == f"bangla-tts/{run}"
    assert task["file_mounts"] == {
        "~/kgtts/program": str(tmp_path / "out" / "program"),
        "~/kgtts/input/datasets/asha/datahrbnn/MyTTSDataset": str(inputs / "data" / "MyTTSDataset"),
        "~/kgtts/input/models/asha/ttsbnng/transformers/default/1/model": str(inputs / "voice"),
        "~/kgtts/results": {"source": "s3://asha-voices/tts", "mode": "MOUNT"},
    }


def test_one_kernel_serves_a_run_wherever_it_was_begun(inputs: Path, tmp_path: Path) -> None:
    """The same training has the same fingerprint as on Kaggle; [skypilot] is not part of it."""
    first = render_task(settings_for(inputs), tmp_path)
    other = render_task(settings_for(inputs, gpus="A100:8", nodes=4, hours=2), tmp_path)
    kaggle = read_stamp(preview(settings_for(inputs)).source)
    stamp = read_stamp(first.kernel)
    assert stamp is not None
    assert kaggle is not None
    assert (stamp.kernel, stamp.id) == ("skypilot/bangla-tts", other.run_id)
    assert stamp.fingerprint == kaggle.fingerprint
    assert not [key for key in stamp.values if key.startswith("skypilot.")]


def test_the_kernel_knows_its_machine_and_its_hours(inputs: Path, tmp_path: Path) -> None:
    """Its sessions together may take all the hours, on GPUs of any name, and may install what they lack."""
    found = settings_in(render_task(settings_for(inputs, gpus="L4:4", hours=30), tmp_path).kernel)
    assert (found["gpus"], found["gpu_name"], found["series_budget_s"]) == (4, None, 30 * 3600)
    assert (found["internet"], found["save_every_s"]) == (True, 900)
    cpu = settings_in(render_task(settings_for(inputs, gpus="none"), tmp_path).kernel)
    assert cpu["accelerator"] is None


@pytest.mark.parametrize(
    ("values", "mounts", "resources"),
    [
        ({"results": "my-volume"}, {"volumes": {"/kgtts-results": "my-volume"}}, {}),
        ({"results": "/mnt/results", "infra": "slurm/lab"}, {}, {"infra": "slurm/lab"}),
        ({"infra": "k8s", "gpus": "none"}, {}, {"infra": "k8s", "cpus": "4+"}),
    ],
    ids=["volume", "slurm", "kubernetes"],
)
def test_other_places(
    inputs: Path, tmp_path: Path, values: dict[str, Any], mounts: dict[str, Any], resources: dict[str, str]
) -> None:
    """A volume is mounted, a shared folder is used as it is, and where there is no spot none is asked for."""
    task = task_of(settings_for(inputs, **values), tmp_path / "out")
    assert {key: task[key] for key in ("volumes",) if key in task} == mounts
    assert resources.items() <= task["resources"].items()
    assert ("use_spot" in task["resources"]) is ("infra" not in values)
    assert ("~/kgtts/results" in task["file_mounts"]) is ("results" not in values)


def test_buckets_as_inputs(inputs: Path, tmp_path: Path) -> None:
    """A bucket is copied to where Kaggle would mount the input."""
    settings = settings_for(inputs, data="gs://asha/data/", voice="s3://asha/voice")
    mounts = task_of(settings, tmp_path)["file_mounts"]
    assert mounts["~/kgtts/input/datasets/asha/datahrbnn"] == "gs://asha/data"
    assert mounts["~/kgtts/input/models/asha/ttsbnng/transformers/default/1"] == "s3://asha/voice"


def test_what_git_ignores_is_uploaded(inputs: Path, tmp_path: Path) -> None:
    """SkyPilot leaves out what git ignores, unless the folder has a .skyignore; one that is there stays."""
    task = render_task(settings_for(inputs), tmp_path / "out")
    assert len(write_task(task, tmp_path / "out")) == 2
    (inputs / ".git").mkdir()
    (inputs / "voice" / ".skyignore").write_text("mine\n", encoding="utf-8")
    *_, written = write_task(task, tmp_path / "out")
    assert written == inputs / "data" / "MyTTSDataset" / ".skyignore"
    assert (inputs / "voice" / ".skyignore").read_text(encoding="utf-8") == "mine\n"
    for place in (written, tmp_path / "out" / "program" / ".skyignore"):
        lines = place.read_text(encoding="utf-8").splitlines()
        assert all(line.startswith("#") for line in lines)


def test_a_base_voice_by_its_name(inputs: Path, tmp_path: Path) -> None:
    """What `kgtts base add` takes is brought and converted here, and uploaded from there."""
    settings = settings_for(inputs, voice="bangla-female")
    task = render_task(settings, tmp_path, find_voice={"bangla-female": inputs / "voice"}.__getitem__)
    mount = "~/kgtts/input/models/asha/ttsbnng/transformers/default/1/model"
    assert task.file_mounts[mount] == str(inputs / "voice")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"results": ""}, "skypilot.results is not set"),
        ({"data": ""}, "skypilot.data is not set"),
        ({"data": "nowhere"}, "no such folder"),
        ({"voice": "."}, "model/config.json"),
        ({"hours": 0.05}, "no session would fit"),
    ],
)
def test_what_is_missing_is_named(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], words: str
) -> None:
    """A task that could not train is not written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        render_task(settings_for(inputs, **values), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpus", "A100:x"),
        ("gpus", 'T4"\nrun: evil'),
        ("infra", "aws us-east-1"),
        ("results", "s3://bucket/../other"),
        ("results", "My Bucket"),
        ("data", "s3://bucket/a b"),
        ("nodes", 0),
        ("hours", 0),
    ],
)
def test_settings_that_skypilot_would_not_take(inputs: Path, key: str, value: object) -> None:
    """They are refused before anything is rendered, with what would be right."""
    with pytest.raises((SettingsError, ValueError), match=key):
        settings_for(inputs, **{key: value})


@pytest.mark.posix
def test_hostile_names_are_values(inputs: Path, tmp_path: Path) -> None:
    """Quotes, colons, Bangla and line breaks in paths and packages come through as they are."""
    folder = inputs.rename(tmp_path / "ক: \"x\" #{{ a }} 'y'")
    settings = settings_for(folder)
    install = settings.install.model_copy(update={"packages": ("a>=1 ; x == 'y'", "b\nrun: evil")})
    task = task_of(settings.model_copy(update={"install": install}), tmp_path / "ও: out")
    assert task["envs"]["KGTTS_PACKAGES"] == "a>=1 ; x == 'y'\nb\nrun: evil"
    assert str(folder / "data" / "MyTTSDataset") in task["file_mounts"].values()


@pytest.mark.posix
def test_the_scripts_are_bash(inputs: Path, tmp_path: Path) -> None:
    """Bash reads both steps without an error."""
    task = render_task(settings_for(inputs), tmp_path)
    for script in (task.setup, task.run):
        assert subprocess.run([BASH, "-n"], input=script, text=True, check=False).returncode == 0


def test_without_an_account_it_is_the_run_of_kgtts_train(cli: Cli, workplace: Path, inputs: Path) -> None:
    """Both name the inputs' owner alike, and a note says that the name is part of the run."""
    (workplace / "kgtts.toml").write_text(
        f'[skypilot]\nresults = "gs://asha"\ndata = "{inputs.as_posix()}/data"\n'
        f'voice = "{inputs.as_posix()}/voice"\n',
        encoding="utf-8",
    )
    result = cli("render", "--for", "skypilot")
    assert (result.code, "written as local; another name is another run" in result.err) == (0, True)
    settings = load_settings(workplace / "kgtts.toml", environ={}, cwd=workplace).settings
    here = find_series(settings, Results(workplace / "runs"))
    kernel = (workplace / "skypilot" / "program" / "kernel.py").read_text(encoding="utf-8")
    stamp = read_stamp(kernel)
    assert stamp is not None
    assert stamp.fingerprint == here.stamp.fingerprint


def test_render_for_skypilot(cli: Cli, workplace: Path, inputs: Path) -> None:
    """The command writes both files, and says how to start, see, stop and bring home."""
    (workplace / "kgtts.toml").write_text(
        '[kernel]\nowner = "asha"\n[notify]\nto = ["ntfy://secret-topic"]\n[skypilot]\n'
        'results = "gs://asha"\ndollars = 5\n'
        f'data = "{inputs.as_posix()}/data"\nvoice = "{inputs.as_posix()}/voice"\n',
        encoding="utf-8",
    )
    result = cli("render", "--for", "skypilot")
    assert result.code == 0, result.said
    for words in (
        f"sky jobs launch {Path('skypilot/task.yaml')}",
        "sky jobs cancel",
        "kgtts pull --from gs://asha/bangla",
    ):
        assert words in result.out
    assert "24 hours of sessions, on machines of at most $0.2 an hour each" in result.out
    for name in ("task.yaml", "program/kernel.py"):
        assert "secret-topic" not in (workplace / "skypilot" / name).read_text(encoding="utf-8")
    assert cli("render", "--run", "abc").code == 2

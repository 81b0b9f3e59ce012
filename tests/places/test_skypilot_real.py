"""The real SkyPilot takes the task: it reads it, checks it, and plans it in a dry run, without a cloud.

SkyPilot brings 96 packages and wants an older click, so the extra `test` does not have it:
KGTTS_SKYPILOT_PYTHON names a Python that does, see docs/develop.md. It gets a home of its own.
"""

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.places.skypilot import render_task, write_task
from tests.places.conftest import settings_for

PYTHON = os.environ.get("KGTTS_SKYPILOT_PYTHON", "")
pytestmark = [pytest.mark.posix, pytest.mark.skipif(not PYTHON, reason="KGTTS_SKYPILOT_PYTHON is not set")]

# A dry run would make the bucket, so the two calls that do are out of it. It wants a cloud: DigitalOcean's
# needs neither a client nor credentials.
DRY_RUN = """
import sys
import sky
from sky import check, execution, task as task_lib
from sky.backends import backend_utils
from sky.data import storage
from sky.utils import dag_utils, registry
cloud = registry.CLOUD_REGISTRY.from_str("do")
check.get_cached_enabled_clouds_or_refresh = lambda *a, **k: [cloud]
backend_utils.check_rsync_installed = lambda: None
storage.Storage.construct = lambda self: None
task_lib.Task.sync_storage_mounts = lambda self: None
(task,) = dag_utils.load_chain_dag_from_yaml(sys.argv[1]).tasks
task.validate()
again = sky.Task.from_yaml_config(task.to_yaml_config())
assert again.num_nodes == task.num_nodes == 2
assert again.storage_mounts["~/kgtts/results"].mode is storage.StorageMode.MOUNT
(machine,) = task.resources
assert machine.use_spot and machine.job_recovery["recover_on_exit_codes"] == [75]
task.set_resources({machine.copy(infra=None, cloud=cloud, use_spot=False)})
assert execution.launch(task, cluster_name="kgtts-dry", dryrun=True) == (None, None)
print("ACCEPTED")
"""
SCRIPT = """
import sys
import sky
from sky.backends.task_codegen import TaskCodeGen
from sky.skylet import log_lib
task = sky.Task.from_yaml(sys.argv[1])
envs = sky.task.get_plaintext_envs_and_secrets(task.envs_and_secrets)
sys.stdout.write(log_lib.make_task_bash_script(TaskCodeGen.build_task_bash_script(task.run), env_vars=envs))
"""


def sky(home: Path, program: str, task: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with SkyPilot, whose state is in `home`."""
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    command = [PYTHON, "-c", program, str(task)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def task(inputs: Path, tmp_path: Path) -> Path:
    """A task for two machines with two GPUs each."""
    settings = settings_for(inputs, gpus="A100:2", nodes=2, hours=1, dollars=20)
    return write_task(render_task(settings, tmp_path / "out"), tmp_path / "out")[0]


def test_the_real_skypilot_takes_the_task(task: Path, tmp_path: Path) -> None:
    """It reads the file, finds nothing wrong with it, and plans two machines within the price."""
    catalogs = tmp_path / "home" / ".sky" / "catalogs" / "v8"
    for name, text in {
        "common/accelerators.csv": "AcceleratorName,Clouds\nA100,\"['DO']\"\n",
        "do/vms.csv": "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,"
        "Region,Arch\ndear,A100,2,24,170,,10.5,,here,x86_64\ncheap,A100,2,24,170,,8.0,,here,x86_64\n",
    }.items():
        (catalogs / name).parent.mkdir(parents=True, exist_ok=True)
        (catalogs / name).write_text(text, encoding="utf-8")
    done = sky(tmp_path / "home", DRY_RUN, task)
    assert "ACCEPTED" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert "cheap" in done.stdout
    # The price is a limit for each machine: without the cheaper one nothing fits.
    vms = catalogs / "do" / "vms.csv"
    vms.write_text("".join(vms.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    done = sky(tmp_path / "home", DRY_RUN, task)
    assert done.returncode != 0
    assert "ResourcesUnavailableError" in done.stderr


def test_skypilot_s_own_lines_follow_the_run_step(task: Path, tmp_path: Path) -> None:
    """The run step leaves its exit code to SkyPilot's script, which waits for uploads behind it."""
    script = sky(tmp_path / "home", SCRIPT, task).stdout
    machine = tmp_path / "machine"
    (machine / "kgtts").mkdir(parents=True)
    (machine / "sky_workdir").mkdir()
    python = machine / "kgtts" / "python"
    python.write_text(
        '#!/bin/sh\necho "$KGTTS_NODE of $KGTTS_NODES, $KGTTS_HEAD"\nexit 7\n', encoding="utf-8"
    )
    python.chmod(0o755)
    (tmp_path / "step.sh").write_text(
        script.replace("exit $__skypilot_user_exit_code", "echo behind; exit $__skypilot_user_exit_code"),
        encoding="utf-8",
    )
    done = subprocess.run(
        ["/bin/bash", "-i", str(tmp_path / "step.sh")],
        env={
            "HOME": str(machine),
            "PATH": os.environ["PATH"],
            "SKYPILOT_NODE_RANK": "1",
            "SKYPILOT_NUM_NODES": "2",
            "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "1 of 2, 10.0.0.4\nbehind\n"), done.stderr

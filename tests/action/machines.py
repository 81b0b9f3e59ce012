"""Machines that live for one job of the action, and what GitHub keeps between jobs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.emulator import Emulator
from tests.action.kgtts_server import CLIENT
from tests.action.runner import Job, Runner, copy_matching
from tests.support import KEY, REPOSITORY, USER, clean_environment

PINNED = 40
SERVER = Path(__file__).with_name("kgtts_server.py")
SETTINGS = """
[training]
epochs = 5
[pull]
include = ["newest-checkpoint", "metrics.jsonl", "state.json"]
"""


# A training that must be stopped after two epochs, as a long one is by its time limit; it can be continued.
TRAIN = """
import argparse, json, os, pathlib, re, time, zipfile
parser = argparse.ArgumentParser()
for name in ("config_path", "restore_path", "continue_path"): parser.add_argument("--" + name)
arguments, _ = parser.parse_known_args()
config = json.load(open(arguments.config_path))
folder = pathlib.Path(arguments.continue_path or os.path.join(config["output_path"], "voice-run"))
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps(config))
total = max([int(found[1]) for file in folder.iterdir()
             if (found := re.fullmatch(r"checkpoint_(\\d+)[.]pth", file.name))], default=0)
print(" > Restoring from model_file.pth ...", flush=True)
start = total // 2
for epoch in range(start, min(start + 2, config["epochs"])):
    print(f" > EPOCH: {epoch}/{config['epochs']}")
    for step in (1, 2):
        total += 1
        print(f"   --> TIME: 2026-11-18 12:00:0{step} -- STEP: {step}/2 -- GLOBAL_STEP: {total}")
        print(f"     | > loss_mel: {40 - total}.5  ({40 - total}.5)\\n")
    print(f"  --> EVAL PERFORMANCE\\n     | > avg_loss_mel: {30 - total}.25 (+0)\\n", flush=True)
try:
    if total // 2 < config["epochs"]: time.sleep(60)
except KeyboardInterrupt:
    print(" > Keyboard interrupt detected.")
print(f" > CHECKPOINT : {folder / f'checkpoint_{total}.pth'}", flush=True)
with zipfile.ZipFile(folder / f"checkpoint_{total}.pth", "w") as archive:
    archive.writestr("data.pkl", "weights " * total)
"""


def check_out(place: Path) -> Path:
    """Check out the action."""
    place.mkdir(exist_ok=True)
    for name in ("orchestrator", "kernel_template"):
        shutil.copytree(REPOSITORY / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("action.yml", "pyproject.toml", "README.md", "LICENSE", "kernel-metadata.json.j2"):
        shutil.copy(REPOSITORY / name, place / name)
    return place


class Service:
    """What GitHub keeps between jobs: cache and artifacts."""

    def __init__(self, root: Path) -> None:
        self.cache, self.artifacts = root / "cache", root / "artifacts"
        self.used: list[str] = []
        self.full = False  # The account's storage: no artifact is taken then.
        self.workspace = root

    def __call__(self, name: str, given: Mapping[str, str]) -> bool:
        """Play another action that a step uses."""
        action, _, revision = name.partition("@")
        assert len(revision) == PINNED, name
        self.used.append(action)
        if action == "actions/cache/restore":
            self.cache.mkdir(parents=True, exist_ok=True)
            shutil.copytree(self.cache, self.workspace, dirs_exist_ok=True)
        elif action == "actions/cache/save":
            copy_matching(self.workspace, given["path"], self.cache)
        elif action == "actions/upload-artifact":
            if self.full:
                return False
            shutil.copytree(given["path"], self.artifacts / given["name"])
        return True


class Installation:
    """kgtts as the first machine installed it, for all of one checkout; later steps run it in forks."""

    def __init__(self) -> None:
        self.outputs: dict[str, str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="kgtts-")  # A socket's path must be short.
        self._servers: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def program(self, environment: Mapping[str, str]) -> str:
        """Return a program that is kgtts with these packages, except that its waits take no time."""
        assert self.outputs is not None
        packages = environment["PYTHONPATH"]
        if packages not in self._servers:
            python = Path(self.outputs["kgtts"]).with_name("python")
            folder = Path(self._folder.name)
            program, address = (folder / f"{name}-{len(self._servers)}" for name in ("kgtts", "socket"))
            program.write_text(CLIENT.format(python=python, address=str(address)), encoding="utf-8")
            program.chmod(0o755)
            server = subprocess.Popen(
                [python, SERVER, address], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
            self._servers[packages] = server, program
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        return str(self._servers[packages][1])

    def close(self) -> None:
        """End the servers."""
        for server, _ in self._servers.values():
            with server:
                server.kill()
        self._folder.cleanup()


class Fleet:
    """Machines that live for one job each; the first installs kgtts for all.

    Args:
        tmp_path: the folder for all machines.
        action: a checkout of the action.
        kaggle: what is Kaggle to them.
        installed: what the first machine installs, for all fleets of one checkout.
        settings: the run's kgtts.toml.
        packages: a folder with packages that come before the installed ones.
    """

    def __init__(  # noqa: PLR0913 - each is a way in which fleets differ.
        self,
        tmp_path: Path,
        action: Path,
        kaggle: Emulator,
        *,
        installed: Installation,
        settings: str = SETTINGS,
        packages: Path | None = None,
    ) -> None:
        self.service = Service(tmp_path / "github")
        self._tmp_path, self._action, self._kaggle = tmp_path, action, kaggle
        self._packages = [str(packages)] if packages is not None else []
        self._installed = installed
        self._settings = settings
        self._jobs = 0

    def job(self, *, environment: Mapping[str, str] | None = None, **inputs: str) -> Job:
        """Run the action once on a machine that has never seen the run."""
        self._jobs += 1
        machine = self._tmp_path / f"machine-{self._jobs}"
        workspace, temp = machine / "checkout", machine / "temp"
        workspace.mkdir(parents=True)
        temp.mkdir()
        (workspace / "kgtts.toml").write_text(self._settings, encoding="utf-8")
        self.service.workspace = workspace
        around, done = self._environment(machine, environment or {}), {}
        if self._installed.outputs is not None:
            done["install"] = {**self._installed.outputs, "kgtts": self._installed.program(around)}
        job = Runner(self._action, workspace, temp, around, self.service, done).run(**inputs)
        if job.steps["install"]["outcome"] == "success" and self._installed.outputs is None:
            self._installed.outputs = job.steps["install"]["outputs"]
        return job

    def wait(self) -> None:
        """Wait until no session is active."""
        active = {item.session for item in self._kaggle.backend.kernels.active() if item.session is not None}
        self._kaggle.runner.join(active)

    def _environment(self, machine: Path, more: Mapping[str, str]) -> dict[str, str]:
        """A clean machine where pip finds what kgtts needs in the environment of this test."""
        kept = {
            name: value for name, value in clean_environment(machine).items() if name != "PYTEST_CURRENT_TEST"
        }
        return {
            **kept,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([*self._packages, sysconfig.get_path("purelib")]),
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: none.
            "PIP_CACHE_DIR": str(machine / "pip"),
            "KGTTS_KAGGLE_URL": self._kaggle.url,
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
            **more,
        }

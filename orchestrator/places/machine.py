"""This machine as a place for sessions: its Python, its GPUs, and what of its environment a session gets."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kernel_template.contract import COQUI_RELEASE
from orchestrator.errors import LocalError
from orchestrator.render.kernel import OwnMachine
from orchestrator.scrubbing import CONFIDENTIAL, HAS_A_LOGIN
from orchestrator.untrusted import json_object, one_line

_LIST_GPUS = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
_ANSWER_S = 60.0
_LEFT_FREE = 2 << 30  # Bytes of the disk that outputs leave to others.
# Imports nothing large: the session itself tries the imports, and says what fails.
_LOOK = (
    "import importlib.util as u, json, sys; "
    "print(json.dumps({'version': list(sys.version_info[:2]), "
    "'missing': [n for n in ('TTS', 'trainer', 'torch', 'torchaudio') if u.find_spec(n) is None]}))"
)
_OLDEST = [3, 10]
_ANOTHER = "name another with --python"
# As the emulator hides them. A session gets no credentials: the training script may be anybody's.
_SECRET = re.compile(CONFIDENTIAL, re.IGNORECASE)
_SECRET_VALUE = re.compile(HAS_A_LOGIN)
_ALLOWED = ("KGTTS_CPU_RANKS",)


def check_system(name: str = os.name) -> None:
    """See that sessions can run on this system.

    Args:
        name: the system, as `os.name` has it.

    Raises:
        LocalError: it is Windows.
    """
    if name != "posix":
        raise LocalError("kgtts train needs Linux or macOS; on Windows, use it in WSL.")


def find_python(asked: str) -> Path:
    """The Python that trains: `asked`, or the one that runs kgtts.

    Raises:
        LocalError: it cannot train.
    """
    # Path would drop the ./ of a program in this folder.
    found = shutil.which(os.path.expanduser(asked)) if asked else sys.executable  # noqa: PTH111 - as above.
    if not found:
        raise LocalError(
            f"There is no Python {asked}.", hint="correct train.python in kgtts.toml, or --python"
        )
    # Not resolved: the link in a virtual environment is what makes it one.
    python = Path(found).absolute()
    install = 'pip install "kgtts[train]", or in a clone of kgtts: pip install ".[train]"'
    if asked:
        coqui = f'"coqui-tts[codec]=={COQUI_RELEASE}.*"'
        install = f"{python} -m pip install {coqui} six torch torchaudio onnx onnxruntime"
    try:
        answer = subprocess.run(
            [python, "-c", _LOOK],
            capture_output=True,
            timeout=_ANSWER_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalError(
            f"{python} cannot be started: {error}.", hint="name another with --python"
        ) from error
    told = json_object(answer.stdout)
    if told is None:
        words = one_line(answer.stderr.decode(errors="replace").strip().rpartition("\n")[2], 200)
        raise LocalError(f"{python} is not a Python that works: {words}", hint=_ANOTHER)
    if told.get("version", _OLDEST) < _OLDEST:
        version = ".".join(map(str, told["version"]))
        raise LocalError(f"{python} is Python {version}; coqui-tts needs 3.10 or newer.", hint=_ANOTHER)
    if told.get("missing"):
        raise LocalError(
            f"{python} cannot train: it lacks {', '.join(map(str, told['missing']))}.", hint=install
        )
    return python


def count_gpus(environ: Mapping[str, str]) -> int:
    """The number of NVIDIA GPUs that this process may use."""
    try:
        answer = subprocess.run(
            _LIST_GPUS, capture_output=True, timeout=_ANSWER_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    if answer.returncode != 0:
        return 0
    here = sum(bool(line.strip()) for line in answer.stdout.decode(errors="replace").splitlines())
    visible = [name.strip() for name in environ.get("CUDA_VISIBLE_DEVICES", "all").split(",")]
    hidden = next((number for number, name in enumerate(visible) if name in ("", "-1")), len(visible))
    return here if visible == ["all"] else min(here, hidden)


def describe_machine(folder: Path, *, gpus: int, hours: float | None) -> OwnMachine:
    """This machine for the renderer.

    Args:
        folder: where outputs go; the free space of its disk limits them.
        gpus: how many GPUs train.
        hours: what a session may take; None for no limit.

    Raises:
        LocalError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise LocalError(
            f"{folder} could not be made: {error.strerror or error}.", hint="set [pull] to in kgtts.toml"
        ) from error
    budget_s = None if hours is None else max(1, int(hours * 3600))
    return OwnMachine(gpus, budget_s, disk_bytes=max(1, free - _LEFT_FREE))


def session_environment(environ: Mapping[str, str], **own: str) -> dict[str, str]:
    """The environment of a session: that of this process without secrets, and `own`."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _ALLOWED or not (_SECRET.search(name) or _SECRET_VALUE.search(value))
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **own}


def write_json(place: Path, value: object) -> None:
    """Write a file that only this user can read: an environment may hold a proxy's password."""
    with open(place, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        json.dump(value, file)

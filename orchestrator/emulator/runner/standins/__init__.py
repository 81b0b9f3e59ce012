"""Stand-ins for torchaudio and torchcodec, for sessions on machines where the real ones do not work.

Kaggle's image has both. Elsewhere, `import TTS` (coqui-tts 0.28) raises without torchaudio and, with torch
>= 2.9, without torchcodec. It only checks that the modules exist, and training a VITS voice uses nothing of
them but `torchaudio.load`. So the questions here are: does torchcodec exist, and can torchaudio load a file?
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from orchestrator.errors import LocalError

_SOURCES = Path(__file__).resolve().parent / "sources"
_NAMES = ("torchaudio", "torchcodec")
_FIND_TIMEOUT_S = 30
_LOAD_TIMEOUT_S = 180  # A first import of torch from a cold disk is slow.

# Finds each module without importing it (tens of milliseconds), with a stamp that changes on a reinstall.
_FIND = """
import importlib.util, json, os
def stamp(name):
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    where = spec.origin or str(spec.submodule_search_locations)
    return [where, os.stat(spec.origin).st_mtime_ns if spec.origin else 0]
print(json.dumps({name: stamp(name) for name in ("torch", "torchaudio", "torchcodec")}))
"""
_LOAD = "import sys, torchaudio; torchaudio.load(sys.argv[1])"


def standin_path(python: str, *, cache: Path | None = None) -> Path | None:
    """The folder to put on PYTHONPATH so that this interpreter can `import TTS`; None if none is needed.

    It holds only the stand-ins that are needed, since a module on PYTHONPATH hides an installed one. An
    interpreter without torch gets none, since they would not help it.

    Args:
        python: the interpreter that the session runs with.
        cache: where the folder is created if only one of the two is needed; by default the user's cache.

    Raises:
        LocalError: the interpreter does not run, or the cache cannot be written.
    """
    needed = needed_standins(python)
    if not needed:
        return None
    if needed == _NAMES:
        return _SOURCES
    return _folder_with(needed, cache or platformdirs.user_cache_path("kgtts"))


def needed_standins(python: str) -> tuple[str, ...]:
    """Which of torchaudio and torchcodec this interpreter lacks; none if it lacks torch.

    Takes tens of milliseconds without torchaudio. With it, takes the seconds of importing torch, once per
    installation and process.

    Raises:
        LocalError: the interpreter does not run.
    """
    try:
        found = subprocess.run(
            [python, "-P", "-c", _FIND],
            capture_output=True,
            check=True,
            env=_environment(),
            text=True,
            timeout=_FIND_TIMEOUT_S,
        )
        stamps: dict[str, object] = json.loads(found.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise LocalError(
            f"The Python interpreter {python} could not be asked for its modules ({type(error).__name__}).",
            hint="give the path of a Python 3.11 or newer that runs",
        ) from error
    return decide(stamps, loads=lambda: _loads_audio(python, json.dumps(stamps, sort_keys=True)))


def decide(found: Mapping[str, object], *, loads: Callable[[], bool]) -> tuple[str, ...]:
    """Which stand-ins are needed.

    Args:
        found: where torch, torchaudio and torchcodec were found, by name; None if a module was not.
        loads: whether torchaudio really loads a file; called only if the answer matters, since it is slow.
    """
    if found["torch"] is None:
        return ()
    here = {"torchaudio": found["torchaudio"] is not None and loads(), "torchcodec": found["torchcodec"]}
    return tuple(name for name in _NAMES if not here[name])


@functools.lru_cache(maxsize=16)
def _loads_audio(python: str, _stamps: str) -> bool:
    """Whether torchaudio loads a wav file; tried again if the stamp changes."""
    with tempfile.TemporaryDirectory(prefix="kgtts-torchaudio-") as folder:
        tone = Path(folder, "tone.wav")
        with wave.open(str(tone), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(22_050)
            file.writeframes(bytes(2 * 256))
        try:
            subprocess.run(
                [python, "-P", "-c", _LOAD, str(tone)],
                capture_output=True,
                check=True,
                env=_environment(),
                timeout=_LOAD_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError):
            return False
    return True


def _folder_with(names: tuple[str, ...], cache: Path) -> Path:
    """A folder below `cache` with only these stand-ins; created once per content, and renamed into place."""
    content = hashlib.sha256()
    for file in sorted(_SOURCES.rglob("*.py")):
        content.update(file.read_bytes())
    target = cache / "standins" / f"{'-'.join(names)}-{content.hexdigest()[:12]}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as fresh:
            for name in names:
                shutil.copytree(_SOURCES / name, Path(fresh, "made", name))
            Path(fresh, "made").replace(target)
    except OSError as error:
        if not target.is_dir():  # Unless another process has just created it.
            raise LocalError(f"The cache folder {target.parent} cannot be written: {error}.") from error
    return target


def _environment() -> dict[str, str]:
    """This process's environment without Kaggle's credentials."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}

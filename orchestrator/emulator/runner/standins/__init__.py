"""Stand-ins for torchaudio and torchcodec, for sessions on machines where the real ones do not work.

Kaggle's image has both. Elsewhere `import TTS` (coqui-tts 0.28) raises without torchaudio and, with torch
>= 2.9, without torchcodec; it only looks whether the modules are there, and training a VITS voice calls
nothing of them but `torchaudio.load`. So what is asked here is: is torchcodec there, and can torchaudio
really load a wav file?
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

# Looks without importing (tens of milliseconds): where each module is, and a stamp that changes with a
# reinstall.
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
    """The folder to put on PYTHONPATH so that `import TTS` works with this interpreter, or None.

    The folder holds only the stand-ins that are needed, as one on PYTHONPATH hides an installed module. An
    interpreter without torch needs none either: what is missing there is more than they stand for.

    Args:
        python: the interpreter that the session will run with.
        cache: where the folder is made when only one of the two is needed; the user's by default.

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
    """Which of torchaudio and torchcodec this interpreter lacks; nothing when it lacks torch.

    Without torchaudio this takes tens of milliseconds; with it, the seconds of importing torch, once per
    installed state and process.

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
            f"The Python interpreter {python} cannot be asked for its modules ({type(error).__name__}).",
            hint="give the path of a Python 3.11 or newer that runs",
        ) from error
    return decide(stamps, loads=lambda: _loads_audio(python, json.dumps(stamps, sort_keys=True)))


def decide(found: Mapping[str, object], *, loads: Callable[[], bool]) -> tuple[str, ...]:
    """Which stand-ins are needed, from where each module was found (None: nowhere) and a real try.

    Args:
        found: by module name, for torch, torchaudio and torchcodec.
        loads: whether torchaudio really loads a file; asked only where its answer counts, as it is slow.
    """
    if found["torch"] is None:
        return ()
    here = {"torchaudio": found["torchaudio"] is not None and loads(), "torchcodec": found["torchcodec"]}
    return tuple(name for name in _NAMES if not here[name])


@functools.lru_cache(maxsize=16)
def _loads_audio(python: str, _stamps: str) -> bool:
    """Whether torchaudio loads a wav file there; a new stamp asks again."""
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
    """A folder below `cache` with these stand-ins alone; made once per content, moved into place whole."""
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
        if not target.is_dir():  # Another process may have made it meanwhile.
            raise LocalError(f"The cache folder {target.parent} cannot be written: {error}.") from error
    return target


def _environment() -> dict[str, str]:
    """This process's environment without Kaggle's credentials."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}

"""The demo's inputs in an emulator's folder: the dataset `datahrbnn` and the model `ttsbnng`.

The dataset is a small one in the ljspeech format, with Bangla sentences spoken by eSpeak NG, and the training
script as a user would have it. The model is a base voice of `orchestrator.emulator.demo.voice`. A folder
whose content this module did not write belongs to the user and is left alone.
"""

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kernel_template.contract import DATASET_SCRIPT
from orchestrator.emulator.demo import speech, voice
from orchestrator.emulator.options import INSTALL_HINT
from orchestrator.emulator.runner.standins import standin_path
from orchestrator.errors import LocalError
from orchestrator.models import KernelRef

DATASET = "datahrbnn"
MODEL = "ttsbnng/transformers/default/1"
CONFIG = "model/config.json"
CHECKPOINT = "model/model_file.pth"

SENTENCES = (
    "ভোরের আলোয় শিশির ভেজা ঘাস চিকচিক করে।",
    "রাস্তার মোড়ে একটা ছোট্ট চায়ের দোকান আছে।",
    "তুমি কি কাল বিকেলে আমাদের বাড়িতে আসবে?",
    "মা রান্নাঘরে ইলিশ মাছ ভাজছেন।",
    "বর্ষার দিনে গ্রামের পথ কাদায় ভরে যায়।",
    "লাইব্রেরির পুরোনো বইগুলো আমার খুব প্রিয়।",
    "ট্রেনটা আজ আধঘণ্টা দেরি করে ছাড়ল।",
    "বাজারে টাটকা সবজির দাম একটু কমেছে।",
    "ছেলেমেয়েরা মাঠে ঘুড়ি ওড়াচ্ছে।",
    "সমুদ্রের ঢেউ এসে পায়ের কাছে ভেঙে পড়ল।",
    "ডাক্তার বললেন, প্রতিদিন সকালে হাঁটা দরকার।",
    "রাতে আকাশভরা তারা দেখে মন ভালো হয়ে গেল।",
    "দাদু গল্প বলতে শুরু করলে আমরা সবাই চুপ।",
    "নতুন সেতুটা দুই পাড়ের মানুষকে কাছে এনেছে।",
    "একটু আস্তে বলুন, আমি লিখে নিচ্ছি।",
    "শীতের ছুটিতে আমরা পাহাড়ে বেড়াতে যাব।",
)

_RECIPE = 2  # Increase it if the code below arranges the same content differently.
_RECORD = ".demo-inputs.json"
_TRAIN_SCRIPT = Path(__file__).resolve().parent / "data" / "train_tts.py"
_BUILD_TIMEOUT_S = 300  # Usually seconds; the first import of torch and TTS from a cold disk takes longest.
_NEEDED = ("coqui-tts", "espeakng-loader", "soundfile", "torch")


@dataclass(frozen=True, slots=True)
class DemoInputs:
    """The demo's inputs: their folders, and the sources by which a push mounts them."""

    dataset: Path
    model: Path
    dataset_source: str
    model_source: str
    built: bool  # Whether this call wrote anything; False if everything was there.


def provide_demo_inputs(root: Path, owner: str, *, cache: Path, speaking: bool = False) -> DemoInputs:
    """Make sure that the emulator's folder holds the demo's dataset and base voice.

    The first call takes some seconds to import torch and TTS in another process. The voice is kept in
    `cache` for other roots; a call that finds everything in place returns at once. Content is written
    elsewhere and renamed into place, so an interrupted call leaves nothing incomplete.

    Args:
        root: the emulator's folder.
        owner: the username of their owner.
        cache: a folder that outlives the root.
        speaking: whether to take the voice that speaks instead of the small one, which hums.

    Raises:
        UsageError: the owner is not a valid Kaggle username.
        LocalError: the extra `local` is missing, the voice cannot be built, or a folder cannot be written.
    """
    owner = KernelRef.parse(f"{owner}/{DATASET}").owner  # Untrusted: it becomes part of a path.
    missing = [package for package in _NEEDED if not _is_installed(package)]
    if missing:
        raise LocalError(
            f"The demo's inputs need {', '.join(missing)}, which this Python lacks.", hint=INSTALL_HINT
        )
    dataset = root / "datasets" / owner / DATASET
    model = root / "models" / owner / MODEL
    try:
        key = voice.recipe_key(speaking=speaking)
        built = [
            _place(dataset, root, _dataset_key(), _fill_dataset),
            _place(model, root, key, lambda fresh: _fill_model(fresh, cache, key, speaking=speaking)),
        ]
    except OSError as error:
        raise LocalError(f"The demo's inputs cannot be written below {root}: {error}.") from error
    return DemoInputs(dataset, model, f"{owner}/{DATASET}", f"{owner}/{MODEL}", any(built))


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _dataset_key() -> str:
    digest = hashlib.sha256(_TRAIN_SCRIPT.read_bytes())
    spoken = (
        *SENTENCES,
        speech.VOICE,
        f"{speech.WORDS_A_MINUTE}",
        importlib.metadata.version("espeakng-loader"),
    )
    digest.update("\n".join(spoken).encode())
    return f"{_RECIPE}-{digest.hexdigest()[:16]}"


def _fill_dataset(folder: Path) -> None:
    """Speak the sentences and write `metadata.csv` and the training script."""
    home = folder / "MyTTSDataset"
    wavs = home / "wavs"
    wavs.mkdir(parents=True)
    utterances = {f"bn_{number:04d}": sentence for number, sentence in enumerate(SENTENCES, 1)}
    speech.speak(utterances, wavs)
    lines = [f"{name}|{sentence}|{sentence}\n" for name, sentence in utterances.items()]
    (home / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    shutil.copyfile(_TRAIN_SCRIPT, folder / DATASET_SCRIPT)


def _fill_model(folder: Path, cache: Path, key: str, *, speaking: bool) -> None:
    """Copy the base voice from the cache; build it there first if it is missing."""
    kept = cache / "base-voice" / key
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".new-") as fresh:
            made = Path(fresh, "voice")
            made.mkdir()
            _build_voice(made, cache, speaking=speaking)
            if not kept.is_dir():  # Unless another process has just built it.
                made.replace(kept)
    shutil.copytree(kept, folder / "model")


def _build_voice(folder: Path, cache: Path, *, speaking: bool) -> None:
    """Build the voice in a process of its own, so that this one never imports torch."""
    standins = standin_path(sys.executable, cache=cache)
    environment = speech.child_environment(*([standins] if standins else []))
    try:
        done = subprocess.run(
            voice.build_command(folder, speaking=speaking),
            capture_output=True,
            check=False,
            env=environment,
            timeout=_BUILD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise LocalError(
            f"The base voice was not built within {_BUILD_TIMEOUT_S} s.", hint="run the same command again"
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"its process ended with {done.returncode}"
        raise LocalError(f"The base voice could not be built: {why}", hint=INSTALL_HINT)


def _place(target: Path, root: Path, key: str, fill: Callable[[Path], None]) -> bool:
    """Fill `target`, unless it is up to date or belongs to the user; return whether it was filled.

    A file in the root records for each target its recipe and the names, sizes and times of its files. A
    target that has no record, or has changed since, belongs to the user.
    """
    record = root / _RECORD
    records = _read_records(record)
    name = target.relative_to(root).as_posix()
    if target.exists():
        known = records.get(name)
        if known is None or known.get("content") != _fingerprint(target) or known.get("key") == key:
            return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".new-") as fresh:
        made = Path(fresh, "made")
        made.mkdir()
        fill(made)
        if target.exists():
            target.replace(Path(fresh, "old"))
        made.replace(target)
        records[name] = {"key": key, "content": _fingerprint(target)}
        written = Path(fresh, "record")
        written.write_text(json.dumps(records, indent=2), encoding="utf-8")
        written.replace(record)
    return True


def _read_records(record: Path) -> dict[str, dict[str, str]]:
    try:
        read = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {str(name): entry for name, entry in read.items() if isinstance(entry, dict)}
        if isinstance(read, dict)
        else {}
    )


def _fingerprint(folder: Path) -> str:
    """A digest of the names, sizes and times of all files in a folder, without reading them."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            status = file.stat()
            entry = [file.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns]
            digest.update(json.dumps(entry).encode())
    return digest.hexdigest()

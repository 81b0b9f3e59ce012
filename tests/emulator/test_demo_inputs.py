"""The demo's inputs: their layout, and which folders are never changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_template.contract import DATASET_SCRIPT
from orchestrator.emulator.demo import inputs, voice
from orchestrator.errors import LocalError, UsageError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that already has the base voice, as after a first run; building it has a test of its own."""
    kept = tmp_path / "cache" / "base-voice" / voice.recipe_key()
    kept.mkdir(parents=True)
    (kept / "config.json").write_text("{}", encoding="utf-8")
    (kept / "model_file.pth").write_bytes(b"weights")
    return tmp_path / "cache"


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file below a folder: content and time by name."""
    return {
        file.relative_to(folder).as_posix(): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def make_older(record: Path) -> None:
    """Change the record as if another recipe had made the model."""
    text = record.read_text(encoding="utf-8")
    assert voice.recipe_key() in text
    record.write_text(text.replace(voice.recipe_key(), "older"), encoding="utf-8")


def test_layout_is_the_guides(tmp_path: Path, cache: Path) -> None:
    """The dataset and the model are where an emulator looks, with the three files for training."""
    root = tmp_path / "root"
    provided = inputs.provide_demo_inputs(root, "tester", cache=cache)
    assert provided.dataset == root / "datasets/tester/datahrbnn"
    assert provided.model == root / "models/tester/ttsbnng/transformers/default/1"
    assert provided.dataset_source == "tester/datahrbnn"
    assert provided.model_source == "tester/ttsbnng/transformers/default/1"
    assert (provided.dataset / "MyTTSDataset/train_tts.py").is_file()
    assert sorted(tree(provided.model)) == ["model/config.json", "model/model_file.pth"]


def test_metadata_names_every_wav(tmp_path: Path, cache: Path) -> None:
    """metadata.csv has the three columns of ljspeech, and a wav for each line."""
    home = inputs.provide_demo_inputs(tmp_path / "root", "tester", cache=cache).dataset / "MyTTSDataset"
    lines = (home / "metadata.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines]
    assert [row[2] for row in rows] == list(inputs.SENTENCES)
    assert {f"{row[0]}.wav" for row in rows} == {wav.name for wav in (home / "wavs").iterdir()}


def test_training_script_is_valid_python(tmp_path: Path, cache: Path) -> None:
    """The script in the dataset compiles and accepts the guide's two options."""
    provided = inputs.provide_demo_inputs(tmp_path / "root", "tester", cache=cache)
    source = (provided.dataset / DATASET_SCRIPT).read_text(encoding="utf-8")
    compile(source, "train_tts.py", "exec")
    assert "--config_path" in source
    assert "--restore_path" in source


def test_second_call_changes_nothing(tmp_path: Path, cache: Path) -> None:
    """A second call finds everything in place, writes nothing, and reports that."""
    root = tmp_path / "root"
    first = inputs.provide_demo_inputs(root, "tester", cache=cache)
    before = tree(root)
    second = inputs.provide_demo_inputs(root, "tester", cache=cache)
    assert (first.built, second.built) == (True, False)
    assert tree(root) == before


def test_nothing_temporary_is_left(tmp_path: Path, cache: Path) -> None:
    """The root has the inputs and the record of what was made, and no temporary folder."""
    root = tmp_path / "root"
    inputs.provide_demo_inputs(root, "tester", cache=cache)
    assert sorted(entry.name for entry in root.iterdir()) == [".demo-inputs.json", "datasets", "models"]


def test_users_own_data_is_left_alone(tmp_path: Path, cache: Path) -> None:
    """A dataset of the same name that a user put there is not replaced."""
    own = tmp_path / "root/datasets/tester/datahrbnn"
    own.mkdir(parents=True)
    (own / "mine.txt").write_text("mine", encoding="utf-8")
    inputs.provide_demo_inputs(tmp_path / "root", "tester", cache=cache)
    assert sorted(tree(own)) == ["mine.txt"]


def test_a_changed_folder_is_the_users(tmp_path: Path, cache: Path) -> None:
    """A file that a user deleted from the demo's model stays deleted, even with a new recipe."""
    root = tmp_path / "root"
    provided = inputs.provide_demo_inputs(root, "tester", cache=cache)
    (provided.model / inputs.CHECKPOINT).unlink()
    record = root / ".demo-inputs.json"
    record.write_text(
        record.read_text(encoding="utf-8").replace(voice.recipe_key(), "older"), encoding="utf-8"
    )
    inputs.provide_demo_inputs(root, "tester", cache=cache)
    assert sorted(tree(provided.model)) == ["model/config.json"]


def test_a_new_recipe_replaces_what_was_made(tmp_path: Path, cache: Path) -> None:
    """Unchanged inputs of an older recipe are replaced."""
    root = tmp_path / "root"
    provided = inputs.provide_demo_inputs(root, "tester", cache=cache)
    record = root / ".demo-inputs.json"
    record.write_text(
        record.read_text(encoding="utf-8").replace(voice.recipe_key(), "older"), encoding="utf-8"
    )
    kept = cache / "base-voice" / voice.recipe_key() / "model_file.pth"
    kept.write_bytes(b"other weights")
    assert inputs.provide_demo_inputs(root, "tester", cache=cache).built
    assert (provided.model / inputs.CHECKPOINT).read_bytes() == b"other weights"


@pytest.mark.parametrize("record", ["", "[]", "{not json", '{"datasets/tester/datahrbnn": 3}'])
def test_an_unreadable_record_loses_nothing(tmp_path: Path, cache: Path, record: str) -> None:
    """If the record is damaged, everything there counts as the user's."""
    root = tmp_path / "root"
    inputs.provide_demo_inputs(root, "tester", cache=cache)
    (root / ".demo-inputs.json").write_text(record, encoding="utf-8")
    assert not inputs.provide_demo_inputs(root, "tester", cache=cache).built


@pytest.mark.parametrize("owner", ["..", "a/b", "", "../../etc", "a b"])
def test_a_hostile_owner_is_refused(tmp_path: Path, cache: Path, owner: str) -> None:
    """An owner name that would lead out of the root creates no folder."""
    with pytest.raises(UsageError):
        inputs.provide_demo_inputs(tmp_path / "root", owner, cache=cache)
    assert not (tmp_path / "root").exists()


def test_a_root_that_is_a_file_is_said(tmp_path: Path, cache: Path) -> None:
    """If the root is a file, the error names it."""
    (tmp_path / "root").write_text("", encoding="utf-8")
    with pytest.raises(LocalError, match="root"):
        inputs.provide_demo_inputs(tmp_path / "root", "tester", cache=cache)


def test_the_calling_process_stays_light(tmp_path: Path, cache: Path) -> None:
    """Providing the inputs imports neither torch nor TTS nor eSpeak NG into the calling process."""
    code = (
        "import sys; from pathlib import Path; from orchestrator.emulator.demo import inputs;"
        "inputs.provide_demo_inputs(Path(sys.argv[1]), 'tester', cache=Path(sys.argv[2]));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'TTS', 'espeakng_loader')))"
    )
    package_root = str(Path(inputs.__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "root"), str(cache)],
        env={**os.environ, "PYTHONPATH": package_root},
        check=False,
    )
    assert done.returncode == 0

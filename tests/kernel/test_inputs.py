"""Finding the inputs under every mount layout, and reporting what is wrong with them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.inputs import Inputs, damage, find_inputs
from kernel_template.start.mounts import find_mounts, take_inventory
from kernel_template.tools.outcome import KernelFailure
from tests.kernel.kit import DATASET, MODEL, Log, mount_inputs, put, put_checkpoint, reporter, settings


def find(root: Path, log: Log, **changes: Any) -> Inputs:
    """Find inputs below `root` with the default settings."""
    return find_inputs(root, settings(**changes), reporter(log))


def failure(root: Path, log: Log, **changes: Any) -> str:
    """Return the error message if the inputs cannot be found."""
    with pytest.raises(KernelFailure) as caught:
        find(root, log, **changes)
    assert caught.value.reason is EndReason.MISSING_INPUT
    return caught.value.message


@pytest.mark.parametrize("layout", ["current", "classic"])
def test_known_layouts(root: Path, log: Log, layout: str) -> None:
    """Both layouts that Kaggle has used give the three files."""
    dataset = mount_inputs(root, layout=layout)
    inputs = find(root, log)
    assert inputs.dataset == dataset
    assert inputs.script == dataset / "MyTTSDataset" / "train_tts.py"
    for path in (inputs.script, inputs.config, inputs.checkpoint):
        assert f"✓ Found: {path}" in log.text
    assert "Missing" not in log.text


def test_the_real_models_layout(root: Path, log: Log) -> None:
    """The guide says model/config.json; a version with config.json at the top is found too, and reported."""
    mount_inputs(root)
    version = root / "models" / MODEL
    (version / "model" / "config.json").rename(version / "config.json")
    assert find(root, log).config == version / "config.json"
    assert "It was expected at model/config.json" in log.text


def test_a_folder_more(root: Path, log: Log) -> None:
    """A dataset that was zipped with its folder is found one folder deeper."""
    mount_inputs(root)
    dataset = root / "datasets" / DATASET
    (dataset / "MyTTSDataset").rename(dataset / "moved")
    (dataset / "archive").mkdir()
    (dataset / "moved").rename(dataset / "archive" / "MyTTSDataset")
    assert find(root, log).script == dataset / "archive" / "MyTTSDataset" / "train_tts.py"


def test_an_unknown_layout_is_used_with_a_warning(root: Path, log: Log) -> None:
    """An unknown layout is searched for the source's name."""
    mount_inputs(root / "new" / "place", layout="classic")
    assert find(root, log).script is not None
    assert "a layout that kgtts does not know" in log.text


def test_another_owners_dataset_is_not_taken(root: Path, log: Log) -> None:
    """A dataset of the same slug and another owner is only named as a near match."""
    mount_inputs(root)
    (root / "datasets" / "owner").rename(root / "datasets" / "stranger")
    message = failure(root, log)
    assert "owner/datahrbnn is not mounted" in message
    assert f"A file of that name: {root / 'datasets' / 'stranger'}" in log.text


def test_several_matches_are_decided_and_said(root: Path, log: Log) -> None:
    """The current layout and the path in the settings win; the others are named."""
    dataset = mount_inputs(root)
    mount_inputs(root, layout="classic")
    put(dataset / "train_tts.py")
    inputs = find(root, log)
    assert inputs.script == dataset / "MyTTSDataset" / "train_tts.py"
    assert "is mounted more than once" in log.text
    assert f"{dataset / 'train_tts.py'} matches too, but is not used" in log.text


def test_letter_case_of_a_mount(root: Path, log: Log) -> None:
    """Kaggle lowers the case of parts of a path; the settings may differ from it."""
    mount_inputs(root)
    model = {
        "source": "owner/ttsbnng/Transformers/Default/1",
        "config": "model/config.json",
        "checkpoint": "model/model_file.pth",
    }
    assert find(root, log, model=model).config.is_file()


def test_all_that_is_missing_is_said_at_once(root: Path, log: Log) -> None:
    """One error lists each missing file, how to fix it, near matches, and a summary of the mounts."""
    dataset = mount_inputs(root)
    (dataset / "MyTTSDataset").rename(dataset / "Data")
    (root / "models" / MODEL / "model" / "model_file.pth").unlink()
    message = failure(root, log)
    assert f"✗ Missing: {dataset / 'MyTTSDataset' / 'train_tts.py'}" in log.text
    assert 'set inputs.script = "Data/train_tts.py"' in message
    assert "base voice's checkpoint" in message
    assert "upload it there" in message
    assert f"{dataset / 'Data' / 'wavs'}: 1 .wav" in log.text


def test_nothing_mounted(root: Path, log: Log) -> None:
    """The error says if the input folder is empty or missing."""
    message = failure(root / "absent", log)
    assert "there are no files in" in log.text
    assert message.count("is not mounted") == 3


def test_thousands_of_wavs_are_one_line(root: Path, log: Log) -> None:
    """The summary has one line for each folder, and the search is bounded."""
    wavs = root / "datasets" / DATASET / "MyTTSDataset" / "wavs"
    mount_inputs(root)
    for number in range(300):
        (wavs / f"audio{number}.wav").touch()
    find(root, log)
    assert sum(".wav" in line for line in log.lines) == 1
    assert "301 .wav" in log.text
    assert not take_inventory(root, [], max_files=10).complete


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "not a PyTorch checkpoint"),
        (b"PK\x03\x04" + b"\0" * 4000, "truncated"),
    ],
)
def test_a_checkpoint_that_cannot_be_one(root: Path, log: Log, content: bytes, word: str) -> None:
    """An empty, truncated or foreign checkpoint ends the session before anything is installed."""
    mount_inputs(root)
    put(root / "models" / MODEL / "model" / "model_file.pth", content)
    assert word in failure(root, log)


def test_damage_of_files(tmp_path: Path) -> None:
    """Complete archives and pickles are accepted; truncated and missing files are not."""
    whole = put_checkpoint(tmp_path / "a.pth", "x" * 1000)
    assert damage(whole) is None
    assert damage(put(tmp_path / "old.pth", b"\x80\x02\x8a\nl")) is None
    cut = put(tmp_path / "cut.pth", whole.read_bytes()[:-30])
    assert "truncated" in str(damage(cut))
    assert "cannot be read" in str(damage(tmp_path / "absent.pth"))


def test_a_module_needs_no_script(root: Path, log: Log) -> None:
    """`TTS.bin.train_tts` trains with the installed package, and still needs the dataset."""
    dataset = mount_inputs(root)
    (dataset / "MyTTSDataset" / "train_tts.py").unlink()
    script = {"source": DATASET, "script": "TTS.bin.train_tts"}
    inputs = find(root, log, dataset=script)
    assert (inputs.script, inputs.module, inputs.dataset) == (None, "TTS.bin.train_tts", dataset)
    dataset.rename(root / "elsewhere")
    assert "is not mounted" in failure(root, log, dataset=script)


def test_the_data_sets_script_is_found_else_kgtts_has_one(root: Path, log: Log) -> None:
    """`auto` takes the guide's script; without one, or if `kgtts` is asked for, the kernel's own trains."""
    dataset = mount_inputs(root)
    found = find(root, log, dataset={"source": DATASET, "script": "auto"})
    assert (found.script, found.own) == (dataset / "MyTTSDataset" / "train_tts.py", False)
    asked = find(root, log, dataset={"source": DATASET, "script": "kgtts"})
    (dataset / "MyTTSDataset" / "train_tts.py").unlink()
    own = find(root, log, dataset={"source": DATASET, "script": "auto"})
    assert own == asked
    assert own.own
    assert own.script is not None
    assert "--config_path" in own.script.read_text(encoding="utf-8")
    assert log.text.count("✓ Training script: the one that kgtts brings along") == 2
    dataset.rename(root / "elsewhere")
    assert "is not mounted" in failure(root, log, dataset={"source": DATASET, "script": "auto"})


def test_scripts_that_will_not_run_are_named(root: Path, log: Log) -> None:
    """A notebook, or a script under another name, trains nothing: nobody should believe that it did."""
    dataset = mount_inputs(root)
    code = (dataset / "MyTTSDataset" / "train_tts.py").rename(dataset / "train_bn.py")
    code.write_text("from trainer import Trainer\nfrom TTS.tts.models import setup_model\n", encoding="utf-8")
    put(dataset / "MyTTSDataset" / "vits.ipynb", '{"source": ["from trainer import Trainer", "import TTS"]}')
    put(dataset / "resample.py", "import soundfile\n")
    find(root, log, dataset={"source": DATASET, "script": "auto"})
    assert "not with train_bn.py, MyTTSDataset/vits.ipynb. To run a script" in log.text


def test_a_notebooks_output_is_a_mount_too(root: Path) -> None:
    """Another kernel's output is found below notebooks/."""
    put(root / "notebooks" / "owner" / "voice-a" / "state.json")
    (mount,) = find_mounts(root, "notebooks", "owner/voice-a")
    assert mount.known
    assert mount.path.name == "voice-a"


def other_voice(root: Path, run: str = "run1", session: int = 3, **changes: Any) -> dict[str, Any]:
    """Mount the output of a session of another run; gives the setting that asks for its voice."""
    folder = root / "notebooks/asha/other-a"
    checkpoint = put_checkpoint(folder / "training/run-1/best_model_120.pth")
    put(folder / "training/run-1/config.json", "{}")
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    entry = {"path": "training/run-1/best_model_120.pth", "sha256": digest}
    state = {"run": {"id": run, "session": session}, "best_model": entry["path"], "checkpoints": [entry]}
    put(folder / "state.json", json.dumps({**state, **changes}))
    return {**settings()["model"], "voice_of": {"kernel": "asha/other-a", "run": "run1", "session": 3}}


def test_the_voice_of_another_run(root: Path, log: Log) -> None:
    """Its best model and the configuration beside it take the place of the base voice."""
    mount_inputs(root)
    inputs = find(root, log, model=other_voice(root))
    folder = root / "notebooks/asha/other-a/training/run-1"
    assert (inputs.config, inputs.checkpoint) == (folder / "config.json", folder / "best_model_120.pth")
    assert "the voice of run run1, session 3" in log.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": "run2"}, "is the output of session 3 of run run2"),
        ({"session": 2}, "is the output of session 2 of run run1"),
        ({"checkpoints": []}, "names no model"),
        ({"best_model": "../x.pth", "checkpoints": [{"path": "../x.pth", "sha256": "0"}]}, "names no model"),
        ({"checkpoints": [{"path": "training/run-1/best_model_120.pth", "sha256": "0"}]}, "damaged"),
    ],
)
def test_another_voice_is_refused(root: Path, log: Log, changes: dict[str, Any], words: str) -> None:
    """A mount is never trusted: run, session and hash are checked."""
    mount_inputs(root)
    with pytest.raises(KernelFailure, match=words) as caught:
        find(root, log, model=other_voice(root, **changes))
    assert caught.value.reason is EndReason.WRONG_PARENT

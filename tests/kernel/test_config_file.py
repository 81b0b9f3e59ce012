"""The training's configuration, made from the base voice's and the user's settings."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.config_file import (
    ConfigMaker,
    PreparedConfig,
    get_dotted,
    read_config,
    set_dotted,
    speed_keys,
)
from kernel_template.start.inputs import find_inputs
from kernel_template.tools.outcome import KernelFailure
from tests.kernel.kit import (
    DATASET,
    MODEL,
    Log,
    base_config,
    mount_inputs,
    paths_in,
    put,
    reporter,
    settings,
    training_settings,
)


def make(  # noqa: PLR0913 - each is a way in which they differ.
    root: Path,
    log: Log,
    config: Any = None,
    *,
    script: str = "--config_path",
    module: bool = False,
    own: bool = False,
    metadata: bool = True,
    speed: dict[str, Any] | None = None,
    **training: Any,
) -> PreparedConfig:
    """Mount inputs with `config`, and make the training's configuration."""
    paths = paths_in(root)
    dataset = mount_inputs(paths.input, config=config, script=script)
    if not metadata:
        (dataset / "MyTTSDataset" / "metadata.csv").unlink()
    name = "TTS.bin.train_tts" if module else "kgtts" if own else "MyTTSDataset/train_tts.py"
    chosen = {"source": DATASET, "script": name}
    inputs = find_inputs(paths.input, settings(dataset=chosen), reporter(log))
    return ConfigMaker(inputs, training_settings(**training), paths, reporter(log), speed).make()


def failure(root: Path, log: Log, config: Any = None, **more: Any) -> str:
    """Return the error message of a configuration that cannot be made."""
    with pytest.raises(KernelFailure) as caught:
        make(root, log, config, **more)
    assert caught.value.reason is EndReason.BAD_CONFIG
    return caught.value.message


def test_settings_enter_the_base_configuration(root: Path, log: Log) -> None:
    """The user's values, dotted keys, language, output folder and the data's real path are all set."""
    prepared = make(root, log, coqui={"lr_gen": 0.001, "audio.fft_size": 2048, "model_args.dropout": 0.5})
    values = json.loads(prepared.data)
    assert (values["batch_size"], values["epochs"], values["lr_gen"]) == (16, 2, 0.001)
    assert values["audio"] == {"sample_rate": 22050, "fft_size": 2048}
    assert values["model_args"] == {"dropout": 0.5}
    assert values["output_path"] == str(root / "working" / "training")
    entry = values["datasets"][0]
    assert entry["language"] == "bn-Bangladesh"
    assert entry["path"] == str(root / "input" / "datasets" / DATASET / "MyTTSDataset")
    assert entry["meta_file_train"] == "metadata.csv"
    assert prepared.overrides["audio.fft_size"] == 2048


def test_unusual_but_valid_files(tmp_path: Path) -> None:
    """Infinity, NaN, comments and a byte order mark are read; `//` in a URL is not a comment."""
    text = '\ufeff{"a": Infinity, /* old */ "b": NaN, // note\n "uri": "s3://x//y", "text": "\\"//"}'
    values = read_config(put(tmp_path / "config.json", text))
    assert math.isinf(values["a"])
    assert (values["uri"], values["text"]) == ("s3://x//y", '"//')


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b'{"model": "vits"', b"[" * 100_000])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    """The error names the file, whatever is in it."""
    path = put(tmp_path / "config.json", content)
    with pytest.raises(KernelFailure, match=r"config\.json") as caught:
        read_config(path)
    assert caught.value.reason is EndReason.BAD_CONFIG


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A folder with that name is not a configuration."""
    with pytest.raises(KernelFailure, match="cannot be read"):
        read_config(tmp_path)


def test_another_model_is_refused(root: Path, log: Log) -> None:
    """The error names both models."""
    message = failure(root, log, base_config(model="glow_tts"))
    assert "glow_tts" in message
    assert "training.model is vits" in message


def test_a_file_of_another_kind_is_refused(root: Path, log: Log) -> None:
    """A configuration without `model` is not one of Coqui's."""
    assert 'no "model"' in failure(root, log, {"architectures": ["Bert"]})


@pytest.mark.parametrize("config", [{"audio": {"sample_rate": 16000}}, {"audio": None, "sample_rate": 16000}])
def test_another_sample_rate_is_refused(root: Path, log: Log, config: dict[str, Any]) -> None:
    """The error names both sample rates, wherever the base voice stores its own."""
    message = failure(root, log, base_config(**config))
    assert "16000 Hz" in message
    assert "training.sample_rate is 22050" in message


def test_a_sample_rate_given_twice_is_refused(root: Path, log: Log) -> None:
    """A dotted key must not contradict `training.sample_rate`."""
    assert "44100" in failure(root, log, coqui={"audio.sample_rate": 44100})


def test_a_missing_sample_rate_is_filled_in(root: Path, log: Log) -> None:
    """A configuration without a sample rate gets the one in the settings."""
    assert make(root, log, base_config(audio=None)).values["audio"] == {"sample_rate": 22050}


def test_a_path_through_a_value_is_refused(root: Path, log: Log) -> None:
    """`lr_gen.x` is an error if lr_gen is a number."""
    message = failure(root, log, coqui={"lr_gen.x": 1})
    assert "lr_gen is 0.0002" in message


def test_dotted_paths() -> None:
    """Dotted keys reach objects and list items; an index out of range is an error."""
    values: dict[str, Any] = {"a": [{"b": 1}], "c": None}
    set_dotted(values, "a.0.b", 2)
    set_dotted(values, "c.d.e", 3)
    assert values == {"a": [{"b": 2}], "c": {"d": {"e": 3}}}
    assert get_dotted(values, "a.0.b") == 2
    assert get_dotted(values, "a.1.b") is None
    assert get_dotted(values, "a.0.b.c") is None
    with pytest.raises(KernelFailure, match="a list of 1"):
        set_dotted(values, "a.7.b", 1)


def test_no_datasets(root: Path, log: Log) -> None:
    """A script may name its data itself; the installed module may not."""
    make(root, log, base_config(datasets=[]))
    assert "has no datasets" in log.text
    assert "TTS.bin.train_tts" in failure(root, log, base_config(datasets=[]), module=True)


def test_the_phoneme_cache_moves_to_a_writable_place(root: Path, log: Log) -> None:
    """The cache folder of the other machine is replaced by a writable one."""
    values = make(root, log, base_config(phoneme_cache_path="/kaggle/input/x/cache")).values
    assert values["phoneme_cache_path"] == str(root / "temp" / "phoneme_cache")


@pytest.mark.parametrize("is_there", [True, False])
def test_the_file_of_speakers_is_found_beside_the_base_voice(root: Path, log: Log, is_there: bool) -> None:  # noqa: FBT001
    """Its path is of the machine that the voice is from; without it, the data's speakers are used."""
    config = base_config(
        speakers_file="/home/x/speakers.pth", model_args={"speakers_file": "C:\\x\\speakers.pth"}
    )
    if is_there:
        put(paths_in(root).input / "models" / MODEL / "model" / "speakers.pth", "x")
    values = make(root, log, config).values
    found = {values["speakers_file"], values["model_args"]["speakers_file"]}
    assert {None if item is None else Path(item).name for item in found} == (
        {"speakers.pth"} if is_there else {None}
    )
    assert ("which is not here" in log.text) is not is_there


def test_a_dataset_path_that_leads_nowhere(root: Path, log: Log) -> None:
    """A wrong dataset path is an error, unless the script makes its own dataset configuration."""
    entry = {"formatter": "ljspeech", "path": "/gone", "meta_file_train": "other.csv"}
    config = base_config(datasets=[entry])
    assert "datasets[0].path" in failure(root, log, config)
    make(root, log, config, script="config_path BaseDatasetConfig(path='/x')")
    assert "The session continues" in log.text


@pytest.mark.parametrize(
    "datasets",
    [
        [
            {
                "formatter": "",
                "path": "/home/x/bn/",
                "meta_file_train": "/home/x/bn/m.txt",
                "meta_file_val": "v",
            }
        ],
        [],
        None,
        [{"formatter": None, "path": "", "meta_file_train": ""}],
    ],
)
def test_our_script_trains_on_the_metadata_that_is_there(root: Path, log: Log, datasets: Any) -> None:
    """Whatever the base voice's own dataset was, the mounted one is read; its settings may still be set."""
    config = base_config(datasets=datasets)
    prepared = make(root, log, config, own=True, coqui={"datasets.0.dataset_name": "mine"})
    folder = root / "input" / "datasets" / DATASET / "MyTTSDataset"
    (entry,) = prepared.values["datasets"]
    assert entry["path"] == str(folder)
    assert (entry["formatter"], entry["meta_file_train"]) == ("ljspeech", "metadata.csv")
    assert (entry.get("meta_file_val") or "", entry["dataset_name"]) == ("", "mine")
    assert f"using metadata.csv in {folder}" in log.text
    assert prepared.overrides["datasets.0.meta_file_train"] == "metadata.csv"


def test_our_script_keeps_a_data_set_that_is_there(root: Path, log: Log) -> None:
    """The base voice's formatter counts if the file that it names is mounted."""
    config = base_config(datasets=[{"formatter": "coqui", "path": "x", "meta_file_train": "metadata.csv"}])
    (entry,) = make(root, log, config, own=True).values["datasets"]
    assert (entry["formatter"], entry["meta_file_train"]) == ("coqui", "metadata.csv")


def test_our_script_needs_metadata(root: Path, log: Log) -> None:
    """Without any the session ends, and says what makes it."""
    prepare = partial(make, root, log, base_config(datasets=[]), own=True)
    with pytest.raises(KernelFailure, match="kgtts data prepare"):
        prepare(metadata=False)


SPEED = {"gpus": "all", "mixed_precision": True, "cudnn_benchmark": False, "loader_workers": 4}


def test_speed_enters_the_configuration(root: Path, log: Log) -> None:
    """A GPU gets fp16 and a share of the workers; the user's own keys come first."""
    speed = speed_keys(settings(accelerator="NvidiaTeslaT4", gpus=2, speed=SPEED))
    prepared = make(root, log, speed=speed, coqui={"num_loader_workers": 7, "cudnn_benchmark": True})
    assert (prepared.values["mixed_precision"], prepared.values["precision"]) == (True, "fp16")
    assert (prepared.values["num_loader_workers"], prepared.values["num_eval_loader_workers"]) == (7, 2)
    assert prepared.values["cudnn_benchmark"] is True


@pytest.mark.parametrize(
    ("gpus", "asked", "workers", "share"),
    [
        (2, "all", 4, 2),
        (2, 1, 4, 4),
        (1, "all", 3, 3),
        (4, "all", 3, 1),
        (2, "all", 0, 0),
        (2, "all", None, None),
    ],
)
def test_workers_are_for_all_cards_together(gpus: int, asked: Any, workers: Any, share: Any) -> None:
    """Workers are divided between the GPUs; 0 stays 0, and None keeps the base voice's number."""
    speed = {**SPEED, "gpus": asked, "loader_workers": workers}
    keys = speed_keys(settings(accelerator="NvidiaTeslaT4", gpus=gpus, speed=speed))
    assert keys.get("num_loader_workers") == keys.get("num_eval_loader_workers") == share


def test_speed_without_a_gpu_changes_nothing() -> None:
    """On the CPU neither mixed precision nor its type is set."""
    assert speed_keys(settings(speed=SPEED)) == {}
    plain = {**SPEED, "gpus": 1, "mixed_precision": False, "loader_workers": None}
    keys = speed_keys(settings(accelerator="NvidiaTeslaT4", gpus=2, speed=plain))
    assert keys == {"mixed_precision": False, "cudnn_benchmark": False}

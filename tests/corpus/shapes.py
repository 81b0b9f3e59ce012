"""The shapes: each changes the demo's small voice and dataset in one way, and says how it must end."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.corpus import scripts, unusual

TRAINS = "trains"


@dataclass(frozen=True, slots=True)
class Shape:
    """Something that people bring.

    Attributes:
        name: what it is called in the table.
        script: the training script; None for the demo's.
        change: changes the mounted dataset and model in place; gets their folders.
        ends: `TRAINS`, or words of the sentence that the first session must end with.
        says: words that the log must have.
        ranks: on how many ranks it is tried.
    """

    name: str
    script: str | None = None
    change: Callable[[Path, Path], None] | None = None
    ends: str = TRAINS
    says: str = ""
    ranks: tuple[int, ...] = (1,)


def _metadata(change: Callable[[list[str]], str | bytes]) -> Callable[[Path, Path], None]:
    """Write the metadata again from its lines."""

    def write(dataset: Path, _model: Path) -> None:
        path = dataset / "metadata.csv"
        made = change(path.read_text(encoding="utf-8").splitlines())
        path.write_bytes(made if isinstance(made, bytes) else made.encode())

    return write


def _as_people_write(lines: list[str]) -> bytes:
    """A byte order mark, blank lines, names with extensions, folders and quotes, two columns, a | in text."""
    rows = [line.split("|") for line in lines]
    rows[1][0] += ".wav"
    rows[2][0] = f"wavs/{rows[2][0]}.wav"
    rows[3][0] = f'"{rows[3][0]}"'
    rows[4] = rows[4][:2]
    rows[5][1:] = [f"{rows[5][1]} | ঠিক", f"{rows[5][1]} | ঠিক"]
    rows[6][0] = rows[6][0].upper()
    return b"\xef\xbb\xbf" + "\n\n".join("|".join(row) for row in rows).encode()


def _excel(lines: list[str]) -> bytes:
    """Commas, a header line, quotes and an empty row."""
    cells = [line.split("|") for line in lines]
    rows = [f'"{name}.wav","{text}"' for name, text, _ in cells]
    return ('"ফাইল","বাক্য"\r\n' + "\r\n".join(rows) + '\r\n"",""\r\n').encode("utf-8-sig")


def _recordings(dataset: Path, _model: Path) -> None:
    """One recording of each kind that large datasets have."""
    import soundfile  # noqa: PLC0415 - the extra `local` has it.

    paths = sorted((dataset / "wavs").iterdir())
    samples, rate = soundfile.read(paths[0])
    soundfile.write(paths[0], samples / abs(samples).max() * 1.7, rate, subtype="FLOAT")
    data = bytearray(paths[1].read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    paths[1].write_bytes(bytes(data))
    paths[2].write_text("<html>404</html>")
    paths[3].write_bytes(b"")
    paths[4].unlink()


def _silence(count: int | None) -> Callable[[Path, Path], None]:
    """Mute the first recordings, or all: one wholly, the others almost."""

    def change(dataset: Path, _model: Path) -> None:
        import soundfile  # noqa: PLC0415 - as above.

        for number, path in enumerate(sorted((dataset / "wavs").iterdir())[:count]):
            samples, rate = soundfile.read(path)
            soundfile.write(path, samples * (0.0005 if number else 0.0), rate)

    return change


def _pickled(_dataset: Path, model: Path) -> None:
    """A checkpoint with one of Coqui's objects in it."""
    _save(model, lambda state: {**state, "config": _Unknown()})


class _Unknown:
    """An object that torch refuses to load for safety."""


def _save(model: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    import torch  # noqa: PLC0415 - the extra `local` has it.

    path = model / "model_file.pth"
    torch.save(change(torch.load(path, map_location="cpu", weights_only=True)), path)


def _checkpoint(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path], None]:
    return lambda _dataset, model: _save(model, change)


def _more_letters(_dataset: Path, model: Path) -> None:
    """Two letters more than the checkpoint has."""
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["characters"]["characters"] += "½¾"
    path.write_text(json.dumps(config), encoding="utf-8")


def _no_cleaner(_dataset: Path, model: Path) -> None:
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "text_cleaner": None}), encoding="utf-8")


def _module(dataset: Path, _model: Path) -> None:
    """A module beside the script."""
    (dataset / "my_formatter.py").write_text(scripts.MY_FORMATTER, encoding="utf-8")


def _wrong_rate(dataset: Path, _model: Path) -> None:
    import soundfile  # noqa: PLC0415 - as above.

    for path in (dataset / "wavs").iterdir():
        samples, _ = soundfile.read(path)
        soundfile.write(path, samples, 44100)


def _own(*more: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """No script in the dataset, and a configuration whose dataset was another, on another machine."""

    def change(dataset: Path, model: Path) -> None:
        (dataset / "train_tts.py").unlink()
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        config["datasets"] = [
            {
                "formatter": "",
                "path": "/home/somebody/bn/female/",
                "meta_file_train": "/home/somebody/bn/m.txt",
            }
        ]
        (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
        for each in more:
            each(dataset, model)

    return change


def _twelve(dataset: Path, model: Path) -> None:
    """Twelve recordings, so few that Coqui's share for the evaluation is none."""
    _metadata(lambda lines: "".join(f"{line}\n" for line in lines[:12]))(dataset, model)


def _two_speakers(dataset: Path, model: Path) -> None:
    """Two speakers, as Coqui's own formatter has them."""
    rows = [line.split("|") for line in (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()]
    lines = [
        f"wavs/{name}.wav|{text}|speaker{number % 2}|neutral" for number, (name, text, _) in enumerate(rows)
    ]
    table = "\n".join(["audio_file|text|speaker_name|emotion_name", *lines])
    (dataset / "metadata.csv").write_text(f"{table}\n", encoding="utf-8")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["datasets"][0] |= {"formatter": "coqui", "meta_file_train": "metadata.csv"}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _keep_apart(dataset, model)


def _fourth_column(dataset: Path, model: Path) -> None:
    """Two speakers, as `kgtts data prepare` writes them."""
    add = _metadata(
        lambda lines: "".join(f"{line}|speaker{number % 2}\n" for number, line in enumerate(lines))
    )
    add(dataset, model)
    _keep_apart(dataset, model)


def _keep_apart(_dataset: Path, model: Path) -> None:
    """Let a base voice that had one speaker learn several."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["model_args"]["use_speaker_embedding"] = config["use_speaker_embedding"] = True
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _base_of_speakers(dataset: Path, model: Path) -> None:
    """A base voice of three speakers, and recordings of one of them and of a new one."""
    import torch  # noqa: PLC0415 - as above.

    _fourth_column(dataset, model)
    torch.save({"asha": 0, "speaker1": 1, "mina": 2}, model / "speakers.pth")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["speakers_file"] = config["model_args"]["speakers_file"] = "/home/somebody/run/speakers.pth"
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    channels = config["model_args"].get("speaker_embedding_channels", 256)
    _save(
        model, lambda state: {**state, "model": {**state["model"], "emb_g.weight": torch.rand(3, channels)}}
    )


def _other_names(dataset: Path, _model: Path) -> None:
    """Recordings in another folder, with endings in capitals, and one in FLAC."""
    import soundfile  # noqa: PLC0415 - as above.

    folder = (dataset / "wavs").rename(dataset / "clips")
    paths = sorted(folder.iterdir())
    for path in paths[1:]:
        path.rename(path.with_suffix(".WAV"))
    soundfile.write(paths[0].with_suffix(".flac"), *soundfile.read(paths[0]))
    paths[0].unlink()


def _no_wavs(dataset: Path, _model: Path) -> None:
    shutil.rmtree(dataset / "wavs")


def _weights(state: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = state["model"]
    return found


def _old_weight_norm(state: dict[str, Any]) -> dict[str, Any]:
    """The names that torch gave to normalised weights before it had parametrizations."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    model = _weights(state)
    for new, old in names.items():
        model = {name.replace(new, old): value for name, value in model.items()}
    return {**state, "model": model}


def _festival(dataset: Path, model: Path) -> None:
    """Texts in the form of Festival, as Indic TTS has them, and no script."""
    rows = [line.split("|") for line in (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()]
    (dataset / "metadata.csv").unlink()
    lines = "".join(f'( {name} " {text} " )\n' for name, text, _ in rows)
    (dataset / "txt.done.data").write_text(lines, encoding="utf-8")
    _own()(dataset, model)


def _manifest(dataset: Path, model: Path) -> None:
    """A JSON object a line, as NeMo has them, and no script."""
    rows = [line.split("|") for line in (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()]
    (dataset / "metadata.csv").unlink()
    lines = [json.dumps({"audio_filepath": f"wavs/{name}.wav", "text": text}) for name, text, _ in rows]
    (dataset / "manifest.jsonl").write_text("\n".join(lines), encoding="utf-8")
    _own()(dataset, model)


def _only_notebook(dataset: Path, _model: Path) -> None:
    """The script as the notebook that it was written in."""
    cell = {"cell_type": "code", "source": (dataset / "train_tts.py").read_text(encoding="utf-8")}
    (dataset / "train_tts.py").unlink()
    (dataset / "train_tts.ipynb").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")


def _two_scripts(dataset: Path, _model: Path) -> None:
    """One that starts the other."""
    (dataset / "train_one.py").write_text(scripts.OLD_TRAIN_TTS, encoding="utf-8")


def _shell_file(dataset: Path, _model: Path) -> None:
    """A file of commands that trains."""
    line = 'export CUDA_VISIBLE_DEVICES=0\npython3 -m TTS.bin.train_tts \\\n    "$@"\n'
    (dataset / "run.sh").write_text(line, encoding="utf-8")


def _renamed(dataset: Path, _model: Path) -> None:
    (dataset / "train_tts.py").rename(dataset / "train_vits_bn.py")


def _one_deeper(dataset: Path, _model: Path) -> None:
    """A folder in a folder of the same name, as unpacking a ZIP archive leaves it."""
    inner = dataset.rename(dataset.with_name("inner"))
    dataset.mkdir()
    inner.rename(dataset / dataset.name)


def _utf_16_script(dataset: Path, _model: Path) -> None:
    path = dataset / "train_tts.py"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))


def _marked_script(dataset: Path, _model: Path) -> None:
    """A byte order mark and Windows line ends."""
    path = dataset / "train_tts.py"
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode("utf-8-sig"))


def _vendored(dataset: Path, _model: Path) -> None:
    """What is left of a clone of Coqui's repository beside the script."""
    (dataset / "TTS").mkdir()
    (dataset / "TTS" / "__init__.py").write_text("__version__ = '0.22.0'\n", encoding="utf-8")


def _common_voice(dataset: Path, _model: Path) -> None:
    """A table as Common Voice has it."""
    rows = [line.split("|") for line in (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()]
    (dataset / "wavs").rename(dataset / "clips")
    lines = [f"speaker{number % 2}\t{name}.mp3\t{text}" for number, (name, text, _) in enumerate(rows)]
    table = "\n".join(["client_id\tpath\tsentence", *lines])
    (dataset / "validated.tsv").write_text(f"{table}\n", encoding="utf-8")


def _other_forms(dataset: Path, _model: Path) -> None:
    """Letters with their dots in one character, joiners, and spaces of other kinds."""
    add = _metadata(
        lambda lines: "\n".join(
            line.replace("য়", "\u09df").replace("ড়", "\u09dc").replace(" ", "\u00a0", 1) for line in lines
        )
    )
    add(dataset, _model)


def _before_each(start: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Put something before the name of each weight."""
    return lambda state: {**state, "model": {f"{start}{key}": v for key, v in _weights(state).items()}}


_NAN = float("nan")
_BANGLA, _ENGLISH = "CharactersConfig(**LETTERS)", "None"

SHAPES = (
    # ---- Scripts
    Shape("today", ranks=(1, 2)),
    Shape("own", change=_own(), says="the one that kgtts brings along", ranks=(1, 2)),
    Shape("own_few", change=_own(_twelve), says="10 samples to train on, 2 to evaluate on"),
    Shape("own_speakers", change=_own(_two_speakers), says="2 speakers", ranks=(1, 2)),
    Shape("own_fourth_column", change=_own(_fourth_column), says="2 speakers"),
    Shape("own_base_of_speakers", change=_own(_base_of_speakers), says="has 1 of the 2 speakers, who keep"),
    Shape("old_train_tts", scripts.OLD_TRAIN_TTS, says="setup_model(config, samples)", ranks=(1, 2)),
    Shape("notebook", scripts.NOTEBOOK, says="VitsAudioConfig", ranks=(1, 2)),
    Shape("hard_coded", scripts.HARD_CODED, says="of the script names /kaggle/input/datahrbn/MyTTSDataset"),
    Shape("recipe", scripts.RECIPE.replace("@LETTERS@", _BANGLA), says="is not kept: using"),
    Shape(
        "writes_beside_itself",
        scripts.BESIDE.replace("@LETTERS@", _BANGLA),
        says="its own folder, which is read-only",
        ranks=(1, 2),
    ),
    Shape("recipe_english", scripts.RECIPE.replace("@LETTERS@", _ENGLISH), ends="take `characters`"),
    Shape("speakers", scripts.SPEAKERS, says="BaseDatasetConfig(name=…)"),
    Shape("subclass_eval_first", scripts.SUBCLASS, says="MY EPOCH", ranks=(1, 2)),
    Shape("old_subclass", scripts.OLD_SUBCLASS, ends="coqui-tts-trainer 0.4"),
    Shape("goes_there", scripts.GOES_THERE.replace("@LETTERS@", _BANGLA), _module, says="it sees"),
    Shape("colab", scripts.COLAB, ends="written for Google Colab in line 1 of train_tts.py"),
    Shape("elsewhere", scripts.ELSEWHERE, says="of the script names C:"),
    Shape("exported_notebook", scripts.EXPORTED, ends="an exported notebook in line 1"),
    Shape("magic", scripts.WITH_MAGIC, ends="begin with ! or %"),
    Shape("frozen", scripts.FROZEN, ranks=(1, 2)),
    Shape("splits", scripts.SPLITS, ranks=(1, 2)),
    Shape("two_sets", scripts.TWO_SETS, says="TTS.tts.datasets.mine"),
    Shape("no_evaluation", scripts.NO_EVALUATION),
    Shape("goes_on", scripts.GOES_ON, says="after its training had stopped"),
    Shape("swallows", scripts.SWALLOWS, ranks=(1, 2)),
    Shape("largest_batch", scripts.LARGEST_BATCH),
    Shape("weighted_sampler", scripts.WEIGHTED),
    Shape("phonemes", scripts.PHONEMES, says="by way of espeakng-loader"),
    Shape("no_phonemes", scripts.NO_PHONEMES, ends='add "espeakng-loader"'),
    Shape("evaluates_often", scripts.EVALUATES_OFTEN, ranks=(1, 2)),
    Shape("random_samples", scripts.RANDOM_SAMPLES, ranks=(2,)),
    Shape("copies", scripts.COPIES, ranks=(1, 2)),
    Shape("cleans_up", scripts.CLEANS_UP, ranks=(2,)),
    Shape("resamples", scripts.RESAMPLES, ranks=(2,)),
    Shape("argparse_strict", scripts.STRICT, ends="parse_known_args"),
    Shape("click", scripts.CLICK, ends="ignore_unknown_options"),
    Shape("needs_both_paths", scripts.NEEDS_BOTH),
    Shape("missing_package", scripts.MISSING_PACKAGE, ends="needs a_package_that_nobody_has"),
    Shape("syntax_error", scripts.SYNTAX, ends="mistake in the line above"),
    Shape("as_program", unusual.AS_PROGRAM, says="a program of its own", ranks=(1, 2)),
    Shape("by_shell", unusual.BY_SHELL, says="a program of its own", ranks=(1, 2)),
    Shape("shell_file", unusual.SHELL_FILE, _shell_file, says="a program of its own", ranks=(1, 2)),
    Shape("distributed", unusual.DISTRIBUTED, _two_scripts, says="a program of its own", ranks=(1, 2)),
    Shape("spawns", unusual.SPAWNS, ends="below `if __name__"),
    Shape("spawns_guarded", unusual.SPAWNS_GUARDED, ranks=(1, 2)),
    Shape("retries", unusual.RETRIES, ranks=(1, 2)),
    Shape("hides", unusual.HIDES, ends="it broke", ranks=(1, 2)),
    Shape("stages", unusual.STAGES),
    Shape("wandb", unusual.WANDB, ends="dashboard_logger"),
    Shape("downloads", unusual.DOWNLOADS, ends="needs no download"),
    Shape("model_manager", unusual.MODEL_MANAGER, ends="needs no download"),
    Shape("d_vectors", unusual.D_VECTORS),
    Shape("common_voice", unusual.COMMON_VOICE, _common_voice, says="have another ending"),
    Shape("first_trainer", unusual.FIRST_TRAINER, ends='inputs.script = "kgtts"'),
    Shape("training_args", unusual.TRAINING_ARGS, ends='inputs.script = "kgtts"'),
    Shape("positional", unusual.POSITIONAL, ends="takes its first argument for a path"),
    Shape("load_json", unusual.LOAD_JSON),
    Shape("speaks", unusual.SPEAKS),
    Shape("utf_16_script", None, _utf_16_script, says="the script is in UTF-16"),
    Shape("marked_script", None, _marked_script),
    Shape("vendored", None, _vendored, says="is no whole copy of Coqui TTS"),
    Shape("only_notebook", None, _only_notebook, says="not with MyTTSDataset/train_tts.ipynb"),
    Shape("renamed_script", None, _renamed, says="not with MyTTSDataset/train_vits_bn.py"),
    Shape("one_deeper", None, _one_deeper),
    # ---- Metadata
    Shape("festival", None, _festival, ends="`kgtts data prepare` makes one"),
    Shape("manifest", None, _manifest, ends="`kgtts data prepare` makes one"),
    Shape("other_forms", None, _other_forms),
    Shape(
        "as_people_write",
        None,
        _metadata(_as_people_write),
        says="is corrected for the training",
        ranks=(1, 2),
    ),
    Shape("excel", None, _metadata(_excel), says="separated by commas"),
    Shape(
        "tabs_utf16",
        None,
        _metadata(lambda rows: "\n".join(rows).replace("|", "\t").encode("utf-16")),
        says="UTF-16",
    ),
    Shape(
        "texts_only", None, _metadata(lambda rows: "\n".join(r.split("|")[1] for r in rows)), ends="line 1:"
    ),
    Shape(
        "latin_1", None, _metadata(lambda rows: b"caf\xe9\n" + "\n".join(rows).encode()), ends="is not UTF-8"
    ),
    Shape("no_cleaner", None, _no_cleaner),
    # ---- Recordings
    Shape("odd_recordings", None, _recordings, says="1  too_loud", ranks=(1, 2)),
    Shape("silent_recordings", None, _silence(2), says="2  silent: there is nothing to hear"),
    Shape("all_silent", None, _silence(None), ends="the microphone may have been muted"),
    Shape("wrong_rate", None, _wrong_rate, ends="training.sample_rate"),
    Shape("other_names", None, _other_names, says="or do not end in .wav", ranks=(1, 2)),
    Shape("no_recordings", None, _no_wavs, ends="in wavs beside the metadata"),
    # ---- Base voices
    Shape(
        "weights_only", None, _checkpoint(lambda state: {"model": state["model"]}), says="has weights only"
    ),
    Shape("bare_weights", None, _checkpoint(_weights), says="has weights only"),
    Shape(
        "generator_only",
        None,
        _checkpoint(
            lambda state: {
                **state,
                "model": {k: v for k, v in _weights(state).items() if not k.startswith("disc.")},
            }
        ),
        says="layers could be loaded",
    ),
    Shape(
        "half_precision",
        None,
        _checkpoint(
            lambda state: {
                **state,
                "model": {k: v.half() if v.is_floating_point() else v for k, v in _weights(state).items()},
            }
        ),
    ),
    Shape("of_ddp", None, _checkpoint(_before_each("module.")), says="Model restored from step"),
    Shape("of_another_model", None, _checkpoint(_before_each("vits.")), ends="`kgtts base list` names some"),
    Shape("old_weight_norm", None, _checkpoint(_old_weight_norm), says="Model restored from step"),
    Shape("more_letters", None, _more_letters, says="2 of its"),
    Shape("pickled_config", None, _pickled, says="objects in the base voice's checkpoint are left out"),
    Shape(
        "pickled_model",
        None,
        _checkpoint(lambda state: {**state, "model": _Unknown()}),
        ends="holds Python objects",
    ),
    Shape(
        "nan_weights",
        None,
        _checkpoint(lambda state: {**state, "model": {k: v * _NAN for k, v in _weights(state).items()}}),
        ends="saved after its training had become unstable",
    ),
)

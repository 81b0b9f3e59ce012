"""Check a base voice (config.json and checkpoint), and convert it to what today's Coqui reads."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kernel_template.text.metadata import LJSPEECH
from kernel_template.text.tokens import ROLES
from orchestrator import untrusted
from orchestrator.base.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.base.speakers import take_speakers
from orchestrator.errors import LocalError, UsageError
from orchestrator.files import write_atomically
from orchestrator.settings.fields import flatten

CONFIG, MODEL = "config.json", "model_file.pth"
# As in the defaults of inputs.config and inputs.checkpoint.
FOLDER = "model"
_EMBEDDING = "text_encoder.emb.weight"
_PARTS = ("text_encoder.", "posterior_encoder.", "flow.", "duration_predictor.", "waveform_decoder.")
_DISCRIMINATOR = "disc."
_CHARACTERS = "TTS.tts.utils.text.characters."
_NO_LIMIT = 1_000_000_000  # In the place of Infinity, which is no JSON: more than any text or recording has.
_RATES = range(8000, 192_001)
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
# Of the run that made the voice, on the machine that it was made on.
_PATHS = ("output_path", "restore_path", "continue_path", "phoneme_cache_path", "logger_uri", "github_branch")


@dataclass(frozen=True, slots=True)
class BaseVoice:
    """A base voice that can be fine-tuned, as it will be uploaded.

    Attributes:
        config: the configuration for today's Coqui.
        checkpoint: its weights.
        changed: what was changed, as sentences.
        warnings: what may matter to the person, as sentences.
    """

    config: Mapping[str, Any]
    checkpoint: Checkpoint
    changed: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        rate: int = self.config["audio"]["sample_rate"]
        return rate

    @property
    def letters(self) -> int:
        """How many letters and signs its vocabulary has."""
        return self.checkpoint.weights[_EMBEDDING].shape[0]

    def write(self, folder: Path) -> dict[str, Path]:
        """Write both files into a folder; return them by their names in the model.

        Raises:
            LocalError: they cannot be written.
        """
        write_atomically(
            folder / CONFIG, json.dumps(self.config, ensure_ascii=False, indent=1, allow_nan=False)
        )
        write_checkpoint(self.checkpoint, folder / MODEL)
        return {f"{FOLDER}/{name}": folder / name for name in (CONFIG, MODEL)}


def read_voice(config_path: Path, checkpoint_path: Path) -> BaseVoice:
    """Read, check and convert a base voice.

    Raises:
        UsageError: it is none that can be fine-tuned; the message says why.
        LocalError: a file cannot be read.
    """
    values = read_config(config_path)
    model = values.get("model") or values.get("generator_model")
    if str(model).casefold() != "vits":
        raise UsageError(
            f"{config_path} is of the architecture {untrusted.one_line(model, 40)!r}; kgtts fine-tunes VITS.",
            hint="`kgtts base list` names voices that work",
        )
    audio = untrusted.as_object(values.get("audio"))
    rate = audio.get("sample_rate") or values.get("sample_rate")
    if not isinstance(rate, int) or rate not in _RATES:
        raise UsageError(f"{config_path} has no audio.sample_rate that recordings have: {rate!r}.")
    checkpoint = read_checkpoint(checkpoint_path)
    _check_parts(checkpoint)
    config, changed = convert(values)
    taken, warnings = take_speakers(config, config_path.parent, checkpoint)
    changed += taken
    warnings += _check_vocabulary(config, checkpoint)
    if not any(name.startswith(_DISCRIMINATOR) for name in checkpoint.weights):
        warnings.append(
            "It has no discriminator, since it was made small to speak: the training makes a new one, and "
            "the voice gets worse before it gets better."
        )
    if checkpoint.unknown:
        named = ", ".join(checkpoint.unknown[:3])
        changed.append(f"Python objects in the checkpoint ({named}) are left out; nothing of them was run")
    return BaseVoice(config, checkpoint, (*changed, *checkpoint.changed), tuple(warnings))


def read_config(path: Path) -> dict[str, Any]:
    """Read a Coqui config.json; `Infinity`, `NaN`, a byte order mark and comments are accepted.

    Raises:
        UsageError: it is not a configuration.
        LocalError: it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LocalError(f"Could not read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a configuration: byte {error.start} is not UTF-8.") from error
    for tried in (text, _COMMENT.sub(lambda match: match[1] or "", text)):
        try:
            values = json.loads(tried)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            return values
    raise UsageError(f"{path} is not a configuration of Coqui: it is not a JSON object.")


def convert(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration that today's Coqui reads as this one was meant, and what was changed."""
    changed = list[str]()
    config: dict[str, Any] = json.loads(json.dumps(values))  # A copy, however deep.
    endless = [key for key, value in flatten(config).items() if _is_not_finite(value)]
    if endless:
        config = _finite(config)
        changed.append(f"Infinity, which is not JSON, is {_NO_LIMIT:,} in {', '.join(endless)}")
    characters = config.get("characters")
    if isinstance(characters, dict) and not characters.get("characters_class"):
        kind = "IPAPhonemes" if config.get("use_phonemes") else "Graphemes"
        characters["characters_class"] = f"{_CHARACTERS}{kind}"
        changed.append(f"characters_class was empty and is {kind}, as Coqui would choose")
    sentences = config.get("test_sentences")
    if isinstance(sentences, list) and any(isinstance(item, str) for item in sentences):
        config["test_sentences"] = [[item] if isinstance(item, str) else item for item in sentences]
        changed.append("test_sentences were plain sentences; each is a list now")
    rate = config.pop("sample_rate", None)
    audio = config.get("audio")
    if rate is not None and not (isinstance(audio, dict) and audio.get("sample_rate")):
        config["audio"] = {**(audio if isinstance(audio, dict) else {}), "sample_rate": rate}
        changed.append("sample_rate stands in audio now")
    _forget_machine(config, changed)
    return config, changed


def _forget_machine(config: dict[str, Any], changed: list[str]) -> None:
    """Take out the paths of the machine that the voice was made on."""
    gone = [key for key in _PATHS if _is_elsewhere(config.get(key))]
    for key in gone:
        del config[key]
    datasets = config.get("datasets")
    named = [item for item in datasets if isinstance(item, dict)] if isinstance(datasets, list) else []
    if not named or any(_is_elsewhere(item.get("path")) or not item.get("formatter") for item in named):
        ours = {"formatter": LJSPEECH, "path": "MyTTSDataset", "meta_file_train": "metadata.csv"}
        language = next((item.get("language") for item in named if item.get("language")), "")
        config["datasets"] = [{**ours, "language": language}]
        gone.append("datasets")
    if gone:
        changed.append(
            f"paths of another machine are taken out ({', '.join(gone)}); the data is what `kgtts data "
            "prepare` makes"
        )


def _is_elsewhere(value: object) -> bool:
    return isinstance(value, str) and (
        PurePosixPath(value).is_absolute() or bool(re.match(r"[A-Za-z]:", value))
    )


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if _is_not_finite(value):
        return -_NO_LIMIT if value < 0 else _NO_LIMIT
    return value


def _check_parts(checkpoint: Checkpoint) -> None:
    missing = [part for part in _PARTS if not any(name.startswith(part) for name in checkpoint.weights)]
    embedding = checkpoint.weights.get(_EMBEDDING)
    if missing or embedding is None or len(embedding.shape) != 2:  # noqa: PLR2004 - a row a letter.
        what = ", ".join(part.rstrip(".") for part in missing) or _EMBEDDING
        raise UsageError(
            f"{checkpoint.path} is not a checkpoint of Coqui's VITS: it has no {what}.",
            hint="voices of Piper, MMS and others are VITS too, but Coqui cannot go on with their files",
        )


def vocabulary(config: Mapping[str, Any]) -> list[str] | None:
    """Return the letters in the order of Coqui's BaseCharacters (0.28); None if the config does not say."""
    characters = untrusted.as_object(config.get("characters"))
    main = characters.get("phonemes") if config.get("use_phonemes") else characters.get("characters")
    main = main or characters.get("characters")
    kind = str(characters.get("characters_class") or _CHARACTERS)
    if not isinstance(main, str) or not kind.startswith(_CHARACTERS):
        return None
    letters = list(set(main)) if characters.get("is_unique", True) else list(main)
    if characters.get("is_sorted", True):
        letters.sort()
    roles = [characters.get(role) for role in ROLES]
    return [*(role for role in roles if role), *letters, *str(characters.get("punctuations") or "")]


def _check_vocabulary(config: Mapping[str, Any], checkpoint: Checkpoint) -> list[str]:
    letters, rows = vocabulary(config), checkpoint.weights[_EMBEDDING].shape[0]
    if letters is None:
        return ["config.json does not list its letters, so they were not compared with the checkpoint."]
    twice = sorted({letter for letter in letters if letters.count(letter) > 1})
    if twice:
        raise UsageError(
            f"config.json lists letters twice, which Coqui refuses: {' '.join(map(repr, twice[:8]))}.",
            hint="remove them from characters or punctuations",
        )
    if len(letters) != rows:
        said = (
            f"config.json has {len(letters)} letters, the checkpoint {rows}: letters were added, or they are"
        )
        return [f"{said} not of one training. The training keeps the letters that both have."]
    return []

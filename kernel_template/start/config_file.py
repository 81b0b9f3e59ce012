"""Makes the training's configuration: the base voice's, with the user's settings merged in."""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernel_template.contract import EndReason
from kernel_template.settings import SessionSettings, TrainingSettings
from kernel_template.start.dataset_paths import DatasetPaths
from kernel_template.start.inputs import Inputs
from kernel_template.text.metadata import LJSPEECH
from kernel_template.tools.files import json_bytes
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.paths import Paths
from kernel_template.tools.report import MessageSink

# Strings come first, so that the "//" of an address in one is not taken for a comment.
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
# A script that names this class makes its dataset configuration itself.
_OWN_DATASETS = "BaseDatasetConfig"
_SPEAKER_FILES = ("speakers_file", "speaker_file", "language_ids_file")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class PreparedConfig:
    """A configuration to train with, and the values that were set in it, by dotted path.

    `before` has the values that these replaced; in a later session, what the session before had used.
    """

    values: dict[str, Any]
    overrides: dict[str, Any]
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The file's content. It may contain `Infinity`, which Coqui reads."""
        return json_bytes(self.values)


def read_config(path: Path) -> dict[str, Any]:
    """Read a Coqui config.json; `Infinity`, `NaN`, a byte order mark and comments are accepted.

    Raises:
        KernelFailure: the file cannot be read, or is not a configuration.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise KernelFailure(EndReason.BAD_CONFIG, f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise KernelFailure(
            EndReason.BAD_CONFIG, f"{path} is not a configuration: byte {error.start} is not UTF-8 text."
        ) from error
    try:
        values = _parse(text)
    except (ValueError, RecursionError) as error:
        where = f" ({error})" if str(error) else ""
        raise KernelFailure(
            EndReason.BAD_CONFIG,
            f"{path} is damaged: it is not valid JSON{where}. Upload the base voice's config.json again.",
        ) from error
    if not isinstance(values, dict):
        raise KernelFailure(
            EndReason.BAD_CONFIG, f"{path} is not a Coqui configuration: it is not a JSON object."
        )
    return values


def config_damage(path: Path) -> str | None:
    """Say why a config.json cannot be used; None if it can."""
    try:
        read_config(path)
    except KernelFailure as failure:
        return failure.message
    return None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        without = _COMMENT.sub(lambda match: match.group(1) or "", text)
        try:
            return json.loads(without)
        except ValueError:
            raise error from None


def get_dotted(values: Any, key: str) -> Any:
    """The value at a dotted path such as `audio.fft_size` or `datasets.0.path`; None if there is none."""
    for part in key.split("."):
        if isinstance(values, dict):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted path; make objects on the way that are missing or null.

    Raises:
        KernelFailure: the path leads through a value that is not an object or list.
    """
    place: Any = values
    parts = key.split(".")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if isinstance(place, list) and part.isdigit() and int(part) < len(place):
            if last:
                place[int(part)] = value
            place = place[int(part)]
        elif isinstance(place, dict):
            if last:
                place[part] = value
            elif place.get(part) is None:
                place[part] = {}
            place = place[part]
        else:
            held = ".".join(parts[:index])
            kind = f"a list of {len(place)}" if isinstance(place, list) else f"{place!r}"
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f"training.coqui sets {key!r}, but {held} is {kind} in the base voice's configuration.",
            )


def speed_keys(settings: SessionSettings) -> dict[str, Any]:
    """Translate the section `speed` into Coqui's settings; none on the CPU, where the base voice's stay."""
    if settings["accelerator"] is None:
        return {}
    speed = settings["speed"]
    keys: dict[str, Any] = {
        "mixed_precision": speed["mixed_precision"],
        "cudnn_benchmark": False,  # The host searches, where it is of use.
    }
    if keys["mixed_precision"]:
        keys["precision"] = "fp16"  # A T4 has no bf16.
    if (workers := speed["loader_workers"]) is not None:
        ranks = (settings["gpus"] or 1) if speed["gpus"] == "all" else 1
        # Coqui's number is for each process, and there is one process for each GPU.
        share = max(workers // ranks, min(workers, 1))
        keys |= {"num_loader_workers": share, "num_eval_loader_workers": share}
    return keys


class ConfigMaker:
    """Makes the training's configuration from the base voice's.

    Args:
        inputs: the files of the training.
        training: the section `training` of the settings.
        paths: the session's folders.
        report: prints the changes.
        speed: what `speed_keys` gives; the user's own keys in training.coqui override it.
    """

    def __init__(
        self,
        inputs: Inputs,
        training: TrainingSettings,
        paths: Paths,
        report: MessageSink,
        speed: Mapping[str, Any] | None = None,
    ) -> None:
        self._inputs = inputs
        self._training = training
        self._speed = dict(speed or {})
        self._paths = paths
        self._report = report

    def make(self) -> PreparedConfig:
        """Read the base voice's configuration, check it, and merge the settings in.

        Raises:
            KernelFailure: the base voice's configuration is damaged, or has another model or sample rate.
        """
        values = read_config(self._inputs.config)
        coqui = {**self._speed, **self._training["coqui"]}
        self._check_model(values)
        self._check_sample_rate(values, coqui)
        overrides: dict[str, Any] = {
            "batch_size": self._training["batch_size"],
            "epochs": self._training["epochs"],
            "output_path": str(self._paths.training),
        }
        if self._inputs.own and _datasets(values) is None:
            values["datasets"] = [{}]  # Filled in below; training.coqui may set keys of it.
        before = {key: get_dotted(values, key) for key in (*coqui, *overrides)}
        for key, value in {**coqui, **overrides}.items():
            set_dotted(values, key, value)
        overrides = {**coqui, **overrides}
        self._set_datasets(values, overrides)
        self._move_phoneme_cache(values, overrides)
        self._find_speakers(values)
        for key, value in sorted(overrides.items()):
            self._report.say(f"  {key} = {json.dumps(value, ensure_ascii=False)}")
        return PreparedConfig(values, overrides, before)

    def _check_model(self, values: Mapping[str, Any]) -> None:
        model = str(values.get("model") or values.get("generator_model") or "")
        wanted = self._training["model"]
        if not model:
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f'{self._inputs.config} is not a Coqui configuration, since it has no "model". '
                "Check inputs.config.",
            )
        if model.casefold() != wanted.casefold():
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f"The base voice is a {model} model ({self._inputs.config}), but training.model is {wanted}: "
                f'set training.model = "{model}" or use another base voice.',
            )

    def _check_sample_rate(self, values: dict[str, Any], coqui: Mapping[str, Any]) -> None:
        wanted = self._training["sample_rate"]
        asked_twice = coqui.get("audio.sample_rate", wanted)
        if asked_twice != wanted:
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f"training.sample_rate is {wanted}, but training.coqui sets audio.sample_rate to "
                f"{asked_twice}: remove it from training.coqui.",
            )
        # VITS and most models have it in `audio`; the guide's own example has it at the top.
        where = "audio.sample_rate" if get_dotted(values, "audio.sample_rate") is not None else "sample_rate"
        base = get_dotted(values, where)
        if base is None:
            set_dotted(values, "audio.sample_rate", wanted)
        elif base != wanted:
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f"The base voice has a sample rate of {base} Hz ({where} in {self._inputs.config}), but "
                f"training.sample_rate is {wanted}: set training.sample_rate = {base} and convert the "
                "recordings to that rate.",
            )

    def _set_datasets(self, values: dict[str, Any], overrides: dict[str, Any]) -> None:
        """Set the language of each dataset, and paths that exist here."""
        text = script_text(self._inputs)
        own = _OWN_DATASETS in text
        datasets = _datasets(values)
        if datasets is None:
            message = f"{self._inputs.config} has no datasets"
            if self._inputs.module is not None:
                raise KernelFailure(
                    EndReason.BAD_CONFIG,
                    f"{message}, and {self._inputs.module} reads them only from there: add an entry with "
                    "formatter, path and meta_file_train to datasets in the base voice's config.json.",
                )
            self._report.say(f"  {message}: the script must name its data itself")
            return
        paths = DatasetPaths(self._inputs.dataset, strict=not own, report=self._report)
        for index, entry in enumerate(datasets):
            language = self._training["language"]
            done = self._of_the_data(paths, index, entry) if self._inputs.own else paths.correct(index, entry)
            datasets[index] = {**done, "language": language}
            changed = {key for key in done if done[key] != entry.get(key)}
            for key in sorted(changed | {"path", "language"}):
                overrides[f"datasets.{index}.{key}"] = datasets[index].get(key)

    def _of_the_data(self, paths: DatasetPaths, index: int, entry: dict[str, Any]) -> dict[str, Any]:
        """Correct an entry for our own script, which reads the dataset that is there.

        Raises:
            KernelFailure: the dataset has neither the entry's metadata nor a metadata.csv.
        """
        found = paths.discover()
        try:
            done = paths.correct(index, entry)
        except KernelFailure as failure:
            if found is None:
                raise KernelFailure(
                    EndReason.BAD_CONFIG,
                    f"{failure.message} Nor has it a metadata.csv: `kgtts data prepare` makes one.",
                ) from None
            done = {**entry, **found, "meta_file_val": "", "meta_file_attn_mask": ""}
            named = entry.get("meta_file_train") or "no metadata"
            self._report.say(
                f"  datasets[{index}] names {named}, which the dataset does not have; using "
                f"{found['meta_file_train']} in {found['path']}"
            )
        return {**done, "formatter": done.get("formatter") or LJSPEECH}

    def _move_phoneme_cache(self, values: dict[str, Any], overrides: dict[str, Any]) -> None:
        """Put the cache of phonemes into a folder that can be written; the old machine's is not here."""
        cache = values.get("phoneme_cache_path")
        if isinstance(cache, str) and cache and not Path(cache).is_relative_to(self._paths.working):
            overrides["phoneme_cache_path"] = str(self._paths.temp / "phoneme_cache")
            values["phoneme_cache_path"] = overrides["phoneme_cache_path"]

    def _find_speakers(self, values: dict[str, Any]) -> None:
        """Name the files of speakers where they are: their paths are of another machine."""
        for key in _SPEAKER_FILES:
            for place in (key, f"model_args.{key}"):
                named = get_dotted(values, place)
                if not isinstance(named, str) or not named or Path(named).is_file():
                    continue
                beside = self._inputs.config.parent / re.split(r"[/\\]", named)[-1]
                found = str(beside) if beside.is_file() else None
                if found is None:
                    self._report.say(
                        f"  {place} names {named}, which is not here: the data's speakers are used"
                    )
                # No override: Coqui writes the speakers again, into the run's folder.
                set_dotted(values, place, found)


def _datasets(values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The entries of `datasets`; None if it has none, or is not a list of objects."""
    datasets = values.get("datasets")
    if isinstance(datasets, list) and datasets and all(isinstance(item, dict) for item in datasets):
        return datasets
    return None


def script_text(inputs: Inputs) -> str:
    """The training script's text; empty for an installed module, or if the file cannot be read."""
    if inputs.script is None:
        return ""
    try:
        source = inputs.script.read_bytes()
        return source.decode("utf-16" if source[:2] in _UTF_16 else "utf-8", errors="replace")
    except OSError:
        return ""

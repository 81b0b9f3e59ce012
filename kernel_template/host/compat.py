"""Lets scripts that were written for Coqui TTS 0.22 and earlier run on coqui-tts 0.28.

It translates names that are gone and arguments that changed, and nothing else. Calls in today's form are
passed on unchanged. Each translation is logged once.

| the old form | since | what it becomes |
|---|---|---|
| `load_tts_samples(datasets, …)`, a list or a single dataset | 0.28 | a configuration with these datasets |
| a formatter that is put into the module `TTS.tts.datasets` | 0.25 | that function |
| `setup_model(config, samples)` | 0.28 | `setup_model(config)`; the speakers of the samples go into config |
| `Vits(config, ap, tokenizer, speaker_manager, language_manager)` | 0.28 | `Vits(config)`, as above |
| `Vits.init_from_config(config, samples)` | 0.28 | `Vits(config)`, as above |
| `SpeakerManager.init_from_config(config, samples)` | 0.28 | without the samples, as above |
| `TTS.tts.models.vits.VitsAudioConfig` | 0.28 | `BaseAudioConfig` |
| `AudioProcessor.init_from_config(config)`, `AudioProcessor(**audio)` | 0.28 | `AudioProcessor(audio)` |
| `TTS.config.shared_configs.CharactersConfig` | 0.4 | the class of `TTS.tts.configs.shared_configs` |
| `BaseDatasetConfig(name=…)` | 0.9 | `formatter=…` |
| `characters={…}` in a configuration | 0.28 | a `CharactersConfig` |
| settings that a configuration no longer has | 0.23 to 0.28 | in model_args if those have it, else left out |
| `Trainer(training_assets=…, get_model=…, test_samples=…)` | trainer 0.1 | left out; `get_model` is called |
"""

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from kernel_template.host.coqui import patch

_UNEXPECTED = re.compile(r"__init__\(\) got an unexpected keyword argument '(\w+)'")
_TRAINER_GONE = ("training_assets", "test_samples", "get_data_samples", "get_model")


class Compatibility:
    """Translates old calls.

    Args:
        say: writes a line to the log.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()

    def modules(self) -> dict[str, Callable[[types.ModuleType], None]]:
        """Return what to do when each module has been imported."""
        return {
            "TTS.tts.datasets": self._datasets,
            "TTS.tts.models": lambda module: patch(module, "setup_model", self.setup_model),
            "TTS.tts.models.vits": self._vits,
            "TTS.tts.utils.speakers": self._speakers,
            "TTS.utils.audio.processor": self._audio,
            "TTS.config.shared_configs": self._shared_configs,
            "TTS.tts.configs.shared_configs": lambda module: self._configs(module, "CharactersConfig"),
            "TTS.tts.configs.vits_config": lambda module: self._configs(module, "VitsConfig", "VitsArgs"),
        }

    def note(self, old: str, new: str) -> None:
        """Log, once, that an old form is translated."""
        if old not in self._said:
            self._said.add(old)
            self._say(f"the script is for an older Coqui: {old} → {new}")

    # ---- Functions

    def load_tts_samples(self, original: Callable[..., Any], config: Any, *args: Any, **kwargs: Any) -> Any:
        """Accept a list of datasets, or one, as 0.22 did; and `eval_split` by position."""
        if args:
            kwargs["eval_split"] = args[0]
            self.note("load_tts_samples(…, True)", "load_tts_samples(…, eval_split=True)")
        if not _has_datasets(config):
            self.note("load_tts_samples(datasets)", "load_tts_samples(config)")
            config = _Datasets(config)
        return original(config, **kwargs)

    def setup_model(self, original: Callable[..., Any], config: Any, *args: Any, **kwargs: Any) -> Any:
        """Accept the samples, as 0.22 did, and take the speakers from them."""
        samples = kwargs.pop("samples", args[0] if args else None)
        if samples is not None:
            self.note("setup_model(config, samples)", "setup_model(config)")
            _take_speakers(config, samples)
        return original(config, **kwargs)

    def trainer(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the Trainer's keyword arguments without those that it no longer has."""
        old = {name: value for name, value in named.items() if name in _TRAINER_GONE and not _takes(name)}
        kept = {name: value for name, value in named.items() if name not in old}
        if old:
            self.note(f"Trainer({', '.join(f'{name}=…' for name in old)})", "without")
        if (make := old.get("get_model")) is not None and kept.get("model") is None:
            kept["model"] = make()
        return kept

    # ---- Modules

    def _datasets(self, module: types.ModuleType) -> None:
        def formatter(original: Callable[[str], Any], name: str) -> Any:
            places = (module, sys.modules["TTS.tts.datasets.formatters"])
            found = next(
                (own for place in places if callable(own := getattr(place, name.lower(), None))), None
            )
            try:
                return original(name)
            except ValueError:
                if found is None:
                    raise
                self.note(f"TTS.tts.datasets.{name.lower()} = …", f"register_formatter({name!r}, …)")
                return found

        patch(module, "load_tts_samples", self.load_tts_samples)
        if hasattr(module, "_get_formatter_by_name"):
            patch(module, "_get_formatter_by_name", formatter)

    def _vits(self, module: Any) -> None:
        base: Any = sys.modules["TTS.config.shared_configs"].BaseAudioConfig

        self._provide(module, "VitsAudioConfig", lambda: base, "VitsAudioConfig", "BaseAudioConfig")

        def init(original: Callable[..., None], model: Any, config: Any, *args: Any, **kwargs: Any) -> None:
            if not args and not kwargs:
                original(model, config)
                return
            names = ("ap", "tokenizer", "speaker_manager", "language_manager")
            given = dict(zip(names, args, strict=False)) | kwargs
            self.note("Vits(config, ap, tokenizer, …)", "Vits(config)")
            manager = given.get("speaker_manager")
            if (found := list(getattr(manager, "name_to_id", None) or ())) and not _speakers_of(config):
                config.speakers = found
            original(model, config)

        def init_from_config(kind: Any, config: Any, samples: Any = None, verbose: bool = True) -> Any:  # noqa: ARG001, FBT001, FBT002 - as it was.
            self.note("Vits.init_from_config(config, samples)", "Vits(config)")
            _take_speakers(config, samples)
            return kind(config)

        patch(module.Vits, "__init__", init)
        if not _accepts(getattr(module.Vits, "init_from_config", None), "samples"):
            module.Vits.init_from_config = classmethod(init_from_config)

    def _speakers(self, module: Any) -> None:
        original = module.SpeakerManager.init_from_config

        @functools.wraps(original)
        def init_from_config(config: Any, samples: Any = None) -> Any:
            if samples is not None:
                self.note("SpeakerManager.init_from_config(config, samples)", "without samples")
                _take_speakers(config, samples)
            return original(config)

        if not _accepts(original, "samples"):
            module.SpeakerManager.init_from_config = staticmethod(init_from_config)

    def _audio(self, module: Any) -> None:
        processor = module.AudioProcessor

        def init_from_config(config: Any, verbose: bool = True) -> Any:  # noqa: ARG001, FBT001, FBT002 - as it was.
            self.note("AudioProcessor.init_from_config(config)", "AudioProcessor(config.audio)")
            return processor(config.audio if "audio" in config else config)

        def init(original: Callable[..., None], self_: Any, *args: Any, **kwargs: Any) -> None:
            if args or "config" in kwargs or not kwargs:
                original(self_, *args, **kwargs)
                return
            self.note("AudioProcessor(**config.audio)", "AudioProcessor(config.audio)")
            base: Any = sys.modules["TTS.config.shared_configs"].BaseAudioConfig
            known = {item.name for item in fields(base)}
            original(self_, base(**{name: value for name, value in kwargs.items() if name in known}))

        if not hasattr(processor, "init_from_config"):
            processor.init_from_config = staticmethod(init_from_config)
        if _accepts(processor.__init__, "config"):
            patch(processor, "__init__", init)

    def _shared_configs(self, module: Any) -> None:
        self._configs(module, "BaseDatasetConfig", "BaseAudioConfig")

        def find() -> Any:
            from TTS.tts.configs.shared_configs import CharactersConfig  # noqa: PLC0415 - the script's own import.

            return CharactersConfig

        old = "TTS.config.shared_configs.CharactersConfig"
        self._provide(module, "CharactersConfig", find, old, "TTS.tts.configs.shared_configs")

    def _provide(self, module: Any, name: str, find: Callable[[], Any], old: str, new: str) -> None:
        """Let a module that lacks `name` give what `find` returns for it."""

        def missing(asked: str) -> Any:
            if asked != name:
                raise AttributeError(f"module {module.__name__!r} has no attribute {asked!r}")
            self.note(old, new)
            return find()

        if not hasattr(module, name):
            module.__getattr__ = missing

    def _configs(self, module: Any, *names: str) -> None:
        for name in names:
            if is_dataclass(kind := getattr(module, name, None)) and isinstance(kind, type):
                patch(kind, "__init__", functools.partial(self._config, name))

    def _config(
        self, kind: str, original: Callable[..., None], config: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Make a configuration without settings that it no longer has."""
        extra: dict[str, Any] = {}
        if kind == "BaseDatasetConfig" and "name" in kwargs:
            self.note("BaseDatasetConfig(name=…)", "formatter=…")
            kwargs["formatter"] = kwargs.pop("name")
        if type(kwargs.get("characters")) is dict and kind == "VitsConfig":
            self.note("characters={…}", "CharactersConfig(…)")
            characters: Any = sys.modules["TTS.tts.configs.shared_configs"].CharactersConfig
            kwargs["characters"] = characters(**kwargs["characters"])
        while True:
            try:
                original(config, *args, **kwargs)
                break
            except TypeError as error:
                match = _UNEXPECTED.search(str(error))
                if match is None or match[1] not in kwargs:
                    raise
                extra[match[1]] = kwargs.pop(match[1])
        model_args = getattr(config, "model_args", None)
        for name, value in extra.items():
            if model_args is not None and hasattr(model_args, name):
                self.note(f"{kind}({name}=…)", "model_args")
                setattr(model_args, name, value)
            else:
                self.note(f"{kind}({name}={value!r})", "there is no such setting any more")


class _Datasets:
    """The part of a configuration that `load_tts_samples` needs."""

    def __init__(self, datasets: Any) -> None:
        self.datasets = list(datasets) if isinstance(datasets, list | tuple) else [datasets]

    def has(self, name: str) -> bool:
        return name == "datasets"

    def __contains__(self, name: str) -> bool:
        return name == "datasets"


def _has_datasets(config: Any) -> bool:
    has = getattr(config, "has", None)
    return callable(has) and bool(has("datasets"))


def _takes(name: str) -> bool:
    trainer: Any = sys.modules["trainer"].Trainer
    return _accepts(trainer.__init__, name)


def _accepts(function: Any, name: str) -> bool:
    return function is not None and name in inspect.signature(function).parameters


def _speakers_of(config: Any) -> Any:
    return getattr(config, "speakers", None)


def _take_speakers(config: Any, samples: Iterable[Any] | None) -> None:
    """Put the samples' speakers into a configuration that needs them and has none."""
    model_args = getattr(config, "model_args", None)
    wanted = any(getattr(owner, "use_speaker_embedding", False) for owner in (config, model_args))
    if not wanted or _speakers_of(config) or not samples:
        return
    found = {
        str(item["speaker_name"]).strip()
        for item in samples
        if isinstance(item, Mapping) and "speaker_name" in item
    }
    if found:
        config.speakers = sorted(found)

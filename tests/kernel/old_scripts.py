"""Calls of Coqui's older releases, made on today's through the host's compatibility layer.

Run by test_compat.py in a process of its own, since TTS must not be imported yet. Prints what was said.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernel_template.host.__main__ import ImportWatch
from kernel_template.host.base_voice import BaseVoice, WrongVoiceError
from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.tts import TtsHooks

FOLDER = Path(tempfile.mkdtemp())
SAID: list[str] = []
REPORTER = Reporter(FOLDER / "report.json", SAID.append)
LETTERS = {
    "characters_class": "TTS.tts.models.vits.VitsCharacters",
    "pad": "_",
    "characters": "আমিক",
    "punctuations": " ।",
}
HOOKS = TtsHooks(Control(FOLDER / "report.json"), REPORTER, Rendezvous())


def small() -> dict[str, object]:
    """Arguments of a model that is built quickly."""
    return {
        "hidden_channels": 4,
        "hidden_channels_ffn_text_encoder": 4,
        "num_heads_text_encoder": 2,
        "num_layers_text_encoder": 1,
        "num_layers_posterior_encoder": 1,
        "num_layers_flow": 1,
        "upsample_initial_channel_decoder": 16,
        "periods_multi_period_discriminator": [2],
        "use_sdp": False,
    }


def data() -> Path:
    """A dataset of four recordings, whose metadata has a byte order mark and a blank line."""
    from tests.kernel.spoiled import recording  # noqa: PLC0415 - only here.

    for name in "abcd":
        recording(FOLDER / "wavs" / f"{name}.wav")
    text = "\ufeff" + "\n".join(f"{name}.wav|আমি|আমি\n" for name in "abcd")
    (FOLDER / "metadata.csv").write_text(text, encoding="utf-8")
    return FOLDER


def today() -> None:
    """Make today's calls, which print nothing."""
    from TTS.tts.configs.shared_configs import BaseDatasetConfig  # noqa: PLC0415 - after the hooks.
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig  # noqa: PLC0415
    from TTS.tts.datasets import load_tts_samples  # noqa: PLC0415
    from TTS.tts.models import setup_model  # noqa: PLC0415
    from TTS.tts.models.vits import Vits  # noqa: PLC0415

    dataset = BaseDatasetConfig(formatter="ljspeech", path=str(data()), meta_file_train="metadata.csv")
    config = VitsConfig(datasets=[dataset], model_args=VitsArgs(**small()), eval_split_size=2)
    Vits(config)
    setup_model(config)
    train, evaluation = load_tts_samples(config, eval_split=True, eval_split_size=2)
    assert {Path(item["audio_file"]).name for item in train + evaluation} == {
        f"{name}.wav" for name in "abcd"
    }
    assert all(Path(item["audio_file"]).is_file() and item["text"] == "আমি" for item in train)
    assert config.datasets[0].meta_file_train == "metadata.csv"
    assert [line for line in SAID if "older Coqui" in line] == [], SAID
    assert "byte order mark" in SAID[0], SAID


def old_configuration() -> Any:
    """Make a configuration as older scripts do."""
    from TTS.config.shared_configs import CharactersConfig  # noqa: PLC0415
    from TTS.tts.configs.shared_configs import BaseDatasetConfig  # noqa: PLC0415
    from TTS.tts.configs.vits_config import VitsConfig  # noqa: PLC0415
    from TTS.tts.models.vits import VitsArgs, VitsAudioConfig  # noqa: PLC0415

    dataset = BaseDatasetConfig(name="ljspeech", path=str(FOLDER), meta_file_train="metadata.csv")
    assert dataset.formatter == "ljspeech"
    audio = VitsAudioConfig(
        sample_rate=22050, win_length=1024, hop_length=256, num_mels=80, mel_fmin=0, mel_fmax=None
    )
    config = VitsConfig(
        audio=audio,
        characters=LETTERS,
        model_args=VitsArgs(**small()),
        use_speaker_embedding=True,
        use_language_embedding=False,
        num_speakers=0,
        language_ids_file=None,
        datasets=[dataset],
    )
    assert isinstance(config.characters, CharactersConfig)
    return config


def old_calls(config: Any) -> Any:
    """Load samples and make models as older scripts do. Returns the configuration."""
    from TTS.tts.datasets import load_tts_samples  # noqa: PLC0415
    from TTS.tts.models import setup_model  # noqa: PLC0415
    from TTS.tts.models.vits import Vits  # noqa: PLC0415
    from TTS.tts.utils.speakers import SpeakerManager  # noqa: PLC0415
    from TTS.tts.utils.text.tokenizer import TTSTokenizer  # noqa: PLC0415
    from TTS.utils.audio import AudioProcessor  # noqa: PLC0415

    sys.modules["TTS.tts.datasets"].mine = sys.modules["TTS.tts.datasets.formatters"].ljspeech  # type: ignore[attr-defined]
    own = config.datasets[0].copy()
    own.formatter = "mine"
    for datasets in (config.datasets[0], [own]):
        train, evaluation = load_tts_samples(datasets, True, eval_split_size=2)
        assert (len(train), len(evaluation)) == (2, 2)
    ap = AudioProcessor.init_from_config(config)
    assert ap.sample_rate == AudioProcessor(**config.audio).sample_rate == 22050
    tokenizer, config = TTSTokenizer.init_from_config(config)
    config.model_args.use_speaker_embedding = True
    manager = SpeakerManager()
    manager.set_ids_from_data(train + evaluation, parse_key="speaker_name")
    for model in (
        setup_model(config, train + evaluation),
        Vits(config, ap, tokenizer, manager, None),
        Vits.init_from_config(config, train),
    ):
        assert model.speaker_manager.speaker_names == ["ljspeech"]
    assert SpeakerManager.init_from_config(config, train).num_speakers == 1
    named = HOOKS.compat.trainer(
        {"training_assets": {}, "model": None, "get_model": lambda: "made", "gpu": None}
    )
    assert named == {"model": "made", "gpu": None}
    return config


def of_speakers(trainer: Any, state: dict[str, Any]) -> None:
    """Load a base voice of two speakers for one of them and a new one: rows go by names."""
    import torch  # noqa: PLC0415

    rows = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    model = SimpleNamespace(
        state_dict=lambda: {"emb_g.weight": torch.zeros(3, 2)},
        speaker_manager=SimpleNamespace(name_to_id={"mina": 0, "new": 1, "asha": 2}),
        tokenizer=None,
    )
    torch.save({"asha": 0, "mina": 1}, FOLDER / "speakers.pth")
    config = FOLDER / "speakers_config.json"
    config.write_text(
        json.dumps({"model_args": {"speakers_file": "C:\\\\run\\\\speakers.pth"}}), encoding="utf-8"
    )
    state = {**state, "model": {"emb_g.weight": rows}}
    trainer = SimpleNamespace(model=model, config=trainer.config)
    loaded = BaseVoice(str(config), REPORTER, quiet=False).prepared(state, trainer)
    assert loaded["model"]["emb_g.weight"].tolist() == [[3.0, 6.0], [2.0, 4.0], [1.0, 2.0]]


def of_other_names(trainer: Any, weights: dict[str, Any]) -> None:
    """Load what DDP saved; refuse what is of another model, or a part of one."""
    voice = BaseVoice(None, REPORTER, quiet=False)
    own = {key: value for key, value in weights.items() if "text_encoder.emb" not in key}
    found = voice.prepared({"model": {f"module.{key}": value for key, value in own.items()}}, trainer)
    assert found["model"].keys() == own.keys()
    for other in (
        {f"vits.{key}": value for key, value in own.items()},
        {key: value for key, value in own.items() if key.startswith("flow.")},
    ):
        with pytest.raises(
            WrongVoiceError, match="of the model's weights are in the base voice's checkpoint"
        ):
            voice.prepared({"model": other}, trainer)


def base_voices(config: Any) -> None:
    """Load a base voice for other letters, and one with weights only."""
    import torch  # noqa: PLC0415
    from TTS.tts.configs.shared_configs import CharactersConfig  # noqa: PLC0415
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig  # noqa: PLC0415
    from TTS.tts.models.vits import Vits  # noqa: PLC0415

    others = CharactersConfig(**LETTERS | {"characters": "আমতি"})
    base = Vits(VitsConfig(characters=others, model_args=VitsArgs(**small())))
    weights = base.state_dict()
    trainer: Any = SimpleNamespace(model=Vits(config), config=config)
    state = {"model": weights, "config": base.config.to_dict(), "step": 5, "epoch": 1}
    key = "text_encoder.emb.weight"
    mapped = BaseVoice(None, REPORTER, quiet=False).prepared(state, trainer)["model"][key]
    rows = {letter: weights[key][index] for index, letter in enumerate(base.tokenizer.characters.vocab)}
    same = [
        torch.equal(mapped[index], rows[letter])
        for index, letter in enumerate(trainer.model.tokenizer.characters.vocab)
        if letter in rows
    ]
    assert len(same) == len(mapped) - 1
    assert all(same)
    of_speakers(trainer, state)
    of_other_names(trainer, weights)
    bare = BaseVoice(None, REPORTER, quiet=False).prepared(weights, trainer)
    assert (bare["step"], bare["epoch"], len(bare["model"])) == (0, 0, len(weights))


def loud_recording() -> None:
    """Load a recording beyond full scale."""
    soundfile: Any = importlib.import_module("soundfile")
    soundfile.write(FOLDER / "loud.wav", [0.5, -2.0, 1.0], 22050, subtype="FLOAT")
    loud, rate = importlib.import_module("TTS.tts.models.vits").load_audio(str(FOLDER / "loud.wav"))
    assert (loud.abs().max().item(), rate) == (1.0, 22050)


def main() -> None:
    """Make every old call, and today's before them."""
    for name, after in HOOKS.modules().items():
        sys.meta_path.insert(0, ImportWatch(name, lambda: None, after))
    today()
    config = old_calls(old_configuration())
    base_voices(config)
    loud_recording()
    print(json.dumps(SAID, ensure_ascii=False))  # noqa: T201 - the test reads it.


if __name__ == "__main__":
    main()

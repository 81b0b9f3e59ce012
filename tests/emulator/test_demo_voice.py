"""The demo's base voice: its vocabulary, its configuration and its checkpoint."""

import json
import unicodedata
from pathlib import Path

import pytest

from orchestrator.emulator.demo import inputs, voice

ORDINARY = "১৯৭১ সালের ১৬ই ডিসেম্বর—র‍্যাব, ‘মা’ ও “৳৫০” (৫%); সত্যি? হ্যাঁ! Facebook-এ 24/7 দুঃখ, বাঙ্ময় ঋতু ঢাকা… ॥"


@pytest.mark.parametrize("text", [*inputs.SENTENCES, *voice.TEST_SENTENCES, ORDINARY])
def test_vocabulary_covers_bangla_text(text: str) -> None:
    """No character of the sentences or of ordinary Bangla is unknown: Coqui drops unknown ones."""
    cleaned = unicodedata.normalize("NFC", text).lower()  # What `basic_cleaners` does.
    assert set(cleaned) <= set(voice.CHARACTERS + voice.PUNCTUATION)


def test_vocabulary_holds_no_character_twice() -> None:
    """Each character has one id, which Coqui requires with `is_unique`."""
    vocabulary = voice.CHARACTERS + voice.PUNCTUATION
    assert len(set(vocabulary)) == len(vocabulary)


def test_sentences_are_bangla_and_apart() -> None:
    """Test sentences are not in the training data, and all are in Bengali script."""
    assert not set(voice.TEST_SENTENCES) & set(inputs.SENTENCES)
    for sentence in (*voice.TEST_SENTENCES, *inputs.SENTENCES):
        letters = [letter for letter in sentence if unicodedata.category(letter)[0] in "LM"]
        assert all(unicodedata.name(letter).startswith("BENGALI") for letter in letters)


def test_settings_are_strict_json() -> None:
    """The configuration has neither Infinity nor NaN, so that any tool can read it."""
    assert json.loads(json.dumps(voice.settings(), allow_nan=False)) == voice.settings()


def test_recipe_key_is_stable() -> None:
    """The voice's cache key does not change from call to call."""
    assert voice.recipe_key() == voice.recipe_key()


@pytest.mark.training
def test_base_voice_is_built_and_loads_safely(tmp_path: Path) -> None:
    """A real build gives a complete configuration and a checkpoint that `weights_only=True` loads."""
    torch = pytest.importorskip("torch")
    provided = inputs.provide_demo_inputs(tmp_path / "root", "tester", cache=tmp_path / "cache")
    config = json.loads((provided.model / inputs.CONFIG).read_text(encoding="utf-8"))
    checkpoint = torch.load(provided.model / inputs.CHECKPOINT, weights_only=True)
    assert (checkpoint["step"], checkpoint["epoch"]) == (0, 0)
    assert checkpoint["config"] == config
    assert config["audio"]["sample_rate"] == 22_050
    assert config["datasets"][0]["path"] == "/kaggle/input/datahrbnn/MyTTSDataset"
    assert config["model_args"]["periods_multi_period_discriminator"] == []
    vocabulary = checkpoint["model"]["text_encoder.emb.weight"].shape[0]
    assert vocabulary == len(voice.CHARACTERS + voice.PUNCTUATION) + 4  # Padding, end, begin and blank.
    assert all(bool(torch.isfinite(weights).all()) for weights in checkpoint["model"].values())

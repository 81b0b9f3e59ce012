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


def test_the_speaking_voice_has_the_released_letters() -> None:
    """All texts of the demo can be spelt with the released voices' 82 characters, in either spelling."""
    known = voice.RELEASED_CHARACTERS + voice.RELEASED_PUNCTUATION
    assert (len(known), len(set(known))) == (82, 82)
    assert set("\u09bc\u09dc\u09dd\u09df") <= set(known)
    assert not set("৭৯") & set(known)
    for text in (*inputs.SENTENCES, *voice.TEST_SENTENCES):
        assert set(unicodedata.normalize("NFC", text)) <= set(known) | {"।"}


def test_settings_are_strict_json() -> None:
    """The configuration has neither Infinity nor NaN, so that any tool can read it."""
    assert json.loads(json.dumps(voice.settings(), allow_nan=False)) == voice.settings()


def test_recipe_key_is_stable() -> None:
    """The voices' cache keys differ, and do not change from call to call."""
    assert voice.recipe_key() == voice.recipe_key()
    assert voice.recipe_key(speaking=True) == voice.recipe_key(speaking=True) != voice.recipe_key()


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


@pytest.mark.training
def test_the_speaking_voice_is_of_the_released_kind(tmp_path: Path) -> None:
    """It is built in the old form: null class, plain test sentences, Infinity; with its trained weights."""
    torch = pytest.importorskip("torch")
    provided = inputs.provide_demo_inputs(
        tmp_path / "root", "tester", cache=tmp_path / "cache", speaking=True
    )
    config = json.loads((provided.model / inputs.CONFIG).read_text(encoding="utf-8"))
    assert config["characters"]["characters_class"] is None
    assert config["test_sentences"] == list(voice.TEST_SENTENCES)
    assert config["max_text_len"] == float("inf")
    weights = torch.load(provided.model / inputs.CHECKPOINT, weights_only=True)["model"]
    letters = weights[name := "text_encoder.emb.weight"]
    assert letters.shape == (86, 96)  # 82 characters, padding, end, begin and blank.
    stored = torch.load(voice.WEIGHTS, weights_only=True)
    assert torch.equal(letters, stored["model"][name].float() * stored["scales"][name].float()[:, None])
    assert all(bool(torch.isfinite(values).all()) for values in weights.values())

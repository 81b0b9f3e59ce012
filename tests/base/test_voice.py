"""A base voice is checked, and what an older Coqui wrote becomes what today's reads."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.sources import found
from orchestrator.base.voice import BaseVoice, convert, read_voice, vocabulary
from orchestrator.download import TransferListener
from orchestrator.errors import UsageError
from tests.base.making import OLD_CONFIG, ROWS, state, write_voice

pytestmark = pytest.mark.posix  # The extra `local` has torch.


def read(folder: Path) -> BaseVoice:
    """Read the voice in a folder."""
    return read_voice(folder / "config.json", folder / "model_file.pth")


def test_an_old_voice_becomes_todays(tmp_path: Path) -> None:
    """Every old form is converted and said, and today's Coqui takes the result."""
    voice = read(write_voice(tmp_path / "old"))
    for words in ("Infinity", "characters_class", "test_sentences", "weight_g", "paths of another machine"):
        assert any(words in line for line in voice.changed), words
    assert voice.warnings == ()
    assert (voice.letters, voice.sample_rate) == (ROWS, 22050)
    (tmp_path / "new").mkdir()
    files = voice.write(tmp_path / "new")
    assert set(files) == {"model/config.json", "model/model_file.pth"}
    text = files["model/config.json"].read_text(encoding="utf-8")
    assert "somebody" not in text
    assert "Infinity" not in text
    config = json.loads(text)
    assert config["test_sentences"] == [["আমি"], ["তুমি"]]
    assert config["datasets"][0]["meta_file_train"] == "metadata.csv"
    again = read(tmp_path / "new")
    assert again.config == voice.config
    assert again.changed == ()


def test_the_vocabulary_is_coquis() -> None:
    """Roles, sorted letters, then signs as they are written: the order of Coqui's BaseCharacters (0.28)."""
    wanted = ["<PAD>", "<EOS>", "<BOS>", "<BLNK>", *"অআকখগ", *"।?! "]
    assert vocabulary(OLD_CONFIG) == vocabulary(convert(OLD_CONFIG)[0]) == wanted


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**OLD_CONFIG, "model": "glow_tts"}, "glow_tts"),
        ({**OLD_CONFIG, "audio": {}}, "sample_rate"),
        ({**OLD_CONFIG, "audio": {"sample_rate": 22}}, "sample_rate"),
        ({"architectures": ["Bert"]}, "None"),
        ([1], "not a JSON object"),
        ({**OLD_CONFIG, "characters": {**OLD_CONFIG["characters"], "eos": "।"}}, "'।'"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(tmp_path: Path, config: Any, words: str) -> None:
    """The message says which value it is."""
    with pytest.raises(UsageError, match=words):
        read(write_voice(tmp_path, config=config))


def test_another_vits_is_refused(tmp_path: Path) -> None:
    """Piper and MMS are VITS too, with other names of weights."""
    content = {"model": {f"enc_p.{name}": value for name, value in state()["model"].items()}}
    with pytest.raises(UsageError, match="has no text_encoder") as caught:
        read(write_voice(tmp_path, content))
    assert "Piper" in str(caught.value.hint)


def test_letters_that_do_not_fit_and_a_missing_discriminator_are_told(tmp_path: Path) -> None:
    """Both can be trained on, and both matter."""
    more = {**OLD_CONFIG, "characters": {**OLD_CONFIG["characters"], "characters": "অআকখগঘ"}}
    voice = read(write_voice(tmp_path, state(discriminator=False), more))
    assert "14 letters, the checkpoint 13" in voice.warnings[0]
    assert "no discriminator" in voice.warnings[1]


@pytest.mark.parametrize("form", ["speakers.pth", "speakers.json", "nothing"])
def test_the_names_of_speakers_go_into_the_configuration(tmp_path: Path, form: str) -> None:
    """In the order of their rows, from the file beside it; a ZIP archive has that file, too."""
    import torch  # noqa: PLC0415 - the extra `local` has it.

    args = {"use_speaker_embedding": True, "speakers_file": "/home/somebody/speakers.pth"}
    content = state()
    content["model"]["emb_g.weight"] = torch.rand(3, 2)
    folder = write_voice(
        tmp_path / "voice", content, {**OLD_CONFIG, "model_args": args}, name="checkpoint_9.pth"
    )
    numbers = {"মিনা": 2, "asha": 0, "b c": 1}
    if form.endswith("pth"):
        torch.save(numbers, folder / form)
    elif form.endswith("json"):
        (folder / form).write_text(json.dumps(numbers), encoding="utf-8")
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    for asked in (folder, archive):
        with found(str(asked), tmp_path / "home", TransferListener(), print) as (config, checkpoint):
            voice = read_voice(config, checkpoint)
        wanted = ["speaker 1", "speaker 2", "speaker 3"] if form == "nothing" else ["asha", "b c", "মিনা"]
        assert voice.config["speakers"] == wanted
        assert "speakers_file" not in voice.config["model_args"]
        said = voice.warnings if form == "nothing" else voice.changed
        assert any("speakers" in line and "config.json" in line for line in said)


def test_a_damaged_file_of_speakers_is_named(tmp_path: Path) -> None:
    """Numbers that are no rows, and what is no such file."""
    import torch  # noqa: PLC0415 - as above.

    content = state()
    content["model"]["emb_g.weight"] = torch.rand(2, 2)
    folder = write_voice(tmp_path / "voice", content, {**OLD_CONFIG, "use_speaker_embedding": True})
    torch.save({"asha": 1, "mina": 7}, folder / "speakers.pth")
    with pytest.raises(UsageError, match=r"speakers\.pth does not name the speakers"):
        read(folder)
    (folder / "speakers.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match=r"speakers\.pth cannot be what kgtts reads"):
        read(folder)


def test_comments_and_a_mark_are_read(tmp_path: Path) -> None:
    """As Coqui reads them."""
    write_voice(tmp_path)
    text = json.dumps(OLD_CONFIG)[:-1] + ', // x\n "uri": "s3://a//b"}'
    (tmp_path / "config.json").write_text("\ufeff" + text, encoding="utf-8")
    assert read(tmp_path).config["uri"] == "s3://a//b"

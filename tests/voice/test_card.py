"""voice.json: what is refused, and in which words."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.voice.card import find_card, load_card
from tests.voice.making import card, rules

DATA = b"not looked at here"


def put(folder: Path, told: Any) -> Path:
    """Write a description."""
    place = folder / "voice.json"
    place.write_text(told if isinstance(told, str) else json.dumps(told), encoding="utf-8")
    return place


def test_a_description_is_read(tmp_path: Path) -> None:
    """A description is read, and unknown fields are ignored."""
    read = load_card(put(tmp_path, {**card(DATA), "mood": "cheerful"}))
    assert (read.run.id, read.run.session, read.global_step) == ("3f9c0a", 2, 8)
    assert read.text.steps == (("nfc",), ("lower",), ("collapse",))


_ONNX = card(DATA)["onnx"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"onnx": {**_ONNX, "file": "../voice.onnx"}}, "onnx.file"),
        ({"onnx": {**_ONNX, "file": "/etc/passwd"}}, "onnx.file"),
        ({"onnx": {**_ONNX, "file": "C:\\voice.onnx"}}, "onnx.file"),
        ({"onnx": {**_ONNX, "file": "voice.onnx\n"}}, "onnx.file"),
        ({"onnx": {**_ONNX, "inputs": ["input", "input_lengths", "scales", "key"]}}, "onnx.inputs"),
        ({"onnx": {**_ONNX, "inputs": ["input", "scales"]}}, "no input 'input_lengths'"),
        ({"onnx": {**_ONNX, "size": -1}}, "onnx.size"),
        ({"onnx": {**_ONNX, "sha256": "0"}}, "onnx.sha256"),
        ({"onnx": 7}, "onnx"),
        ({"audio": {"sample_rate": 10**9, "hop_length": 1}}, "audio.sample_rate"),
        ({"audio": {"sample_rate": True, "hop_length": 1}}, "audio.sample_rate"),
        ({"scales": {"noise": 1.0, "length": 0, "duration_noise": 1.0}}, "scales.length"),
        ({"scales": {"noise": float("nan"), "length": 1, "duration_noise": 1}}, "scales.noise"),
        ({"speakers": {"a": "b"}}, "speakers.a"),
        ({"text": rules(steps=[["spell", "en"]])}, "text.steps"),
        ({"text": rules(steps=[["replace", "", "x"]])}, "text.steps"),
        ({"text": rules(steps=[["lower"]] * 65)}, "text.steps"),
        ({"text": rules(characters={"ab": 1})}, "text.characters"),
        ({"text": rules(characters={"a": -1})}, "text.characters"),
        ({"text": rules(speakable="yes")}, "text.speakable"),
        ({"text": rules(counts={"আ": -1})}, "text.counts"),
        ({"global_step": 10**300}, "global_step"),
        ({"run": {"id": "x", "session": -1}}, "run.session"),
        ({"run": {"id": "x" * 65}}, "run.id"),
        ({"schema": 0}, "schema"),
        ({"schema": None}, "schema"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """The error names the wrong key, and has no terminal escapes."""
    place = put(tmp_path, {**card(DATA), **changes})
    with pytest.raises(UsageError) as caught:
        load_card(place)
    assert words in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a valid description"),
        ("null", "not a valid description"),
        ("[" * 100_000, "not JSON"),
        (json.dumps({"schema": 2}), "later kgtts"),
        (" " * (4 * 1024 * 1024 + 1), "larger than 4 MB"),
    ],
    ids=["empty", "half", "list", "null", "deep", "later", "large"],
)
def test_what_is_no_description_is_said(tmp_path: Path, text: str, words: str) -> None:
    """Damaged, foreign and future descriptions are errors."""
    with pytest.raises(UsageError, match=words):
        load_card(put(tmp_path, text))


@settings(max_examples=30)
@given(told=st.recursive(st.none() | st.integers() | st.text(), lambda of: st.dictionaries(st.text(), of)))
def test_rubbish_is_a_sentence(tmp_path_factory: pytest.TempPathFactory, told: Any) -> None:
    """Any content that is not a description raises a UsageError."""
    place = put(tmp_path_factory.getbasetemp(), told)
    with pytest.raises(UsageError):
        load_card(place)


def test_a_file_a_folder_and_an_onnx_file_mean_a_voice(tmp_path: Path) -> None:
    """A file, a folder, an ONNX file and a session's folder all lead to the description."""
    folder = tmp_path / "session-01" / "voice"
    folder.mkdir(parents=True)
    place = put(folder, card(DATA))
    for named in (place, folder, folder.parent, folder / "voice.onnx"):
        assert find_card(named) == place
    with pytest.raises(UsageError, match="There is no voice at"):
        find_card(tmp_path)


def test_a_folder_is_no_description(tmp_path: Path) -> None:
    """The system's own reason is in the error."""
    with pytest.raises(UsageError, match="cannot be read"):
        load_card(tmp_path)

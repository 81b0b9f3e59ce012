"""Voices for tests: a tiny ONNX graph that hums, described as a session describes its voice."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

RATE = 8000
HOP = 80
LETTERS = "আমিতুব ।?!কখগ্ষab,"
# Ids 0 to 3 are padding, end, begin and blank, as Coqui has them.
CHARACTERS = {letter: number for number, letter in enumerate(LETTERS, start=4)}
RUN = {"id": "3f9c0a", "session": 2, "kernel": "asha/bangla-tts-b"}


def rules(**changes: Any) -> dict[str, Any]:
    """The `text` of a voice.json."""
    return {
        "kind": "characters",
        "cleaner": "basic_cleaners",
        "steps": [["nfc"], ["lower"], ["collapse"]],
        "characters": CHARACTERS,
        "ids": {"pad": 0, "blank": 3, "bos": 2, "eos": 1},
        "add_blank": True,
        "use_eos_bos": False,
        "speakable": True,
        "why": None,
        "examples": [],
        **changes,
    }


def card(data: bytes, name: str = "voice", **changes: Any) -> dict[str, Any]:
    """A voice.json for an ONNX file's content."""
    onnx = {
        "file": f"{name}.onnx",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "opset": 18,
        "inputs": ["input", "input_lengths", "scales"],
        "outputs": ["output"],
    }
    return {
        "schema": 1,
        "model": "vits",
        "onnx": onnx,
        "scales": {"noise": 0.667, "length": 1.0, "duration_noise": 1.0},
        "audio": {"sample_rate": RATE, "hop_length": HOP},
        "language": "bn-Bangladesh",
        "speakers": {},
        "languages": {},
        "text": rules(),
        "check": {"state": "passed", "why": None},
        "run": RUN,
        "made": "2026-11-22T08:00:00+00:00",
        "checkpoint": "training/v/best_model_8.pth",
        "global_step": 8,
        "best": True,
        **changes,
    }


def graph(*, noisy: bool = False, speakers: bool = False, factor: float = 0.01) -> bytes:
    """An ONNX model whose every id sounds for HOP samples of `factor` times the id, at any length.

    Args:
        noisy: whether noise is added, as strong as the scale of it says.
        speakers: whether it has the input `sid`, which is added to the ids.
        factor: the loudness of an id.
    """
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    ints, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    inputs = [
        h.make_tensor_value_info("input", ints, ["batch", "letters"]),
        h.make_tensor_value_info("input_lengths", ints, ["batch"]),
        h.make_tensor_value_info("scales", floats, [3]),
    ]
    constants = [
        h.make_tensor("hop", ints, [1], [HOP]),
        h.make_tensor("factor", floats, [1], [factor]),
        h.make_tensor("last", ints, [1], [2]),
        h.make_tensor("first", ints, [1], [0]),
        h.make_tensor("one", ints, [1], [1]),
        h.make_tensor("shape", ints, [3], [1, 1, -1]),
    ]
    ids = "input"
    nodes = []
    if speakers:
        inputs.append(h.make_tensor_value_info("sid", ints, [1]))
        nodes.append(h.make_node("Add", ["input", "sid"], ["who"]))
        ids = "who"
    nodes += [
        h.make_node("Cast", [ids], ["numbers"], to=floats),
        h.make_node("Mul", ["numbers", "factor"], ["loud"]),
        h.make_node("Unsqueeze", ["loud", "last"], ["frames"]),
        # HOP samples a frame, times the length: the input that `speed` sets.
        h.make_node("Slice", ["scales", "one", "last"], ["length"]),
        h.make_node("Cast", ["hop"], ["hop_f"], to=floats),
        h.make_node("Mul", ["length", "hop_f"], ["wide_f"]),
        h.make_node("Cast", ["wide_f"], ["wide"], to=ints),
        h.make_node("Concat", ["one", "one", "wide"], ["target"], axis=0),
        h.make_node("Expand", ["frames", "target"], ["spread"]),
        h.make_node("Reshape", ["spread", "shape"], ["plain"]),
    ]
    if noisy:
        nodes += [
            h.make_node("RandomNormalLike", ["plain"], ["random"], scale=0.1),
            h.make_node("Slice", ["scales", "first", "one"], ["noise"]),
            h.make_node("Mul", ["random", "noise"], ["hiss"]),
            h.make_node("Add", ["plain", "hiss"], ["output"]),
        ]
    else:
        nodes.append(h.make_node("Identity", ["plain"], ["output"]))
    output = h.make_tensor_value_info("output", floats, [1, 1, "samples"])
    made = h.make_model(
        h.make_graph(nodes, "hum", inputs, [output], constants),
        opset_imports=[h.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


def put_voice(folder: Path, data: bytes, name: str = "voice", **changes: Any) -> Path:
    """Write a voice and its description; gives the description's place."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(data)
    place = folder / f"{name}.json"
    place.write_text(json.dumps(card(data, name, **changes), ensure_ascii=False), encoding="utf-8")
    return place


def put_session(folder: Path, number: int, run: str = RUN["id"]) -> Path:  # type: ignore[assignment] # A string.
    """A pulled session's folder with its state.json."""
    place = folder / f"session-{number:02d}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "state.json").write_text(json.dumps({"run": {"id": run, "session": number}}))
    return place

"""Export a VITS checkpoint to ONNX, describe it, and compare the two; print one JSON line.

`voice.onnx` and `voice.json` are written to the folder `--out`. The line is `{"export": {"state", "why"}}`
with the state `made`, `unsupported` (a voice that ONNX cannot hold) or `failed`; the exit code of the last
is 1. The comparison is voice.json's `check`.
"""

import argparse
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.config import load_config
from TTS.tts.models import setup_model

from kernel_template.text.voice_text import describe

# How far a sample may be from torch's, as a share of the sentence's loudest. Measured with coqui-tts 0.28,
# torch 2.13 and onnxruntime 1.32 on a CPU: 1e-6 for the demo's small voice, 2e-6 for a full VITS.
TOLERANCE = 1e-3
_INPUTS = ("input", "input_lengths", "scales")
_MAX_SENTENCES = 3
_SHORT = 2  # Characters: shorter than the window of the text encoder's attention.


class UnsupportedError(Exception):
    """The voice cannot be exported; the sentence says why."""


def load_voice(config: Path, checkpoint: Path) -> Any:
    """The checkpoint as a model on the CPU, in evaluation.

    Raises:
        UnsupportedError: it is no VITS, or one that needs a speaker's vector with each sentence.
    """
    settings = load_config(str(config))
    model = setup_model(settings)
    if not hasattr(model, "export_onnx"):
        raise UnsupportedError(f"Coqui exports no {settings.model} model to ONNX")
    if getattr(model.args, "use_d_vector_file", False):
        raise UnsupportedError("its speakers are vectors from a file, which the export leaves out")
    model.load_checkpoint(settings, str(checkpoint), eval=True)
    return model


def trace_by_default() -> None:
    """Let torch trace the model, which Coqui's wrapper is made for: coqui-tts 0.27 does not ask for it.

    From torch 2.9 on the default is another exporter, which wants onnxscript.
    """
    own = torch.onnx.export
    if "dynamo" in inspect.signature(own).parameters:
        torch.onnx.export = lambda *args, **named: own(*args, **{"dynamo": False, **named})


def set_scales(model: Any, noise: float, length: float, duration_noise: float) -> None:
    """What the input `scales` sets in the exported voice."""
    model.inference_noise_scale, model.length_scale = noise, length
    model.inference_noise_scale_dp = duration_noise


def torch_speech(model: Any, ids: Sequence[int], names: Sequence[str]) -> Any:
    """What the model itself says, by the call that the export wraps, without any noise."""
    set_scales(model, 0.0, 1.0, 0.0)
    first = torch.LongTensor([0])
    asked = {
        "x_lengths": torch.LongTensor([len(ids)]),
        "d_vectors": None,
        "speaker_ids": first if "sid" in names else None,
        "language_ids": first if "langid" in names else None,
        "durations": None,
    }
    with torch.inference_mode():
        spoken = model.inference(torch.LongTensor([list(ids)]), aux_input=asked)["model_outputs"]
    return spoken.cpu().numpy().reshape(-1)


def onnx_speech(session: Any, ids: Sequence[int]) -> Any:
    """What onnxruntime makes of the same."""
    values = {
        "input": np.array([list(ids)], dtype=np.int64),
        "input_lengths": np.array([len(ids)], dtype=np.int64),
        "scales": np.array([0.0, 1.0, 0.0], dtype=np.float32),
        "sid": np.array([0], dtype=np.int64),
        "langid": np.array([0], dtype=np.int64),
    }
    asked = {item.name: values[item.name] for item in session.get_inputs()}
    return session.run(None, asked)[0].reshape(-1)


def compare(model: Any, file: Path, spoken: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
    """The `check` of voice.json: torch's speech against onnxruntime's for the same ids, without noise."""
    check: dict[str, Any] = {
        "state": "not_made",
        "why": None,
        "tolerance": TOLERANCE,
        "difference": None,
        "sentences": len(spoken),
        "samples": 0,
    }
    if importlib.util.find_spec("onnxruntime") is None:
        return {**check, "why": "onnxruntime is not installed"}
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    differences = []
    for number, ids in enumerate(spoken, start=1):
        one, other = torch_speech(model, ids, names), onnx_speech(session, ids)
        check["samples"] += len(one)
        if one.shape != other.shape:
            why = f"sentence {number} has {len(other)} samples instead of {len(one)}"
            return {**check, "state": "failed", "why": why}
        loudest = float(np.abs(one).max(initial=0.0))
        difference = float(np.abs(one - other).max(initial=0.0))
        differences.append(difference / loudest if loudest > 0 else difference)
    # Rounded to what can be told; a NaN on either side fails.
    worst = max((value if np.isfinite(value) else float("inf") for value in differences), default=0.0)
    passed = worst <= TOLERANCE
    return {
        **check,
        "state": "passed" if passed else "failed",
        "why": None if passed else f"the speech differs by {worst:.2g} of its loudest sample",
        "difference": float(f"{worst:.3g}") if np.isfinite(worst) else None,
    }


def sentences_to_compare(sentences: Sequence[str], text: Mapping[str, Any]) -> list[str]:
    """Some of the test sentences and a very short text; the vocabulary itself where there are none."""
    chosen = [*sentences[:_MAX_SENTENCES]] or ["".join(list(text["characters"])[:40])]
    return [*chosen, chosen[0].strip()[:_SHORT]]


def ids_by_name(manager: Any) -> dict[str, int]:
    """The ids of speakers or languages."""
    return {str(name): int(number) for name, number in (getattr(manager, "name_to_id", None) or {}).items()}


def export(config: Path, checkpoint: Path, sentences: Sequence[str], out: Path) -> None:
    """Write voice.onnx and voice.json.

    Raises:
        UnsupportedError: it is a voice that cannot be exported.
    """
    model = load_voice(config, checkpoint)
    settings, file = model.config, out / "voice.onnx"
    onnx = importlib.import_module("onnx")  # The exporter says no more than that it failed without it.
    scales = (model.inference_noise_scale, model.length_scale, model.inference_noise_scale_dp)
    trace_by_default()
    model.export_onnx(output_path=str(file), verbose=False)
    graph = onnx.load(str(file), load_external_data=False)
    names = [item.name for item in graph.graph.input]
    language = next((item.language for item in settings.datasets or [] if item.language), None)
    text = describe(model.tokenizer, settings.text_cleaner, language, sentences)
    spoken = [model.tokenizer.text_to_ids(item, language) for item in sentences_to_compare(sentences, text)]
    data = file.read_bytes()
    described = {
        "schema": 1,
        "model": settings.model,
        "onnx": {
            "file": file.name,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "opset": next(item.version for item in graph.opset_import if item.domain in {"", "ai.onnx"}),
            # `input` and `input_lengths` are int64, `scales` float32, `sid` and `langid` int64.
            "inputs": names,
            "outputs": [item.name for item in graph.graph.output],
        },
        # In the order in which the input `scales` takes them.
        "scales": dict(zip(("noise", "length", "duration_noise"), map(float, scales), strict=True)),
        "audio": {
            "sample_rate": int(settings.audio.sample_rate),
            "hop_length": int(settings.audio.hop_length),
        },
        "language": language,
        "speakers": ids_by_name(model.speaker_manager) if "sid" in names else {},
        "languages": ids_by_name(model.language_manager) if "langid" in names else {},
        "text": text,
        "check": compare(model, file, [ids for ids in spoken if ids], names),
        "made_with": {
            name: importlib.metadata.version(name)
            for name in ("torch", "onnx")
            if importlib.util.find_spec(name)
        },
    }
    (out / "voice.json").write_text(
        json.dumps(described, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def main(arguments: list[str] | None = None) -> int:
    """Export. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--sentences", type=Path, required=True, help="a JSON file: a list of texts")
    parser.add_argument("--out", type=Path, required=True, help="an existing folder")
    asked = parser.parse_args(arguments)
    sentences = json.loads(asked.sentences.read_text(encoding="utf-8"))
    result: dict[str, Any] = {"state": "made", "why": None}
    try:
        export(asked.config, asked.checkpoint, sentences, asked.out)
    except UnsupportedError as error:
        result = {"state": "unsupported", "why": str(error)}
    except ModuleNotFoundError as error:
        result = {"state": "failed", "why": f"{error.name} is not installed", "missing": error.name}
    except Exception as error:  # noqa: BLE001 - the kernel says it in one line.
        result = {"state": "failed", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    sys.stdout.write("\n" + json.dumps({"export": result}) + "\n")
    sys.stdout.flush()
    return 1 if result["state"] == "failed" else 0


if __name__ == "__main__":
    raise SystemExit(main())

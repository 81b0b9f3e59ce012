"""Export a VITS checkpoint to ONNX, describe it, compare the two, and print one JSON line.

It writes voice.onnx and voice.json to the folder `--out`, and tokens.txt if the voice reads letters; `check`
in voice.json is the comparison. The line is `{"export": {"state", "why"}}`, with a state of
contract.ExportState; the exit code of `failed` is 1.
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

from kernel_template.contract import (
    VOICE_CARD,
    VOICE_MODEL,
    VOICE_SCHEMA,
    VOICE_TOKENS,
    CheckState,
    ExportState,
)
from kernel_template.finish import onnx_edit
from kernel_template.text.front_ends import CHARACTERS, sherpa_tokens, split_letters
from kernel_template.text.sentences import sentences as split
from kernel_template.text.tokens import describe
from kernel_template.text.vocabulary import Vocabulary, preferred_spelling
from kernel_template.tools.garbage import end_quickly

# How far a sample may differ from torch's, as a share of the loudest in the sentence. Measured with
# coqui-tts 0.28, torch 2.13 and onnxruntime 1.32 on a CPU: 1e-6 for the demo's small voice, 2e-6 for a full
# VITS.
TOLERANCE = 1e-3
_INPUTS = ("input", "input_lengths", "scales")
_MAX_SENTENCES = 3
_SHORT = 2  # Characters: shorter than the window of the text encoder's attention.


class UnsupportedError(Exception):
    """The voice cannot be exported; the sentence says why."""


def load_voice(config: Path, checkpoint: Path) -> Any:
    """Load the checkpoint as a model on the CPU, in evaluation mode.

    Raises:
        UnsupportedError: it is not a VITS, or it needs a speaker's vector with each sentence.
    """
    settings = load_config(str(config))
    model = setup_model(settings)
    if not hasattr(model, "export_onnx"):
        raise UnsupportedError(f"Coqui cannot export {settings.model} models to ONNX")
    if getattr(model.args, "use_d_vector_file", False):
        raise UnsupportedError("its speakers are vectors from a file, which the export cannot include")
    model.load_checkpoint(settings, str(checkpoint), eval=True)
    return model


def trace_by_default() -> None:
    """Let torch trace the model, as Coqui's export expects; coqui-tts 0.27 does not ask for it.

    Since torch 2.9 another exporter is the default, which needs onnxscript.
    """
    own = torch.onnx.export
    if "dynamo" in inspect.signature(own).parameters:
        torch.onnx.export = lambda *args, **named: own(*args, **{"dynamo": False, **named})


def set_scales(model: Any, noise: float, length: float, duration_noise: float) -> None:
    """Set what the input `scales` sets in the exported voice."""
    model.inference_noise_scale, model.length_scale = noise, length
    model.inference_noise_scale_dp = duration_noise


def torch_speech(model: Any, ids: Sequence[int], names: Sequence[str]) -> Any:
    """Speak `ids` with the model itself, without noise, by the call that the export wraps."""
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
    """Speak `ids` with onnxruntime, without noise."""
    values = {
        "input": np.array([list(ids)], dtype=np.int64),
        "input_lengths": np.array([len(ids)], dtype=np.int64),
        "scales": np.array([0.0, 1.0, 0.0], dtype=np.float32),
        "sid": np.array([0], dtype=np.int64),
        "langid": np.array([0], dtype=np.int64),
    }
    asked = {item.name: values[item.name] for item in session.get_inputs()}
    return session.run(None, asked)[0].reshape(-1)


def open_onnx(file: Path) -> Any:
    """Open a voice with onnxruntime, whose threads leave the processor to others while they wait."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def compare(model: Any, file: Path, spoken: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
    """Make the `check` of voice.json: compare the speech of torch and onnxruntime for the same ids."""
    check: dict[str, Any] = {
        "state": CheckState.NOT_MADE,
        "why": None,
        "tolerance": TOLERANCE,
        "difference": None,
        "sentences": len(spoken),
        "samples": 0,
    }
    if importlib.util.find_spec("onnxruntime") is None:
        return {**check, "why": "onnxruntime is not installed"}
    session = open_onnx(file)
    differences = []
    for number, ids in enumerate(spoken, start=1):
        one, other = torch_speech(model, ids, names), onnx_speech(session, ids)
        check["samples"] += len(one)
        if one.shape != other.shape:
            why = f"sentence {number} has {len(other)} samples instead of {len(one)}"
            return {**check, "state": CheckState.FAILED, "why": why}
        loudest = float(np.abs(one).max(initial=0.0))
        difference = float(np.abs(one - other).max(initial=0.0))
        differences.append(difference / loudest if loudest > 0 else difference)
    # A NaN on either side fails.
    worst = max((value if np.isfinite(value) else float("inf") for value in differences), default=0.0)
    passed = worst <= TOLERANCE
    return {
        **check,
        "state": CheckState.PASSED if passed else CheckState.FAILED,
        "why": None if passed else f"the speech differs by {worst:.2g} of its loudest sample",
        "difference": float(f"{worst:.3g}") if np.isfinite(worst) else None,
    }


def sentences_to_compare(sentences: Sequence[str], text: Mapping[str, Any]) -> list[str]:
    """Choose some test sentences and a very short text; without sentences, take the vocabulary."""
    chosen = [*sentences[:_MAX_SENTENCES]] or ["".join(list(text["characters"])[:40])]
    return [*chosen, chosen[0].strip()[:_SHORT]]


def ids_by_name(manager: Any) -> dict[str, int]:
    """The ids of speakers or languages, by name."""
    return {str(name): int(number) for name, number in (getattr(manager, "name_to_id", None) or {}).items()}


def finish(file: Path, described: Mapping[str, Any], spoken: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Prepare an exported voice for other programs, and store its weights in 16 bits.

    Returns the `weights` of voice.json. The file stays as it was for a voice that those cannot speak with.
    """
    onnx = importlib.import_module("onnx")
    if described["text"]["kind"] != CHARACTERS:
        return {"stored": "float32", "why": "the voice reads phonemes"}
    model = onnx.load(str(file), load_external_data=False)
    onnx_edit.prepare(model, described, split_letters(described["text"]))
    onnx.save(model, str(file))
    if importlib.util.find_spec("onnxruntime") is None:
        return {"stored": "float32", "why": "onnxruntime is not installed, so the two cannot be compared"}
    half = file.with_suffix(".half")
    onnx_edit.store_as_half(model)
    onnx.save(model, str(half))
    whole, smaller = open_onnx(file), open_onnx(half)
    weights = onnx_edit.closeness([(onnx_speech(whole, ids), onnx_speech(smaller, ids)) for ids in spoken])
    if weights["why"] is None:
        half.replace(file)
    else:
        half.unlink()
    return weights


def export(
    config: Path,
    checkpoint: Path,
    sentences: Sequence[str],
    out: Path,
    letters: Mapping[str, int] | None = None,
) -> None:
    """Write voice.onnx, voice.json and, for a voice that reads letters, tokens.txt.

    Args:
        config: the voice's configuration.
        checkpoint: its weights.
        sentences: what to compare on.
        out: an existing folder.
        letters: how often the training texts had each letter; None if that is not known.

    Raises:
        UnsupportedError: the voice cannot be exported.
    """
    model = load_voice(config, checkpoint)
    settings, file = model.config, out / VOICE_MODEL
    onnx = importlib.import_module("onnx")  # Without it the exporter only says that it failed.
    scales = (model.inference_noise_scale, model.length_scale, model.inference_noise_scale_dp)
    trace_by_default()
    model.export_onnx(output_path=str(file), verbose=False)
    graph = onnx.load(str(file), load_external_data=False)
    names = [item.name for item in graph.graph.input]
    language = next((item.language for item in settings.datasets or [] if item.language), None)
    voice = Vocabulary.of_tokenizer(model.tokenizer, settings.text_cleaner, language, letters)
    said = [sentence.text for item in sentences for sentence in split(item, voice)]
    text = describe(model.tokenizer, settings.text_cleaner, language, said)
    spoken = [model.tokenizer.text_to_ids(item, language) for item in sentences_to_compare(said, text)]
    described: dict[str, Any] = {
        "schema": VOICE_SCHEMA,
        "model": settings.model,
        "onnx": {
            "file": file.name,
            "opset": next(item.version for item in graph.opset_import if item.domain in {"", "ai.onnx"}),
            # `input` and `input_lengths` are int64, `scales` float32, `sid` and `langid` int64.
            "inputs": names,
            "outputs": [item.name for item in graph.graph.output],
        },
        # In the order of the input `scales`.
        "scales": dict(zip(("noise", "length", "duration_noise"), map(float, scales), strict=True)),
        "audio": {
            "sample_rate": int(settings.audio.sample_rate),
            "hop_length": int(settings.audio.hop_length),
        },
        "language": language,
        "speakers": ids_by_name(model.speaker_manager) if "sid" in names else {},
        "languages": ids_by_name(model.language_manager) if "langid" in names else {},
        "text": {**text, "counts": letters, "spelling": preferred_spelling(letters)} if letters else text,
        "check": compare(model, file, [ids for ids in spoken if ids], names),
        "made_with": {
            name: importlib.metadata.version(name)
            for name in ("torch", "onnx")
            if importlib.util.find_spec(name)
        },
    }
    described["weights"] = finish(file, described, [ids for ids in spoken if ids])
    if text["kind"] == CHARACTERS:
        (out / VOICE_TOKENS).write_text(sherpa_tokens(described["text"]), encoding="utf-8", newline="\n")
    data = file.read_bytes()
    described["onnx"] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (out / VOICE_CARD).write_text(
        json.dumps(described, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def main(arguments: list[str] | None = None) -> int:
    """Export. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--sentences", type=Path, required=True, help="a JSON file: a list of texts")
    parser.add_argument("--out", type=Path, required=True, help="an existing folder")
    parser.add_argument("--letters", type=Path, help="a JSON file: the counts of the training texts' letters")
    asked = parser.parse_args(arguments)
    sentences = json.loads(asked.sentences.read_text(encoding="utf-8"))
    letters = json.loads(asked.letters.read_text(encoding="utf-8")) if asked.letters else None
    result: dict[str, Any] = {"state": ExportState.MADE, "why": None}
    try:
        export(asked.config, asked.checkpoint, sentences, asked.out, letters)
    except UnsupportedError as error:
        result = {"state": ExportState.UNSUPPORTED, "why": str(error)}
    except ModuleNotFoundError as error:
        why = f"{error.name} is not installed"
        result = {"state": ExportState.FAILED, "why": why, "missing": error.name}
    except Exception as error:  # noqa: BLE001 - the session reports it.
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        result = {"state": ExportState.FAILED, "why": why}
    sys.stdout.write("\n" + json.dumps({"export": result}) + "\n")
    sys.stdout.flush()
    return 1 if result["state"] == ExportState.FAILED else 0


if __name__ == "__main__":
    end_quickly()
    raise SystemExit(main())

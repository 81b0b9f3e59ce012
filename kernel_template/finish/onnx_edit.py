"""Edit an exported voice so that other programs can speak with it. Needs onnx and numpy.

- sherpa-onnx reads how to turn text into ids from the model's metadata; without it, it ends the process.
- Weights are stored in 16 bits and cast to 32 when the model is loaded: half the size, the same arithmetic.
- Piper gives letters apart that the voice knows as one (it applies NFD): the graph itself joins them.

The laptop applies the same edits to voices that an earlier kgtts exported.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernel_template.text.front_ends import SplitLetters, sherpa_metadata

# How far the speech with 16-bit weights may be from that with 32, in dB. A full VITS has 72 dB, a small one
# more; whoever hears a difference below 50 dB has found a fault.
LOWEST_SNR_DB = 50.0
_SMALLEST = 256  # Values: smaller tensors, such as biases and constants, stay as they are.
_LARGEST_HALF = 65_504.0
_STORED = "/kgtts_half"  # Appended to the name of a weight that is stored in 16 bits.
# A weight that rounds otherwise may move a sound by a frame: such a sentence cannot be compared by sample.
_MOST_SHIFT = 0.02


def prepare(model: Any, described: Mapping[str, Any], split: SplitLetters) -> None:
    """Add the metadata, and the nodes that join letters. Repeating it changes nothing.

    Args:
        model: an onnx.ModelProto.
        described: the content of voice.json.
        split: the letters to join.
    """
    onnx = importlib.import_module("onnx")
    wanted = sherpa_metadata(described)
    if all(item.key != "frontend" for item in model.metadata_props):
        _join(model, split, step=2 if described["text"]["add_blank"] else 1)
    onnx.helper.set_model_props(model, {**{item.key: item.value for item in model.metadata_props}, **wanted})


def _join(model: Any, split: SplitLetters, step: int) -> None:
    """Insert nodes that replace the ids of a letter and the sign behind it by the id of both.

    An id that only stands for such a sign is removed if the letter is not before it.

    Args:
        model: an onnx.ModelProto, whose input `input` has the shape (1, ids).
        split: the letters.
        step: from the id of a letter to that of the next; 2 with a blank between them.
    """
    if not split.joins:
        return
    onnx = importlib.import_module("onnx")
    h, graph, nodes = onnx.helper, model.graph, []
    ints = onnx.TensorProto.INT64

    def constant(
        name: str, values: Sequence[int], shape: Sequence[int] | None = None, kind: int = ints
    ) -> str:
        graph.initializer.append(h.make_tensor(f"kgtts/{name}", kind, shape or [len(values)], list(values)))
        return f"kgtts/{name}"

    def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        nodes.append(h.make_node(kind, list(inputs), [f"kgtts/{output}"], f"kgtts/{output}", **attributes))
        return f"kgtts/{output}"

    last, zero = constant("axis", [1]), constant("zero", [0])
    far, back = constant("far", [2**31 - 1]), constant("back", [-step])
    nothing = constant("nothing", [-1] * step, [1, step])
    false = constant("false", [0] * step, [1, step], onnx.TensorProto.BOOL)
    end = node("Concat", ["input", nothing], "extended", axis=1)
    following = node("Slice", [end, constant("step", [step]), far, last], "following")
    ids, found = "input", ""
    for number, (first, second, joined) in enumerate(split.joins):
        one = node("Equal", ["input", constant(f"first{number}", [first])], f"is_first{number}")
        two = node("Equal", [following, constant(f"second{number}", [second])], f"is_second{number}")
        both = node("And", [one, two], f"both{number}")
        ids = node("Where", [both, constant(f"joined{number}", [joined]), ids], f"ids{number}")
        found = both if not found else node("Or", [found, both], f"found{number}")
    shifted = node("Concat", [false, found], "shifted", axis=1)
    gone = node("Slice", [shifted, zero, back, last], "second")
    if split.signs:
        least = constant("least", [min(split.signs.values())])
        gone = node("Or", [gone, node("GreaterOrEqual", ["input", least], "is_sign")], "signs")
    if step > 1:  # With the blank behind it.
        one_false = constant("one_false", [0], [1, 1], onnx.TensorProto.BOOL)
        later = node("Concat", [one_false, gone], "later", axis=1)
        blanks = node("Slice", [later, zero, constant("back_one", [-1]), last], "blanks")
        gone = node("Or", [gone, blanks], "gone")
    kept = node("Reshape", [node("Not", [gone], "kept"), constant("flat", [-1])], "kept_flat")
    ids = node("Compress", [ids, kept], "ids", axis=1)
    count = node("Slice", [node("Shape", [ids], "shape"), last, constant("two", [2]), zero], "length")
    _rename(graph, {"input": ids, "input_lengths": count})
    for number, made in enumerate(nodes):
        graph.node.insert(number, made)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Let all nodes, those of inner graphs too, read the results of other names."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in names:
                node.input[place] = names[name]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _rename(inner, names)


def store_as_half(model: Any) -> int:
    """Store the large weights in 16 bits, and cast them where the model is loaded. Returns how many.

    Weights that 16 bits cannot hold stay as they are.
    """
    onnx = importlib.import_module("onnx")
    graph, casts = model.graph, []
    fed = {item.name for item in graph.input}
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or weight.name in fed:
            continue
        values = onnx.numpy_helper.to_array(weight)
        if values.size < _SMALLEST or not float(np.abs(values).max()) <= _LARGEST_HALF:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}{_STORED}"))
        casts.append(
            onnx.helper.make_node("Cast", [weight.name], [name], weight.name, to=onnx.TensorProto.FLOAT)
        )
    for number, node in enumerate(casts):
        graph.node.insert(number, node)
    return len(casts)


def closeness(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Compare the speech of two forms of a voice: the `weights` of voice.json.

    Args:
        pairs: for each sentence the samples with 32-bit weights and those with 16-bit weights.
    """
    ratios, differences, shifted = [], [], 0
    for one, other in pairs:
        if len(one) != len(other):
            if abs(len(one) - len(other)) > _MOST_SHIFT * len(one):
                return _refused(f"a sentence has {len(other):,} samples instead of {len(one):,}")
            shifted += 1
            continue
        noise = float(np.sum(np.square(one - other, dtype=np.float64)))
        signal = float(np.sum(np.square(one, dtype=np.float64)))
        ratio = 10 * np.log10(signal / noise) if noise > 0 and signal > 0 else 200.0 if not noise else 0.0
        ratios.append(float(ratio) if np.isfinite(noise + signal) else 0.0)
        loudest = float(np.abs(one).max(initial=0.0))
        differences.append(float(np.abs(one - other).max(initial=0.0)) / (loudest or 1.0))
    if not ratios:
        return _refused("no sentence has as many samples as before")
    snr = min(ratios)
    if snr < LOWEST_SNR_DB:
        return _refused(f"the speech is only {snr:.0f} dB from that with 32-bit weights", snr)
    return {
        "stored": "float16",
        "why": None,
        "snr_db": round(snr, 1),
        "lowest_snr_db": LOWEST_SNR_DB,
        "difference": float(f"{max(differences):.3g}"),
        "sentences": len(ratios),
        "shifted": shifted,
    }


def _refused(why: str, snr: float | None = None) -> dict[str, Any]:
    return {
        "stored": "float32",
        "why": why,
        "snr_db": None if snr is None else round(snr, 1),
        "lowest_snr_db": LOWEST_SNR_DB,
    }

"""Edits of an exported model."""

from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
np = pytest.importorskip("numpy")
runtime = pytest.importorskip("onnxruntime")

from kernel_template.finish import onnx_edit  # noqa: E402 - needs both.
from kernel_template.text.front_ends import split_letters  # noqa: E402
from tests.voice.making import card, graph  # noqa: E402


def adding(values: Any) -> Any:
    """A model that adds some weights to its input."""
    h = onnx.helper
    floats = onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.asarray(values, dtype=np.float32), "weight")
    ends = [h.make_tensor_value_info(name, floats, [len(values)]) for name in ("in", "out")]
    made = h.make_graph([h.make_node("Add", ["in", "weight"], ["out"])], "g", ends[:1], ends[1:], [weight])
    return h.make_model(made, opset_imports=[h.make_opsetid("", 18)], ir_version=9)


def run(model: Any) -> Any:
    """Run a model that adds."""
    onnx.checker.check_model(model)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"in": np.zeros(session.get_inputs()[0].shape, dtype=np.float32)})[0]


def test_weights_take_half_the_room() -> None:
    """They are cast when the model is loaded, and calculate as 32-bit numbers."""
    values = np.linspace(-1, 1, 4000)
    model = adding(values)
    before = len(model.SerializeToString())
    assert onnx_edit.store_as_half(model) == 1
    assert len(model.SerializeToString()) < 0.51 * before + 400
    assert float(np.abs(run(model) - values).max()) < 5e-4
    assert onnx_edit.store_as_half(model) == 0


@pytest.mark.parametrize(
    "values", [[1e6] * 300, [float("nan")] * 300, [0.1] * 10], ids=["large", "nan", "few"]
)
def test_what_16_bits_cannot_hold_stays(values: list[float]) -> None:
    """Numbers beyond 65,504, what is not a number, and small tensors."""
    model = adding(values)
    assert onnx_edit.store_as_half(model) == 0


def test_metadata_and_joints_are_added_once() -> None:
    """Preparing a model twice is preparing it once."""
    described = card(b"")
    model = onnx.load_model_from_string(graph())
    onnx_edit.prepare(model, described, split_letters(described["text"]))
    once = model.SerializeToString()
    onnx_edit.prepare(model, described, split_letters(described["text"]))
    assert model.SerializeToString() == once
    onnx.checker.check_model(model)
    assert {item.key for item in model.metadata_props} == {
        *("model_type", "comment", "language", "sample_rate", "n_speakers", "frontend"),
        *("add_blank", "use_eos_bos", "blank_id", "bos_id", "eos_id", "pad_id"),
    }


def test_letters_that_the_cleaner_takes_apart_are_not_joined() -> None:
    """A voice whose cleaner applies NFC learnt য় as two letters; without a cleaner it is one."""
    characters = {letter: number for number, letter in enumerate("কযে\u09bc\u09be\u09cb\u09df", start=4)}
    rules = {"characters": characters, "ids": {"pad": 0, "blank": 3, "bos": 2, "eos": 1}}
    joined = {
        steps: {letter for _, _, letter in split_letters({**rules, "steps": steps}).joins}
        for steps in ((), (("nfc",),))
    }
    assert joined[()] == {characters["\u09cb"], characters["\u09df"]}
    assert joined[(("nfc",),)] == {characters["\u09cb"]}


def test_closeness_is_the_worst_sentence() -> None:
    """The ratio in dB, and the difference as a share of the loudest sample; NaN is never near."""
    one = np.sin(np.arange(8000, dtype=np.float32))
    near = onnx_edit.closeness([(one, one), (one, one + np.float32(1e-4))])
    assert near["stored"] == "float16"
    assert 75 < near["snr_db"] < 79
    assert near["difference"] == pytest.approx(1e-4, rel=0.05)
    for other in (one * np.float32(0.99), one * np.float32("nan"), one[:4000]):
        far = onnx_edit.closeness([(one, one), (one, other)])
        assert (far["stored"], far["why"] is None) == ("float32", False)


def test_a_sentence_that_is_a_frame_longer_is_not_compared() -> None:
    """One such is told; if all are, nothing is known, so the weights stay."""
    one = np.sin(np.arange(80_000, dtype=np.float32))
    assert onnx_edit.closeness([(one, one[:-256]), (one, one)])["shifted"] == 1
    assert onnx_edit.closeness([(one, one[:-256])])["stored"] == "float32"

"""Checkpoints with Python objects give their weights, and nothing in them is run."""

from pathlib import Path
from typing import Any

from tests.support import NEEDS_TORCH, Later

pytestmark = NEEDS_TORCH
torch: Any = Later("torch")
pickled: Any = Later("kernel_template.host.pickled")


class Config:
    """An object of a class that torch does not allow."""

    def __init__(self) -> None:
        self.place = Path("ক")


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


def saved(folder: Path, **state: Any) -> Path:
    """Save a checkpoint."""
    path = folder / "model.pth"
    torch.save({"model": {"emb.weight": torch.arange(3.0)}, "step": 7, **state}, path)
    return path


def test_weights_are_loaded_without_objects(tmp_path: Path) -> None:
    """The configuration is left out and named; weights and numbers are loaded."""
    state, names = pickled.load_weights(saved(tmp_path, config=Config(), optimizer=[{"x": Config()}]))
    assert state["model"]["emb.weight"].tolist() == [0.0, 1.0, 2.0]
    assert (state["step"], "config" in state) == (7, False)
    assert names == "pathlib.PosixPath, tests.kernel.test_pickled.Config"


def test_no_code_of_the_file_runs(tmp_path: Path) -> None:
    """A checkpoint that would run code is loaded without running it."""
    path = saved(tmp_path, config=Hostile(tmp_path / "mark"))
    assert pickled.load_weights(path) is not None
    assert not (tmp_path / "mark").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "mark").exists()


def test_a_model_that_is_an_object_has_no_weights(tmp_path: Path) -> None:
    """A pickled model, a file without objects and a file that is damaged are left to torch's own message."""
    assert pickled.load_weights(saved(tmp_path, model=Config())) is None
    assert pickled.load_weights(saved(tmp_path)) is None
    path = tmp_path / "model.pth"
    path.write_bytes(path.read_bytes()[:100])
    assert pickled.load_weights(path) is None

"""Checkpoints are read without torch, nothing in them is run, and what is written torch loads."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.checkpoint import read_checkpoint, write_checkpoint
from orchestrator.errors import UsageError
from tests.base.making import state, write_voice

pytestmark = pytest.mark.posix  # The extra `local` has torch.


def load(path: Path) -> dict[str, Any]:
    """Load a checkpoint as the session does."""
    import torch  # noqa: PLC0415 - as above.

    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def save(path: Path, content: Any, **options: Any) -> Path:
    """Save as torch does."""
    import torch  # noqa: PLC0415 - as above.

    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_the_copy_is_smaller_and_equal(tmp_path: Path, zipped: bool) -> None:  # noqa: FBT001 - both formats of torch.
    """Views, half precision and integers keep their values; optimizers go, old names become today's."""
    before = state(old=True)
    path = save(tmp_path / "a.pth", before, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert read.other["step"] == 845_500
    assert any("2 weights of the generation weight_g" in line for line in read.changed)
    assert any("optimizer is left out" in line for line in read.changed)
    write_checkpoint(read, tmp_path / "b.pth")
    after = load(tmp_path / "b.pth")
    assert "optimizer" not in after
    assert after["config"] == before["config"]
    for name, value in before["model"].items():
        today = name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        )
        assert after["model"][today].dtype == value.dtype
        assert after["model"][today].equal(value), name
    assert (tmp_path / "b.pth").stat().st_size < path.stat().st_size


@pytest.mark.parametrize("shape", ["bare", "state_dict"])
def test_weights_without_a_trainer(tmp_path: Path, shape: str) -> None:
    """Bare weights, and weights under another name, become what Coqui's trainer restores."""
    weights = state()["model"]
    path = save(tmp_path / "a.pth", weights if shape == "bare" else {"state_dict": weights})
    read = read_checkpoint(path)
    write_checkpoint(read, tmp_path / "b.pth")
    assert load(tmp_path / "b.pth").keys() >= {"model", "step", "epoch"}


class Evil:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_it_is_run(tmp_path: Path, zipped: bool) -> None:  # noqa: FBT001 - both formats of torch.
    """Objects are left out and named; the copy is safe to load."""
    evil = Evil(tmp_path / "was run")
    path = save(
        tmp_path / "a.pth",
        {**state(), "config": evil, "list": [evil]},
        _use_new_zipfile_serialization=zipped,
    )
    read = read_checkpoint(path)
    assert not evil.place.exists()
    assert any("system" in name for name in read.unknown)
    assert not {"config", "list"} & read.other.keys()
    write_checkpoint(read, tmp_path / "b.pth")
    load(tmp_path / "b.pth")


def test_instability_is_found(tmp_path: Path) -> None:
    """A session would find it only after its install."""
    content = state()
    content["model"]["disc.nets.0.weight"][1] = float("nan")
    with pytest.raises(UsageError, match=r"disc.nets.0.weight holds NaN"):
        read_checkpoint(save(tmp_path / "a.pth", content))


@pytest.mark.parametrize("size", [0, 1, 10, 200, 1000, -1, -30, -400])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_named(tmp_path: Path, size: int, zipped: bool) -> None:  # noqa: FBT001 - as above.
    """However much is missing, the error names the file."""
    weights = {"model": state()["model"]}  # The end of an optimizer is missed by nobody.
    whole = save(tmp_path / "a.pth", weights, _use_new_zipfile_serialization=zipped).read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[:size])
    with pytest.raises(UsageError, match=r"a\.pth cannot be a base voice"):
        read_checkpoint(tmp_path / "a.pth")


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    """A page of HTML, another ZIP archive, another pickle, and weights of nothing."""
    (tmp_path / "a.pth").write_text("<html>404</html>")
    (tmp_path / "c.pth").write_bytes(pickle.dumps({"model": 1}))
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("x", "y")
    save(tmp_path / "d.pth", {"model": {}})
    for name, words in (
        ("a", "begins with"),
        ("b", "no data.pkl"),
        ("c", "not a checkpoint"),
        ("d", "no weights"),
    ):
        with pytest.raises(UsageError, match=words):
            read_checkpoint(tmp_path / f"{name}.pth")


def test_tensors_beyond_their_storage_are_refused(tmp_path: Path) -> None:
    """A pickle may say that a tensor is larger than what is there."""
    write_voice(tmp_path / "v", state())
    with zipfile.ZipFile(tmp_path / "v" / "model_file.pth") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("/data/0"))
    parts[name] = parts[name][:-4]
    with zipfile.ZipFile(tmp_path / "short.pth", "w") as archive:
        for each, data in parts.items():
            archive.writestr(each, data)
    with pytest.raises(UsageError, match="values of text_encoder"):
        read_checkpoint(tmp_path / "short.pth")

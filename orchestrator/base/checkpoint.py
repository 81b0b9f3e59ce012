"""A checkpoint of Coqui's trainer, read without torch: its tensors, and a smaller, newer copy of it.

Two formats: the ZIP archive of torch 1.6 and later, and the pickles in a row before it. Nothing that a
checkpoint holds is run.
"""

import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

from orchestrator.base import pickles
from orchestrator.base.pickles import Dropped, StorageRef, Tensor
from orchestrator.errors import LocalError, UsageError

_MAGIC = 0x1950A86A20F9469CFC6C  # Of the older format.
_LARGEST_PICKLE = 64 << 20
_CHUNK = 1 << 20
_WRAPPERS = ("model", "state_dict", "model_state_dict", "generator", "net_g")
# What `--restore_path` never reads, and two thirds of the file.
_TRAINING_ONLY = ("optimizer", "scheduler", "scaler", "amp", "optimizer_state_dict")
_OLD_NORM = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}
# The byte of each value that tells whether it is finite, and what it is if it may not be.
_EXPONENTS = {
    "FloatStorage": (4, b"\x7f\xff"),
    "DoubleStorage": (8, b"\x7f\xff"),
    "HalfStorage": (2, bytes((*range(0x7C, 0x80), *range(0xFC, 0x100)))),
    "BFloat16Storage": (2, b"\x7f\xff"),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: the file.
        weights: the model's tensors by name.
        other: the other keys, without what a base voice does not need.
        changed: what a copy of it leaves out or calls otherwise, as sentences.
        unknown: classes in it that are neither weights nor plain values.
    """

    path: Path
    weights: Mapping[str, Tensor]
    other: Mapping[str, Any]
    changed: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """How many values all tensors have."""
        return sum(tensor.values for tensor in self.weights.values())


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UsageError: it is no checkpoint, is damaged, or holds no weights.
        LocalError: it cannot be read.
    """
    with _naming(path), _Storages.open(path) as storages:
        weights, other, changed = _parts(storages.found.content)
        if not weights:
            raise UsageError("it holds no weights")
        storages.check(weights)
        unknown = sorted(storages.found.unknown)
    return Checkpoint(path, weights, other, tuple(changed), tuple(unknown))


def read_content(path: Path) -> Any:
    """Read the plain values of a file that torch saved, such as the speakers' numbers.

    Raises:
        UsageError: it is no such file, or is damaged.
        LocalError: it cannot be read.
    """
    with _naming(path, "what kgtts reads"), _Storages.open(path) as storages:
        return pickles.plain(storages.found.content)


def write_checkpoint(checkpoint: Checkpoint, target: Path) -> None:
    """Write the weights and plain values as a checkpoint of today's torch.

    Raises:
        LocalError: it cannot be written.
    """
    with _naming(checkpoint.path), _Storages.open(checkpoint.path) as storages:
        numbers = {tensor.storage: str(number) for number, tensor in enumerate(checkpoint.weights.values())}
        weights = {
            name: replace(tensor, storage=replace(tensor.storage, key=numbers[tensor.storage]))
            for name, tensor in checkpoint.weights.items()
        }
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_entry("data.pkl"), pickles.write({**checkpoint.other, "model": weights}))
            archive.writestr(_entry("byteorder"), b"little")
            for storage, key in numbers.items():
                entry = _entry(f"data/{key}")
                with storages.reading(storage) as source, archive.open(entry, "w", force_zip64=True) as kept:
                    for piece in _pieces(source, _bytes(storage)):
                        kept.write(piece)
            archive.writestr(_entry("version"), b"3\n")


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"model_file/{name}", (1980, 1, 1, 0, 0, 0))


def _parts(content: Any) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Return the weights, the other plain keys, and what was left out or renamed."""
    if not isinstance(content, dict):
        return {}, {}, []
    key = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
    if key is None:
        weights, changed = _renamed(content)
        return weights, {"step": 0, "epoch": 0}, ["the bare weights get a step and an epoch", *changed]
    weights, changed = _renamed(content[key])
    if key != "model":
        changed.append(f"its weights are called model in place of {key}")
    other: dict[str, Any] = {"step": 0, "epoch": 0}
    for name, value in content.items():
        kept = Dropped if name in _TRAINING_ONLY else pickles.plain(value)
        if name == key or not isinstance(name, str):
            continue
        if kept is Dropped:
            what = "it serves only to go on training" if name in _TRAINING_ONLY else "it is a Python object"
            changed.append(f"{name} is left out: {what}")
        else:
            other[name] = kept
    return weights, other, changed


def _renamed(found: Mapping[Any, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under the names that today's torch gives them."""
    weights, old = dict[str, Tensor](), 0
    for name, value in found.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            ending = next((each for each in _OLD_NORM if name.endswith(each)), None)
            old += ending is not None
            weights[name if ending is None else name.removesuffix(ending) + _OLD_NORM[ending]] = value
    said = f"{old} weights of the generation weight_g/weight_v have today's names"
    return weights, [said] if old else []


class _Storages:
    """An open checkpoint: what its pickle holds, and where its storages are."""

    def __init__(self, found: pickles.Pickle) -> None:
        self.found = found

    @staticmethod
    @contextmanager
    def open(path: Path) -> Iterator["_Storages"]:
        """Open a checkpoint of either format.

        Raises:
            UsageError: it is neither.
        """
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(0)
            if head.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    yield _Archive(archive)
            elif head.startswith(b"\x80"):
                yield _Row(file)
            else:
                raise UsageError(f"it is not a checkpoint of PyTorch: it begins with {head[:24]!r}")

    @contextmanager
    def reading(self, storage: StorageRef) -> Iterator[IO[bytes]]:
        """Open the bytes of a storage."""
        raise NotImplementedError

    def size(self, key: str) -> int | None:
        """Bytes of a storage; None if it is not there."""
        raise NotImplementedError

    def check(self, weights: Mapping[str, Tensor]) -> None:
        """See that all values are there, and are numbers.

        Raises:
            UsageError: some are missing, NaN or infinite.
        """
        seen = set[str]()
        for name, tensor in weights.items():
            if tensor.storage.key in seen:
                continue
            seen.add(tensor.storage.key)
            if (self.size(tensor.storage.key) or 0) < _bytes(tensor.storage):
                raise UsageError(f"it is truncated: the values of {name} are missing")
            if not self._is_finite(tensor.storage):
                raise UsageError(
                    f"{name} holds NaN or infinity, so it was saved after its training had become unstable"
                )

    def _is_finite(self, storage: StorageRef) -> bool:
        """Whether no value can be NaN or infinite; weights are never near the largest numbers either."""
        item, suspicious = _EXPONENTS.get(storage.kind, (1, b""))
        if not suspicious:
            return True
        others = bytes(set(range(256)) - set(suspicious))
        with self.reading(storage) as file:
            for piece in _pieces(file, _bytes(storage)):
                if piece[item - 1 :: item].translate(None, others):
                    return False
        return True


class _Archive(_Storages):
    """The format of torch 1.6 and later."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if name is None:
            raise UsageError("it is a ZIP archive, but not a checkpoint of PyTorch: it has no data.pkl")
        self._top = name.removesuffix("data.pkl")
        if archive.getinfo(name).file_size > _LARGEST_PICKLE:
            raise UsageError(f"its data.pkl has more than {_LARGEST_PICKLE >> 20} MB")
        order = f"{self._top}byteorder"
        if order in archive.namelist() and archive.read(order).strip() != b"little":
            raise UsageError("it was saved on a big-endian machine")
        with archive.open(name) as file:
            super().__init__(pickles.read(file))

    @contextmanager
    def reading(self, storage: StorageRef) -> Iterator[IO[bytes]]:
        """Open the bytes of a storage."""
        with self._archive.open(f"{self._top}data/{storage.key}") as file:
            yield file

    def size(self, key: str) -> int | None:
        """Bytes of a storage; None if it is not there."""
        try:
            return self._archive.getinfo(f"{self._top}data/{key}").file_size
        except KeyError:
            return None


class _Row(_Storages):
    """The format before torch 1.6: pickles (magic, version, machine, content, keys), then the storages."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if pickles.read(file).content != _MAGIC:
            raise UsageError("it is a pickle, but not a checkpoint of PyTorch")
        pickles.read(file)
        pickles.read(file)
        super().__init__(pickles.read(file))
        keys, kinds = pickles.read(file).content, self.found.storages
        self._places: dict[str, tuple[int, int]] = {}
        for key in keys if isinstance(keys, list) else []:
            head = file.read(8)
            if key not in kinds or len(head) < 8:  # noqa: PLR2004 - the count of values.
                break
            length = struct.unpack("<q", head)[0] * pickles.ITEM_BYTES[kinds[key].kind]
            self._places[key] = (file.tell(), length)
            file.seek(length, 1)
        self._end = file.seek(0, 2)

    @contextmanager
    def reading(self, storage: StorageRef) -> Iterator[IO[bytes]]:
        """Open the bytes of a storage."""
        self._file.seek(self._places[storage.key][0])
        yield self._file

    def size(self, key: str) -> int | None:
        """Bytes of a storage; None if it is not there."""
        place = self._places.get(key)
        return None if place is None else min(place[1], self._end - place[0])


def _bytes(storage: StorageRef) -> int:
    return storage.count * pickles.ITEM_BYTES[storage.kind]


def _pieces(file: IO[bytes], length: int) -> Iterator[bytes]:
    while length > 0:
        piece = file.read(min(_CHUNK, length))
        if not piece:
            raise UsageError("it is truncated")
        length -= len(piece)
        yield piece


@contextmanager
def _naming(path: Path, what: str = "a base voice") -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(
            f"{path} cannot be {what}: {error.message}.",
            hint="take a whole checkpoint of Coqui's trainer",
        ) from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise UsageError(
            f"{path} cannot be {what}: it is truncated or damaged.", hint="copy or download it again"
        ) from error
    except OSError as error:
        raise LocalError(f"Could not read {error.filename or path}: {error.strerror or error}.") from error

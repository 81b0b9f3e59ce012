"""Read and write the pickles in checkpoints of torch without torch, and without running what is in them.

`read` knows the few classes that weights are made of; whatever else a pickle names becomes an `Opaque`, which
does nothing. `write` makes the pickle again from plain values and tensors.
"""

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Self

from orchestrator.errors import UsageError

# torch's classes of storages: bytes of a value, and the byte (from its end) and mask that hold its exponent.
ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
_DEEPEST = 100
_LARGEST_INT = 512  # Bits: of a number that this format holds in one byte of length.


class Opaque:
    """Stands for an object that is neither weight nor plain value: has its class's name, runs no code."""

    name = "an object"

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Ignore what it would be made of."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Ignore what it would become."""

    def append(self, item: object) -> None:
        """Ignore an item, as of a list."""

    def extend(self, items: object) -> None:
        """Ignore items, as of a list."""

    def add(self, item: object) -> None:
        """Ignore an item, as of a set."""

    def __setitem__(self, key: object, value: object) -> None:
        """Ignore an item, as of a dictionary."""


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A storage of the checkpoint: its class in torch, its key, and how many values it has."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a view of a storage; sizes count values."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def values(self) -> int:
        """How many values it has."""
        total = 1
        for size in self.shape:
            total *= size
        return total


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str


def _tensor(storage: object, offset: object, shape: object, stride: object, *_more: object) -> object:
    """Make a tensor of a storage; an opaque object if it would reach beyond it, or is none."""
    if not isinstance(storage, StorageRef) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        return Opaque()
    numbers: tuple[Any, ...] = (offset, *shape, *stride)
    if len(shape) != len(stride) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        return Opaque()
    last = numbers[0] + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.count:
        return Opaque()
    return Tensor(storage, numbers[0], shape, stride)


def _parameter(data: object, *_more: object) -> object:
    return data


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Reader(pickle.Unpickler):
    """An unpickler that makes nothing but plain values, tensors and opaque objects."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.opaque: set[str] = set()
        self.storages: dict[str, StorageRef] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Give the stand-in of a class; nothing is imported."""
        if module == "torch" and name in ITEM_BYTES:
            return _Kind(name)
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        self.opaque.add(f"{module}.{name}")
        return type("Opaque", (Opaque,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        """Give a reference to a storage: ("storage", class, key, device, count)."""
        match pid:
            case ("storage", _Kind(name=name), str() as key, _, int() as count, *_) if count >= 0:
                return self.storages.setdefault(key, StorageRef(name, key, count))
        return Opaque()


@dataclass(frozen=True, slots=True)
class Pickle:
    """What a pickle holds, the names of what was not understood, and the storages by their keys."""

    content: Any
    unknown: frozenset[str]
    storages: Mapping[str, StorageRef]


def read(file: IO[bytes]) -> Pickle:
    """Read one pickle.

    Raises:
        UsageError: it is damaged.
    """
    reader = _Reader(file)
    try:
        return Pickle(reader.load(), frozenset(reader.opaque), reader.storages)
    except Exception as error:
        raise UsageError(f"the pickle in it is damaged ({type(error).__name__})") from error


def write(value: Mapping[str, Any]) -> bytes:
    """Write plain values and tensors as torch does (pickle protocol 2).

    Raises:
        TypeError: something else is in it.
    """
    out = bytearray(b"\x80\x02")
    _put(out, value, 0)
    return bytes(out + b".")


def _put(out: bytearray, value: Any, depth: int) -> None:  # noqa: C901 - one case a kind of value.
    if depth > _DEEPEST:
        raise TypeError("nested too deep")

    def put_all(items: Any) -> None:
        for item in items:
            _put(out, item, depth + 1)

    match value:
        case None:
            out += b"N"
        case bool():
            out += b"\x88" if value else b"\x89"
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            out += b"\x8a" + bytes([len(data)]) + data
        case float():
            out += b"G" + struct.pack(">d", value)
        case str():
            data = value.encode("utf-8", "surrogatepass")
            out += b"X" + struct.pack("<I", len(data)) + data
        case tuple():
            out += b"("
            put_all(value)
            out += b"t"
        case list():
            out += b"]("
            put_all(value)
            out += b"e"
        case Mapping():
            out += b"}("
            put_all(part for pair in value.items() for part in pair)
            out += b"u"
        case Tensor(storage=storage):
            out += b"ctorch._utils\n_rebuild_tensor_v2\n(("
            put_all(["storage"])
            out += b"ctorch\n" + storage.kind.encode() + b"\n"
            put_all([storage.key, "cpu", storage.count])
            out += b"tQ"
            put_all([value.offset, value.shape, value.stride, False])
            out += b"ccollections\nOrderedDict\n)RtR"
        case _:
            raise TypeError(type(value).__name__)


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value without opaque objects in it; `Dropped` if nothing is left."""
    match value:
        case int() if value.bit_length() > _LARGEST_INT:
            return Dropped
        case None | bool() | int() | float() | str() | Tensor():
            return value
        case list() | tuple() if depth < _DEEPEST:
            kept = [plain(item, depth + 1) for item in value]
            return Dropped if Dropped in kept else type(value)(kept)
        case dict() if depth < _DEEPEST:
            pairs = {key: plain(item, depth + 1) for key, item in value.items() if isinstance(key, str | int)}
            return {key: item for key, item in pairs.items() if item is not Dropped}
        case _:
            return Dropped


class Dropped:
    """Stands for what cannot be kept."""

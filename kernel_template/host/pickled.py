"""Loads the weights of checkpoints that also hold Python objects, such as Coqui's older configurations.

torch refuses such a file (`weights_only=True`), since unpickling an object can run any code. Here every class
and function that torch does not allow is replaced by one that does nothing. Tensors and numbers are loaded;
nothing that the file names is imported or called.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch

_SHOWN = 3  # Names of objects for the log.


class LeftOut:
    """Stands for an object that was not loaded."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Take whatever the object was made from."""
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Keep nothing of it."""

    def __setstate__(self, _state: Any) -> None:
        """Keep nothing of it."""


def load_weights(path: Any, map_location: Any = None) -> tuple[dict[str, Any], str] | None:
    """Return a checkpoint without its objects, and their names; None if it cannot be loaded like that."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        stands = [(type("LeftOut", (LeftOut,), {}), name) for name in names]
        with torch.serialization.safe_globals(stands):  # type: ignore[arg-type] # Pairs are allowed too.
            state = torch.load(str(path), map_location=map_location, weights_only=True)
    except Exception:  # noqa: BLE001 - the reason for the first failure is the one to tell.
        return None
    if not names or not isinstance(state, Mapping) or isinstance(state.get("model"), LeftOut):
        return None
    kept = {key: value for key, value in state.items() if not isinstance(value, LeftOut)}
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return kept, shown

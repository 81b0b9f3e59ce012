"""Which of a session's outputs `[pull]` chooses."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

BEST_MODEL = "best-model"
NEWEST_CHECKPOINT = "newest-checkpoint"
_NUMBERED = re.compile(r"(?:.*/)?(best_model|checkpoint)_([0-9]{1,18})\.pth", re.ASCII)


def select_outputs(names: Iterable[str], include: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """The names that `include` brings and `exclude` does not take away, in the order of `names`.

    A pattern is matched against the whole path, upper and lower case differing, and its `*` crosses
    folders. `newest-checkpoint` is the checkpoint of the highest step; `best-model` the highest
    `best_model_<step>.pth` (Coqui's trainer writes one at each new best), else `best_model.pth`.
    """
    listed = list(names)
    wanted = {_best(listed)} if BEST_MODEL in include else set()
    if NEWEST_CHECKPOINT in include:
        wanted.add(_highest(listed, "checkpoint"))
    return [
        name
        for name in listed
        if (name in wanted or any(fnmatchcase(name, pattern) for pattern in include))
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    ]


def _best(names: Sequence[str]) -> str | None:
    plain = (name for name in names if name.rpartition("/")[2] == "best_model.pth")
    return _highest(names, "best_model") or next(plain, None)


def _highest(names: Sequence[str], kind: str) -> str | None:
    steps = {
        name: int(found[2]) for name in names if (found := _NUMBERED.fullmatch(name)) and found[1] == kind
    }
    return max(steps, key=lambda name: steps[name], default=None)

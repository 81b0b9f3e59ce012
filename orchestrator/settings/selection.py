"""The choice of a session's outputs by the patterns of `[pull]`."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from kernel_template.contract import BEST_MODEL_LINK

BEST_MODEL = "best-model"
NEWEST_CHECKPOINT = "newest-checkpoint"
NEWEST_EVENTS = "newest-events"
_NUMBERED = re.compile(r"(?:.*/)?(best_score|best_model|checkpoint)_([0-9]{1,18})\.pth", re.ASCII)
# torch's writer: the time, the host, the process and a number.
_EVENTS = re.compile(r"(?:.*/)?events\.out\.tfevents\.([0-9]{1,18})\.(.+?)(?:\.[0-9]+){0,2}", re.ASCII)


def select_outputs(names: Iterable[str], include: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """Return the names that fit `include` and not `exclude`, in the order of `names`.

    A pattern is matched against the whole path; case matters, and `*` matches across folders.
    `newest-checkpoint` is the checkpoint of the highest step; `best-model` is `best_score_<step>.pth` (of a
    run with `run.best_by`), else the highest `best_model_<step>.pth` (Coqui's trainer writes one at each new
    best), else `best_model.pth`.
    `newest-events` are TensorBoard's event files of the host that wrote the newest one: a run folder holds
    those of earlier sessions too, each from a host of its own.
    """
    listed = list(names)
    wanted = {_best(listed)} if BEST_MODEL in include else set()
    if NEWEST_CHECKPOINT in include:
        wanted.add(_highest(listed, "checkpoint"))
    if NEWEST_EVENTS in include:
        wanted |= _newest_events(listed)
    return [
        name
        for name in listed
        if (name in wanted or any(fnmatchcase(name, pattern) for pattern in include))
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    ]


def _best(names: Sequence[str]) -> str | None:
    plain = (name for name in names if name.rpartition("/")[2] == BEST_MODEL_LINK)
    return _highest(names, "best_score") or _highest(names, "best_model") or next(plain, None)


def _newest_events(names: Sequence[str]) -> set[str]:
    found = {name: (int(match[1]), match[2]) for name in names if (match := _EVENTS.fullmatch(name))}
    _, host = max(found.values(), default=(0, ""))
    return {name for name, (_, by) in found.items() if by == host}


def _highest(names: Sequence[str], kind: str) -> str | None:
    steps = {
        name: int(found[2]) for name in names if (found := _NUMBERED.fullmatch(name)) and found[1] == kind
    }
    return max(steps, key=lambda name: steps[name], default=None)

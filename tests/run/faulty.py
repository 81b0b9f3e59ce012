"""A Kaggle in memory whose n-th calls go wrong, in the ways in which the real one has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.errors import ForbiddenError, NotFoundError, ServiceError
from orchestrator.models import KernelRef, SessionState, SessionStatus
from tests.fakes.kaggle import FakeKaggle
from tests.fakes.sessions import Answer, Lost

# To a command, a 500, a time-out, HTML and most `{}` are one error; a `{}` of a file is its content, and one
# of a state is QUEUED.
FAULTS = ("403", "404", "500", "{}", "lost", "stale", "empty")

MOST_CALLS = 3000  # Of one command.


@dataclass
class Faulty:
    """A fake whose n-th calls go wrong, counted over all methods.

    Attributes:
        kaggle: the fake.
        wrong: by number, what is wrong with a call.
        before_call: is told of each call.
        fitting: of each call so far, the faults that it can have, if `looks`.
    """

    kaggle: FakeKaggle
    wrong: Mapping[int, str]
    looks: bool = False
    before_call: Callable[[], None] = field(default=lambda: None)
    made: int = 0
    asked: list[str] = field(default_factory=list)
    fitting: list[list[str]] = field(default_factory=list)

    def install(self) -> None:
        """Look at each call before it is answered."""
        ask = self.kaggle._call

        def call(method: str, words: str, work: Callable[[], Any]) -> Any:
            self.before_call()
            fault = self.wrong.get(self.made)
            self.made += 1
            if self.made > MOST_CALLS:
                raise AssertionError("the calls come to no end")
            self.asked.append(method)
            if self.looks:
                fits = [name for name in FAULTS if wrong_answer(self.kaggle, name, method, words) is not None]
                self.fitting.append(fits)
            if fault is not None:
                happening = wrong_answer(self.kaggle, fault, method, words)
                if happening is not None:
                    self.kaggle.next(method, happening)
            return ask(method, words, work)

        self.kaggle._call = call  # type: ignore[method-assign] # A fake of the tests.


def wrong_answer(kaggle: FakeKaggle, fault: str, method: str, words: str) -> Any:
    """Return a wrong answer instead of the real one; None if the fault does not fit the call."""
    plain = {
        "403": ForbiddenError("Kaggle refused (403)."),
        "404": NotFoundError("Kaggle knows no such thing (404)."),
        "500": ServiceError("Kaggle failed (500).", status=500),
    }
    if fault in plain:
        return plain[fault]
    if fault == "lost":
        return Lost(ServiceError("The answer was lost.")) if method in ("push", "upload_dataset") else None
    if fault == "{}":
        empty: Any = {"output_file": b"{}", "session_status": SessionStatus(SessionState.QUEUED)}
        return Answer(empty[method]) if method in empty else None
    if fault == "empty":
        lists = (
            *("my_kernels", "outputs", "stored_log", "dataset_files", "model_files"),
            *("my_datasets", "my_models", "model_variations"),
        )
        nothing: dict[str, Any] = {"output_file": b"", "quota": None, **{name: [] for name in lists}}
        return Answer(nothing[method]) if method in nothing else None
    return older_answer(kaggle, method, words)


def older_answer(kaggle: FakeKaggle, method: str, words: str) -> Any:
    """Return what the call gave a moment ago: before the newest version, or the session's end."""
    if method == "my_kernels":
        newest = sorted(kaggle.kernels.items(), key=lambda item: item[1][-1].pushed_s, reverse=True)
        return Answer([kaggle._info(ref, with_source=False) for ref, _ in newest][1:])
    if method not in ("kernel", "session_status"):
        return None
    ref = KernelRef.parse(words.split()[1])
    versions = kaggle.kernels.get(ref.kernel, [])
    if method == "session_status":
        number = ref.version or len(versions)
        if not 0 < number <= len(versions):
            return None
        has_ended = versions[number - 1].state_at(kaggle.clock.monotonic()).is_terminal
        return Answer(SessionStatus(SessionState.RUNNING if has_ended else SessionState.ERROR))
    if len(versions) > 1 and ref.version is None:
        before = len(versions) - 1
        return Answer(replace(kaggle._info(ref.at(before)), latest_version=before))
    return NotFoundError("It is not there yet (404).") if versions and ref.version is None else None

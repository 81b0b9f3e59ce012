"""Read `state.json`: what a session saved, how it ended, and the sessions before it.

The file comes from a server. A damaged one is an error that names the fault; in a good one, a field whose
value makes no sense counts as missing, and fields that are not known here are ignored.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kernel_template.contract import EXCUSED, STATE_SCHEMA, EndReason, Status
from orchestrator import untrusted
from orchestrator.errors import KgttsError, UsageError
from orchestrator.models import KernelRef, SessionState, SessionStatus, SessionSummary
from orchestrator.render.stamp import RunStamp
from orchestrator.run.view import SessionView

_STAMPED = ("id", "session", "parent", "fingerprint", "kernel", "kgtts")


class StateError(KgttsError):
    """A `state.json` that cannot be used; the message names what is wrong with it."""


def _words(value: object) -> str:
    return untrusted.one_line(value or "")


def _flag(value: object) -> bool:
    return value is True


def _span(value: object) -> float:
    return untrusted.seconds(value) or 0.0


_Count = Annotated[int | None, BeforeValidator(untrusted.count)]
_Number = Annotated[float | None, BeforeValidator(untrusted.number)]
_Seconds = Annotated[float | None, BeforeValidator(untrusted.seconds)]
_Text = Annotated[str | None, BeforeValidator(untrusted.text)]
_Words = Annotated[str, BeforeValidator(_words)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class SavedCheckpoint(_Part):
    """A checkpoint that a session lists: its path below the outputs, its step, bytes and SHA-256 (hex).

    The path is as the file has it: good for finding an output, but not for writing one.
    """

    path: str
    global_step: int
    size: int
    sha256: str


class SessionResult(_Part):
    """What a session's `state.json` says. Steps and epochs are the run's own counts.

    Attributes:
        run: the run's id.
        session: the session's number in the run.
        status: `complete`, `failed` or, if the session could not write its end, `running`.
        reason: why it ended.
        message: the same as a sentence.
        global_step: the step of its newest checkpoint.
        sha256: the newest checkpoint's hash (hex).
        done: whether the run needs no further session.
        seconds: how long the session took.
        history: the run's sessions so far, oldest first, this one included.
    """

    run: str
    session: int = Field(ge=0)
    status: str
    reason: _Words = ""
    message: _Words = ""
    global_step: _Count = None
    epoch: _Count = None
    epochs: _Count = None
    steps_per_epoch: _Count = None
    checkpoint: _Text = None
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    sha256: _Text = None
    best_model: _Text = None
    done: Annotated[bool, BeforeValidator(_flag)] = False
    done_reason: _Text = None
    best_loss: _Number = None
    seconds_per_epoch: _Seconds = None
    seconds: Annotated[float, BeforeValidator(_span)] = 0.0
    history: tuple[SessionSummary, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, data: object) -> object:
        """Flatten the file's shape; values that are given by field, as in code, pass as they are."""
        if not isinstance(data, Mapping) or not isinstance(data.get("run"), Mapping | None):
            return data
        run, listed, seconds = _object(data, "run"), _list(data, "checkpoints"), _object(data, "seconds")
        hashes = {item["path"]: item.get("sha256") for item in listed}
        session = untrusted.count(run.get("session"))
        if session is None or not run.get("id"):
            raise ValueError("it names no run and session")
        return {
            **data,
            "run": untrusted.one_line(run["id"]),
            "session": session,
            "status": untrusted.one_line(data["status"]) if "status" in data else None,
            "sha256": hashes.get(data.get("checkpoint")),
            "checkpoints": tuple(SavedCheckpoint(**item) for item in listed if _can_be_checked(item)),
            "seconds": seconds.get("total"),
            "history": tuple(_summary(item) for item in _list(data, "history")),
        }

    @property
    def epochs_done(self) -> int:
        """The epochs that the run has made. `epoch` is the one in which the newest checkpoint was saved."""
        return max([self.epoch or 0, *(item.to_epoch for item in self.history)])


def parse_state(data: bytes) -> SessionResult:
    """The content of a `state.json`.

    Raises:
        StateError: it is not a state.json of this schema, or is damaged.
    """
    state = untrusted.json_object(data)
    if state is None:
        raise StateError("it is not a JSON object")
    if state.get("schema") != STATE_SCHEMA:
        raise StateError(f"its schema is {untrusted.one_line(state.get('schema'), 40)!r}, not {STATE_SCHEMA}")
    if not isinstance(state.get("run"), Mapping):
        raise StateError("it names no run and session")
    try:
        return SessionResult.model_validate(state)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StateError(
            untrusted.one_line(f"{place}: {first['msg']}" if place else first["msg"], 300)
        ) from error
    except (TypeError, KeyError, AttributeError) as error:
        raise StateError(untrusted.one_line(f"a part of it has another shape ({error})", 300)) from error


def read_state(data: bytes | None) -> SessionResult | None:
    """The content of a `state.json` that is only shown; None if there is none or it cannot be used."""
    try:
        return None if data is None else parse_state(data)
    except StateError:
        return None


def session_of(data: bytes | None, number: int, *, is_at_work: bool = False) -> SessionView | None:
    """A session outside Kaggle by its state.json; None if it is not of one with this number.

    Args:
        data: the content of state.json.
        number: the session's number, by its folder or its child's stamp.
        is_at_work: whether it may still train; if not, one that did not write its end was killed.
    """
    result = read_state(data)
    whole = untrusted.json_object(data) or {}
    told, started = untrusted.as_object(whole.get("run")), _moment(whole.get("started"))
    try:
        stamp = RunStamp(**{name: told.get(name) for name in _STAMPED})  # type: ignore[arg-type] # It checks.
        ref = KernelRef.parse(stamp.kernel)
    except UsageError:
        return None
    if result is None or not ref.is_elsewhere or not stamp.session == result.session == number:
        return None
    state, cause = SessionState.ERROR, None
    if result.status == Status.COMPLETE:
        state = SessionState.COMPLETE
    elif result.status == Status.RUNNING and is_at_work:
        state = SessionState.RUNNING
    elif result.status == Status.FAILED and result.reason not in EXCUSED:
        cause = result.message or None
    reason = result.reason or (None if state is SessionState.RUNNING else EndReason.KILLED.value)
    return SessionView(
        ref.at(number), stamp, SessionStatus(state), started, result=result, cause=cause, reason=reason
    )


def _moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if found is None or found.tzinfo is None else found


def _object(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004  # pydantic reports ValueErrors.
    return value


def _list(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = data.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"{name} is not a list of objects")  # As above.
    return value


def _can_be_checked(item: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is listed with everything that a download of it is checked against."""
    return (
        isinstance(item.get("path"), str)
        and isinstance(item.get("sha256"), str)
        and untrusted.count(item.get("global_step")) is not None
        and untrusted.count(item.get("size")) is not None
    )


def _summary(item: Mapping[str, Any]) -> SessionSummary:
    return SessionSummary(
        session=untrusted.count(item["session"]) or 0,
        kernel=untrusted.one_line(item["kernel"]),
        from_step=untrusted.count(item.get("from_step")) or 0,
        to_step=untrusted.count(item.get("to_step")) or 0,
        from_epoch=untrusted.count(item.get("from_epoch")) or 0,
        to_epoch=untrusted.count(item.get("to_epoch")) or 0,
        reason=_words(item.get("reason")),
        seconds=_span(item.get("seconds")),
    )

"""One Kaggle in memory for every test: the port `orchestrator.ports.Kaggle` with a state of its own.

A test sets up what there is (`have`, `save`, `datasets`, `models`), lets sessions end by hand (`complete`,
`kill`, `fail`) or with the clock (`Life`), and spoils single calls (`next`, `always`). `asked` holds every
call that was made, in order. `tests/contract` holds this fake and the real client to the same behaviour.
"""

import itertools
import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from orchestrator.errors import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    ServiceError,
    SilentLogError,
)
from orchestrator.models import (
    InputDetails,
    InputFile,
    KernelInfo,
    KernelPush,
    KernelRef,
    LogEvent,
    OutputFile,
    Pushed,
    Quota,
    SessionState,
    SessionStatus,
)
from orchestrator.render.stamp import RunStamp, read_stamp
from tests.download.storage import Storage
from tests.fakes.clock import FakeClock
from tests.fakes.inputs import FakeInputs, Upload
from tests.fakes.sessions import (
    FOREVER,
    Answer,
    Connection,
    Happening,
    Lost,
    Reading,
    Version,
    said,
)

OWNER = "asha"
EPOCH_STEPS = 100
T = TypeVar("T")


@dataclass
class FakeKaggle(FakeInputs):
    """The port in memory, with the account's kernels, sessions, datasets, models and quota."""

    clock: FakeClock = field(default_factory=FakeClock)
    username: str = OWNER
    service: str = "https://fake.example"
    kernels: dict[KernelRef, list[Version]] = field(default_factory=dict)
    datasets: dict[str, list[Upload]] = field(default_factory=dict)
    models: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    models_ready_s: dict[str, float] = field(default_factory=dict)
    details: dict[str, InputDetails] = field(default_factory=dict)
    week: Quota | Callable[[], Quota] | None = None
    connection: Connection = field(default_factory=Connection)
    storage: Storage | None = None  # Where outputs can be fetched from; without one none are listed.
    dataset_processing_s: float = 0.0
    plays: Callable[[KernelPush, Version], None] | None = None  # Gives each pushed version its life.
    machine: str | None = None  # What every session runs on, whatever was asked for.
    saved_as: KernelRef | None = None  # The name that every push is saved under, whatever was asked for.
    has_sessions: bool = True
    tells_versions: bool = True
    pushes: list[KernelPush] = field(default_factory=list)  # Those that were saved.
    asked: list[str] = field(default_factory=list)
    at: dict[str, list[float]] = field(default_factory=dict)  # When each method was called.
    _next: dict[str, list[Happening]] = field(default_factory=dict)
    _always: dict[str, Happening] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # What tests do

    def next(self, method: str, *happenings: Happening) -> None:
        """Change the next calls of a method of the port, one after the other."""
        self._next.setdefault(method, []).extend(happenings)

    def always(self, method: str, happening: Happening | None) -> None:
        """Change every call of a method, after those of `next`; None ends it."""
        self._always.pop(method, None)
        if happening is not None:
            self._always[method] = happening

    def next_states(self, *states: SessionState | Exception, message: str | None = None) -> None:
        """Answer the next looks at a session's state with these; the last one stays."""
        answers = [
            item if isinstance(item, Exception) else Answer(SessionStatus(item, message)) for item in states
        ]
        self.next("session_status", *answers[:-1])
        self.always("session_status", answers[-1])

    def have(self, text: str, version: int, *, source: str = "print()") -> Version:
        """Make a kernel with this many versions; returns the newest."""
        ref = KernelRef.parse(text)
        while len(self.kernels.get(ref, [])) < version:
            self.save(text, source)
        return self.kernels[ref][-1]

    def save(
        self, text: str, source: str = "print()", state: SessionState = SessionState.COMPLETE
    ) -> Version:
        """Add a version as somebody would on the kernel's page."""
        version = Version(source, self.clock.now(), self.clock.monotonic(), state=state)
        self.kernels.setdefault(KernelRef.parse(text), []).append(version)
        return version

    def version(self, text: str) -> Version:
        """Return the version `owner/slug/N`."""
        ref = KernelRef.parse(text)
        return self.kernels[ref.kernel][(ref.version or 0) - 1]

    def complete(self, text: str, step: int | None, **changes: Any) -> None:
        """End a session well with a checkpoint at `step`; with None it saved nothing new."""
        version = self.version(text)
        version.state = SessionState.COMPLETE
        version.outputs = {"state.json": json.dumps({**self.state_of(text, step), **changes}).encode()}

    def kill(self, text: str, *, keep: bytes | None = None, state: SessionState = SessionState.ERROR) -> None:
        """Kill a session; `keep` is the `state.json` that Kaggle kept."""
        version = self.version(text)
        version.state = state
        version.outputs = {} if keep is None else {"state.json": keep}

    def fail(self, text: str, message: str, *, keep: bool = True, reason: str = "bad_config") -> None:
        """Fail a session with a reason in its `state.json`, or only in its log."""
        version = self.version(text)
        version.state = SessionState.ERROR
        if keep:
            state = {**self.state_of(text, None), "status": "failed", "reason": reason, "message": message}
            version.outputs = {"state.json": json.dumps(state).encode()}
        else:
            end = {"event": "end", "status": "failed", "reason": reason, "message": message}
            version.log = said(f"@kgtts {json.dumps(end)}")

    def state_of(self, text: str, step: int | None) -> dict[str, Any]:
        """Return the `state.json` of a session that reached `step`, with its history."""
        stamp = read_stamp(self.version(text).source)
        assert stamp is not None
        history = self.history_before(stamp)
        before = history[-1]["to_step"] if history else 0
        own = {
            "session": stamp.session,
            "kernel": stamp.kernel,
            "from_step": before,
            "to_step": step or before,
            "from_epoch": before // EPOCH_STEPS,
            "to_epoch": (step or before) // EPOCH_STEPS,
            "reason": "budget",
            "seconds": 3600.0,
        }
        return {
            "schema": 1,
            "run": stamp.to_dict(),
            "status": "complete",
            "reason": "budget",
            "message": "",
            "global_step": step,
            "epoch": None if step is None else step // EPOCH_STEPS,
            "epochs": 10,
            "checkpoint": f"training/checkpoint_{step}.pth",
            "checkpoints": [{"path": f"training/checkpoint_{step}.pth", "sha256": f"{step or 0:064x}"}],
            "seconds": {"total": 3600.0},
            "seconds_per_epoch": 600.0,
            "steps_per_epoch": EPOCH_STEPS,
            "history": [*history, own],
            "done": False,
        }

    def history_before(self, stamp: RunStamp) -> list[dict[str, Any]]:
        """Return the history of the session that one continues from; what ran elsewhere is in the dataset."""
        if stamp.parent is None:
            return []
        parent = KernelRef.parse(stamp.parent)
        if parent.is_elsewhere:
            outputs = self.mounted(f"{KernelRef.parse(stamp.kernel).base}-kept")
        else:
            outputs = self.version(stamp.parent).outputs
        history: list[dict[str, Any]] = json.loads(outputs.get("state.json", b'{"history": []}'))["history"]
        return history

    def mounted(self, source: str) -> Mapping[str, bytes]:
        """Return the version of a dataset that a session starting now would mount."""
        ready = [item for item in self.datasets.get(source, []) if item.ready_s <= self.clock.monotonic()]
        return ready[-1].files if ready else {}

    # The port

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return len(self.asked)

    def push(self, push: KernelPush) -> Pushed:
        """Save a version and queue its session; missing sources are an error all the same."""

        def save() -> Pushed:
            if push.ref.owner.lower() != self.username.lower():
                raise RefusedError(
                    f"Kaggle refused {push.ref}: no permission for kernels of {push.ref.owner}."
                )
            ref = self.saved_as or KernelRef(push.ref.owner.lower(), _slug(push.title))
            version = Version(push.source, self.clock.now(), self.clock.monotonic(), push)
            if self.plays is not None:
                self.plays(push, version)
            self.kernels.setdefault(ref, []).append(version)
            self.pushes.append(push)
            saved = ref.at(len(self.kernels[ref]))
            if unknown := self._unknown_sources(push):
                raise RefusedError(f"Kaggle saved {saved} without sources that it does not have: {unknown}.")
            return Pushed(saved, f"https://fake.example/{ref}")

        return self._call("push", f"push {push.ref}", save)

    def kernel(self, ref: KernelRef) -> KernelInfo:
        """Describe a version, or the newest, with its source."""
        return self._call("kernel", f"kernel {ref}", lambda: self._info(ref))

    def session_status(self, ref: KernelRef, *, retry: bool = True) -> SessionStatus:
        """Return the state of a version's session, or of the newest one's."""

        def look() -> SessionStatus:
            version = self._find(ref)
            if not self.has_sessions:
                raise NotFoundError(f"{ref} has never run.")
            state = version.state_at(self.clock.monotonic())
            return SessionStatus(state, version.message if state is SessionState.ERROR else None)

        return self._call("session_status", f"status {ref}", look)

    def outputs(self, ref: KernelRef) -> Sequence[OutputFile]:
        """List a session's outputs, if it is over and there is a storage."""

        def look() -> list[OutputFile]:
            left = self._left(ref)
            return [] if self.storage is None else [self.storage.put(*item) for item in left.items()]

        return self._call("outputs", f"outputs {ref}", look)

    def output_file(self, ref: KernelRef, name: str) -> bytes | None:
        """Return the content of one output; None if there is no such kernel, version or file."""

        def look() -> bytes | None:
            try:
                return self._left(ref).get(name)
            except NotFoundError:
                return None

        return self._call("output_file", f"output {ref} {name}", look)

    def stored_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """Return the log of a session that is over, in other pieces than the live one; otherwise nothing."""

        def look() -> list[LogEvent]:
            version, now = self._find(ref), self.clock.monotonic()
            if not version.state_at(now).is_terminal:
                return []
            life, log = version.life, version.log
            if life is not None and now < version.pushed_s + life.over_s + life.stored_late_s:
                log = log[: len(log) // 2]
            return list(_repacked(log))

        return self._call("stored_log", f"log {ref}", look)

    def log_stream(self, ref: KernelRef, *, idle_s: float, retry: bool = True) -> Iterator[LogEvent]:
        """Return the log from its start, then as the session prints it; silence takes `idle_s`."""
        reading: Version | Reading = self._call("log_stream", f"stream {ref}", lambda: self._find(ref))
        if isinstance(reading, Version):
            yield from self._live(reading, idle_s)
            return
        for events, seconds in ((reading.events, reading.seconds), (reading.then, reading.then_seconds)):
            for event in events:
                self.clock.advance(seconds)
                yield event
        if reading.error is not None:
            raise reading.error
        self.clock.advance(idle_s)
        raise SilentLogError("Nothing was said.")

    def cancel_session(self, session: int) -> None:
        """End a session by its id; its outputs stay."""

        def end() -> None:
            found = [item for item in itertools.chain(*self.kernels.values()) if item.session == session]
            if not found:
                raise ForbiddenError(f"Session {session} is not yours (403).")
            if found[0].state_at(self.clock.monotonic()).is_terminal:
                raise RefusedError(f"Session {session} is not running.")
            found[0].life, found[0].state = None, SessionState.CANCEL_ACKNOWLEDGED

        self._call("cancel_session", f"cancel {session}", end)

    def delete(self, ref: KernelRef) -> None:
        """Delete a kernel with all its versions."""

        def forget() -> None:
            if self.kernels.pop(ref.kernel, None) is None:
                raise NotFoundError(f"There is no {ref}.")

        self._call("delete", f"delete {ref}", forget)

    def my_kernels(self) -> Sequence[KernelInfo]:
        """List the account's kernels, the last pushed first, without their sources."""

        def look() -> list[KernelInfo]:
            newest = sorted(self.kernels.items(), key=lambda item: item[1][-1].pushed_s, reverse=True)
            return [self._info(ref, with_source=False) for ref, _ in newest]

        return self._call("my_kernels", "kernels", look)

    def quota(self) -> Quota | None:
        """Return the week's hours."""
        return self._call("quota", "quota", lambda: self.week() if callable(self.week) else self.week)

    def dataset_files(self, source: str) -> Iterator[InputFile]:
        """List the files of a dataset's newest version, which may not be ready yet."""
        yield from self._call(
            "dataset_files", f"dataset files {source}", lambda: _listed(self._dataset(source).files)
        )

    def dataset_ready(self, source: str) -> bool:
        """Return whether the newest version is ready."""
        return self._call(
            "dataset_ready",
            f"dataset ready {source}",
            lambda: self._dataset(source).ready_s <= self.clock.monotonic(),
        )

    def dataset_head(self, source: str, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file."""

        def look() -> bytes | None:
            content = self._dataset(source).files.get(name)
            return None if content is None else content[:most]

        return self._call("dataset_head", f"{name} of {source}", look)

    def model_head(self, source: str, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file."""

        def look() -> bytes | None:
            content = self.models.get(source, {}).get(name)
            return None if content is None else content[:most]

        return self._call("model_head", f"{name} of {source}", look)

    def model_files(self, source: str) -> Iterator[InputFile]:
        """List the files of a model version."""

        def look() -> list[InputFile]:
            if source not in self.models:
                raise NotFoundError(f"There is no model {source}.")
            return _listed(self.models[source])

        yield from self._call("model_files", f"model files {source}", look)

    # Behind it

    def _call(self, method: str, words: str, work: Callable[[], T]) -> T:
        """Record a call, let it take its time, and answer it, unless a change is planned."""
        with self._lock:
            self.asked.append(words)
            self.clock.advance(self.connection.latency_s)
            self.at.setdefault(method, []).append(self.clock.passed)
            waiting = self._next.get(method)
            happening = waiting.pop(0) if waiting else self._always.get(method)
        if any(begins <= self.clock.passed < ends for begins, ends in self.connection.down):
            raise ServiceError("The network is gone.")
        if isinstance(happening, Exception):
            raise happening
        if isinstance(happening, Reading):
            return cast("T", happening)
        if isinstance(happening, Answer):
            return cast("T", happening.value)
        if happening is not None and not isinstance(happening, Lost):
            happening()
        with self._lock:
            answer = work()
        if isinstance(happening, Lost):
            raise happening.error
        return answer

    def _find(self, ref: KernelRef) -> Version:
        versions = self.kernels.get(KernelRef(ref.owner.lower(), ref.slug), [])
        number = ref.version or len(versions)
        if not 1 <= number <= len(versions):
            raise NotFoundError(f"There is no {ref}.")
        return versions[number - 1]

    def _info(self, ref: KernelRef, *, with_source: bool = True) -> KernelInfo:
        version = self._find(ref)
        push = version.push
        return KernelInfo(
            ref.kernel,
            push.title if push is not None else "A title",
            len(self.kernels[KernelRef(ref.owner.lower(), ref.slug)]) if self.tells_versions else None,
            self.machine or (push.accelerator if push is not None else None),
            push.private if push is not None else None,
            version.pushed_at,
            version.source if with_source else None,
        )

    def _left(self, ref: KernelRef) -> Mapping[str, bytes]:
        version = self._find(ref)
        return version.outputs if version.state_at(self.clock.monotonic()).is_terminal else {}

    def _dataset(self, source: str) -> Upload:
        if source not in self.datasets:
            raise NotFoundError(f"There is no dataset {source}.")
        return self.datasets[source][-1]

    def _unknown_sources(self, push: KernelPush) -> str:
        asked: dict[str, tuple[Sequence[str], Collection[str]]] = {
            "dataset": (push.dataset_sources, self.datasets),
            "model": (push.model_sources, self.models),
            "kernel": (push.kernel_sources, {str(ref) for ref in self.kernels}),
        }
        unknown = {
            kind: [name for name in names if name.lower() not in known]
            for kind, (names, known) in asked.items()
        }
        return "; ".join(f"{kind} {', '.join(names)}" for kind, names in unknown.items() if names)

    def _live(self, version: Version, idle_s: float) -> Iterator[LogEvent]:
        """Return a log's past at once and the rest as it is printed, until it is cut off."""
        opened = heard = self.clock.monotonic()
        if version.life is None:
            begins, ends = opened, FOREVER
            if version.state.is_terminal:
                ends = opened
            past = FOREVER
        else:
            begins = version.pushed_s + version.life.queued_s
            ends = begins + version.life.runs_s
            past = opened - self.connection.replay_lag_s
            if self.connection.ends_empty and opened < ends:
                return
        for event in version.log:
            said_s = begins + event.time_s
            if said_s > past:
                self._wait(said_s, opened=opened, heard=heard, idle_s=idle_s)
                heard = self.clock.monotonic()
            yield event
        if ends > opened:
            self._wait(ends, opened=opened, heard=heard, idle_s=idle_s)

    def _wait(self, moment: float, *, opened: float, heard: float, idle_s: float) -> None:
        """Advance the time to `moment`, or to what ends the connection before it, which is raised."""
        cut = ServiceError("The live log was cut off.")
        start = self.clock.monotonic() - self.clock.passed
        ends: list[tuple[float, Exception]] = [
            (heard + idle_s, SilentLogError("Nothing was said.")),
            (heard + self.connection.idle_cut_s, cut),
            (opened + self.connection.life_s, cut),
            *[
                (start + begins, ServiceError("The network is gone."))
                for begins, _ in self.connection.down
                if start + begins > opened
            ],
        ]
        end, error = min(ends, key=lambda each: each[0])
        self.clock.advance_to(min(moment, end))
        if end < moment:
            raise error


def inputs() -> dict[str, Any]:
    """Return the dataset and the model that the default settings name, as fields of `FakeKaggle`."""
    return {
        "datasets": {f"{OWNER}/datahrbnn": [Upload({"MyTTSDataset/train_tts.py": b"print()"})]},
        "models": {
            f"{OWNER}/ttsbnng/transformers/default/1": {
                "model/config.json": b"{}",
                "model/model_file.pth": b"weights",
            }
        },
    }


def _listed(files: Mapping[str, bytes]) -> list[InputFile]:
    return [InputFile(name, len(content)) for name, content in sorted(files.items())]


def _repacked(log: Sequence[LogEvent]) -> Iterator[LogEvent]:
    """Join up to three events of one stream, since a stored log has fewer pieces than a live one."""
    joined: list[LogEvent] = []
    for event in log:
        if joined and (len(joined) == 3 or joined[0].stream != event.stream):
            yield LogEvent(joined[0].stream, joined[0].time_s, "".join(item.text for item in joined))
            joined = []
        joined.append(event)
    if joined:
        yield LogEvent(joined[0].stream, joined[0].time_s, "".join(item.text for item in joined))


def _slug(title: str) -> str:
    """Return the name that Kaggle makes from a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")

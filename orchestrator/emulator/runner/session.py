"""One session's life: QUEUED, RUNNING, and one of the ways to end, in a thread of its own."""

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.emulator.runner.pump import pump
from orchestrator.emulator.runner.sandbox import Room
from orchestrator.emulator.service.clock import Clock
from orchestrator.emulator.service.logbook import Logbook

_LAUNCHER_PATIENCE_S = 20  # Real time for the launcher to kill all below it; then it is killed itself.


class Cause(StrEnum):
    """Why a session ended."""

    FINISHED = "finished"
    TIME_LIMIT = "time_limit"
    DELETED = "deleted"
    SHUTDOWN = "shutdown"
    UNABLE = "unable"


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended; `exit_code` is None if it was stopped or never ran, `detail` says why."""

    cause: Cause
    exit_code: int | None = None
    detail: str = ""


class Owner(Protocol):
    """Who keeps the session's record."""

    def session_started(self, session: int) -> None:
        """It runs now."""
        ...

    def session_stopping(self, session: int) -> None:
        """Its processes are gone or being killed; its files are still being saved."""
        ...

    def session_ended(self, session: int, end: End, room: Room | None) -> None:
        """It is over; `room` still holds its files."""
        ...


class Session:
    """Runs one pushed script.

    Args:
        number: the session's id.
        clock: measures the queue and the limit.
        queue_s: seconds to stay QUEUED.
        limit_s: seconds that it may run.
        log: the file of its live log.
        prepare: lays out its folder; called when it starts, so that inputs are those of that moment.
        owner: is told what happens.
    """

    def __init__(  # noqa: PLR0913 - a session is what these are
        self,
        number: int,
        *,
        clock: Clock,
        queue_s: float,
        limit_s: float,
        log: Path,
        prepare: Callable[[], Room],
        owner: Owner,
    ) -> None:
        self.number = number
        self._clock = clock
        self._queue_s = queue_s
        self._limit_s = limit_s
        self._prepare = prepare
        self._owner = owner
        self._changed = threading.Condition()
        self._stop: Cause | None = None
        self._exit_code: int | None = None
        self._began = clock.monotonic()
        self.log = Logbook(log, lambda: self._clock.monotonic() - self._began)
        self._thread = threading.Thread(target=self._run, name=f"session-{number}", daemon=True)

    def start(self) -> None:
        """Begin its life."""
        self._thread.start()

    def stop(self, cause: Cause) -> None:
        """End it early; returns at once."""
        with self._changed:
            self._stop = self._stop or cause
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until it is over and everything is recorded."""
        self._thread.join()

    def _run(self) -> None:
        room = None
        end = self._wait_in_queue()
        if end is None:
            self._began = self._clock.monotonic()
            self._owner.session_started(self.number)
            try:
                room = self._prepare()
                end = self._run_script(room)
            except Exception as error:  # noqa: BLE001 - whatever it is must end the session, not the thread
                end = End(Cause.UNABLE, detail=str(error))
                self.log.append("stderr", f"[emulator] The session cannot run: {error}\n")
        self._owner.session_ended(self.number, end, room)
        self.log.close()

    def _wait_in_queue(self) -> End | None:
        until = self._began + self._queue_s
        with self._changed:
            while self._stop is None and self._clock.monotonic() < until:
                self._clock.wait(self._changed, until)
            return None if self._stop is None else End(self._stop)

    def _run_script(self, room: Room) -> End:
        if room.remark:
            self.log.append("stderr", room.remark)
        process = subprocess.Popen(
            room.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # A Ctrl-C at the emulator's terminal is not meant for the session.
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        helpers = [
            threading.Thread(target=pump, args=(process.stdout, "stdout", self.log), daemon=True),
            threading.Thread(target=pump, args=(process.stderr, "stderr", self.log), daemon=True),
            threading.Thread(target=self._watch, args=(process,), daemon=True),
        ]
        for helper in helpers:
            helper.start()
        cause = self._wait_for_end()
        if cause is not Cause.FINISHED:
            self._owner.session_stopping(self.number)
        process.stdin.close()  # The leash: the launcher kills what is left and ends.
        try:
            process.wait(_LAUNCHER_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        for helper in helpers:
            helper.join()
        return End(cause, self._exit_code if cause is Cause.FINISHED else None)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        with self._changed:
            self._exit_code = code
            self._changed.notify_all()

    def _wait_for_end(self) -> Cause:
        until = self._began + self._limit_s
        with self._changed:
            while True:
                if self._exit_code is not None:
                    return Cause.FINISHED
                if self._stop is not None:
                    return self._stop
                if self._clock.monotonic() >= until:
                    return Cause.TIME_LIMIT
                self._clock.wait(self._changed, until)

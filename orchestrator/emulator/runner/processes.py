"""Sessions as processes on this machine: each has a thread that takes it from QUEUED to its end."""

import codecs
import os
import select
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from orchestrator.emulator.options import EmulatorOptions, WaitableClock
from orchestrator.emulator.runner.sandbox import PreparedSession, Sandbox, launcher_environment
from orchestrator.emulator.service.sessions import (
    EndCause,
    SessionListener,
    SessionLog,
    SessionOrder,
    SessionOutcome,
)
from orchestrator.emulator.service.state import StateFolder

_KILL_TIMEOUT_S = (
    20  # Real seconds in which the launcher kills everything below it; then it is killed itself.
)
_FLUSH_AFTER_S = 0.25  # Seconds after which a line without an end is logged: prompts, progress bars.
_LONGEST_LINE = 8192  # So is a line with more characters than this.


class ProcessRunner:
    """Runs sessions; implements `SessionRunner`.

    Args:
        state: the emulator's folder.
        options: queue delay, sandbox, Python.
        clock: measures the queue and the limits.

    Raises:
        LocalError: a mount namespace was demanded, and this system does not give one.
    """

    def __init__(self, state: StateFolder, options: EmulatorOptions, clock: WaitableClock) -> None:
        self.sandbox = Sandbox(state, options)
        # Tried now, so that an emulator whose sandbox does not work says so when it starts.
        self.relocated_because = self.sandbox.relocated_because
        self.queue_s = options.queue_delay_s
        self.clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[int, _Session] = {}

    def start(self, order: SessionOrder, listener: SessionListener) -> None:
        """Queue a session; return at once."""
        session = _Session(order, listener, self)
        with self._lock:
            self._sessions[order.number] = session
        session.start()

    def stop(self, sessions: set[int], cause: EndCause) -> None:
        """Ask these sessions to end; return at once; ignore unknown ids."""
        for session in self._find(sessions):
            session.stop(cause)

    def join(self, sessions: set[int]) -> None:
        """Wait until each of these sessions has been reported as ended; ignore unknown ids."""
        for session in self._find(sessions):
            session.join()

    def live_log(self, session: int) -> SessionLog | None:
        """The log of an active session; None if it is over."""
        with self._lock:
            found = self._sessions.get(session)
        return None if found is None else found.log

    def forget(self, session: int) -> None:
        """Remove a session that has been reported as ended."""
        with self._lock:
            self._sessions.pop(session, None)

    def _find(self, sessions: set[int]) -> "list[_Session]":
        with self._lock:
            return [session for number, session in self._sessions.items() if number in sessions]


class _Session:
    """One session in a thread of its own: QUEUED, RUNNING, and one of the ways to end."""

    def __init__(self, order: SessionOrder, listener: SessionListener, runner: ProcessRunner) -> None:
        self._order = order
        self._listener = listener
        self._runner = runner
        self._clock = runner.clock
        self._changed = threading.Condition()
        self._stop: EndCause | None = None
        self._exit_code: int | None = None
        self._began = self._clock.monotonic()
        self.log = SessionLog(order.live_log, lambda: self._clock.monotonic() - self._began)
        self._thread = threading.Thread(target=self._run, name=f"session-{order.number}", daemon=True)

    def start(self) -> None:
        """Enter the queue."""
        self._thread.start()

    def stop(self, cause: EndCause) -> None:
        """Ask the session to end; return at once."""
        with self._changed:
            self._stop = self._stop or cause
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the session is over and has been recorded."""
        self._thread.join()

    def _run(self) -> None:
        number = self._order.number
        end = self._wait_in_queue()
        if end is None:
            self._began = self._clock.monotonic()
            self._listener.session_started(number)
            folder = None
            try:
                folder = self._runner.sandbox.prepare(self._order)
                end = self._run_script(folder)
            except Exception as error:  # noqa: BLE001 - whatever it is must end the session, not the thread
                working = None if folder is None else folder.working
                end = SessionOutcome(EndCause.UNABLE, detail=str(error), working=working)
                self.log.append("stderr", f"[emulator] The session cannot run: {error}\n")
        self._listener.session_ended(number, end)
        self._runner.forget(number)
        self.log.close()

    def _wait_in_queue(self) -> SessionOutcome | None:
        """Wait until the session may start; return its end if it was stopped before that."""
        until = self._began + self._runner.queue_s
        with self._changed:
            while self._stop is None and self._clock.monotonic() < until:
                self._clock.wait(self._changed, until)
            return None if self._stop is None else SessionOutcome(self._stop)

    def _run_script(self, folder: PreparedSession) -> SessionOutcome:
        if folder.remark:
            self.log.append("stderr", folder.remark)
        process = subprocess.Popen(
            folder.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=launcher_environment(),
            start_new_session=True,  # A Ctrl-C at the emulator's terminal is not meant for the session.
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        pipes = {os.fstat(pipe.fileno()).st_ino for pipe in (process.stdout, process.stderr)}
        helpers = [
            threading.Thread(target=_capture, args=(process.stdout, "stdout", self.log), daemon=True),
            threading.Thread(target=_capture, args=(process.stderr, "stderr", self.log), daemon=True),
            threading.Thread(target=self._watch, args=(process,), daemon=True),
        ]
        for helper in helpers:
            helper.start()
        cause = self._wait_for_end()
        if cause is not EndCause.FINISHED:
            self._listener.session_stopping(self._order.number)
        process.stdin.close()  # The launcher kills everything below it when its standard input closes.
        try:
            process.wait(_KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.returncode < 0:  # Somebody killed it, so what ran below it is still there.
            _kill_writers(pipes)
        for helper in helpers:
            helper.join(_KILL_TIMEOUT_S)
        if cause is EndCause.FINISHED and process.returncode < 0:
            lost = f"The session's first process was killed by signal {-process.returncode}."
            return SessionOutcome(EndCause.UNABLE, detail=lost, working=folder.working)
        exit_code = self._exit_code if cause is EndCause.FINISHED else None
        return SessionOutcome(cause, exit_code, working=folder.working)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        with self._changed:
            self._exit_code = code
            self._changed.notify_all()

    def _wait_for_end(self) -> EndCause:
        until = self._began + self._order.limit_s
        with self._changed:
            while True:
                if self._exit_code is not None:
                    return EndCause.FINISHED
                if self._stop is not None:
                    return self._stop
                if self._clock.monotonic() >= until:
                    return EndCause.TIME_LIMIT
                self._clock.wait(self._changed, until)


def _kill_writers(pipes: set[int]) -> None:
    """Kill every other process that holds one of these pipes open, by its inode (Linux; elsewhere none)."""
    wanted = {f"pipe:[{inode}]" for inode in pipes}
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        with suppress(OSError):  # It has ended, or is not ours.
            if any(str(link.readlink()) in wanted for link in (entry / "fd").iterdir()):
                os.kill(int(entry.name), signal.SIGKILL)


def _capture(pipe: IO[bytes], stream: str, log: SessionLog) -> None:
    """Copy an unbuffered pipe to a log line by line until it ends; undecodable bytes become U+FFFD."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = ""
    with pipe:
        while True:
            if rest and not select.select([pipe], [], [], _FLUSH_AFTER_S)[0]:
                log.append(stream, rest)
                rest = ""
            chunk = pipe.read(65536)
            *lines, rest = (rest + decode(chunk, final=not chunk)).split("\n")
            for line in lines:
                log.append(stream, line + "\n")
            if rest and (not chunk or len(rest) >= _LONGEST_LINE):
                log.append(stream, rest)
                rest = ""
            if not chunk:
                return

"""One session on this machine: started, followed by its log, interrupted; and what it left.

The session does not depend on the process that started it: it prints into a file, and `orchestrator.launcher`
lets it save if that process dies. The next `kgtts train` waits for it, and files its log.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TextIO

from filelock import FileLock, Timeout

from kernel_template.contract import ROOT_VARIABLE, SERIES_VARIABLE, session_folder
from orchestrator import untrusted
from orchestrator.errors import LocalError
from orchestrator.files import remove_tree, write_atomically
from orchestrator.kaggle.logs import LineAssembler, LogLine
from orchestrator.locks import TRAINING_LOCK
from orchestrator.models import KernelRef, LogEvent
from orchestrator.places.inputs import Tree, lay_out
from orchestrator.places.machine import session_environment, write_json
from orchestrator.places.series import Series
from orchestrator.results import SESSION_LOG, SessionFolder, newest_number
from orchestrator.run.state import SessionResult, read_state

SCRATCH = PurePosixPath(TRAINING_LOCK).parts[
    0
]  # In the run's folder: the inputs' tree and all that goes with the session.
_LOOK_S = 0.1
_AFTER_GRACE_S = 120.0  # For hashes and state.json, once the training has saved.
_LAUNCHER = Path(__file__).resolve().parents[1] / "launcher.py"
_INTERRUPT, _KILL = b"i", b"k"
_TAIL = 11
LAST_STOP = 3  # The request to stop that no session survives.
_WHICH = re.compile(r"^kgtts \S+: run \S+, session (\d{1,6}), ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a session ended.

    Attributes:
        exit_code: its process's.
        number: its number; None if it did not come so far.
        folder: its folder; None as before.
        result: its state.json, if it wrote one.
        tail: the last lines that it printed.
    """

    exit_code: int
    number: int | None
    folder: SessionFolder | None
    result: SessionResult | None
    tail: list[str]


class LocalPlace:
    """Where the sessions of a run work on this machine, one after the other.

    Args:
        series: the run.
        python: the Python that trains.
        environ: this process's environment, of which sessions get what is no secret.
    """

    def __init__(
        self, series: Series, python: Path = Path(sys.executable), environ: Mapping[str, str] = os.environ
    ) -> None:
        self._series, self._python, self._environ = series, python, environ
        self._grace_s = series.settings.session.grace.total_seconds()
        self.scratch = series.folder / SCRATCH
        self._root, self._log = self.scratch / "kaggle", self.scratch / SESSION_LOG

    @property
    def _lock(self) -> Path:
        return self._series.folder / TRAINING_LOCK

    def settle(self, waiting: Callable[[], None]) -> bool:
        """Wait for a session whose kgtts was killed, file its log, and remove what it had.

        Args:
            waiting: is called if there is something to wait for.

        Returns:
            Whether there was such a session.

        Raises:
            LocalError: it does not end.
        """
        if not self.scratch.is_dir():
            return False
        lock = FileLock(self._lock)
        try:
            with suppress(Timeout):
                lock.acquire(blocking=False)
            if not lock.is_locked:
                waiting()
                lock.acquire(timeout=self._grace_s + 2 * _AFTER_GRACE_S)
        except Timeout as error:
            raise LocalError(
                f"A session in {self._series.folder} does not end.", hint="try again in some minutes"
            ) from error
        lock.release()
        self.clear()
        return True

    def clear(self) -> None:
        """File the log of the session that has ended, and remove the scratch folder."""
        self._file_log()
        with suppress(OSError):
            remove_tree(self.scratch)

    def _file_log(self) -> None:
        text = (untrusted.read_bytes(self._log, 1 << 30) or b"").decode("utf-8", "replace")
        if (found := _WHICH.search(text)) is None:
            return
        folder = self._series.folder / session_folder(int(found[1]))
        place = SessionFolder(folder).log
        with suppress(OSError):
            if folder.is_dir() and not place.exists():
                self._log.replace(place)

    def run(
        self,
        source: str,
        trees: Mapping[str, Tree],
        show: Callable[[LogLine], None],
        stops: Callable[[], int],
        told: Callable[[int], None],
    ) -> Ended:
        """Run one session to its end.

        Args:
            source: the kernel.
            trees: its inputs, as `lay_out` takes them.
            show: is given each line that it prints.
            stops: how often the person has asked to stop: the session saves; the third time kills it.
            told: is told when such a request was seen, and the how-many-eth it was.

        Raises:
            LocalError: it cannot be started.
        """
        before = self.newest()
        self._prepare(source, trees)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(self.scratch / "spec.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # A Ctrl-C at the terminal is meant for kgtts, which passes it on once.
        )
        assert process.stdin is not None
        lines, tail = _Lines(self._log), list[str]()
        try:
            seen = 0
            while process.poll() is None:
                for line in lines.new():
                    tail = [*tail[-_TAIL:], line.text]
                    show(line)
                if (asked := min(stops(), LAST_STOP)) > seen:
                    seen = asked
                    told(seen)
                    with suppress(OSError):
                        os.write(process.stdin.fileno(), _KILL if seen == LAST_STOP else _INTERRUPT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
            for line in lines.rest():
                tail = [*tail[-_TAIL:], line.text]
                show(line)
        finally:
            process.stdin.close()  # The session saves and ends, whatever has happened here.
            process.wait()
            lines.close()
            ended = self._ended(process.returncode, before, tail)
            self.clear()
        return ended

    def newest(self) -> int:
        """The highest number of a session in the run's folder; 0 before the first."""
        return newest_number(self._series.folder)

    def _prepare(self, source: str, trees: Mapping[str, Tree]) -> None:
        temp = self._root / "temp"
        try:
            temp.mkdir(parents=True, exist_ok=True)
            lay_out(self._root / "input", trees)
            write_atomically(self.scratch / "kernel.py", source)
            environment = session_environment(
                self._environ, **{ROOT_VARIABLE: str(self._root), SERIES_VARIABLE: str(self._series.folder)}
            )
            spec = {
                "command": [str(self._python), str(self.scratch / "kernel.py")],
                "cwd": str(temp),
                "environment": environment,
                "namespace": None,
                "grace_s": self._grace_s + _AFTER_GRACE_S,
                "output": str(self._log),
                "lock": str(self._lock),
            }
            write_json(self.scratch / "spec.json", spec)
        except OSError as error:
            raise LocalError(f"{self.scratch} could not be written: {error.strerror or error}.") from error

    def _ended(self, exit_code: int, before: int, tail: list[str]) -> Ended:
        number = self.newest()
        if number == before:
            return Ended(exit_code, None, None, None, tail)
        folder = SessionFolder(self._series.folder / session_folder(number), self._series.run_id)
        result = read_state(untrusted.read_bytes(folder.state))
        if result is not None:
            # All that there is of it is here.
            folder.mark_complete(self.ref(number), self._series.run_id, result.global_step or 0)
        return Ended(exit_code, number, folder, result, tail)

    def ref(self, number: int) -> KernelRef:
        """The name of one of the run's sessions on this machine."""
        return self._series.kernel.at(number)


class _Lines:
    """The lines of a file that grows."""

    def __init__(self, place: Path) -> None:
        self._place, self._began = place, time.monotonic()
        self._file: TextIO | None = None
        self._assembler = LineAssembler()

    def new(self) -> list[LogLine]:
        """The lines that are complete and were not given yet."""
        if self._file is None:
            try:
                self._file = self._place.open(encoding="utf-8", errors="replace", newline="\n")
            except OSError:
                return []
        event = LogEvent("stdout", time.monotonic() - self._began, self._file.read())
        return list(self._assembler.feed(event))

    def rest(self) -> list[LogLine]:
        """All that is left, with a last line that has no end."""
        return [*self.new(), *self._assembler.finish()]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

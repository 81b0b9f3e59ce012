"""Run the host in several processes, one per GPU, that train one model together.

    python -u -P -m kernel_template.host.launch RANKS CONTROL.json SCRIPT [ARGUMENTS…]

Rank 0 is the training as it would run alone: its output and exit status are this program's. The others start
once rank 0 has made Coqui's Trainer, and so has prepared its data; a script that never does runs alone. Their
output goes to train_log_rank1.txt and so on in the current folder; their tracebacks are printed here too,
unless another rank had failed before. If a rank dies, the others are ended, and the last lines say why it
died. The ranks share a rendezvous folder (rendezvous.py).

Why not torchrun? Tried with torch 2.13, it
- imports torch (2 s) and starts all ranks at once: a script that trains without Coqui would run once per GPU;
- waits for the other ranks when rank 0 has ended with 0;
- ends with 1 whatever rank 0's exit code or signal was, and prints 40 lines of its own after the cause;
- sends SIGINT to all ranks, and kills them 30 s after that or after a death (fixed before torch 2.12, and
  Kaggle has 2.10), though rank 0 may be writing a checkpoint; and if rank 0 has saved and ended with 0, it
  still reports a failure.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from kernel_template.contract import RANK_ENDED, RANK_LINES, rank_log

_POLL_S = 0.05
_EXIT_S = 1.0  # After a death, for the others to end by themselves.
_TERM_S = 3.0  # From SIGTERM to SIGKILL.
_SAVE_S = 120.0  # For a checkpoint that is being written.
_TAIL_LINES = 60
_ERROR = re.compile(r"^\w[\w.]*(?:Error|Exception|Interrupt|Exit)\b")
_MIN_ARGUMENTS = 3
_FATAL = frozenset({signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
Start = Callable[..., subprocess.Popen[bytes]]


def _print(text: str) -> None:
    """Write a line among those of rank 0."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class Rank:
    """One host process.

    Args:
        number: 0 writes to the standard output itself.
        command: what it runs.
        env: its environment.
        first_failed: returns the first rank that noted a failure, if one did.
        start: starts it.
    """

    def __init__(
        self,
        number: int,
        command: list[str],
        env: dict[str, str],
        first_failed: Callable[[], int | None],
        start: Start,
    ) -> None:
        self.number = number
        self._first_failed = first_failed
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.signalled = False  # By us.
        self._in_traceback = False
        self._reader: threading.Thread | None = None
        if number == 0:
            self.process = start(command, env=env)
            return
        self.process = start(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        """Write all output to the rank's own log, and print its tracebacks."""
        with contextlib.ExitStack() as stack:
            log: IO[bytes] | None = None
            with contextlib.suppress(OSError):
                log = stack.enter_context(Path(rank_log(self.number)).open("ab", buffering=0))
            for line in stream:
                if log is not None:
                    with contextlib.suppress(OSError):
                        log.write(line)
                self._take(line.decode("utf-8", "replace").rstrip())

    def _take(self, text: str) -> None:
        self.tail.append(text)
        error = bool(_ERROR.match(text))
        # Once another has failed, this one only misses it: "connection closed by peer" is no cause.
        begins = text.startswith("Traceback ") and self._first_failed() in (None, self.number)
        shown = begins or (self._in_traceback and (text[:1].isspace() or error))
        self._in_traceback = shown and not error
        if shown:
            _print(f"[rank {self.number}] {text}")

    def finish_reading(self) -> None:
        """Wait a second for the rest of a dead rank's output; its workers may still hold the pipe open."""
        if self._reader is not None:
            self._reader.join(1.0)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the rank is dead."""
        if self.process.poll() is None:
            self.signalled = True
            self.process.send_signal(number)


class Launch:
    """All ranks of one training.

    Args:
        count: number of ranks.
        arguments: the host's arguments.
        rendezvous: the folder that they share.
        start: starts a process.
    """

    def __init__(self, count: int, arguments: list[str], rendezvous: Path, start: Start) -> None:
        self._start_process = start
        self._count = count
        self._rendezvous = rendezvous
        self._command = [sys.executable, "-u", "-P", "-m", "kernel_template.host", *arguments]
        self._gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
        self._ranks: list[Rank] = []

    def run(self) -> int:
        """Start the ranks and wait until all have ended. Returns the exit status, negative for a signal."""
        try:
            signal.signal(signal.SIGINT, self._interrupt)
            self._start()
            return self._follow()
        finally:
            self._kill()

    def _interrupt(self, _number: int, _frame: types.FrameType | None) -> None:
        """Pass SIGINT on to rank 0 alone, which stops the others after the next step."""
        for rank in self._ranks[:1]:
            with contextlib.suppress(ProcessLookupError):
                rank.process.send_signal(signal.SIGINT)

    def _start(self) -> None:
        number = len(self._ranks)
        env = {
            **os.environ,
            "KGTTS_RANK": str(number),
            "KGTTS_RANKS": str(self._count),
            "KGTTS_RENDEZVOUS": str(self._rendezvous),
            # All ranks are on this machine.
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "lo",
        }
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self._count)))
        env.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns about a flag that is set on purpose.
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[number]  # The trainer refuses to start if it sees two.
            if len(set(self._gpus[: self._count])) < self._count:
                env["KGTTS_SHARED_GPU"] = "1"
        if number:
            env["RANK"] = str(number)  # From this the trainer knows who does not write.
        self._ranks.append(Rank(number, self._command, env, self._first_failed, self._start_process))

    def _follow(self) -> int:
        first = self._ranks[0]
        while True:
            if (self._rendezvous / "wanted").exists():
                while len(self._ranks) < self._count:
                    self._start()
            dead = [rank for rank in self._ranks if rank.process.poll()]
            if dead:
                return self._end_all(dead)
            if first.process.poll() == 0:
                self._wait(_EXIT_S)
                return 0
            time.sleep(_POLL_S)

    def _wait(self, seconds: float) -> None:
        """Wait until all ranks have ended, for at most `seconds` after the end of a save."""
        began = quiet_since = time.monotonic()
        while any(rank.process.poll() is None for rank in self._ranks):
            now = time.monotonic()
            if (self._rendezvous / "saving").exists() and now - began < _SAVE_S:
                quiet_since = now
            if now - quiet_since >= seconds:
                return
            time.sleep(_POLL_S)

    def _kill(self) -> None:
        for rank in self._ranks:
            rank.send(signal.SIGKILL)
            rank.process.wait()

    def _end_all(self, dead: list[Rank]) -> int:
        """End the other ranks, and report why the first one died. Returns the exit status."""
        self._wait(_EXIT_S)
        for rank in self._ranks:
            rank.send(signal.SIGTERM)
        self._wait(_TERM_S)
        self._kill()
        first = self._ranks[0]
        if first.process.returncode == 0 and not first.signalled:
            return 0  # It has stopped and saved by itself.
        cause = self._cause(dead)
        status = cause.process.returncode
        cause.finish_reading()
        if cause.tail:
            _print(RANK_LINES.format(rank=cause.number))
            for line in cause.tail:
                _print(line)
        if cause.number or status < 0:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
            _print(RANK_ENDED.format(rank=cause.number, how=how))
        return status

    def _cause(self, dead: list[Rank]) -> Rank:
        """Return the rank that died first: the others die because of it."""
        own = [rank for rank in self._ranks if not rank.signalled and rank.process.returncode]
        # NCCL aborts its process when a peer is gone; the other signals come unasked.
        killed = [rank for rank in own if -rank.process.returncode in _FATAL]
        failed = self._first_failed()
        return [*killed, *(rank for rank in own if rank.number == failed), *dead][0]

    def _first_failed(self) -> int | None:
        """Return the first rank that noted a failure."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._rendezvous / "failed").read_text(encoding="ascii"))
        return None


def main(arguments: list[str], start: Start = subprocess.Popen) -> int:
    """Run what the arguments name. Returns the exit status of the training, negative for a signal."""
    if len(arguments) < _MIN_ARGUMENTS or not arguments[0].isdecimal() or not int(arguments[0]):
        usage = "RANKS CONTROL.json (SCRIPT | -m MODULE) [ARGUMENTS...]"
        sys.stderr.write(f"usage: python -m kernel_template.host.launch {usage}\n")
        return 2
    rendezvous = Path(tempfile.mkdtemp(prefix="kgtts-ranks-"))
    try:
        return Launch(int(arguments[0]), arguments[1:], rendezvous, start).run()
    finally:
        shutil.rmtree(rendezvous, ignore_errors=True)


if __name__ == "__main__":
    _status = main(sys.argv[1:])
    if _status < 0:  # End as the training did.
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-_status, signal.SIG_DFL)
        os.kill(os.getpid(), -_status)
    raise SystemExit(_status)

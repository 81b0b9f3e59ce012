"""Run the host in several processes, one for each card, that train one model together.

    python -u -m kernel_template.host.launch RANKS CONTROL.json SCRIPT [ARGUMENTS…]

Rank 0 is the training as it would run alone: its output and its exit status are this program's. The others
start once rank 0 imports Coqui's trainer; a script that never does runs alone. What they say goes to
`train_log_rank1.txt` and so on in the current folder, but for errors, which are said here too. When one dies
the others are ended, and what it died of is the last thing said. Only the standard library is needed.

The ranks meet in a folder of their own, named by KGTTS_RENDEZVOUS, through files: `wanted` (rank 0 wants the
others), `failed` (the number of the first that failed), `saving` (a checkpoint is being written).
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
from pathlib import Path
from typing import IO

_POLL_S = 0.05
_OWN_END_S = 1.0  # After a death: for the others to end by themselves.
_TERM_S = 3.0  # From SIGTERM to SIGKILL.
_SAVE_S = 120.0  # A checkpoint that is being written may be finished.
_TAIL_LINES = 60
_ERROR = re.compile(r"^\w[\w.]*(?:Error|Exception|Interrupt|Exit)\b")
_MIN_ARGUMENTS = 3


class Rank:
    """One host process.

    Args:
        number: which; 0 is the one that speaks and writes.
        command: what it runs.
        env: its environment.
    """

    def __init__(self, number: int, command: list[str], env: dict[str, str]) -> None:
        self.number = number
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.ended_here = False  # By a signal of ours.
        self._in_traceback = False
        self._reader: threading.Thread | None = None
        if number == 0:
            self.process = subprocess.Popen(command, env=env)
            return
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _listen(self, stream: IO[bytes]) -> None:
        """Keep all in the rank's own log; say its errors."""
        with contextlib.ExitStack() as stack:
            log: IO[bytes] | None = None
            with contextlib.suppress(OSError):
                log = stack.enter_context(Path(f"train_log_rank{self.number}.txt").open("ab", buffering=0))
            for line in stream:
                if log is not None:
                    with contextlib.suppress(OSError):
                        log.write(line)
                self._hear(line.decode("utf-8", "replace").rstrip())

    def _hear(self, text: str) -> None:
        self.tail.append(text)
        began = text.startswith("Traceback ")
        is_error = began or (self._in_traceback and (text[:1].isspace() or bool(_ERROR.match(text))))
        self._in_traceback = is_error and not _ERROR.match(text)
        if is_error:
            say(f"[rank {self.number}] {text}")

    def listened(self) -> None:
        """Wait for what a dead rank has said; workers that outlive it may hold its pipe open."""
        if self._reader is not None:
            self._reader.join(1.0)

    def end(self, number: signal.Signals) -> None:
        """Send a signal, unless it is dead."""
        if self.process.poll() is None:
            self.ended_here = True
            self.process.send_signal(number)


def say(text: str) -> None:
    """A line of ours between those of rank 0."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class Launch:
    """All ranks of one training.

    Args:
        count: how many there are to be.
        arguments: those of the host.
        rendezvous: the folder in which they meet.
    """

    def __init__(self, count: int, arguments: list[str], rendezvous: Path) -> None:
        self._count = count
        self._rendezvous = rendezvous
        self._command = [sys.executable, "-u", "-m", "kernel_template.host", *arguments]
        self._cards = [card for card in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if card.strip()]
        self._ranks: list[Rank] = []

    def run(self) -> int:
        """Start them and wait until all have ended. Returns the exit status, negative for a signal."""
        try:
            signal.signal(signal.SIGINT, self._interrupt)
            self._start()
            return self._follow()
        finally:
            for rank in self._ranks:
                rank.end(signal.SIGKILL)
                rank.process.wait()

    def _interrupt(self, _number: int, _frame: types.FrameType | None) -> None:
        """Rank 0 alone stops at its next step, and the others hear of it from there."""
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
            # They meet on this machine alone.
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "lo",
        }
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self._count)))
        env.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP advises on a flag that is meant.
        if self._cards:
            # Each sees one card: with two the trainer would refuse to start.
            env["CUDA_VISIBLE_DEVICES"] = self._cards[number]
        if number:
            env["RANK"] = str(number)  # By this the trainer knows who does not write.
        self._ranks.append(Rank(number, self._command, env))

    def _follow(self) -> int:
        first = self._ranks[0]
        while True:
            if len(self._ranks) < self._count and (self._rendezvous / "wanted").exists():
                while len(self._ranks) < self._count:
                    self._start()
            dead = [rank for rank in self._ranks if rank.process.poll()]
            if dead:
                return self._after_death(dead)
            if first.process.poll() == 0:
                self._end_others(first)
                return 0
            time.sleep(_POLL_S)

    def _end_others(self, first: Rank) -> None:
        """Rank 0 is done: the others have nothing left to do."""
        self._wait(_OWN_END_S)
        for rank in self._ranks:
            if rank is not first:
                rank.end(signal.SIGKILL)

    def _wait(self, seconds: float) -> bool:
        """Wait for all to end; a save under way may take longer. Returns whether they have."""
        began = quiet_since = time.monotonic()
        while any(rank.process.poll() is None for rank in self._ranks):
            now = time.monotonic()
            if (self._rendezvous / "saving").exists() and now - began < _SAVE_S:
                quiet_since = now
            if now - quiet_since >= seconds:
                return False
            time.sleep(_POLL_S)
        return True

    def _after_death(self, dead: list[Rank]) -> int:
        """End those that are left, and say what the first died of."""
        ended = self._wait(_OWN_END_S)
        if not ended:
            for rank in self._ranks:
                rank.end(signal.SIGTERM)
            self._wait(_TERM_S)
            for rank in self._ranks:
                rank.end(signal.SIGKILL)
                rank.process.wait()
        first = self._ranks[0]
        if first.process.returncode == 0 and not first.ended_here:
            return 0  # It has stopped and saved by itself.
        cause = self._cause(dead)
        status = cause.process.returncode
        if cause.number:
            cause.listened()
            for line in cause.tail:
                say(line)
            why = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
            say(f" > kgtts: rank {cause.number} {why}, and the training with it.")
        return status

    def _cause(self, dead: list[Rank]) -> Rank:
        """The one that died first: killed, or the first to note a failure; others die of its absence."""
        mine = [rank for rank in self._ranks if not rank.ended_here and rank.process.returncode]
        for rank in mine:
            if rank.process.returncode < 0:
                return rank
        with contextlib.suppress(OSError, ValueError):
            number = int((self._rendezvous / "failed").read_text(encoding="ascii"))
            for rank in mine:
                if rank.number == number:
                    return rank
        return dead[0]


def main(arguments: list[str]) -> int:
    """Run what the arguments name. Returns the exit status of the training, negative for a signal."""
    if len(arguments) < _MIN_ARGUMENTS or not arguments[0].isdecimal() or not int(arguments[0]):
        usage = "RANKS CONTROL.json (SCRIPT | -m MODULE) [ARGUMENTS...]"
        sys.stderr.write(f"usage: python -m kernel_template.host.launch {usage}\n")
        return 2
    rendezvous = Path(tempfile.mkdtemp(prefix="kgtts-ranks-"))
    try:
        return Launch(int(arguments[0]), arguments[1:], rendezvous).run()
    finally:
        shutil.rmtree(rendezvous, ignore_errors=True)


if __name__ == "__main__":
    _status = main(sys.argv[1:])
    if _status < 0:  # End as the training did.
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-_status, signal.SIG_DFL)
        os.kill(os.getpid(), -_status)
    raise SystemExit(_status)

"""Start this machine's part of a training on several machines, with torchrun's own library.

    python -u -P -m kernel_template.nodes.launch RANKS CONTROL.json SCRIPT [ARGUMENTS…]

KGTTS_NODES, KGTTS_NODE and KGTTS_HEAD say which machine this is. As with launch.py, rank 0 is the training:
its output and exit status are this program's on machine 0, SIGINT goes to it alone, wherever it comes, and
the last lines say which rank failed first, and why. The other machines end with the same status.

torch's launcher numbers and starts the ranks of all machines, and says how those of this machine ended. What
it does not do is done here, through torch's store on machine 0: the machines tell each other how their ranks
ended and that they are alive, so that none waits for another until a time-out of half an hour.
"""

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import NoReturn

import psutil

from kernel_template.contract import NODE_LOST, RANK_ENDED, RANK_LINES
from kernel_template.nodes.agent import Agent
from kernel_template.nodes.link import JOIN_S, SILENT_S, Ended, Link, LostError, TrainingEnd
from kernel_template.tools.nodes import Nodes
from kernel_template.tools.outcome import KernelFailure

_POLL_S = 0.1
_SETTLE_S = 0.5  # After the ranks of this machine have ended, for torch's agent to say that one failed.
_REPORT_S = 3.0  # After a failure, for the other machines to report theirs.
_SAVE_S = 120.0  # For a checkpoint that is being written.
_FATAL = frozenset({signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
_INTERRUPTED = 130
_MIN_ARGUMENTS = 3


class InterruptedEarlyError(Exception):
    """SIGINT came before rank 0 was there to take it."""


def _print(lines: list[str]) -> None:
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def interface_to(head: str) -> str | None:
    """Return the network interface from which this machine reaches the head; None if that is not known.

    gloo would take the one of the machine's own name, which often is the loopback interface.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((head, 9))  # Sends nothing.
        own = probe.getsockname()[0]
        for name, addresses in psutil.net_if_addrs().items():
            if any(item.address == own for item in addresses):
                return str(name)
    return None


class NodeLaunch:
    """This machine's part of a training.

    Args:
        nodes: which machine this is.
        agent: starts the ranks of this machine.
        folder: what they share on this machine.
    """

    def __init__(self, nodes: Nodes, agent: Agent, folder: Path) -> None:
        self._nodes = nodes
        self._agent = agent
        self._folder = folder
        self._signals = 0
        self._passed_on = 0
        self._gone_since: float | None = None

    def run(self) -> int:
        """Train. Returns the exit status of the training, negative for a signal."""
        signal.signal(signal.SIGINT, self._note)
        try:
            link = Link.join(self._nodes, time.monotonic, JOIN_S, self._check_interrupted)
            self._agent.start()
            verdict = self._lead(link) if self._nodes.number == 0 else self._follow(link)
        except LostError as lost:
            self._let_save()
            verdict = TrainingEnd(1, [NODE_LOST.format(node=lost.node, how=str(lost))])
        except InterruptedEarlyError:
            verdict = TrainingEnd(_INTERRUPTED, [])
        finally:
            self._agent.kill()
        _print(verdict.lines)
        return verdict.status

    def _note(self, _number: int, _frame: types.FrameType | None) -> None:
        self._signals += 1

    def _check_interrupted(self) -> None:
        if self._signals:
            raise InterruptedEarlyError

    def _mark(self, name: str) -> None:
        (self._folder / name).touch()

    # ---- Machine 0

    def _lead(self, link: Link) -> TrainingEnd:
        """Follow the training on machine 0, and tell the others how it ended."""
        while True:
            link.beat()
            if self._signals + link.interrupts() > self._passed_on:
                self._passed_on = self._signals + link.interrupts()
                if not self._agent.signal(0, signal.SIGINT):
                    raise InterruptedEarlyError
            if (self._folder / "wanted").exists():
                link.tell("begin")
            elif self._agent.has_ended(0):
                self._mark("over")  # Rank 0 has trained without a Trainer, or not at all.
                link.tell("over")
            if self._failures(link):
                verdict = self._judge(link)
            elif self._all_ended():
                verdict = TrainingEnd(0, [])
            else:
                time.sleep(_POLL_S)
                continue
            link.decide(verdict)
            return self._as_said_here(verdict)

    def _judge(self, link: Link) -> TrainingEnd:
        """Wait a little for what the machines have to say, and find the cause of a failure."""
        early = self._failures(link)
        began = quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < _REPORT_S:
            link.beat(expect_all=False)
            if (self._folder / "saving").exists() and time.monotonic() - began < _SAVE_S:
                quiet_since = time.monotonic()
            if self._all_ended() and len(link.reports()) == self._nodes.count - 1:
                break
            time.sleep(_POLL_S)
        if self._agent.has_ended(0) and 0 not in self._agent.statuses:
            return TrainingEnd(0, [])  # Rank 0 has stopped and saved by itself.
        failures = [*early, *self._failures(link)]
        killed = [item for item in failures if -item.status in _FATAL]
        first = [item for item in failures if item.rank == link.first_failed()]
        if not killed and (gone := link.silent(SILENT_S)):
            return TrainingEnd(1, [NODE_LOST.format(node=gone[0], how="is gone")])
        return self._verdict([*killed, *first, *failures][0])

    def _failures(self, link: Link) -> list[Ended]:
        own = self._failure()
        return [*([own] if own else []), *(item for item in link.reports() if item.status)]

    @staticmethod
    def _verdict(cause: Ended) -> TrainingEnd:
        how = f"was killed by signal {-cause.status}"
        if cause.status >= 0:
            how = f"ended with exit code {cause.status}"
        lines = [RANK_LINES.format(rank=cause.rank), *cause.tail] if cause.tail else []
        how += f" on machine {cause.node}"
        return TrainingEnd(cause.status, [*lines, RANK_ENDED.format(rank=cause.rank, how=how)], cause.rank)

    @staticmethod
    def _as_said_here(verdict: TrainingEnd) -> TrainingEnd:
        """Say nothing of rank 0, whose own words are the last lines, unless it was killed without any."""
        silent = verdict.rank == 0 and verdict.status > 0
        return TrainingEnd(verdict.status, [] if silent else verdict.lines)

    # ---- The others

    def _follow(self, link: Link) -> TrainingEnd:
        """Follow the training on another machine, until machine 0 says how it ended."""
        reported = False
        while True:
            link.beat()
            if self._signals > self._passed_on:
                link.interrupt(self._signals - self._passed_on)
                self._passed_on = self._signals
            if link.told("begin"):
                self._mark("begin")
            if link.told("over") or (
                self._agent.has_ended_first() and not (self._folder / "wanted").exists()
            ):
                self._mark("over")
            if not reported and ((failure := self._failure()) or self._all_ended()):
                link.report(failure or Ended(self._nodes.number))
                reported = True
            if (verdict := link.verdict()) is not None:
                return verdict
            time.sleep(_POLL_S)

    # ---- This machine's ranks

    def _failure(self) -> Ended | None:
        """Return how the first rank that failed here ended.

        Raises:
            LostError: torch's agent failed before it had started a rank.
        """
        if self._agent.error is not None:
            raise LostError(self._nodes.number, self._agent.error)
        return self._agent.failure(self._nodes.number)

    def _all_ended(self) -> bool:
        """Whether all ranks have ended for a second; torch's agent would wait minutes for other machines."""
        if self._agent.ended or not self._agent.all_gone():
            return self._agent.ended
        self._gone_since = self._gone_since or time.monotonic()
        return time.monotonic() - self._gone_since >= _SETTLE_S

    def _let_save(self) -> None:
        """Wait until rank 0, which may have saved its last checkpoint, has ended or hangs."""
        began = quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < _SETTLE_S and not self._agent.all_gone():
            if (self._folder / "saving").exists() and time.monotonic() - began < _SAVE_S:
                quiet_since = time.monotonic()
            time.sleep(_POLL_S)


def main(arguments: list[str]) -> int:
    """Run what the arguments name. Returns the exit status of the training, negative for a signal."""
    if len(arguments) < _MIN_ARGUMENTS or not arguments[0].isdecimal() or not int(arguments[0]):
        usage = "RANKS CONTROL.json (SCRIPT | -m MODULE) [ARGUMENTS...]"
        sys.stderr.write(f"usage: python -m kernel_template.nodes.launch {usage}\n")
        return 2
    try:
        nodes = Nodes.read(os.environ)
    except KernelFailure as failure:
        sys.stderr.write(f"{failure.message}\n")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="kgtts-ranks-"))
    if (interface := interface_to(nodes.head)) is not None:
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, interface)
    os.environ["KGTTS_RENDEZVOUS"] = str(folder)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns about a flag that is set on purpose.
    command = [sys.executable, "-u", "-P", "-m", "kernel_template.nodes.rank", *arguments[1:]]
    try:
        return NodeLaunch(nodes, Agent(nodes, int(arguments[0]), command, folder), folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def end_as(status: int) -> NoReturn:
    """End this process as the training did; torch's agent may wait in its thread for another machine."""
    sys.stdout.flush()
    if status < 0:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    end_as(main(sys.argv[1:]))

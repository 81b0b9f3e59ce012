"""What the launchers of several machines tell each other, through torch's store on machine 0."""

import contextlib
import datetime as dt
import importlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from kernel_template.nodes.rendezvous import STORE_PREFIX
from kernel_template.tools.nodes import Nodes

JOIN_S = 1800  # For all machines to come.
_BEAT_S = 0.5  # How often a machine says that it is alive.
SILENT_S = 2.0  # After a failure, a machine that has said nothing for so long is taken to be gone;
_LOST_S = 60.0  # without one, for so long.
_LEAVE_S = 5.0  # For the other machines to read how the training ended.
_POLL_S = 0.1


class LostError(Exception):
    """A machine is gone.

    Args:
        node: which.
        how: what it does, as the end of a sentence.
    """

    def __init__(self, node: int, how: str) -> None:
        super().__init__(how)
        self.node = node


@dataclass(frozen=True, slots=True)
class Ended:
    """How the ranks of a machine ended.

    Attributes:
        node: the machine.
        rank: the first rank that failed; 0 if none did.
        status: its exit status, negative for a signal.
        tail: the last lines that it printed.
    """

    node: int
    rank: int = 0
    status: int = 0
    tail: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """How the training ended: its exit status, what to say, and the rank that was the cause."""

    status: int
    lines: list[str]
    rank: int | None = None


class Link:
    """The store, as the launchers use it.

    Args:
        nodes: which machine this is.
        store: torch's store.
        clock: seconds, monotonic.
    """

    def __init__(self, nodes: Nodes, store: Any, clock: Callable[[], float]) -> None:
        self._nodes = nodes
        self._store = store
        self._clock = clock
        self._beaten = float("-inf")
        self._heard = dict.fromkeys(range(1, nodes.count), (0, float("inf")))  # Beats, and when they changed.
        self._told: set[str] = set()

    @classmethod
    def join(
        cls, nodes: Nodes, clock: Callable[[], float], limit_s: float, check: Callable[[], None]
    ) -> Self:
        """Make the store on machine 0, or connect to it.

        Args:
            nodes: which machine this is.
            clock: seconds, monotonic.
            limit_s: how long to wait for machine 0.
            check: called while waiting; it may raise.

        Raises:
            LostError: machine 0 does not answer, or its port is taken.
        """
        began = clock()
        while nodes.number:
            check()
            with contextlib.suppress(OSError), socket.create_connection((nodes.head, nodes.training_port), 5):
                break
            if clock() - began >= limit_s:
                how = f"has not answered at {nodes.head}:{nodes.training_port} for {limit_s / 60:.0f} minutes"
                raise LostError(0, how)
            time.sleep(_POLL_S)
        torch: Any = importlib.import_module("torch.distributed")
        try:
            store = torch.TCPStore(
                nodes.head,
                nodes.training_port,
                None,
                is_master=nodes.number == 0,
                timeout=dt.timedelta(seconds=_LOST_S),
                wait_for_workers=False,
                multi_tenant=True,  # The agent's rendezvous is in the same one.
            )
        except RuntimeError as error:
            how = (
                f"could not listen on {nodes.head}:{nodes.training_port} (KGTTS_PORT names another): {error}"
            )
            raise LostError(0, how.splitlines()[0]) from error
        return cls(nodes, torch.PrefixStore(STORE_PREFIX, store), clock)

    @contextlib.contextmanager
    def _asking(self) -> Any:
        try:
            yield
        except RuntimeError as error:
            raise LostError(0, "is gone") from error

    # ---- Machines

    def beat(self, *, expect_all: bool = True) -> None:
        """Say that this machine is alive, and look whether the others are.

        Raises:
            LostError: one is not.
        """
        now = self._clock()
        with self._asking():
            if self._nodes.number:
                if now - self._beaten >= _BEAT_S:
                    self._beaten = now
                    self._store.add(f"beat{self._nodes.number}", 1)
                return
            for node, (count, _) in self._heard.items():
                beats = self._store.add(f"beat{node}", 0)
                if beats != count:
                    self._heard[node] = (beats, now)
        gone = self.silent(_LOST_S)
        if expect_all and gone:
            raise LostError(gone[0], f"has not answered for {_LOST_S:.0f} seconds")

    def silent(self, seconds: float) -> list[int]:
        """Return the machines that had come, and have said nothing for so many seconds."""
        now = self._clock()
        return [node for node, (_, heard) in self._heard.items() if now - heard >= seconds]

    # ---- Marks

    def tell(self, mark: str) -> None:
        """Set a mark that all machines can see."""
        if mark not in self._told:
            self._told.add(mark)
            self._store.set(mark, "")

    def told(self, mark: str) -> bool:
        """Whether machine 0 has set a mark."""
        with self._asking():
            return bool(self._store.check([mark]))

    def interrupt(self, times: int) -> None:
        """Pass SIGINT on to machine 0."""
        with self._asking():
            self._store.add("interrupts", times)

    def interrupts(self) -> int:
        """Return how often other machines have passed SIGINT on."""
        return int(self._store.add("interrupts", 0))

    # ---- Ends

    def report(self, ended: Ended) -> None:
        """Tell machine 0 how the ranks of this machine ended."""
        with self._asking():
            self._store.set(f"ended{ended.node}", json.dumps(asdict(ended)))

    def reports(self) -> list[Ended]:
        """Return what the other machines have reported."""
        names = [f"ended{node}" for node in self._heard]
        return [Ended(**json.loads(self._store.get(name))) for name in names if self._store.check([name])]

    def first_failed(self) -> int | None:
        """Return the first rank that noted a failure itself."""
        return int(self._store.get("failed")) if self._store.check(["failed"]) else None

    def decide(self, verdict: TrainingEnd) -> None:
        """Tell the other machines how the training ended, and wait until they know it."""
        self._store.set("verdict", json.dumps(asdict(verdict)))
        until = self._clock() + _LEAVE_S
        there = self._nodes.count - 1 - len(self.silent(SILENT_S))
        while self._store.add("read", 0) < there and self._clock() < until:
            time.sleep(_POLL_S)

    def verdict(self) -> TrainingEnd | None:
        """Return how the training ended, if machine 0 has said so."""
        if not self.told("verdict"):
            return None
        with self._asking():
            found = TrainingEnd(**json.loads(self._store.get("verdict")))
            self._store.add("read", 1)
        return found

"""torch's elastic agent, which starts the ranks of this machine."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from kernel_template.contract import rank_log
from kernel_template.nodes.link import JOIN_S, Ended
from kernel_template.tools.nodes import Nodes

_MONITOR_S = 0.1
_KILL_S = 5.0  # From SIGKILL until no rank is there any more.
_TAIL_LINES = 60


class Agent:
    """Starts the ranks of this machine and knows how they end.

    It runs in a thread: in the main one it would take our signal handlers, and it waits up to five minutes
    for other machines' agents.

    Args:
        nodes: which machine this is.
        count: its ranks.
        command: what each runs; it notes its process id in `folder`.
        folder: see above.
    """

    def __init__(self, nodes: Nodes, count: int, command: list[str], folder: Path) -> None:
        logging.disable(logging.CRITICAL)  # It prints 40 lines behind a failure's cause.
        self._count = count
        self._command = command
        self._folder = folder
        self._config = LaunchConfig(
            min_nodes=nodes.count,
            max_nodes=nodes.count,
            nproc_per_node=count,
            run_id="kgtts-agents",
            rdzv_backend="static",
            rdzv_endpoint=f"{nodes.head}:{nodes.training_port}",
            rdzv_configs={"rank": nodes.number, "timeout": JOIN_S},
            max_restarts=0,
            monitor_interval=_MONITOR_S,
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "torch")),
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failures: dict[int, ProcessFailure] = {}
        self.error: str | None = None  # Why the ranks could not be started.

    def start(self) -> None:
        """Start the ranks once all machines are there."""
        self._thread.start()

    def _run(self) -> None:
        try:
            elastic_launch(self._config, self._command[0])(*self._command[1:])
        except ChildFailedError as failed:
            self._failures = dict(failed.failures)
        except Exception as error:  # noqa: BLE001 - whatever it is, no rank runs.
            self.error = f"could not start its part of the training ({type(error).__name__}: {error})"

    @property
    def ended(self) -> bool:
        """Whether the agent has nothing more to do."""
        return not self._thread.is_alive()

    @property
    def statuses(self) -> dict[int, int]:
        """Return the exit status of each rank that has failed."""
        return {rank: failure.exitcode for rank, failure in self._failures.items()}

    def failure(self, node: int) -> Ended | None:
        """Return how the first rank that failed has ended; the agent ends the others with SIGTERM."""
        if not self.ended or not self._failures:
            return None
        own = {rank: item for rank, item in self._failures.items() if item.exitcode != -signal.SIGTERM}
        found = own or self._failures
        rank = min(found, key=lambda rank: (found[rank].timestamp, rank))
        return Ended(node, rank, found[rank].exitcode, self._tail(rank))

    @staticmethod
    def _tail(rank: int) -> list[str]:
        """Return the last lines of a rank's log; rank 0 prints its own."""
        if not rank:
            return []
        with (
            contextlib.suppress(OSError),
            Path(rank_log(rank)).open(encoding="utf-8", errors="replace") as file,
        ):
            return [line.rstrip() for line in deque(file, maxlen=_TAIL_LINES)]
        return []

    # ---- Processes

    def _processes(self) -> dict[int, int]:
        """Return the process id of each rank that has been started."""
        found = {}
        for rank in self._folder.glob("pid*[0-9]"):
            with contextlib.suppress(OSError, ValueError):
                found[int(rank.name.removeprefix("pid"))] = int(rank.read_text(encoding="ascii"))
        return found

    @staticmethod
    def _is_there(process: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, 0)
            return True
        return False

    def has_ended(self, rank: int) -> bool:
        """Whether a rank of this machine was there and has ended."""
        process = self._processes().get(rank)
        return process is not None and not self._is_there(process)

    def has_ended_first(self) -> bool:
        """Whether the first rank of this machine has ended."""
        found = self._processes()
        return len(found) == self._count and self.has_ended(min(found))

    def all_gone(self) -> bool:
        """Whether all ranks have been started and have ended."""
        found = self._processes()
        return len(found) == self._count and not any(map(self._is_there, found.values()))

    def signal(self, rank: int, number: signal.Signals) -> bool:
        """Send a signal to a rank. Returns whether it had been started."""
        process = self._processes().get(rank)
        if process is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
        return True

    def kill(self) -> None:
        """Kill what is left of the ranks, and wait until the system has taken them away."""
        until = time.monotonic() + _KILL_S
        while time.monotonic() < until:
            left = [process for process in self._processes().values() if self._is_there(process)]
            if not left:
                return
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(_MONITOR_S)

"""Which of the processes that train one model this one is, and how they communicate beside the training.

On one machine that is through files: launch.py makes the rendezvous folder and names it in KGTTS_RENDEZVOUS.
Its files are `wanted` (rank 0 asks for the other ranks), `failed` (the number of the first rank that failed),
`oom` (a rank ran out of memory), `saving` (a checkpoint is being written), `store` (torch's) and what rank 0
tells the others. There is a folder for each rank above 0.

On several machines each has such a folder, with `wanted` and `saving` for its launcher, and all else goes
through torch's store on machine 0, which KGTTS_STORE names (kernel_template/nodes).
"""

import contextlib
import ctypes
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernel_template.contract import NODE_VARIABLE
from kernel_template.host.protocol import Control
from kernel_template.host.report import say

_PR_SET_PDEATHSIG = 1
WAIT_S = 1800.0  # For what another rank tells.
_POLL_S = 0.05
_GPUS = "CUDA_VISIBLE_DEVICES"
# The environment of a rank, for it and for the programs that its script starts.
VARIABLES = (
    *("KGTTS_RENDEZVOUS", "KGTTS_RANK", "KGTTS_RANKS", "KGTTS_SHARED_GPU"),
    *("KGTTS_STORE", "KGTTS_LOCAL_RANK", NODE_VARIABLE),
)
ASSIGNED_GPU = "KGTTS_GPU"  # In the environment of a program that a rank's script starts.


def end_with_parent() -> None:
    """Let Linux kill this process if its parent dies; no other system can."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """This process among those that train one model on this machine.

    Attributes:
        rank: this process; rank 0 writes and decides.
        size: how many ranks there are; with 1 nothing here does anything.
        folder: the rendezvous folder; None with one rank.
        gpu: the GPU that the launcher assigned, as CUDA_VISIBLE_DEVICES names it; None if it assigned none.
        shared_gpu: whether another rank has the same GPU, which NCCL refuses; to try things out on one GPU.
    """

    rank: int = 0
    size: int = 1
    folder: Path | None = None
    gpu: str | None = None
    shared_gpu: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Rendezvous":
        """Take what the launcher set in the environment; one rank without it."""
        if "KGTTS_RENDEZVOUS" not in environment:
            return cls()
        found = (
            int(environment["KGTTS_RANK"]),
            int(environment["KGTTS_RANKS"]),
            Path(environment["KGTTS_RENDEZVOUS"]),
            environment.get(ASSIGNED_GPU, environment.get(_GPUS)),
            environment.get("KGTTS_SHARED_GPU") == "1",
        )
        if "KGTTS_STORE" not in environment:
            return cls(*found)
        from kernel_template.nodes.rendezvous import NodesRendezvous  # noqa: PLC0415 - Kaggle does not get it.

        local, node = int(environment["KGTTS_LOCAL_RANK"]), int(environment[NODE_VARIABLE])
        return NodesRendezvous(*found, store=environment["KGTTS_STORE"], local_rank=local, node=node)

    @property
    def leads(self) -> bool:
        """Whether this is the first rank on its machine, which prepares the data there."""
        return not self.rank

    def file(self, name: str) -> Path:
        """Return the path of a file in the rendezvous folder."""
        assert self.folder is not None
        return self.folder / name

    def begin(self) -> None:
        """Set up the signals of one rank of several; call this first."""
        if self.size == 1:
            return
        if self.rank:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Rank 0 takes it and tells the others to stop.
        end_with_parent()

    def restore_gpu(self) -> None:
        """Undo a script's own choice of GPU, which would put all ranks on the same one."""
        if self.size == 1 or self.gpu is None or os.environ.get(_GPUS) == self.gpu:
            return
        if not self.rank:
            say(f"ignoring the script's {_GPUS}: each process has a GPU of its own")
        os.environ[_GPUS] = self.gpu

    def request_ranks(self) -> None:
        """Let the launcher start the other ranks: this one has its Trainer, so it has prepared all data."""
        if self.size > 1 and self.leads:
            self.file("wanted").touch()

    def failed(self, *, out_of_memory: bool) -> None:
        """Note that this rank failed, before the others fail because it is gone."""
        if self.folder is None:
            return
        with contextlib.suppress(Exception):
            if out_of_memory:
                self.put("oom", b"")
            self.claim("failed", str(self.rank).encode())

    def any_out_of_memory(self) -> bool:
        """Whether some rank noted that it ran out of memory."""
        return self.folder is not None and self.has("oom")

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Let the launcher give this rank time to save, even if another rank has died."""
        if self.folder is None:
            yield
            return
        mark = self.file("saving")
        with contextlib.suppress(OSError):
            mark.touch()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)

    # ---- What ranks tell each other

    def put(self, name: str, data: bytes) -> None:
        """Tell the other ranks something, which `get` returns whole."""
        part = self.file(f"{name}.part")
        part.write_bytes(data)
        part.replace(self.file(name))

    def claim(self, name: str, data: bytes) -> None:
        """Tell it unless another rank has done so before.

        Raises:
            OSError: another has.
        """
        with self.file(name).open("xb") as file:
            file.write(data)

    def has(self, name: str) -> bool:
        """Whether some rank has told it."""
        return self.file(name).exists()

    def get(self, name: str, what: str, sleep: Callable[[float], None] = time.sleep) -> bytes:
        """Wait until another rank tells it.

        Raises:
            TimeoutError: none has within half an hour; if rank 0 is gone, the launcher ends this one before.
        """
        for _ in range(int(WAIT_S / _POLL_S)):
            if self.has(name):
                return self.file(name).read_bytes()
            sleep(_POLL_S)
        raise self.late(what)

    def late(self, what: str) -> TimeoutError:
        """Return the error of a rank that has waited in vain."""
        return TimeoutError(f"Rank {self.rank} has waited {WAIT_S / 60:.0f} minutes for {what}.")

    def pack(self, value: Any) -> bytes:
        """Return what `unpack` makes the value of; nothing if it is of a kind that cannot be sent."""
        with contextlib.suppress(Exception):
            return pickle.dumps(value)
        return b""

    def unpack(self, data: bytes) -> Any:
        """Return the value that rank 0 has packed."""
        return pickle.loads(data)  # noqa: S301 - a file of our own rank 0.

    def group(self) -> dict[str, Any]:
        """Return where torch's process group meets, as arguments of `init_process_group`."""
        return {"init_method": self.file("store").as_uri()}

    def check_same(self, control: Control, trainer: Any, record: Mapping[str, Any] | None) -> None:
        """Check that all ranks train the same thing from the same step; on one machine they read the same."""

    # ---- Private folders

    def private_folder(self) -> Path:
        """Return the folder for what a rank above 0 writes and nobody keeps."""
        folder = self.file(f"rank{self.rank}")
        folder.mkdir(exist_ok=True)
        return folder

    def own(self, control: Control, program: list[str]) -> tuple[Control, list[str]]:
        """Return what this rank is asked and its command: a rank above 0 writes to its private folder."""
        if not self.rank:
            return control, program
        folder, shared = self.private_folder(), control.continue_path
        control = replace(control, report=folder / "HOST_REPORT.json")
        if not shared:
            return control, program
        copy = folder / "run"
        copy.mkdir(exist_ok=True)
        shutil.copyfile(Path(shared) / "config.json", copy / "config.json")
        moved = {shared: str(copy), f"--continue_path={shared}": f"--continue_path={copy}"}
        return replace(control, continue_path=str(copy)), [moved.get(item, item) for item in program]

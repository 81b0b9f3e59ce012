"""Which of the processes that train one model this one is, and the files through which they communicate.

launch.py makes the rendezvous folder and names it in KGTTS_RENDEZVOUS. Its files are `wanted` (rank 0 asks
for the other ranks), `failed` (the number of the first rank that failed), `oom` (a rank ran out of memory),
`saving` (a checkpoint is being written) and `store` (torch's). There is a folder for each rank above 0.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kernel_template.host.protocol import Control
from kernel_template.host.report import say

_PR_SET_PDEATHSIG = 1
_WAIT_S = 1800.0
_POLL_S = 0.05
_GPUS = "CUDA_VISIBLE_DEVICES"
ASSIGNED_GPU = "KGTTS_GPU"  # In the environment of a program that a rank's script starts.


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """This process among those that train one model.

    Attributes:
        rank: this process; rank 0 writes and decides.
        size: how many ranks there are; with 1 nothing here does anything.
        folder: the rendezvous folder; None with one rank.
        gpu: the GPU that launch.py assigned, as CUDA_VISIBLE_DEVICES names it; None if it assigned none.
        shared_gpu: whether another rank has the same GPU, which NCCL refuses; to try things out on one GPU.
    """

    rank: int = 0
    size: int = 1
    folder: Path | None = None
    gpu: str | None = None
    shared_gpu: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Rendezvous":
        """Take what launch.py set in the environment; one rank without it."""
        if "KGTTS_RENDEZVOUS" not in environment:
            return cls()
        return cls(
            int(environment["KGTTS_RANK"]),
            int(environment["KGTTS_RANKS"]),
            Path(environment["KGTTS_RENDEZVOUS"]),
            environment.get(ASSIGNED_GPU, environment.get(_GPUS)),
            environment.get("KGTTS_SHARED_GPU") == "1",
        )

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
        with contextlib.suppress(AttributeError, OSError):  # Only Linux can end a process with its parent.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == 1:
                os._exit(1)

    def restore_gpu(self) -> None:
        """Undo a script's own choice of GPU, which would put all ranks on the same one."""
        if self.size == 1 or self.gpu is None or os.environ.get(_GPUS) == self.gpu:
            return
        if not self.rank:
            say(f"ignoring the script's {_GPUS}: each process has a GPU of its own")
        os.environ[_GPUS] = self.gpu

    def request_ranks(self) -> None:
        """Let launch.py start the other ranks: rank 0 has its Trainer, so it has prepared all data."""
        if self.size > 1 and not self.rank:
            self.file("wanted").touch()

    def failed(self, *, out_of_memory: bool) -> None:
        """Note that this rank failed, before the others fail because it is gone."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError):
            if out_of_memory:
                self.file("oom").touch()
            with self.file("failed").open("x", encoding="ascii") as file:
                file.write(str(self.rank))

    def any_out_of_memory(self) -> bool:
        """Whether some rank noted that it ran out of memory."""
        return self.folder is not None and self.file("oom").exists()

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Let launch.py give this rank time to save, even if another rank has died."""
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

    def wait_for(self, file: Path, what: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until rank 0 has written a file.

        Raises:
            TimeoutError: it has not within half an hour; if it is gone, launch.py ends this rank before.
        """
        for _ in range(int(_WAIT_S / _POLL_S)):
            if file.exists():
                return
            sleep(_POLL_S)
        raise TimeoutError(f"Rank {self.rank} has waited {_WAIT_S / 60:.0f} minutes for {what}.")

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

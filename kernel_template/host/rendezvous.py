"""Which of the processes that train together this one is, and the folder in which launch.py lets them meet.

Nothing here needs torch.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kernel_template.host.protocol import Control

_PR_SET_PDEATHSIG = 1
_CARDS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """This process among those that train one model.

    Args:
        rank: this process; 0 writes and decides.
        size: how many there are; 1 is a training without any of this.
        folder: where they meet; None for one that is alone.
        card: the card that launch.py dealt, as CUDA_VISIBLE_DEVICES names it; None where it dealt none.
    """

    rank: int = 0
    size: int = 1
    folder: Path | None = None
    card: str | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Rendezvous":
        """As launch.py told it; alone without it."""
        if "KGTTS_RENDEZVOUS" not in environment:
            return cls()
        return cls(
            int(environment["KGTTS_RANK"]),
            int(environment["KGTTS_RANKS"]),
            Path(environment["KGTTS_RENDEZVOUS"]),
            environment.get(_CARDS),
        )

    def file(self, name: str) -> Path:
        """A file of the folder, for a process that is not alone."""
        assert self.folder is not None
        return self.folder / name

    def begin(self) -> None:
        """What a process that is not alone does first."""
        if self.size == 1:
            return
        if self.rank:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Rank 0 hears it, and tells when to stop.
        with contextlib.suppress(Exception):
            import ctypes  # noqa: PLC0415 - not everywhere, and only for ranks.

            # On Linux a process may ask to end with the one that started it.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == 1:
                os._exit(1)

    def restore_gpu(self) -> None:
        """Undo what a script has set: with a card that it names itself, all ranks would meet on that one."""
        if self.size == 1 or self.card is None or os.environ.get(_CARDS) == self.card:
            return
        if not self.rank:
            sys.stdout.write(
                f" > kgtts: the script sets {_CARDS}, which is passed over: each process has its own card\n"
            )
            sys.stdout.flush()
        os.environ[_CARDS] = self.card

    def request_ranks(self) -> None:
        """Rank 0 is about to import the trainer: launch.py may start the others."""
        if self.size > 1 and not self.rank:
            self.file("wanted").touch()

    def failed(self, *, out_of_memory: bool) -> None:
        """Note who failed first, before the others notice that it is gone."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError):
            if out_of_memory:
                self.file("oom").touch()
            with self.file("failed").open("x", encoding="ascii") as file:
                file.write(str(self.rank))

    def memory_ran_out(self) -> bool:
        """Whether some rank has noted that it ran out of memory."""
        return self.folder is not None and self.file("oom").exists()

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """While this rank saves, launch.py leaves it the time."""
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

    def private_folder(self) -> Path:
        """Where a rank that does not write leaves what the trainer writes all the same."""
        folder = self.file(f"rank{self.rank}")
        folder.mkdir(exist_ok=True)
        return folder

    def own(self, control: Control, program: list[str]) -> tuple[Control, list[str]]:
        """What this rank is asked, and its command: whatever a rank above 0 would write goes elsewhere."""
        if not self.rank:
            return control, program
        folder, shared = self.private_folder(), control.continue_path
        control = replace(control, report=folder / "HOST_REPORT.json")
        if not shared:
            return control, program
        copy = folder / "run"
        copy.mkdir(exist_ok=True)
        shutil.copyfile(Path(shared) / "config.json", copy / "config.json")
        moved = {str(shared): str(copy), f"--continue_path={shared}": f"--continue_path={copy}"}
        return replace(control, continue_path=str(copy)), [moved.get(item, item) for item in program]

"""One rank of a training on several machines: the host, as torch's launcher starts it.

    python -u -P -m kernel_template.nodes.rank CONTROL.json SCRIPT [ARGUMENTS…]

All ranks start at once, but a rank above 0 waits here, before anything heavy is imported, until rank 0 has
made Coqui's Trainer; so a script that never does runs once. The script sees none of torchrun's variables but
RANK, as on one machine.
"""

import os
import signal
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path

from kernel_template.contract import rank_log
from kernel_template.host.__main__ import main as host
from kernel_template.host.rendezvous import end_with_parent

_POLL_S = 0.05
_OF_TORCHRUN = (
    *("LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)


def translate(environment: MutableMapping[str, str]) -> None:
    """Replace torchrun's variables by those that the host reads, and choose this rank's GPU."""
    local, count = int(environment["LOCAL_RANK"]), int(environment["LOCAL_WORLD_SIZE"])
    rank = environment["RANK"]
    environment.update(
        {
            "KGTTS_RANK": rank,
            "KGTTS_RANKS": environment["WORLD_SIZE"],
            "KGTTS_LOCAL_RANK": str(local),
            "KGTTS_STORE": f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}",
        }
    )
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    gpus = [gpu for gpu in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[local]  # The trainer refuses to start if it sees two.
        if len(set(gpus[:count])) < count:
            environment["KGTTS_SHARED_GPU"] = "1"
    for name in [*environment]:
        if name in _OF_TORCHRUN or name.startswith("TORCHELASTIC_"):
            del environment[name]
    if rank == "0":  # From this the trainer knows who does not write.
        del environment["RANK"]


def wait(folder: Path, *, leads: bool) -> None:
    """Wait until this rank is wanted, and end if it never will be.

    The first rank of another machine than rank 0's waits until rank 0 has its Trainer, then prepares the data
    on its machine. The ranks after it wait until it has its own.
    """
    while not (folder / ("begin" if leads else "wanted")).exists():
        if (folder / "over").exists():
            raise SystemExit(0)
        time.sleep(_POLL_S)


def main(arguments: list[str]) -> int:
    """Run the host as this rank. Returns its exit code."""
    rank, leads = int(os.environ["RANK"]), os.environ["LOCAL_RANK"] == "0"
    end_with_parent()
    folder = Path(os.environ["KGTTS_RENDEZVOUS"])
    if rank:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Rank 0 takes it.
        log = os.open(rank_log(rank), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for number in (1, 2):
            os.dup2(log, number)
    mark = folder / f"pid{rank}.part"
    mark.write_text(str(os.getpid()), encoding="ascii")
    mark.replace(folder / f"pid{rank}")
    translate(os.environ)
    if rank:
        wait(folder, leads=leads)
    return host(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Whether Kaggle has a machine free for a session, asked before a kernel's first push.

A push that a limit refuses costs nothing but time, except a kernel's first: that leaves half a kernel, and
Kaggle refuses every further push of its name ("Notebook not found"), as seven accounts have met in 2026.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from orchestrator.models import KernelInfo, KernelRef, SessionState
from orchestrator.run.decide import Decision, RunState
from orchestrator.run.snapshot import Snapshot, value_of

_AT_ONCE = {True: 2, False: 5}  # Batch sessions with a GPU and without, by Kaggle's words when it refuses.
_LONGEST = timedelta(hours=13)  # A session has at most 12 h; clocks differ.
_MOST_LOOKS = 20


def no_machine(last: Snapshot, *, has_gpu: bool, now: datetime) -> Decision | None:
    """Why a kernel's first push has to wait; None if a machine is free, or nobody can tell.

    Args:
        last: what Kaggle shows now.
        has_gpu: whether the session asks for a GPU.
        now: the wall clock, UTC.
    """
    busy = _at_work(last, has_gpu=has_gpu, now=now)
    if len(busy) < _AT_ONCE[has_gpu]:
        return None
    kind = "with" if has_gpu else "without"
    return Decision(
        RunState.WAITING,
        f"{len(busy)} sessions {kind} a GPU are at work on your account ({', '.join(map(str, busy))}), and "
        "Kaggle gives no more at once. The next pass tries again.",
    )


def _at_work(last: Snapshot, *, has_gpu: bool, now: datetime) -> Sequence[KernelRef]:
    kernels = value_of(last.account()) or ()
    recent = [info for info in kernels if info.last_run is None or now - info.last_run < _LONGEST]
    busy: list[KernelRef] = []
    if len(recent) < _AT_ONCE[has_gpu]:
        return busy
    for info in recent[:_MOST_LOOKS]:
        status = value_of(last.status(info.ref))
        if status is None or status.state.is_terminal or status.state is SessionState.NEW_SCRIPT:
            continue
        if _has_gpu(last, info) is has_gpu:
            busy.append(info.ref)
    return busy


def _has_gpu(last: Snapshot, info: KernelInfo) -> bool:
    whole = info if info.accelerator is not None else value_of(last.kernel(info.ref))
    return whole is not None and whole.accelerator not in (None, "None")

"""Things to push, and waiting for their ends without polling."""

from typing import Any

from orchestrator.kaggle_client.client import KaggleClient
from orchestrator.models import KernelPush, KernelRef, SessionState
from tests.support import USER

KERNEL = KernelRef(USER, "small-kernel")
HANG = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(1000)\n"


def small_push(source: str = "print('hello')", **fields: Any) -> KernelPush:
    """A push of a script to a CPU machine."""
    wanted = {"ref": KERNEL, "title": "Small kernel", "source": source, "accelerator": None, **fields}
    return KernelPush(**wanted)


def run_to_end(kaggle: KaggleClient, source: str, **fields: Any) -> KernelRef:
    """Push a script and wait for its end on its live log; gives the version."""
    pushed = kaggle.push(small_push(source, **fields))
    for _ in kaggle.log_stream(pushed.ref, idle_s=60):
        pass
    assert kaggle.session_status(pushed.ref).state in (SessionState.COMPLETE, SessionState.ERROR)
    return pushed.ref

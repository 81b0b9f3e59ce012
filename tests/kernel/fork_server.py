"""Runs the host in forked processes: torch is imported once for all of a test folder's trainings.

Jobs come as JSON lines on stdin, one process for each of their `ranks` (the environment of each), with
`nodes` one launcher for each machine, with `launch` the launcher of one, whose ranks are forks as well, or
with `python` what Python's own arguments name. Each is answered by a line of process ids, and then by one of
exit statuses.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import IO, NoReturn

import torch

from kernel_template.host import launch as one_machine
from kernel_template.host.__main__ import main as host
from kernel_template.nodes.launch import end_as
from kernel_template.nodes.launch import main as launch

# What the trainer package and then the host import, and what the test names.
for _name in (
    "kernel_template.host.trainer",
    "coqpit",
    "fsspec",
    "matplotlib.pyplot",
    "psutil",
    "torch._dynamo",
    "torch.utils.tensorboard",
):
    importlib.import_module(_name)
for _name in sys.argv[1:]:
    importlib.import_module(_name)


def _stop_time() -> None:
    """Make time stand still except in sleep, which returns at once."""
    now = time.monotonic()

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    time.monotonic = lambda: now
    time.sleep = sleep  # type: ignore[assignment] # Floats alone will do.


def _child(job: dict[str, object], rank: int, variables: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(variables)
    if job["cwd"]:
        os.chdir(str(job["cwd"]))
    if job["stop_time"]:
        _stop_time()
    log = os.open(str(job["log"]) + (f".rank{rank}" if rank else ""), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    arguments = job["arguments"]
    assert isinstance(arguments, list)
    if job["kind"] == "nodes":
        end_as(launch(arguments[rank]))
    if job["kind"] == "launch":
        end_as(one_machine.main(arguments, ForkedRank))  # type: ignore[arg-type] # It has what is used of one.
    _end_after(python if job["kind"] == "python" else host, arguments)


def python(arguments: list[str]) -> int:
    """Do what Python does with `-m MODULE…` or `-c CODE`."""
    option, named, *sys.argv[1:] = arguments
    if option == "-m":
        runpy.run_module(named, run_name="__main__", alter_sys=True)
    else:
        exec(named, {"__name__": "__main__"})  # noqa: S102 - the test's own.
    return 0


def _end_after(run: Callable[[list[str]], int], arguments: list[str]) -> NoReturn:
    """Run it, and end as its process would."""
    code: object = 0
    try:
        code = run(arguments)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - what the interpreter would do.
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))  # Tearing torch down takes a second.


class ForkedRank:
    """A rank of the launcher as a fork of it, with what the launcher uses of a Popen."""

    def __init__(
        self, command: list[str], *, env: dict[str, str], stdout: int | None = None, **_streams: int
    ) -> None:
        self.returncode: int | None = None
        self.stdout: IO[bytes] | None = None
        ends = os.pipe() if stdout == subprocess.PIPE else None
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.clear()
            os.environ.update(env)
            if ends is not None:
                for number in (1, 2):
                    os.dup2(ends[1], number)
            _end_after(host, command[command.index("kernel_template.host") + 1 :])
        if ends is not None:
            os.close(ends[1])
            self.stdout = os.fdopen(ends[0], "rb")

    def poll(self) -> int | None:
        """Return the exit status if it has ended."""
        return self._ask(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end."""
        return self._ask(0)

    def _ask(self, options: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    gc.freeze()  # No collection of a child visits, and so copies, what is imported here.
    for line in sys.stdin:
        job = json.loads(line)
        processes = []
        for rank, variables in enumerate(job["ranks"]):
            process = os.fork()
            if process == 0:
                _child(job, rank, variables)
            processes.append(process)
        sys.stdout.write(json.dumps(processes) + "\n")
        sys.stdout.flush()
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

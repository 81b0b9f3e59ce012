"""Imports a module once, and runs programs as forks of itself, which then need not import what it imports.

    python fork_program.py LINK MODULE

LINK is the number of a Unix socket. Each job on it is `{"command", "module", "env", "cwd"}` with the
file that takes its output; `module` is its module's place in the command. The answers are `pid N`, from the
fork, and `code N` after its end. The program ends with the link, and imports nothing else of this package.

CUDA cannot be used in a fork of a process that has used it, so if its library was loaded, the job is executed
afresh. So it is if there are other threads: a lock that one of them holds would stay locked in the fork.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

LARGEST_JOB = 1 << 20  # Bytes.


def main(arguments: Sequence[str]) -> int:
    """Serve jobs until the link ends. Returns the exit code."""
    with socket.socket(fileno=int(arguments[0])) as link:
        with contextlib.suppress(Exception):  # A program that needs it reports it.
            importlib.import_module(arguments[1])
        # Until here it ends the program, as it would end one that imports by itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()  # A fork's collections then leave alone, and so do not copy, what is imported here.
        while True:
            data, files, _, _ = socket.recv_fds(link, LARGEST_JOB, 1)
            if not data:
                return 0
            maps = Path("/proc/self/maps").read_text("utf-8", "replace")
            fit = is_fit(maps, threading.active_count())
            process = os.fork()
            if process == 0:
                os.setpgid(0, 0)
                link.send(b"pid %d" % os.getpid())  # Before the job can do anything to either process.
                link.close()
                _run(json.loads(data), files[0], fit=fit)
            os.close(files[0])
            link.send(b"code %d" % os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def is_fit(maps: str, threads: int) -> bool:
    """Whether a fork can use what is imported, by the files in memory and the number of threads."""
    return threads == 1 and "/libcuda.so" not in maps


def _run(job: Mapping[str, Any], output: int, *, fit: bool) -> NoReturn:
    """Become the job's process, and end as it does."""
    code: object = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (1, 2):
            os.dup2(output, number)
        if job["cwd"] is not None:
            os.chdir(job["cwd"])
        if not fit:
            os.execve(job["command"][0], job["command"], job["env"])  # noqa: S606 - no shell is wanted.
        os.environ.clear()
        os.environ.update(job["env"])
        importlib.invalidate_caches()
        module, *sys.argv[1:] = job["command"][job["module"] :]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = None
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - what the interpreter would do.
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))  # Tearing torch down takes a second.


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""A program, started by `machines.py`: runs kgtts for the steps of the action in forks of one process.

A step starts `CLIENT` in the place of kgtts, which sends its arguments, folder, environment and streams to
the socket named on this program's command line, and ends as the fork does. Waits take no time.
"""

import gc
import json
import os
import runpy
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from orchestrator.cli.commands import report, sync  # noqa: F401 - imported for the forks.
from orchestrator.cli.main import run

CLIENT = """#!{python} -IS
import json, os, socket, sys
job = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [json.dumps(job).encode()], [0, 1, 2])
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16)))
"""
_CLOCK = Path(__file__).resolve().parents[1] / "fakes" / "clock.py"


def _take(streams: list[int]) -> None:
    """Open the client's streams as those of a fresh process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as the interpreter does it.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _run(job: dict[str, Any], clock: Any) -> int:
    """Be kgtts, as a fresh process would be."""
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv[1:] = job["arguments"]
    try:
        return int(run(clock=clock))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - what the interpreter would do.
        traceback.print_exc()
        return 1


def main(address: str) -> None:
    """Serve until this process is ended; the line on standard output says that it does."""
    clock = runpy.run_path(str(_CLOCK))["HastyClock"]()
    gc.freeze()  # No collection of a child visits, and so copies, what is imported here.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            client, _ = listener.accept()
            with client:
                text, streams, _, _ = socket.recv_fds(client, 2**16, 3)
                while more := client.recv(2**16):
                    text += more
                child = os.fork()
                if child == 0:
                    _take(streams)
                    code = _run(json.loads(text), clock)
                    sys.stdout.flush()
                    os._exit(code)
                for stream in streams:
                    os.close(stream)
                client.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(sys.argv[1])

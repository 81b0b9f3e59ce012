"""Starts programs of this package as forks of a process that has Coqui imported, which takes seconds.

Each still has a process of its own and its own time limit: one that crashes or hangs takes nothing with it.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

from kernel_template.tools import fork_program
from kernel_template.tools.package import PACKAGE
from kernel_template.tools.process import ChildPlan, Process, end_group, start_process

_IMPORTS = f"{PACKAGE}.finish.voice_imports"
_OPTIONS = 4  # The interpreter and its options, before the module's name.
_LOST = -9  # The exit code of a fork whose server was killed.


@dataclass(slots=True)
class Fork:
    """A program that runs as a fork of `server`, as subprocess.Popen shows it; `link` tells of it."""

    server: "subprocess.Popen[bytes]"
    link: socket.socket
    stdout: IO[bytes]
    returncode: int | None = None
    _child: int | None = None

    @property
    def pid(self) -> int:
        """The program's process; that of the server while it is still importing."""
        return self.server.pid if self._child is None else self._child

    def poll(self) -> int | None:
        """Return the exit code if the program has ended."""
        return self._hear(0.0)

    def wait(self) -> int:
        """Wait for the program's end. Returns its exit code."""
        while (code := self._hear(None)) is None:
            pass
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def _hear(self, seconds: float | None) -> int | None:
        while self.returncode is None and select.select([self.link], [], [], seconds)[0]:
            answer = b""
            with contextlib.suppress(ConnectionError):  # It died before it took the job.
                answer = self.link.recv(32)
            if not answer:
                code = self.server.wait()
                self.returncode = code if self._child is None else _LOST  # The runner ends its group.
            elif answer.startswith(b"pid"):
                self._child = int(answer.split()[1])
            else:
                self.returncode = int(answer.split()[1])
        return self.returncode


@dataclass(slots=True)
class ForkServer:
    """Starts programs as forks of one process, which imports `module` when the first is wanted.

    If that fails, the programs do without. Forks need Linux; elsewhere each is started as usual.
    """

    module: str = _IMPORTS
    _server: "subprocess.Popen[bytes] | None" = None
    _link: socket.socket | None = None
    _env: Mapping[str, str] = field(default_factory=dict)

    def start(self, plan: ChildPlan) -> Process:
        """Start `plan`; another command than that of a module of this package is started as usual.

        Raises:
            OSError: it could not be started.
        """
        options, names = list(plan.command[:_OPTIONS]), plan.command[_OPTIONS:]
        if sys.platform != "linux" or options[1:] != ["-u", "-P", "-m"] or not names[0].startswith(PACKAGE):
            return start_process(plan)
        server, link = self._serve(options[0], plan.env)
        cwd = None if plan.cwd is None else str(plan.cwd)
        job = {"command": list(plan.command), "module": _OPTIONS, "env": dict(plan.env), "cwd": cwd}
        reads, writes = os.pipe()
        try:
            socket.send_fds(link, [json.dumps(job).encode()], [writes])
        except OSError:
            os.close(reads)
            self.close()
            return start_process(plan)
        finally:
            os.close(writes)
        return Fork(server, link, os.fdopen(reads, "rb"))

    def close(self) -> None:
        """End the process; the next program starts another."""
        if self._link is not None:
            self._link.close()
        if self._server is not None:
            end_group(self._server.pid)
            self._server.wait()
        self._server = self._link = None

    def _serve(self, python: str, env: Mapping[str, str]) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        """Start the process unless there is one for this environment; a program may see other GPUs."""
        wanted = {name: value for name, value in env.items() if name != "CUDA_VISIBLE_DEVICES"}
        if self._server is not None and self._server.poll() is None and wanted == self._env:
            assert self._link is not None
            return self._server, self._link
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._server = subprocess.Popen(
                    [python, "-u", "-P", fork_program.__file__, str(theirs.fileno()), self.module],
                    env=dict(env),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._link, self._env = ours, wanted
        return self._server, self._link

"""What a killed session saved comes to the next one: downloaded by it, or through this machine as a dataset.

Run it from the repository in an environment with the extra `local`: `python -m benchmarks.handover [MIB]
[ROUNDS]`. A session on the emulator saves a checkpoint and a best model of MIB MiB each (by default 512) and
is killed; `kgtts sync` then pushes the next one, with internet and without. Real are the client, the kernel
and its verification; the training is made up and begins at once. Everything is on loopback, so what differs
is what is done, not the line: the bytes say what a line would cost.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import newcomer
from orchestrator.kaggle import connect
from orchestrator.models import KernelRef
from tests.cli.voice import SETTINGS, TRAIN, make_python, provide_inputs
from tests.support import USER

_KEY = "not-a-real-key"
_FIRST, _SECOND = KernelRef(USER, "bangla-tts-a", 1), KernelRef(USER, "bangla-tts-b", 1)
_SERVER = """
import sys, pathlib
from orchestrator.emulator import Emulator, EmulatorOptions
options = EmulatorOptions(standins=False, python=sys.argv[4])
with Emulator(pathlib.Path(sys.argv[1]), options=options, credentials=(sys.argv[2], sys.argv[3])) as emulator:
    print(emulator.url, emulator.runner.relocated_because, flush=True)
    sys.stdin.read()
"""
# `kgtts ARGUMENTS`, with the bytes that pass this machine's network counted at its sockets.
_COUNTED = """
import socket, sys
received = sent = 0
class Counting(socket.socket):
    def recv_into(self, *arguments):
        global received
        size = super().recv_into(*arguments)
        received += size
        return size
    def send(self, data, *flags):
        global sent
        size = super().send(data, *flags)
        sent += size
        return size
    def sendall(self, data, *flags):
        global sent
        super().sendall(data, *flags)
        sent += len(data)
socket.socket = Counting
from orchestrator.cli.main import run
code = run(sys.argv[1:])
print(received, sent)
raise SystemExit(code)
"""
# The checkpoint and the best model are large; once state.json names both, the session is killed.
_SAVE = """
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("data.pkl", "w", force_zip64=True) as file:
            for _ in range(int({mib})):
                file.write(os.urandom(1 << 20))
"""
_KILL = """
if not arguments.continue_path:
    import signal, time
    save(f"best_model_{total}.pth")
    state = os.path.join(config["output_path"], "..", "state.json")
    while not os.path.exists(state) or "best_model_" not in open(state).read():
        print("the training goes on", flush=True)
        time.sleep(0.1)
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Handover:
    """One handover: bytes through this machine, and seconds from the pass's start to two moments."""

    received: int
    sent: int
    pushed_s: float
    training_s: float


def script(mib: int) -> str:
    """The training: its first session is killed with everything saved."""
    small = '\n    with zipfile.ZipFile(path, "w") as archive:\n        archive.writestr("data.pkl", name)\n'
    if small not in TRAIN:
        raise RuntimeError("The made-up training of the tests has changed.")
    return TRAIN.replace(small, _SAVE.replace("{mib}", str(mib))) + _KILL


def measure(mib: int, *, internet: bool) -> Handover:
    """Kill a session and hand it over."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        provide_inputs(folder / "kaggle", script(mib))
        (folder / "python").mkdir()
        python = make_python(folder / "python")
        settings = SETTINGS.replace("internet = false", f"internet = {str(internet).lower()}")
        (folder / "kgtts.toml").write_text(settings, encoding="utf-8")
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(folder / "kaggle"), USER, _KEY, python],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            url, _, sandbox = server.stdout.readline().strip().partition(" ")
            if sandbox != "None":
                print(f"Mounts are copies here, which makes the dataset slower: {sandbox}")
            return _hand_over(folder, newcomer(folder, url, (USER, _KEY)))
        finally:
            server.stdin.close()
            server.wait(60)


def _hand_over(folder: Path, environ: dict[str, str]) -> Handover:
    client = connect(environ, login=(USER, _KEY))
    _sync(folder, environ)
    while not client.session_status(_FIRST).state.is_terminal:
        time.sleep(0.2)
    began = time.monotonic()
    received, sent = _sync(folder, environ)
    pushed_s = time.monotonic() - began
    for event in client.log_stream(_SECOND, idle_s=600):
        if "GLOBAL_STEP" in event.text:
            break
    training_s = time.monotonic() - began
    while not client.session_status(_SECOND).state.is_terminal:
        time.sleep(0.2)
    client.close()
    return Handover(received, sent, pushed_s, training_s)


def _sync(folder: Path, environ: dict[str, str]) -> tuple[int, int]:
    command = [sys.executable, "-c", _COUNTED, "sync", "--no-pull"]
    done = subprocess.run(command, env=environ, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    received, sent = done.stdout.split()[-2:]
    return int(received), int(sent)


def main(mib: int = 512, rounds: int = 3) -> None:
    """Measure both ways in turns, and print a table."""
    found: dict[bool, list[Handover]] = {True: [], False: []}
    for _ in range(rounds):
        for internet, listed in found.items():
            listed.append(measure(mib, internet=internet))
    load = os.getloadavg()[0]
    print(f"2 files of {mib} MiB, medians of {rounds}, load {load:.1f}")
    for internet, listed in found.items():
        way = "downloaded by the session" if internet else "through this machine, as a dataset"
        values = [
            statistics.median(getattr(item, name) for item in listed)
            for name in ("received", "sent", "pushed_s", "training_s")
        ]
        print(
            f"{way:<36} received {values[0] / 1e6:9.2f} MB, sent {values[1] / 1e6:9.2f} MB, "
            f"pushed after {values[2]:6.1f} s, training after {values[3]:6.1f} s"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))

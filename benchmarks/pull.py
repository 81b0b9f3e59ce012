"""`kgtts pull` beside `kaggle kernels output`, on one emulator whose connections are as slow as told.

Run it from the repository in an environment with the extra `local`: `python -m benchmarks.pull [PART …]`,
with parts out of `shaped`, `loopback`, `memory`, `faults` and `kills`; by default all. It writes some GB
below TMPDIR, and on Linux for `loopback` half a GB in `/dev/shm`.

How the two clients are compared, which are both real processes:

- In pairs, which kgtts and kaggle begin in turn: other work on the machine comes and goes within minutes, and
  hits both alike. The figure is the median of the pairs' ratios.
- Before each run everything is written to the disk (`os.sync`): otherwise the system still writes what the
  run before left. In a virtual machine the first use of a page of memory costs the processor ten times what
  later ones do, and pages that have been free for two seconds may go back to the host. So these seconds are
  waited for, and then a file as large as all that is fetched is written to the same folder and deleted, so
  that every run starts with the same memory ready to use. Now and then one still does not.
- Unlimited, once into memory as well, where no disk hides what the clients themselves cost.
- One pair is run first and not counted: it reads the programs, and lets Python keep the bytecode of both, as
  an installed program has it.
- Seconds of processor are printed, too. Other work changes them much less than the time.
"""

import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import newcomer
from orchestrator.kaggle import connect
from orchestrator.models import KernelPush, KernelRef, SessionState
from tests.download.killing import Order, killed, pulled_in, received

_USER, _KEY = "asha", "not-a-real-key"
_MB = 1_000_000
_ROUNDS, _FAST_ROUNDS = 3, 11
_RETURNED_S = 2.5  # Linux waits for 2 s before it returns free pages (mm/page_reporting.c).
_MEMORY = Path("/dev/shm")  # noqa: S108  # Linux only.
_KILLS = 20
_SEED = 5

_SERVER = """
import json, sys, pathlib
from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.emulator.faults.plan import FaultPlan
options = EmulatorOptions(sandbox="relocate", standins=False)
with Emulator(pathlib.Path(sys.argv[1]), options=options, credentials=(sys.argv[2], sys.argv[3])) as emulator:
    print(emulator.url, flush=True)
    for line in sys.stdin:
        emulator.server.faults.set(FaultPlan.model_validate(json.loads(line)))
        print("set", flush=True)
"""
# The stock client, unmodified, with its endpoint table re-pointed as the README says.
_STOCK = """
import sys
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv.pop(1)
from kaggle.cli import main
sys.argv[0] = "kaggle"
main()
"""
_MAKE = """
import os
for name, size in {files!r}:
    with open(name, "wb") as file:
        for _ in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - file.tell())))
"""
_LOGS = ("session.log", "voice.log")  # As kgtts and kaggle call it.
_VOICE = [
    *((f"checkpoint_{step}.pth", 256 << 20) for step in (100, 200)),
    *((f"sample_{number:02}.wav", 200_000) for number in range(45)),
]


@dataclass(frozen=True)
class Run:
    """What one process did: seconds, those of processor, peak memory in MB, exit code and what it printed."""

    seconds: float
    processor_s: float
    peak_mb: float
    code: int
    out: str


class Bench:
    """An emulator in a process of its own, with kernels that left files.

    Args:
        folder: where everything lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(folder / "kaggle"), _USER, _KEY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        self.url = self._server.stdout.readline().strip()
        if not self.url:
            raise RuntimeError("The emulator did not start.")  # Without its address Kaggle itself is asked.
        self._environ = newcomer(folder, self.url, (_USER, _KEY))
        self.hashes: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        """End the emulator."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)

    def kernel(self, slug: str, files: Sequence[tuple[str, int]]) -> str:
        """A kernel whose session left `files` of random bytes."""
        client = connect(self._environ, login=(_USER, _KEY))
        source = _MAKE.format(files=list(files))
        ref = client.push(KernelPush(KernelRef(_USER, slug), slug.title(), source, accelerator=None)).ref
        while not client.session_status(ref).state.is_terminal:
            time.sleep(0.1)
        if client.session_status(ref).state is not SessionState.COMPLETE:
            raise RuntimeError("The kernel that makes the files failed.")
        client.close()
        left = self.folder / "kaggle/kernels" / _USER / slug / "1/output"
        self.hashes[slug] = {path.name: _digest(path) for path in left.iterdir()}
        return slug

    def faults(self, *faults: dict[str, Any], seed: int = _SEED) -> None:
        """Put a fault plan in force."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({"faults": faults, "seed": seed}) + "\n")
        self._server.stdin.flush()
        self._server.stdout.readline()

    def kgtts(self, slug: str, target: Path, *, kill_after: float | None = None) -> Run:
        """`kgtts pull --all --json`, or as much of it as `kill_after` seconds allow."""
        command = [sys.executable, "-m", "orchestrator", "pull", f"{_USER}/{slug}", "--all", "--json"]
        return self._run([*command, "--to", str(target)], kill_after)

    def stock(self, slug: str, target: Path) -> Run:
        """`kaggle kernels output`, all on one page."""
        command = [sys.executable, "-c", _STOCK, self.url, "kernels", "output", f"{_USER}/{slug}"]
        return self._run([*command, "-p", str(target), "--page-size", "200"], None)

    def _run(self, command: list[str], kill_after: float | None) -> Run:
        with tempfile.TemporaryFile("w+") as out:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, env=self._environ, stdout=out, stderr=subprocess.DEVNULL, cwd=self.folder
            )
            if kill_after is not None:
                time.sleep(kill_after)
                process.send_signal(signal.SIGKILL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - start
            out.seek(0)
            processor_s = usage.ru_utime + usage.ru_stime
            return Run(seconds, processor_s, usage.ru_maxrss / 1024, process.returncode, out.read())

    def is_right(self, slug: str, target: Path) -> bool:
        """Whether every byte is right, and nothing else lies there but the log."""
        found = {path.name: path for path in target.rglob("*") if path.is_file()}
        brought = {name: _digest(place) for name, place in found.items() if name not in _LOGS}
        return brought == self.hashes[slug]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


@contextmanager
def _target(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        yield Path(place) / "target"


_SLOW = (
    {"what": "latency", "where": "storage", "seconds": 0.06},
    {"what": "latency", "where": "api", "seconds": 0.06},
    {"what": "bandwidth", "where": "storage", "bytes_per_s": 25 * _MB},
)


def compare(bench: Bench, slug: str, *faults: dict[str, Any], rounds: int, folder: Path) -> None:
    """Print paired runs of both clients, which fill a folder below `folder`."""
    bench.faults(*faults)
    pairs: list[tuple[Run, Run]] = []
    for number in range(rounds + 1):
        runs: dict[str, Run] = {}
        for client in ("kaggle", "kgtts") if number % 2 else ("kgtts", "kaggle"):
            with _target(folder) as target:
                os.sync()
                _use_pages(folder)
                runs[client] = (bench.kgtts if client == "kgtts" else bench.stock)(slug, target)
                assert runs[client].code == 0
                assert bench.is_right(slug, target), f"{client} brought something else"
        if number > 0:
            pairs.append((runs["kgtts"], runs["kaggle"]))
            print("  " + "   ".join(f"{name} {_told(run)}" for name, run in runs.items()))
    for what, name in (("time", "seconds"), ("processor", "processor_s")):
        ours, theirs = ([getattr(run, name) for run in runs] for runs in zip(*pairs, strict=True))
        medians = f"kgtts {statistics.median(ours):.2f} s, kaggle {statistics.median(theirs):.2f} s"
        ratios = sorted(there / here for here, there in zip(ours, theirs, strict=True))
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(f"  {what}: medians {medians}; ratio {statistics.median(ratios):.2f} ({spread})")


def _use_pages(folder: Path) -> None:
    """Write and delete a file as large as all that is fetched, after other free pages went to the host."""
    time.sleep(_RETURNED_S)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(sum(size for _, size in _VOICE) >> 20):
            file.write(b"x" * (1 << 20))


def _told(run: Run) -> str:
    return f"{run.seconds:5.2f} s, processor {run.processor_s:.2f} s, {run.peak_mb:3.0f} MB"


def main() -> int:
    """Print the figures."""
    parts = sys.argv[1:] or ["shaped", "loopback", "memory", "faults", "kills"]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            for part in parts:
                _PARTS[part](bench)
        finally:
            bench.close()
    return 0


def _voice(bench: Bench) -> str:
    return "voice" if "voice" in bench.hashes else bench.kernel("voice", _VOICE)


def _shaped(bench: Bench) -> None:
    print("shaped: 2 x 256 MiB and 45 x 200 kB, 25 MB/s a connection, 60 ms an answer")
    compare(bench, _voice(bench), *_SLOW, rounds=_ROUNDS, folder=bench.folder)


def _loopback(bench: Bench) -> None:
    for folder in filter(Path.is_dir, (_MEMORY, bench.folder)):
        print(f"loopback: the same files, unlimited, into {'memory' if folder is _MEMORY else 'TMPDIR'}")
        compare(bench, _voice(bench), rounds=_FAST_ROUNDS, folder=folder)


def _memory(bench: Bench) -> None:
    print("memory: one file of 2 GiB, unlimited")
    slug = bench.kernel("large", [("checkpoint.pth", 2 << 30)])
    bench.faults()
    with _target(bench.folder) as target:
        os.sync()
        run = bench.kgtts(slug, target)
        assert bench.is_right(slug, target)
    print(f"  kgtts {run.seconds:.2f} s, peak {run.peak_mb:.0f} MB")


_FAULTS: dict[str, list[dict[str, Any]]] = {
    "latency of 60 ms": [{"what": "latency", "where": "storage", "seconds": 0.06}],
    "25 MB/s": [{"what": "bandwidth", "where": "storage", "bytes_per_s": 25 * _MB}],
    "429, every 7th": [{"what": "error", "where": "storage", "status": 429, "retry_after_s": 1, "every": 7}],
    "503, 2 of 13": [{"what": "error", "where": "storage", "status": 503, "every": 13, "burst": 2}],
    "reset after 5 MB, every 3rd": [
        {"what": "reset", "where": "storage:*.pth", "after": 5 * _MB, "every": 3}
    ],
    "reset at once, every 9th": [{"what": "reset", "where": "storage", "every": 9}],
    "cut off after 3 MB, every 4th": [
        {"what": "truncated", "where": "storage:*.pth", "after": 3 * _MB, "every": 4}
    ],
    "range ignored, every 10th": [
        {"what": "range_ignored", "where": "storage:*.pth", "skip": 4, "every": 10}
    ],
    "corrupted, 3 small files": [{"what": "corrupted", "where": "storage:*_1?.wav", "every": 5, "first": 3}],
    "address expired, each file once": [
        {"what": "expired", "where": "storage", "first": 1, "per_name": True}
    ],
    "hostile names": [{"what": "hostile_names"}],
}


def _faults(bench: Bench) -> None:
    print("faults: the same files; received twice, beside all that was received")
    slug = _voice(bench)
    every = [fault for name, faults in _FAULTS.items() for fault in faults]
    for name, faults in {**_FAULTS, "all together": every}.items():
        bench.faults(*faults)
        with _target(bench.folder) as target:
            run = bench.kgtts(slug, target)
            told = json.loads(run.out)
            for odd in ("hostile.txt", "Hostile.TXT"):  # Those of the hostile names that may be written.
                (target / odd).unlink(missing_ok=True)
            shutil.rmtree(target / "hostile", ignore_errors=True)
            verdict = "right" if bench.is_right(slug, target) else "WRONG"
            outside = [path.name for path in bench.folder.rglob("hostile*")]
        cost = told["transfer"]
        share = cost["again"] / cost["received"]
        print(
            f"  {name:<32} {verdict}, {len(outside)} outside, {share:6.2%} twice, {cost['retries']:3} retries"
            f", {run.seconds:5.1f} s, {run.peak_mb:.0f} MB, exit {run.code}"
        )


def _kills(bench: Bench) -> None:
    print(f"kills: at {_KILLS} random moments (seed {_SEED}) of a pull at 25 MB/s a connection, then again")
    slug = _voice(bench)
    bench.faults(*_SLOW)
    shares = []
    for number in range(_KILLS + 1):
        with _target(bench.folder) as target:
            counter = bench.folder / "counter"
            counter.write_bytes(bytes(8))
            order = Order(bench.url, _USER, _KEY, f"{_USER}/{slug}", target, counter)
            if number == 0:
                seconds, size = pulled_in(order), received(order)
                continue
            (after,) = killed(order, seconds, 1, seed=_SEED + number)
            pulled_in(order)
            shares.append(received(order) / size - 1)
            verdict = "right" if bench.is_right(slug, target) else "WRONG"
            print(f"  after {after:5.2f} s: {verdict}, {shares[-1]:6.2%} twice")
    print(f"  at most {max(shares):.2%}, on average {statistics.mean(shares):.2%}")


_PARTS: dict[str, Callable[[Bench], None]] = {
    "shaped": _shaped,
    "loopback": _loopback,
    "memory": _memory,
    "faults": _faults,
    "kills": _kills,
}

if __name__ == "__main__":
    sys.exit(main())

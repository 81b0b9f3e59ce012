"""Start-up: `kgtts` beside the official client, as medians of paired runs on one machine.

Run it from the repository in an environment with the extra `local`: `python -m benchmarks.startup [PAIRS]`.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.environment import newcomer
from orchestrator.emulator import Emulator
from orchestrator.kaggle import connect
from orchestrator.models import KernelPush, KernelRef, SessionState

# The stock client, unmodified, with its endpoint table re-pointed as the README says.
_STOCK = """
import sys
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv.pop(1)
from kaggle.cli import main
sys.argv[0] = "kaggle"
main()
"""
_SOURCE = "for step in range(200):\n    print(f'step {step}')\n"


class Pair(NamedTuple):
    """Two commands and the most that the first may take, as a share of the second."""

    name: str
    ours: list[str]
    theirs: list[str]
    most: float


def _seconds(command: list[str], environ: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def _compare(pair: Pair, environ: dict[str, str], pairs: int) -> bool:
    for command in (pair.ours, pair.theirs):
        _seconds(command, environ)  # Once for the disk's cache and the bytecode.
    measured = [(_seconds(pair.ours, environ), _seconds(pair.theirs, environ)) for _ in range(pairs)]
    our_median, their_median = (statistics.median(side) for side in zip(*measured, strict=True))
    ratio = our_median / their_median
    verdict = "within" if ratio <= pair.most else "ABOVE"
    print(
        f"{pair.name:<38} {our_median * 1e3:7.0f} ms {their_median * 1e3:7.0f} ms  {ratio:.2f}  "
        f"{verdict} {pair.most}"
    )
    return bool(ratio <= pair.most)


def main() -> int:
    """Print the table; the exit code says whether every ratio is within its bound."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    scripts = Path(sys.executable).parent
    kgtts, kaggle = str(scripts / "kgtts"), str(scripts / "kaggle")
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder) / "kaggle") as emulator:
        username, key = emulator.credentials
        environ = newcomer(Path(folder), emulator.url, emulator.credentials)
        client = connect(environ, login=(username, key))
        ref = client.push(
            KernelPush(KernelRef(username, "startup"), "Startup", _SOURCE, accelerator=None)
        ).ref
        while client.session_status(ref).state is not SessionState.COMPLETE:
            time.sleep(0.2)
        print(f"{f'medians of {pairs} pairs':<38} {'kgtts':>10} {'kaggle':>10}  ratio")
        stock = [sys.executable, "-c", _STOCK, emulator.url, "kernels", "status", str(ref.kernel)]
        compared = [
            Pair("kgtts --help / kaggle --version", [kgtts, "--help"], [kaggle, "--version"], 0.4),
            Pair("kgtts status / kaggle kernels status", [kgtts, "status", str(ref)], stock, 1.2),
        ]
        good = [_compare(pair, environ, pairs) for pair in compared]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

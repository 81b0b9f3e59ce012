"""Start-up: `kgtts` beside the official client, as medians of paired runs on one machine.

Run it in an environment with the extra `local`: `python benchmarks/startup.py [PAIRS]`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.emulator import Emulator
from orchestrator.kaggle_client import connect
from orchestrator.models import KernelPush, KernelRef, SessionState

_SOURCE = "for step in range(200):\n    print(f'step {step}')\n"


def _seconds(command: list[str], environ: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def _compare(name: str, ours: list[str], theirs: list[str], environ: dict[str, str], pairs: int, most: float) -> bool:
    for command in (ours, theirs):
        _seconds(command, environ)  # Once for the disk's cache.
    measured = [(_seconds(ours, environ), _seconds(theirs, environ)) for _ in range(pairs)]
    our_median, their_median = (statistics.median(side) for side in zip(*measured, strict=True))
    ratio = our_median / their_median
    verdict = "within" if ratio <= most else "ABOVE"
    print(f"{name:<34} {our_median * 1e3:7.0f} ms {their_median * 1e3:7.0f} ms  {ratio:.2f}  {verdict} {most}")
    return ratio <= most


def main() -> int:
    """Print the table; the exit code says whether every ratio is within its bound."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    scripts = Path(sys.executable).parent
    kgtts, kaggle = str(scripts / "kgtts"), str(scripts / "kaggle")
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder) / "kaggle") as emulator:
        username, key = emulator.credentials
        environ = {
            **os.environ,
            "HOME": folder,
            "KGTTS_HOME": f"{folder}/kgtts",
            "KGTTS_KAGGLE_URL": emulator.url,
            "KAGGLE_USERNAME": username,
            "KAGGLE_KEY": key,
        }
        environ.pop("KAGGLE_API_TOKEN", None)
        client = connect(environ, login=(username, key))
        ref = client.push(KernelPush(KernelRef(username, "startup"), "Startup", _SOURCE, accelerator=None)).ref
        while client.session_status(ref).state is not SessionState.COMPLETE:
            time.sleep(0.2)
        print(f"{'medians of ' + str(pairs) + ' pairs':<34} {'kgtts':>10} {'kaggle':>10}  ratio")
        stock = [kgtts, "kaggle", "kernels", "status", str(ref.kernel)]
        good = [
            _compare("kgtts --help / kaggle --version", [kgtts, "--help"], [kaggle, "--version"], environ, pairs, 0.4),
            _compare("kgtts status / kaggle kernels status", [kgtts, "status", str(ref)], stock, environ, pairs, 1.2),
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

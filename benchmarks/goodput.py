"""How much of a session goes into optimizer steps: one small voice, trained through the whole product.

Run it from the repository in an environment with the extra `local`, on a machine without other work:

    python -m benchmarks.goodput [--minutes N] [--repeat N]

The demo's voice and data on the emulator, on the CPU, by `kgtts push --wait` and `kgtts pull`. The dataset's
16 utterances are listed `--repeat` times, so that an epoch has about as many steps as that of a real voice;
as there, one in a hundred is evaluated, a checkpoint is saved every 500 steps and every 25th is printed. The
figures are those that the session itself reports in state.json: goodput is the seconds in optimizer steps
over the seconds of the session. The exit code says whether it is at least 95 % after the first step.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environment import newcomer
from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.emulator.demo.inputs import provide_demo_inputs

BOUND = 0.95
_SLUG = "goodput"
_SETTINGS = """
[kernel]
slug = "{slug}"
accelerator = "none"
[training]
epochs = 100000
batch_size = 4
time_limit = "{minutes}m"
coqui = {{ eval_split_size = 0.01, eval_split_max_size = 256, save_step = 500, print_step = 25 }}
[session]
budget = "{budget}m"
grace = "1m"
[run]
max_sessions = 1
"""


def session(folder: Path, minutes: int, repeat: int) -> dict[str, Any]:
    """Train for `minutes` on an emulator below `folder`; gives the session's state.json."""
    options = EmulatorOptions(session_limit_s=(minutes + 10) * 60, cache=folder / "cache")
    with Emulator(folder / "kaggle", options=options) as emulator:
        inputs = provide_demo_inputs(folder / "kaggle", emulator.credentials[0], cache=folder / "cache")
        listed = inputs.dataset / "MyTTSDataset" / "metadata.csv"
        listed.write_text(listed.read_text(encoding="utf-8") * repeat, encoding="utf-8")
        (folder / "kgtts.toml").write_text(
            _SETTINGS.format(slug=_SLUG, minutes=minutes, budget=minutes + 3), encoding="utf-8"
        )
        environ = newcomer(folder, emulator.url, emulator.credentials)
        for command in (["push", "--wait"], ["pull", "--to", "results"]):
            subprocess.run(
                [sys.executable, "-m", "orchestrator", *command], cwd=folder, env=environ, check=True
            )
    state: dict[str, Any] = json.loads((folder / "results" / "state.json").read_text(encoding="utf-8"))
    return state


def main() -> int:
    """Run the session and print where its seconds went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=20, help="how long the training may take")
    parser.add_argument("--repeat", type=int, default=160, help="how often each utterance is listed")
    asked = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        state = session(Path(folder), asked.minutes, asked.repeat)
    print(f"load after: {os.getloadavg()[0]:.1f}")
    print(json.dumps({"seconds": state["seconds"], "resources": state["resources"]}, indent=2))
    since = float(state["resources"]["goodput_since_first_step"])
    whole = float(state["resources"]["goodput"])
    print(f"goodput {whole:.1%}, after the first step {since:.1%} (bound {BOUND:.0%})")
    return 0 if since >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())

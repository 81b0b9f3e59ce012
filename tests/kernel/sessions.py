"""Made-up training scripts, and whole sessions that run them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kernel_template
from kernel_template.main import run
from kernel_template.tools.package import PackagePrograms
from tests.kernel.hosting import CONFIG, TOY, Forked, ForkServer, save
from tests.kernel.kit import MODEL, Log, make_tools, mount_inputs, put, settings

# What every made-up training begins with: Coqui's arguments, a run folder and whole checkpoints.
HEAD = """
import argparse, json, os, sys, time, zipfile
parser = argparse.ArgumentParser()
for name in ("config", "restore", "continue"): parser.add_argument(f"--{name}_path")
args, others = parser.parse_known_args()
config = json.load(open(args.config_path))
folder = args.continue_path or os.path.join(config["output_path"], "bangla আ-November-22")
os.makedirs(folder, exist_ok=True)
json.dump(config, open(os.path.join(folder, "config.json"), "w"))
def say(text): print(text, file=sys.stderr, flush=True)
def save(step, kind="checkpoint"):
    name = os.path.join(folder, f"{kind}_{step}.pth")
    say(f" > {'CHECKPOINT' if kind == 'checkpoint' else 'BEST MODEL'} : {name}")
    with zipfile.ZipFile(name, "w") as archive: archive.writestr("data.pkl", "x" * step)
def step(number, epoch_step, loss):
    say(f"\\x1b[1m   --> TIME: now -- STEP: {epoch_step}/1 -- GLOBAL_STEP: {number}\\x1b[0m")
    say(f"     | > loss_mel: {loss}  ({loss})\\n")
say(" > Restoring from " + os.path.basename(args.restore_path or args.continue_path) + " ...")
"""
TRAINS = """
for epoch in range(2):
    say(f"\\x1b[4m\\x1b[1m > EPOCH: {epoch}/1\\x1b[0m")
    for number in range(2): step(2 * epoch + number, number, 100.0 - 10 * epoch)
    say(f"  --> EVAL PERFORMANCE\\n     | > avg_loss_mel: {90.0 - epoch} (+0.0)\\n")
    save(2 * epoch + 2, "best_model")
"""
WAITS = """
say("> EPOCH: 0/1"); step(0, 0, 9.0)
try:
    say("READY")
    while True: time.sleep(0.02)
except KeyboardInterrupt:
    say(" > Keyboard interrupt detected."); save(1); sys.exit(130)
"""
SPEAK = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
for name in ("config", "checkpoint", "sentences", "out"): parser.add_argument("--" + name, type=pathlib.Path)
args = parser.parse_args()
print("a library greets")
for number, text in enumerate(json.loads(args.sentences.read_text()), 1):
    (args.out / f"{number:02d}.wav").write_bytes(b"RIFF")
    print(json.dumps({"sample": {"file": f"{number:02d}.wav", "text": text, "seconds": 1.5, "error": None}}))
"""
# Made-up programs that need no torch, in place of the package's own.
PROGRAMS = {"finish/speak_program.py": SPEAK, "start/probe_program.py": ""}


def package_with(programs: Mapping[str, str], folder: Path) -> PackagePrograms:
    """Copy the package below `folder`, and add `programs` to it."""
    copy = folder / "kernel_template"
    shutil.copytree(
        Path(kernel_template.__file__).parent,
        copy,
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )
    for name, text in programs.items():
        assert (copy / name).is_file(), name
        put(copy / name, text)
    return PackagePrograms(root=folder)


class Played:
    """A session that has run: its exit code and its outputs."""

    def __init__(self, root: Path, log: Log, script: str, **more: Any) -> None:
        self.root, self.log = root, log
        programs = more.pop("programs", PROGRAMS)
        tools = dict(more.pop("tools", {}))
        if script:
            mount_inputs(root / "input", script=script)
        tools.setdefault("programs", package_with(programs, root / "temp" / "kgtts"))
        self.code = run(settings(**more), make_tools(root, log, **tools))

    @property
    def state(self) -> dict[str, Any]:
        """The content of state.json."""
        found: dict[str, Any] = json.loads((self.root / "working" / "state.json").read_text())
        return found

    @property
    def end(self) -> dict[str, Any]:
        """The `end` event."""
        (event,) = self.log.events("end")
        return event


def toy_session(  # noqa: PLR0913 - each is a part of what a session gets.
    root: Path,
    log: Log,
    *,
    ranks: int = 1,
    batch_size: int = 4,
    base: Any = None,
    parent: Path | None = None,
    more: Mapping[str, Any] | None = None,
    server: ForkServer | None = None,
    **toy: Any,
) -> Played:
    """A whole session of the kernel around the toy.

    `base` is the base voice's checkpoint, `parent` the working folder of the session before, `more` other
    settings of the session, and the rest is the toy's configuration. With `server`, the ranks are forks of
    it, and need not import torch.
    """
    script = (
        f"import runpy, sys\nsys.path.insert(0, {str(TOY.parent)!r})\n"
        f"runpy.run_path({str(TOY)!r}, run_name='__main__')  # config_path\n"
    )
    environment = {"KGTTS_CPU_RANKS": str(ranks), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    mount_inputs(root / "input", script=script, config={**CONFIG, "model": "toy", "datasets": [], **toy})
    # Nothing fits the toy, and Coqui takes what fits.
    save(
        base or {"model": {}, "step": 0, "epoch": 0},
        root / "input" / "models" / MODEL / "model" / "model_file.pth",
    )
    if parent is not None:
        shutil.copytree(parent, root / "input" / "notebooks" / "owner" / "voice-a")
    return Played(
        root,
        log,
        "",
        tools={"env": environment, **({} if server is None else {"run": Forked(server)})},
        **{
            "training": {"batch_size": batch_size, "epochs": 3, "model": "toy"},
            "samples": {"sentences": [], "enabled": False},
            **(more or {}),
        },
    )


def resume_of(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the `resume` section that names a session by its outputs."""
    section = {
        "kernel": "owner/voice-a",
        "version": 1,
        "run": state["run"]["id"],
        "session": state["run"]["session"],
        "global_step": state["global_step"],
        "sha256": state["checkpoints"][-1]["sha256"],
        "dataset": None,
        "downloads": None,
    }
    return {**section, **changes}


def stamp(session: int) -> dict[str, Any]:
    """The run's stamp in its session."""
    return {**settings()["run"], "session": session, "kernel": f"owner/voice-{'ab'[(session - 1) % 2]}"}

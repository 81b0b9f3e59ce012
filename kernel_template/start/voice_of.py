"""Finds the voice that a run begins with if that is the best model of another run's session.

That session's kernel is mounted, and a mount gives its newest completed version: what it holds is checked.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from kernel_template.contract import CONFIG_FILE, STATE_FILE, EndReason
from kernel_template.settings import VoiceOf
from kernel_template.start.mounts import find_mounts
from kernel_template.tools.files import human_size, sha256_of
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.report import MessageSink


def find_voice_of(root: Path, asked: VoiceOf, report: MessageSink) -> tuple[Path, Path]:
    """Find the configuration and the best model of a session; without a best one, its newest checkpoint.

    Raises:
        KernelFailure: the session is not mounted, or its model is not what its state.json says.
    """
    source = asked["kernel"]
    for mount in find_mounts(root, "notebooks", source):
        place = mount.path / STATE_FILE
        if place.is_file():
            return _checked(mount.path, _read(place), asked, report)
    raise _refuse(asked, f"{source} is not mounted below {root}, or has no {STATE_FILE}")


def _read(place: Path) -> dict[str, Any]:
    try:
        state = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _checked(mount: Path, state: dict[str, Any], asked: VoiceOf, report: MessageSink) -> tuple[Path, Path]:
    run = state.get("run")
    found = (run.get("id"), run.get("session")) if isinstance(run, dict) else (None, None)
    if found != (asked["run"], asked["session"]):
        raise _refuse(asked, f"{mount} is the output of session {found[1]} of run {found[0]}")
    name = state.get("best_model") or state.get("checkpoint")
    listed = state.get("checkpoints")
    entries = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    wanted = next((item.get("sha256") for item in entries if item.get("path") == name), None)
    path = PurePosixPath(str(name))
    if wanted is None or path.is_absolute() or ".." in path.parts:
        raise _refuse(asked, f"its {STATE_FILE} names no model")
    checkpoint = mount / path
    if not checkpoint.is_file() or sha256_of(checkpoint) != wanted:
        raise _refuse(asked, f"{checkpoint} is missing or damaged")
    configs = (checkpoint.parent / CONFIG_FILE, mount / CONFIG_FILE)
    config = next((place for place in configs if place.is_file()), None)
    if config is None:
        raise _refuse(asked, f"{mount} has no {CONFIG_FILE}")
    size = human_size(checkpoint.stat().st_size)
    report.say(f"✓ Found: {checkpoint} (the voice of run {asked['run']}, session {asked['session']}, {size})")
    return config, checkpoint


def _refuse(asked: VoiceOf, why: str) -> KernelFailure:
    return KernelFailure(
        EndReason.WRONG_PARENT,
        f"This run must begin with the voice of session {asked['session']} of run {asked['run']} "
        f"({asked['kernel']}), but {why}.",
    )

"""How numbers and states are written for people."""

from orchestrator.formatting import duration
from orchestrator.models import SessionState, SessionSummary
from orchestrator.run.progress import Progress

_COLOURS = {
    SessionState.QUEUED: "yellow",
    SessionState.RUNNING: "cyan",
    SessionState.COMPLETE: "green",
    SessionState.ERROR: "red",
}


def colour(state: SessionState) -> str:
    """The colour of a state."""
    return _COLOURS.get(state, "magenta")


def session(item: SessionSummary) -> str:
    """One session of a run on one line."""
    steps = f"step {item.from_step} to {item.to_step}"
    return f"{item.session:>2}  {steps:<26} {duration(item.seconds):>14}  {item.kernel}  {item.reason}"


def position(progress: Progress) -> list[str]:
    """Where a training that has begun stands: epoch, step and global step, as far as they are known."""
    epochs = f" of {progress.epochs}" if progress.epochs else ""
    parts = [f"epoch {progress.epoch}{epochs}"]
    if progress.step and progress.steps_per_epoch:
        parts.append(f"step {progress.step} of {progress.steps_per_epoch}")
    if progress.global_step is not None:
        parts.append(f"global step {progress.global_step}")
    return parts

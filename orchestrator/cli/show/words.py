"""How numbers and states are written for people."""

from collections.abc import Mapping
from datetime import timedelta

from orchestrator import formatting as amounts
from orchestrator.models import SessionState, SessionSummary
from orchestrator.run.progress import Progress

_COLOURS = {
    SessionState.QUEUED: "yellow",
    SessionState.RUNNING: "cyan",
    SessionState.COMPLETE: "green",
    SessionState.ERROR: "red",
}
# VITS has a dozen losses; mel is what an ear hears, the two of the game follow, then the last evaluation.
_WATCHED = ("loss_mel", "loss_gen", "loss_disc", "avg_loss_mel")


def hours(span: timedelta) -> str:
    """A span as hours with two decimals."""
    return f"{span.total_seconds() / 3600:.2f} h"


def colour(state: SessionState) -> str:
    """The colour of a state."""
    return _COLOURS.get(state, "magenta")


def session(item: SessionSummary) -> str:
    """One session of a run on one line."""
    steps = f"step {item.from_step} to {item.to_step}"
    return (
        f"{item.session:>2}  {steps:<26} {amounts.duration(item.seconds):>14}  {item.kernel}  {item.reason}"
    )


def losses(values: Mapping[str, float]) -> str:
    """The losses worth watching on one line: those of VITS, mel first; of another model, any four."""
    names = [name for name in _WATCHED if name in values] or sorted(n for n in values if "loss" in n)[:4]
    short = {name: name.replace("avg_loss", "eval").replace("loss_", "") for name in names}
    return "  ".join(f"{short[name]} {values[name]:.3f}" for name in names)


def position(progress: Progress) -> list[str]:
    """Where a training that has begun stands: epoch, step and global step, as far as they are known."""
    epochs = f" of {progress.epochs}" if progress.epochs else ""
    parts = [f"epoch {progress.epoch}{epochs}"]
    if progress.step and progress.steps_per_epoch:
        parts.append(f"step {progress.step} of {progress.steps_per_epoch}")
    if progress.global_step is not None:
        parts.append(f"global step {progress.global_step}")
    return parts

"""The verdict on a run in plain words: does it speak, is it nearer to the speaker, does it still improve.

Pure functions of the measurements. Each answer says what it is based on, and "cannot tell yet" is an answer:
nothing is claimed that a few values or a few sentences do not show.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.formatting import counted
from orchestrator.metrics.answers import Answer, Heard, Point, differences_of, improves, nearer, speaks
from orchestrator.metrics.course import Course, course_of
from orchestrator.metrics.losses import EvalLoss
from orchestrator.metrics.scores import Scores, VoiceDifference
from orchestrator.metrics.table import MetricsTable
from orchestrator.metrics.trend import FLAT_SHARE, WORTH_HOURS, WORTH_SHARE, Direction

_HOUR_S = 3600.0


_SPEAKS = {Answer.YES: "speaks", Answer.NO: "does not speak"}
_NEARER = {
    Answer.YES: "is nearer to the speaker than the base voice",
    Answer.NO: "is further from the speaker than the base voice",
}
_IMPROVES = {Answer.YES: "still improves", Answer.NO: "no longer improves"}


class Advice(StrEnum):
    """What to do with the run."""

    CONTINUE = "keep training"
    STOP = "stop"
    UNKNOWN = "cannot tell yet"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run's measurements say about its voice.

    Attributes:
        headline: all of it in a sentence or two.
        advice: whether to keep training.
        more_hours: how many more hours of training are worth it, if that can be said: at least, and at most
            (None if the end is too far to see).
        speaks: whether it speaks.
        nearer: whether it is nearer to the speaker than the base voice.
        improves: whether it still improves.
        what_to_do: the advice with its reason.
        loss: the eval loss; None if nothing was evaluated.
        differences: voice and base voice compared, sentence by sentence.
        step: the step of the voice that the scores are of.
    """

    headline: str
    advice: Advice
    speaks: Point
    nearer: Point
    improves: Point
    what_to_do: str
    more_hours: tuple[float, float | None] | None = None
    loss: EvalLoss | None = None
    differences: tuple[VoiceDifference, ...] = ()
    step: int | None = None

    @property
    def points(self) -> tuple[Point, ...]:
        """The three questions."""
        return self.speaks, self.nearer, self.improves

    def to_json(self) -> dict[str, Any]:
        """The verdict for programs; no number in it is infinite."""
        low, high = (None, None) if self.more_hours is None else self.more_hours
        loss = self.loss
        return {
            "headline": self.headline,
            "advice": self.advice.value,
            "what_to_do": self.what_to_do,
            "speaks": self.speaks.answer.value,
            "nearer_than_base": self.nearer.answer.value,
            "improves": self.improves.answer.value,
            "reasons": [point.text for point in self.points],
            "more_hours": None if self.more_hours is None else {"at_least": low, "at_most": high},
            "eval_loss": None
            if loss is None
            else {
                "name": loss.name,
                "newest": loss.newest,
                "lowest": loss.lowest,
                "lowest_step": loss.lowest_step,
            },
            "step": self.step,
            "nearer": [
                {
                    "measure": item.measure.value,
                    "gain": item.gain,
                    "low": item.low if math.isfinite(item.low) else None,
                    "high": item.high if math.isfinite(item.high) else None,
                    "better": item.better,
                    "sentences": item.count,
                }
                for item in self.differences
            ],
        }


def judge(
    table: MetricsTable,
    scores: Scores,
    *,
    heard: Heard | None = None,
    session_seconds: Mapping[int, float] | None = None,
    is_over: bool = False,
) -> Verdict:
    """Judge a run by its measurements.

    Args:
        table: the run's measurements.
        scores: the scores of its held-out sentences; empty if there are none.
        heard: what is known of its test sentences.
        session_seconds: how long its sessions took, as far as known.
        is_over: whether the run has reached its target, so that training on needs a new one.
    """
    newest = scores.steps[-1] if scores.steps else None
    differences = tuple(differences_of(scores, newest))
    course = course_of(table, scores, session_seconds)
    answers = speaks(scores, newest, heard), nearer(scores, newest, differences), improves(scores, course)
    advice, what = _advice(course, answers[0], is_over=is_over)
    return Verdict(
        _headline(*answers, advice, course.more),
        advice,
        *answers,
        what,
        course.more,
        course.loss,
        differences,
        None if newest is None else newest.step,
    )


def _advice(course: Course, said: Point, *, is_over: bool) -> tuple[Advice, str]:
    if course.broken_since is not None:
        what = "Use the best model, which is from before; lower the learning rate before you train further."
        return Advice.STOP, f"Stop now. {what}"
    if course.disagree:
        what = "Listen to the steps side by side, and let people choose: `kgtts compare --blind`."
        return Advice.UNKNOWN, what
    if course.direction is Direction.WORSE:
        return Advice.STOP, "Stop now, and use the best model: more of the same training makes it worse."
    if course.direction is Direction.FLAT:
        again = "" if said.answer is Answer.YES else " If it does not sound right, look at the data first."
        return Advice.STOP, f"Stop now: twice the time would bring less than {FLAT_SHARE:.0%}.{again}"
    how = " The run has reached its target: raise `training.epochs` to go on." if is_over else ""
    if course.direction is Direction.BETTER:
        return _advice_to_improving(course.more, how)
    return Advice.UNKNOWN, f"Keep training, and look again after some more evaluations.{how}"


def _advice_to_improving(more: tuple[float, float | None] | None, how: str) -> tuple[Advice, str]:
    if more is None:
        return (
            Advice.CONTINUE,
            f"Keep training. For how long cannot be said, since the log has no times.{how}",
        )
    low, high = more
    if high is not None and high <= 0:
        worth = f"{WORTH_HOURS:.0f} more hours would bring less than {WORTH_SHARE:.0%}"
        return Advice.STOP, f"Stop when you like: it still improves, but {worth}."
    if high is None and low <= 0:
        return (
            Advice.CONTINUE,
            f"Keep training, and look again: it is too early to say for how long.{how}",
        )
    until = (
        f"That is worth it while {WORTH_HOURS:.0f} hours of training still make it {WORTH_SHARE:.0%} better."
    )
    return Advice.CONTINUE, f"Keep training for {more_words(more)}. {until}{how}"


def more_words(more: tuple[float, float | None]) -> str:
    """A range of hours in words, such as `about 2 to 5 more hours`."""
    low, high = more
    if high is None:
        return f"{_span(low)} or more"
    if low <= 0:
        return f"at most {_span(high)} more"
    one, other = _span(low), _span(high)
    return f"about {one} more" if one == other else f"about {one} to {other} more"


def _span(hours: float) -> str:
    if hours * _HOUR_S < 60:  # noqa: PLR2004  # A minute.
        return f"{max(1, round(hours * _HOUR_S))} s"
    if hours < 1:
        return f"{round(hours * 60)} min"
    return counted(round(hours), "hour") if hours >= 10 else f"{hours:.1f} hours"  # noqa: PLR2004  # Two digits.


def _headline(
    said: Point, near: Point, better: Point, advice: Advice, more: tuple[float, float | None] | None
) -> str:
    parts = [
        text
        for text in (_SPEAKS.get(said.answer), _NEARER.get(near.answer), _IMPROVES.get(better.answer))
        if text is not None
    ]
    first = "" if said.answer is not Answer.UNKNOWN else "Listen to hear whether it speaks. "
    if parts:
        *rest, last = parts
        first += f"It {', '.join(rest)} and {last}. " if rest else f"It {last}. "
    if advice is Advice.UNKNOWN:
        return f"{first}It is too early to say whether to keep training."
    if advice is Advice.STOP:
        return first + (
            "Stop now." if better.answer is Answer.NO else "More hours bring little: stop when you like."
        )
    known = more is not None and (more[0] > 0 or more[1] is not None)
    return f"{first}Keep training{f' for {more_words(more)}' if more is not None and known else ''}."

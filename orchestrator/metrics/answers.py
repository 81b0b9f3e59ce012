"""Answers to the three questions about a voice, each with the facts that it is based on."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kernel_template.contract import MEASURES, Better, Measure
from orchestrator.formatting import counted
from orchestrator.metrics.course import Course
from orchestrator.metrics.losses import EVAL_LOSS
from orchestrator.metrics.scores import (
    FEWEST_PAIRS,
    MEASURE_WORDS,
    QUALITY,
    ScoredVoice,
    Scores,
    VoiceDifference,
    compared,
    difference_unit,
)
from orchestrator.metrics.trend import FEWEST, Direction

# What is nearer to the speaker, the one that says most first.
_NEARNESS = (Measure.MEL_DISTANCE, Measure.SIMILARITY, Measure.F0_ERROR)
_RATES = (0.5, 2.0)  # Of the recordings' rate: slower or faster is a hum or babble.
_SILENT_SHARE = 0.9
_MOS_SPEECH, _MOS_NOISE = 3.0, 1.5  # DistillMOS: eSpeak has 2.3, a good Bangla voice 4.4.
_CER_SPEECH, _CER_NOISE = 0.3, 0.8


class Answer(StrEnum):
    """An answer to one question of the verdict."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Point:
    """One question, its answer, and the sentences that give the reason."""

    question: str
    answer: Answer
    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a run's spoken test sentences.

    Attributes:
        spoken: how many there are.
        silent: how many of them are almost silent.
        steady: how many of them are a hum or a hiss, by their spectrum.
    """

    spoken: int
    silent: int
    steady: int = 0


# ---- Does it speak?


def _not_speech(heard: Heard | None) -> str | None:
    """Why the test sentences are no speech; None if they may be."""
    if heard is None or not heard.spoken:
        return None
    if heard.silent == heard.spoken:
        return "No: the test sentences are almost silent."
    if 2 * heard.steady > heard.spoken:
        told = f"in {heard.steady} of {counted(heard.spoken, 'test sentence')} there is a hum or a hiss"
        return f"No: {told}, whose spectrum hardly changes."
    return None


def speaks(scores: Scores, newest: ScoredVoice | None, heard: Heard | None) -> Point:
    """Answer whether the voice speaks."""
    question = "Does it speak?"
    wrong = _not_speech(heard)
    if wrong is not None:
        return Point(question, Answer.NO, wrong)
    if newest is None or not (newest.sentences or newest.means):
        listen = (
            "Listen to the test sentences" if heard is not None and heard.spoken else "Nothing was spoken yet"
        )
        return Point(question, Answer.UNKNOWN, f"Cannot tell: no sentences were measured. {listen}.")
    silent = sum(
        sentence is None or sentence.get(Measure.SILENCE, 0.0) > _SILENT_SHARE
        for sentence in newest.sentences.values()
    )
    count = len(newest.sentences)
    if count and 2 * silent > count:
        return Point(question, Answer.NO, f"No: {silent} of {counted(count, 'sentence')} have no sound.")
    pace, cer, mos = _pace(scores, newest), newest.mean(Measure.CER), newest.mean(Measure.MOS)
    facts = list(_speech_facts(scores, newest, pace))
    if pace is not None and not _RATES[0] <= pace <= _RATES[1]:
        how = "slowly" if pace < 1 else "fast"
        facts.append(f"that is too {how} for speech: rather a hum or babble")
        return Point(question, Answer.NO, f"No: {'; '.join(facts)}.")
    good = (cer is not None and cer <= _CER_SPEECH) or (
        cer is None and mos is not None and mos >= _MOS_SPEECH
    )
    bad = (cer is not None and cer >= _CER_NOISE) or (cer is None and mos is not None and mos < _MOS_NOISE)
    if good or bad:
        answer = Answer.NO if bad else Answer.YES
        return Point(question, answer, f"{'No' if bad else 'Yes'}: {'; '.join(facts)}.")
    if cer is None and mos is None:
        facts.append("nothing measured whether it can be understood")
    text = f"It makes sounds. Listen to hear whether they can be understood: {'; '.join(facts)}."
    return Point(question, Answer.UNKNOWN, text)


def _pace(scores: Scores, voice: ScoredVoice) -> float | None:
    """The voice's rate as a share of the recordings'."""
    own = voice.mean(Measure.RATE)
    theirs = None if scores.recordings is None else scores.recordings.mean(Measure.RATE)
    return own / theirs if own is not None and theirs is not None and theirs > 0 else None


def _speech_facts(scores: Scores, voice: ScoredVoice, pace: float | None) -> Iterator[str]:
    cer, mos = voice.mean(Measure.CER), voice.mean(Measure.MOS)
    theirs = None if scores.recordings is None else scores.recordings.mean(Measure.MOS)
    if cer is not None:
        yield f"a recogniser misheard {cer:.0%} of the letters"
    if mos is not None:
        beside = "" if theirs is None else f" (the speaker's recordings: {theirs:.1f})"
        yield f"naturalness {mos:.1f} of 5{beside}"
    if pace is not None:
        yield f"it speaks at {pace:.0%} of the speaker's speed"


# ---- Is it nearer to the speaker than the base voice?


def differences_of(scores: Scores, newest: ScoredVoice | None) -> Iterator[VoiceDifference]:
    """How the voice differs from the base voice in what shows nearness to the speaker."""
    for measure in _NEARNESS:
        found = compared(scores.base, newest, measure, scores.recordings)
        if found is not None:
            yield found


def nearer(scores: Scores, newest: ScoredVoice | None, differences: Sequence[VoiceDifference]) -> Point:
    """Answer whether the voice is nearer to the speaker than the base voice."""
    question = "Is it nearer to the speaker than the base voice?"
    if newest is None or scores.base is None or not differences:
        why = "the base voice was not measured" if newest is not None else "no sentences were measured"
        if newest is not None and scores.base is not None:
            why = "voice and base voice have no measured sentence in common"
        return Point(question, Answer.UNKNOWN, f"Cannot tell: {why}.")
    texts = "; ".join(difference_words(item) for item in differences)
    clear = {item.gain > 0 for item in differences if item.is_clear}
    if not clear:
        count = differences[0].count
        few = f"{counted(count, 'sentence')} {'is' if count == 1 else 'are'} too few"
        why = few if count < FEWEST_PAIRS else "the difference is no larger than sentences vary"
        return Point(question, Answer.UNKNOWN, f"Cannot tell, {why}: {texts}.")
    if len(clear) > 1:
        return Point(question, Answer.UNKNOWN, f"In some ways it is, in others not: {texts}.")
    is_nearer = True in clear
    answer = Answer.YES if is_nearer else Answer.NO
    return Point(question, answer, f"{'Yes' if is_nearer else 'No, it is further away'}: {texts}.")


def difference_words(item: VoiceDifference, *, named: bool = True) -> str:
    """A difference in words: how much, its 95% range, and in how many of the sentences.

    Args:
        item: the difference.
        named: whether the words begin with what was measured.
    """
    good = MEASURES[item.measure][1]
    name = f"{MEASURE_WORDS[item.measure][0].lower()} " if named else ""
    better = f"better in {item.better} of {counted(item.count, 'sentence')}"
    if not item.gain:
        return f"{name}the same, {better}"
    is_better = item.gain > 0
    lower = is_better == (good is Better.LOW)
    word = "lower" if lower else "higher"
    if good is Better.LIKE_RECORDINGS:
        word = "nearer to the recordings" if is_better else "further from the recordings"
    sign = 1 if is_better else -1
    low, high = sorted((sign * item.low, sign * item.high))
    scale, unit = difference_unit(item.measure)
    known = math.isfinite(low) and math.isfinite(high)
    spread = f" (95% range {_figure(scale * low)} to {_figure(scale * high)})" if known else ""
    amount = f"{_figure(scale * abs(item.gain))}{f' {unit}' if unit else ''}"
    return f"{name}{amount} {word}{spread}, {better}"


def _figure(value: float) -> str:
    """A number with as many digits as one may hear."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"  # noqa: PLR2004  # Two digits.


# ---- Does it still improve?


_DIRECTIONS = {
    Direction.BETTER: (Answer.YES, "Yes"),
    Direction.FLAT: (Answer.NO, "No, it stands still"),
    Direction.WORSE: (Answer.NO, "No, it gets worse"),
    Direction.UNCLEAR: (Answer.UNKNOWN, "Cannot tell, the values vary too much"),
    Direction.TOO_FEW: (Answer.UNKNOWN, f"Cannot tell yet, that needs {FEWEST} evaluations or more"),
}
_COURSES = {Direction.BETTER: "improves", Direction.WORSE: "gets worse", Direction.FLAT: "stands still"}


def improves(scores: Scores, course: Course) -> Point:
    """Answer whether the voice still improves."""
    question = "Does it still improve?"
    if course.broken_since is not None:
        text = f"No: since step {course.broken_since:,} the {EVAL_LOSS} is not a number (NaN or infinite)."
        return Point(question, Answer.NO, text)
    facts = [*_loss_facts(course), *_score_facts(scores, course)]
    if course.scored is not None:  # The scores answer, so they are the reason to give first.
        facts.reverse()
    said = f": {'; '.join(facts)}" if facts else ": nothing was evaluated"
    if course.disagree:
        return Point(question, Answer.UNKNOWN, f"Cannot tell, {EVAL_LOSS} and scores disagree{said}.")
    answer, words = _DIRECTIONS[course.direction]
    return Point(question, answer, f"{words}{said}.")


def _loss_facts(course: Course) -> Iterator[str]:
    loss = course.loss
    if loss is not None:
        where = "" if loss.lowest_step is None else f" at step {loss.lowest_step:,}"
        yield f"the {EVAL_LOSS} ({loss.words}) is {loss.newest:.4g}, at its lowest {loss.lowest:.4g}{where}"


def _score_facts(scores: Scores, course: Course) -> Iterator[str]:
    steps, scored = scores.steps, course.scored
    if course.measure is not None and scored is not None:
        name = MEASURE_WORDS[course.measure][0].lower()
        yield f"{name} {_COURSES.get(scored.direction, 'varies')} over {counted(scored.count, 'scored step')}"
        return
    earlier = steps[(len(steps) - 1) // 2] if len(steps) > 1 else None
    for item in QUALITY:
        found = compared(earlier, steps[-1] if steps else None, item, scores.recordings)
        if found is not None and earlier is not None:
            yield f"since step {earlier.step:,}: {difference_words(found)}"
            return

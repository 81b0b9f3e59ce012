"""The verdict in words: what it claims, and what it does not."""

import math
from collections.abc import Sequence

import pytest

from kernel_template.contract import Measure
from orchestrator.metrics import Kind, MetricsTable, Moment, Scores, Verdict, eval_loss, judge, watched_loss
from orchestrator.metrics.answers import Answer, Heard
from orchestrator.metrics.losses import eval_loss_now, eval_loss_words, meaning_of
from orchestrator.metrics.verdict import Advice, more_words
from tests.metrics.test_scores import scores_of
from tests.report.making import score_event

HOUR = 3600.0
FALLING = [18 + 8 * math.exp(-index / 8) for index in range(24)]


def evaluated(values: Sequence[float], *, hours: float = 12.0, name: str = "avg_loss_mel") -> MetricsTable:
    """A table of evaluations over some hours in two sessions of the same length; the first is at step 100."""
    table = MetricsTable()
    count = len(values)
    for index, value in enumerate(values):
        at = hours * HOUR * (index + 1) / count
        session = 1 + (at > hours * HOUR / 2)
        time = at - (session - 1) * hours * HOUR / 2
        table.add(Moment(Kind.EVAL, time, session, index, 100 * (index + 1)), (name,), [value])
    return table


def spoken(far: float, *, base: float | None = 1.0, count: int = 6, steps: int = 1) -> Scores:
    """Scores of recordings, base voice and some steps, of which the last is so far from the speaker."""
    events = [score_event("recordings", None, 0, count)]
    events += [] if base is None else [score_event("base", 0, base, count)]
    for step in range(1, steps + 1):
        events.append(score_event("step", 100 * step, far + 0.1 * math.log(steps / step), count))
    return scores_of(*events)


def answers(verdict: Verdict) -> list[Answer]:
    """The answers to the three questions."""
    return [point.answer for point in verdict.points]


def test_a_good_voice() -> None:
    """A voice that speaks, is nearer and improves is told so, with numbers, hours and spread."""
    found = judge(evaluated(FALLING), spoken(0.2))
    assert answers(found) == [Answer.YES] * 3
    assert found.headline.startswith(
        "It speaks, is nearer to the speaker than the base voice and still improves. Keep training for "
    )
    assert found.advice is Advice.CONTINUE
    assert found.more_hours is not None
    assert "naturalness 4.1 of 5 (the speaker's recordings: 4.4)" in found.speaks.text
    assert "distance to the recording 4.60 dB lower (95% range 4." in found.nearer.text
    assert "better in 6 of 6 sentences" in found.nearer.text
    assert "the eval loss (mel loss on the evaluation recordings) is 18.4" in found.improves.text
    assert [item.measure for item in found.differences] == [
        Measure.MEL_DISTANCE,
        Measure.SIMILARITY,
        Measure.F0_ERROR,
    ]


def test_nothing_at_all() -> None:
    """Without any measurement every answer is that it is too early to say."""
    found = judge(MetricsTable(), Scores())
    assert answers(found) == [Answer.UNKNOWN] * 3
    assert found.headline == (
        "Listen to hear whether it speaks. It is too early to say whether to keep training."
    )
    assert (found.loss, found.more_hours, found.advice) == (None, None, Advice.UNKNOWN)
    assert "training.epochs" not in found.what_to_do
    assert "raise `training.epochs`" in judge(MetricsTable(), Scores(), is_over=True).what_to_do


def test_losses_without_scores() -> None:
    """An older run is judged by its eval loss; whether it speaks must be heard, unless it is silent."""
    found = judge(evaluated(FALLING), Scores(), heard=Heard(2, 0))
    assert answers(found) == [Answer.UNKNOWN, Answer.UNKNOWN, Answer.YES]
    assert "Listen to the test sentences" in found.speaks.text
    silent = judge(evaluated(FALLING), Scores(), heard=Heard(2, 2))
    assert silent.speaks.answer is Answer.NO
    assert silent.headline.startswith("It does not speak and still improves.")


def test_a_voice_that_stands_still() -> None:
    """If twice the time would bring next to nothing, the advice is to stop."""
    found = judge(evaluated([18 + 0.05 * (-1) ** index for index in range(24)]), spoken(0.2))
    assert (found.improves.answer, found.advice) == (Answer.NO, Advice.STOP)
    assert found.headline.endswith("and no longer improves. Stop now.")


def test_a_voice_that_gets_worse() -> None:
    """A rising eval loss gives the advice to stop and to use the best model, and where the lowest was."""
    found = judge(evaluated([*FALLING, *(18 + 0.3 * index for index in range(24))]), Scores())
    assert (found.improves.answer, found.advice) == (Answer.NO, Advice.STOP)
    assert "best model" in found.what_to_do
    assert found.loss is not None
    assert found.loss.lowest_step == 2500
    assert "at its lowest 18 at step 2,500" in found.improves.text


def test_a_loss_that_is_no_number() -> None:
    """A loss that is NaN to the end stops the run; a single NaN on the way does not."""
    found = judge(evaluated([*FALLING, math.nan, math.inf]), Scores())
    assert (found.improves.answer, found.advice) == (Answer.NO, Advice.STOP)
    assert "since step 2,500 the eval loss is not a number" in found.improves.text
    assert judge(evaluated([*FALLING[:12], math.nan, *FALLING[12:]]), Scores()).advice is Advice.CONTINUE
    only = judge(evaluated([math.nan]), Scores())
    assert (only.advice, only.loss) == (Advice.STOP, None)


def test_few_values_and_sentences_claim_nothing() -> None:
    """One checkpoint, five evaluations or two sentences are too few for a claim, and that is said."""
    found = judge(evaluated(FALLING[:5]), spoken(0.2, count=2))
    assert answers(found) == [Answer.YES, Answer.UNKNOWN, Answer.UNKNOWN]
    assert "2 sentences are too few" in found.nearer.text
    assert "needs 6 evaluations or more" in found.improves.text
    assert found.advice is Advice.UNKNOWN
    assert found.to_json()["nearer"][0]["low"] is None


def test_no_base_voice() -> None:
    """Without the base voice's scores nearness cannot be told."""
    found = judge(evaluated(FALLING), spoken(0.2, base=None))
    assert found.nearer.text == "Cannot tell: the base voice was not measured."


def test_a_difference_within_the_spread() -> None:
    """A difference no larger than sentences vary is no claim; one in the other direction is told."""
    assert judge(MetricsTable(), spoken(0.5, base=0.5)).nearer.answer is Answer.UNKNOWN
    worse = judge(MetricsTable(), spoken(0.9, base=0.2))
    assert worse.nearer.answer is Answer.NO
    assert "is further from the speaker than the base voice" in worse.headline


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 3.0}, "too slowly for speech"),
        ({"rate": 40.0}, "too fast for speech"),
        ({"silence": 0.97}, "have no sound"),
        ({"mos": 1.2}, "naturalness 1.2 of 5"),
        ({"cer": 0.9}, "misheard 90%"),
    ],
)
def test_what_does_not_speak(changes: dict[str, float], words: str) -> None:
    """Hum, babble, silence, noise and what a recogniser does not understand are no speech."""
    event = score_event("step", 100, 0.2, 4)
    for sentence in event["sentences"]:
        sentence["scores"] |= changes
    found = judge(MetricsTable(), scores_of(score_event("recordings", None, 0, 4), event))
    assert found.speaks.answer is Answer.NO
    assert words in found.speaks.text


def test_a_voice_between_noise_and_speech_must_be_heard() -> None:
    """A middling naturalness decides nothing; sentences without sound do if they are most of them."""
    event = score_event("step", 100, 0.2, 4)
    for sentence in event["sentences"]:
        sentence["scores"]["mos"] = 2.2
    assert judge(MetricsTable(), scores_of(event)).speaks.answer is Answer.UNKNOWN
    for sentence in event["sentences"][:3]:
        sentence["error"] = "ValueError: nothing came"
    assert "3 of 4 sentences have no sound" in judge(MetricsTable(), scores_of(event)).speaks.text


def test_scores_of_many_steps_decide() -> None:
    """With scores at six steps or more their trend decides, and says so."""
    found = judge(evaluated(FALLING), spoken(0.2, steps=24))
    assert found.improves.answer is Answer.YES
    assert "distance to the recording improves over 12 scored steps" in found.improves.text
    thousand = judge(evaluated([18 + 0.05 * (-1) ** index for index in range(1000)]), spoken(0.2, steps=1000))
    assert thousand.improves.answer is Answer.UNKNOWN
    assert "eval loss and scores disagree" in thousand.improves.text
    assert "kgtts compare --blind" in thousand.what_to_do


def test_a_run_that_is_over_is_told_how_to_go_on() -> None:
    """The advice to keep training names the setting if the run has reached its target."""
    assert "training.epochs" in judge(evaluated(FALLING), Scores(), is_over=True).what_to_do
    assert "training.epochs" not in judge(evaluated(FALLING), Scores()).what_to_do


def test_a_log_without_times_has_no_hours() -> None:
    """Without times the direction is told by steps, but no hours."""
    table = MetricsTable()
    for index, value in enumerate(FALLING):
        table.add(Moment(Kind.EVAL, None, None, index, 100 * index), ("avg_loss",), [value])
    found = judge(table, Scores())
    assert (found.improves.answer, found.more_hours) == (Answer.YES, None)
    assert "the log has no times" in found.what_to_do


def test_one_eval_loss() -> None:
    """The mel loss of the evaluation is the eval loss; without it the next best, and its words say which."""
    assert watched_loss(["avg_loss_1", "avg_loss_mel"]) == "avg_loss_mel"
    assert watched_loss(["b_loss", "a_loss", "time"]) == "a_loss"
    assert watched_loss([]) is None
    table = evaluated([3.0, 2.0, math.nan], name="avg_loss_1")
    found = eval_loss_now(table)
    assert found is not None
    assert (found.newest, found.lowest, found.lowest_step) == (2.0, 2.0, 200)
    assert found.words == "sum of the voice's losses on the evaluation recordings"
    assert eval_loss_words("avg_loss_mel") == "mel loss on the evaluation recordings"
    assert eval_loss(MetricsTable()) is None
    for name in ("loss_mel", "loss_kl", "loss_duration", "loss_feat", "loss_gen", "loss_disc"):
        assert meaning_of(name)
        assert meaning_of(f"avg_{name}") == meaning_of(name)
    assert meaning_of("grad_norm") == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((2.0, 5.0), "about 2.0 hours to 5.0 hours more"),
        ((20.0, 20.2), "about 20 hours more"),
        ((0.0, 1.5), "at most 1.5 hours more"),
        ((3.0, None), "3.0 hours or more"),
        ((0.005, 0.5), "about 18 s to 30 min more"),
    ],
)
def test_hours_in_words(more: tuple[float, float | None], words: str) -> None:
    """A range of hours is written with few digits, in minutes or seconds if it is short."""
    assert more_words(more) == words

"""Count the results of blind tests: how often B was preferred to A, with a range that suits few people.

Results come from people: as files, or pasted into messages with other text around. What is no result is left
out with a reason. Answers of one person resemble each other, and so do those to one sentence: the range is as
wide as that demands.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any

from orchestrator import untrusted
from orchestrator.errors import UsageError
from orchestrator.formatting import counted
from orchestrator.metrics.scores import student
from orchestrator.report.blind import RESULT_KEY, RESULT_VERSION

_DECODER = json.JSONDecoder()
_LARGEST = 16 * 1024 * 1024  # Characters of a file.
_MOST_RESULTS = 10_000  # Of a file.
_MOST_VOTES = 1000
_NAME = 60
_WORTH = {"A": 0.0, "same": 0.5, "B": 1.0}  # No difference is half a vote for each.
_SURE = 1.96


@dataclass(frozen=True, slots=True)
class Ballot:
    """The answers of one person to one test: sentence -> `A`, `B` or `same`."""

    test: str
    id: str
    listener: str
    names: tuple[str, str]
    question: str
    choices: dict[int, str]
    firsts: dict[int, str]


@dataclass(frozen=True, slots=True)
class Tally:
    """What the results of one test say.

    Attributes:
        test: its id.
        names: what A and B are.
        question: what people were asked.
        people: how many there are.
        votes: how often `A`, `B` and `same` were chosen.
        share: the share of votes for B, no difference as half a vote.
        low: the lower end of its 95% range,
        high: and the upper one.
        first: the share of votes for whatever came first, no difference as half a vote.
        listeners: each person's name, with how often `A`, `B` and `same` were chosen.
    """

    test: str
    names: tuple[str, str]
    question: str
    people: int
    votes: Counter[str]
    share: float
    low: float
    high: float
    first: float
    listeners: tuple[tuple[str, Counter[str]], ...]

    @property
    def preferred(self) -> str | None:
        """The letter of the voice that is clearly preferred; None if it is too early to say."""
        return "B" if self.low > 0.5 else "A" if self.high < 0.5 else None  # noqa: PLR2004  # Half of the votes.


def read_ballots(name: str, text: str) -> list[Ballot]:
    """The results in a text: one, or several with anything between them.

    Args:
        name: what to call the text in an error.
        text: the text; quotation marks that a mail program has turned are turned back.

    Raises:
        UsageError: there is none.
    """
    if len(text) > _LARGEST:
        raise UsageError(f"{name} is too large for results of a blind test.")
    found = [ballot for value in _objects(text) if (ballot := _ballot(value)) is not None]
    if not found:
        found = [ballot for value in _objects(_straight(text)) if (ballot := _ballot(value)) is not None]
    if not found:
        raise UsageError(
            f"{name} contains no result of a blind test.",
            hint="each person copies the result at the end of the page, or saves it as a file",
        )
    return found


def _straight(text: str) -> str:
    """Undo what mail programs and word processors do to a text: curly quotation marks, marks of quoting."""
    lines = (line.lstrip("> ") for line in text.splitlines())
    return "\n".join(lines).translate({ord(mark): '"' for mark in "“”„‟«»"} | {0xA0: " "})


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text that look like results."""
    for mark in islice(re.finditer(f'"{RESULT_KEY}"', text), _MOST_RESULTS):
        at = text.rfind("{", 0, mark.start())
        try:
            value, _ = _DECODER.raw_decode(text, max(0, at))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and RESULT_KEY in value:
            yield value


def _ballot(value: dict[str, Any]) -> Ballot | None:
    test, person = untrusted.text(value.get("test"), _NAME), untrusted.text(value.get("id"), _NAME)
    if value.get(RESULT_KEY) != RESULT_VERSION or not test or not person:
        return None
    choices, firsts = {}, {}
    for vote in map(untrusted.as_object, untrusted.as_list(value.get("votes"))[:_MOST_VOTES]):
        sentence, choice = untrusted.count(vote.get("sentence")), untrusted.text(vote.get("choice"), 8)
        if sentence and choice in _WORTH:
            choices[sentence] = choice
            if (first := untrusted.text(vote.get("first"), 8)) in ("A", "B"):
                firsts[sentence] = first
    if not choices:
        return None
    one, other = (untrusted.one_line(value.get(key) or key.upper(), _NAME) for key in ("a", "b"))
    question = untrusted.one_line(value.get("question") or "", 200)
    listener = untrusted.one_line(value.get("listener") or person, _NAME) or person
    return Ballot(test, person, listener, (one, other), question, choices, firsts)


def count_votes(ballots: Iterable[Ballot]) -> list[Tally]:
    """Count the results of each test. Of several results of one person the last one counts."""
    last: dict[tuple[str, str], Ballot] = {}
    for ballot in ballots:
        last[ballot.test, ballot.id] = ballot
    tests: dict[str, list[Ballot]] = {}
    for ballot in last.values():
        tests.setdefault(ballot.test, []).append(ballot)
    return [_tally(test, known) for test, known in tests.items()]


def _tally(test: str, ballots: Sequence[Ballot]) -> Tally:
    votes: Counter[str] = Counter()
    for ballot in ballots:
        votes.update(ballot.choices.values())
    marks = [
        (ballot.id, sentence, _WORTH[choice])
        for ballot in ballots
        for sentence, choice in ballot.choices.items()
    ]
    share = fmean(worth for _, _, worth in marks)
    low, high = _range(marks, share)
    firsts = [
        _WORTH[choice] if ballot.firsts[sentence] == "B" else 1 - _WORTH[choice]
        for ballot in ballots
        for sentence, choice in ballot.choices.items()
        if sentence in ballot.firsts
    ]
    return Tally(
        test,
        ballots[0].names,
        ballots[0].question,
        len(ballots),
        votes,
        share,
        low,
        high,
        fmean(firsts) if firsts else 0.5,
        tuple((ballot.listener, Counter(ballot.choices.values())) for ballot in ballots),
    )


def _range(marks: Sequence[tuple[str, int, float]], share: float) -> tuple[float, float]:
    """The 95% range of the share: Wilson's, for as many votes as the answers are worth.

    Answers that resemble each other within a person, or within a sentence, tell less than as many answers
    that do not. The larger of both effects counts, with Student's quantile for so many people or sentences.
    """
    count = len(marks)
    effect, sure = 1.0, _SURE
    for place in (0, 1):
        groups: dict[object, list[float]] = {}
        for mark in marks:
            groups.setdefault(mark[place], []).append(mark[2])
        if len(groups) < 2:  # noqa: PLR2004  # One person, or one sentence: nothing to compare.
            continue
        # The variance of the mean if whole groups were drawn, against that of single votes.
        drawn = sum((sum(values) - share * len(values)) ** 2 for values in groups.values())
        drawn *= len(groups) / (len(groups) - 1)
        single = sum((mark[2] - share) ** 2 for mark in marks)
        if single > 0 and drawn / single > effect:
            effect, sure = drawn / single, student(len(groups) - 1)
    worth = max(1.0, count / effect)
    middle = (share + sure**2 / (2 * worth)) / (1 + sure**2 / worth)
    reach = sure / (1 + sure**2 / worth) * math.sqrt(share * (1 - share) / worth + sure**2 / (4 * worth**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def tally_words(tally: Tally) -> str:
    """What a test's results say, in a sentence or two."""
    count = sum(tally.votes.values())
    spread = f"95% range {tally.low:.0%} to {tally.high:.0%}"
    people = "1 person" if tally.people == 1 else f"{tally.people} people"
    what = f"B was preferred in {tally.share:.0%} of {counted(count, 'answer')} ({spread}), by {people}"
    if tally.preferred is None:
        return f"{what}. It is too early to say which one is better."
    name = tally.names["AB".index(tally.preferred)]
    if tally.people == 1:
        return f"{what}, who likes {tally.preferred} better: {name}. Others may not; ask more people."
    return f"{what}. {tally.preferred} is better: {name}."


def tally_json(tally: Tally) -> dict[str, Any]:
    """The results of a test for programs."""
    return {
        "test": tally.test,
        "question": tally.question,
        "a": tally.names[0],
        "b": tally.names[1],
        "people": tally.people,
        "votes": {choice: tally.votes[choice] for choice in _WORTH},
        "share_of_b": tally.share,
        "low": tally.low,
        "high": tally.high,
        "preferred": tally.preferred,
        "share_of_first": tally.first,
        "listeners": [
            {"listener": name, **{choice: votes[choice] for choice in _WORTH}}
            for name, votes in tally.listeners
        ],
    }

"""How much a dataset is, and whether that is enough."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.data.findings import Outcome, Utterance
from orchestrator.formatting import counted

# Coqui's documentation on fine-tuning: "reasonable results with only a couple of hours of data".
ENOUGH_S = 2 * 3600.0
_TRIAL_S = 20 * 60.0
_UNEVEN_DB = 6.0
_BANGLA = "অআইঈউঊঋএঐওঔকখগঘঙচছজঝঞটঠডঢণতথদধনপফবভমযরলশষসহ\u09dc\u09dd\u09dfৎংঃঁ"
_RARE = 5  # Times that a letter must be heard, or the voice can hardly know it.
_PARTS = ("ড\u09bc", "\u09dc"), ("ঢ\u09bc", "\u09dd"), ("য\u09bc", "\u09df")


@dataclass(frozen=True, slots=True)
class Summary:
    """A dataset in numbers.

    Attributes:
        recordings: how many there are.
        utterances: how many the dataset has.
        quarantined: how many are in quarantine.
        rows: rows of all transcripts.
        seconds: of the dataset.
        lengths: shortest, median and longest utterance in seconds.
        histogram: how many utterances there are of each length: under 2, 4, 6 … seconds.
        loudness: the softest, median and loudest recording in LUFS, before anything is changed.
        rates: how many recordings have each sample rate.
        speakers: how many seconds each has; one without a name if the transcripts name none.
        characters: how many different ones the spoken texts have.
        letters: how many letters they have in all.
        rare: letters of Bangla that hardly occur, with how often.
    """

    recordings: int
    utterances: int
    quarantined: int
    rows: int
    seconds: float
    lengths: tuple[float, float, float]
    histogram: tuple[int, ...]
    loudness: tuple[float, float, float]
    rates: dict[int, int]
    speakers: dict[str, float]
    characters: int
    letters: int
    rare: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The numbers for programs."""
        return {
            "recordings": self.recordings,
            "utterances": self.utterances,
            "quarantined": self.quarantined,
            "rows": self.rows,
            "minutes": round(self.seconds / 60, 2),
            "seconds_of_utterance": dict(zip(("least", "median", "most"), self.lengths, strict=True)),
            "utterances_by_2_seconds": list(self.histogram),
            "loudness_lufs": dict(zip(("least", "median", "most"), self.loudness, strict=True)),
            "sample_rates": {str(rate): count for rate, count in self.rates.items()},
            "speakers": {name: round(seconds / 60, 2) for name, seconds in self.speakers.items()},
            "characters": self.characters,
            "letters": self.letters,
            "rare_letters": self.rare,
            "verdict": verdict(self),
        }


def summarize(outcome: Outcome) -> Summary:
    """Count what is in the dataset."""
    kept = outcome.kept
    lengths = [item.seconds for item in kept]
    bins = Counter(min(int(length // 2), 15) for length in lengths)
    measured = {item.recording: item.worked for item in outcome.utterances}
    used = {item.recording: item.worked for item in kept}
    loud = [
        worked.measures.loudness
        for worked in used.values()
        if worked.measures is not None and not worked.measures.is_silent
    ]
    speakers: dict[str, float] = {}
    for item in kept:
        speakers[item.speaker] = speakers.get(item.speaker, 0.0) + item.seconds
    texts = Counter(letter for item in kept for letter in _composed(item.spoken) if not letter.isspace())
    return Summary(
        recordings=len(measured),
        utterances=len(kept),
        quarantined=len(outcome.quarantined),
        rows=len(outcome.rows),
        seconds=sum(lengths),
        lengths=_three(lengths),
        histogram=tuple(bins[place] for place in range(max(bins, default=-1) + 1)),
        loudness=_three(loud),
        rates=dict(sorted(Counter(worked.rate for worked in measured.values() if worked.rate).items())),
        speakers=dict(sorted(speakers.items())),
        characters=len(texts),
        letters=sum(texts.values()),
        rare={letter: texts[letter] for letter in _BANGLA if texts[letter] < _RARE} if kept else {},
    )


def _composed(text: str) -> str:
    for parts, whole in _PARTS:
        text = text.replace(parts, whole)
    return text


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    if not values:
        return 0.0, 0.0, 0.0
    return round(min(values), 2), round(statistics.median(values), 2), round(max(values), 2)


def verdict(summary: Summary) -> list[str]:
    """Say whether the dataset is enough to fine-tune a voice, and what would make it better."""
    minutes, couple = summary.seconds / 60, ENOUGH_S / 60
    if not summary.utterances:
        return ["Nothing can be trained on yet: no recording has a text that fits."]
    if summary.seconds >= ENOUGH_S:
        first = (
            f"Enough to fine-tune: {minutes:.0f} minutes; Coqui's documentation calls a couple of hours "
            "reasonable."
        )
    else:
        is_trial = summary.seconds < _TRIAL_S
        what = "Only enough for a trial" if is_trial else "Enough to hear the speaker, not to be content"
        more = round((ENOUGH_S - summary.seconds) / (summary.seconds / summary.utterances))
        first = (
            f"{what}: {minutes:.1f} of {couple:.0f} minutes (Coqui's documentation calls a couple of hours "
            f"reasonable for fine-tuning). Record about {counted(more, 'more utterance')} like these."
        )
    said = [first]
    known = [name for name in summary.speakers if name]
    if len(known) > 1:
        name, seconds = min(summary.speakers.items(), key=lambda item: item[1])
        said.append(
            f"It has {len(known)} speakers, the least of them {name!r} with "
            f"{seconds / 60:.1f} minutes: a voice of one speaker needs only that speaker's."
        )
    if missing := [letter for letter, count in summary.rare.items() if not count]:
        said.append(
            f"The texts never have {' '.join(missing)}: the voice cannot learn to say "
            f"{'it' if len(missing) == 1 else 'them'}."
        )
    few = [letter for letter, count in summary.rare.items() if count]
    if few and summary.seconds >= _TRIAL_S:
        said.append(f"The texts have {' '.join(few)} fewer than {_RARE} times: record sentences with them.")
    if summary.loudness[2] - summary.loudness[0] > _UNEVEN_DB:
        least, _, most = summary.loudness
        said.append(
            f"Loudness differs by {most - least:.0f} dB between recordings; it is evened, but noise rises "
            "with the soft ones."
        )
    return said


def doubtful(outcome: Outcome) -> list[Utterance]:
    """What one should listen to: quarantine first, then what is kept with a doubt."""
    kept = [item for item in outcome.kept if item.doubts]
    return [*outcome.quarantined, *kept]

"""What is done about bad samples (sample_checks.py): the table, the log, and what the Trainer gets."""

import contextlib
import csv
import json
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kernel_template.contract import OWN_PREFIX, BadSamples
from kernel_template.host.protocol import SampleRules
from kernel_template.host.recordings import describe_recordings
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.sample_checks import (
    HARMLESS,
    KINDS,
    Expected,
    OtherEndings,
    Problem,
    check_samples,
    is_sample,
    training_letters,
)
from kernel_template.scores.held_out import list_candidates

_MAX_LEFT_OUT = 0.5  # More than this share is not an accident of a few rows.
_EXAMPLES = 3
_EXAMPLE_LENGTH = 60
_FORMULA = ("=", "+", "-", "@")  # A spreadsheet would run text that begins so.
_PARTS = ("train", "eval")
_ADVICE = {
    "missing": "check that the recordings lie where the formatter looks for them (ljspeech: in wavs "
    "beside the "
    "metadata), under the names of its first column",
    "unreadable": "save the recordings again as 16-bit WAV, and upload the dataset again",
    "sample_rate": "check training.sample_rate and the base voice, or convert the recordings",
    "channels": "convert the recordings to mono",
    "too_short": "check data.shortest, and min_audio_len in the configuration",
    "too_long": "check data.longest, and max_audio_len in the configuration",
    "silent": "listen to some of them: the microphone may have been muted, or a conversion may have failed. "
    'If they are only quiet, make them louder, or train on them as they are with data.bad_samples = "keep"',
    "empty_text": "check the columns of the metadata and the formatter",
    "long_text": "raise max_text_len in training.coqui, or split the recordings",
    "unknown_letters": "write numbers, signs and Latin words out with `kgtts data prepare`, and check the "
    "vocabulary",
}
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Categories: control characters, surrogates, separators.
_BIDIRECTIONAL = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})

Sample = Mapping[str, Any]
Key = tuple[str, str]  # A sample's recording and text.
Checked = tuple[str, Sample, list[Problem]]  # A sample's part, itself, and what is wrong with it.


class SampleFilter:
    """Checks the samples that a script passes to its Trainer, and removes the bad ones.

    Args:
        rules: what a sample must be like, and what to do if it is not.
        rendezvous: which rank this is: rank 0 checks, and the others use its result.
        reporter: the log and the report.
        clock: monotonic seconds.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        rules: SampleRules,
        rendezvous: Rendezvous,
        reporter: Reporter,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rules = rules
        self._rendezvous = rendezvous
        self._reporter = reporter
        self._clock = clock
        self._sleep = sleep
        self._table = Path(rules.table) if rules.table else None
        self._calls = 0
        self._files = OtherEndings()

    def apply(self, config: Any, named: dict[str, Any]) -> dict[str, Any]:
        """Return the Trainer's keyword arguments without the samples that are left out.

        The letters of the texts that remain are counted and some recordings measured for the voice's
        description, and what is only evaluated on is listed for the voice's scores.

        Raises:
            SystemExit: the samples are too bad; the log and the report say why.
        """
        kept = self._usable(config, named)
        if self._rendezvous.rank:
            return kept
        trained, evaluated = kept.get("train_samples") or (), kept.get("eval_samples") or ()
        described: tuple[tuple[str | None, Callable[[], Any]], ...] = (
            (self._rules.letters, lambda: training_letters(config, trained)),
            (self._rules.recordings, lambda: describe_recordings([*filter(is_sample, trained)], self._clock)),
            (self._rules.held_out, lambda: list_candidates(trained, evaluated)),
        )
        for file, describe in described:
            if file:
                found = describe()
                with contextlib.suppress(OSError):
                    Path(file).write_text(json.dumps(found), encoding="utf-8")
        return kept

    def _usable(self, config: Any, named: dict[str, Any]) -> dict[str, Any]:
        parts = {part: named.get(f"{part}_samples") for part in _PARTS}
        if not self._rules.bad_samples or not parts["train"]:
            return named
        for part, samples in parts.items():
            parts[part] = self._found(samples)
            if parts[part] is not samples:
                named = named | {f"{part}_samples": parts[part]}
        rows = [(part, sample) for part, samples in parts.items() for sample in samples or ()]
        if not all(is_sample(sample) for _, sample in rows):
            if not self._rendezvous.rank:
                self._reporter.say("the samples are not checked: they are not in Coqui's form")
            return named
        self._calls += 1
        refused, left_out = self._shared(lambda: self._check(rows, config, named.get("model")))
        if refused is not None:
            if not self._rendezvous.rank:
                self._reporter.say(refused)
            raise SystemExit(1)
        return named | {
            f"{part}_samples": [sample for sample in samples if _key(sample) not in left_out]
            for part, samples in parts.items()
            if samples
        }

    def _found(self, samples: Any) -> Any:
        """Return the samples with the recordings that are there under another ending, or in another case.

        Formatters make names up: that of Common Voice takes all to be .mp3, others to be .wav.
        """
        if not samples or not all(is_sample(sample) for sample in samples):
            return samples
        found, count, first = [], 0, ""
        for sample in samples:
            place = self._files.find(str(sample["audio_file"]))
            if place is not None:
                first = first or f"{_file(sample)} is {Path(place).name}"
                count += 1
            found.append(sample if place is None else {**sample, "audio_file": place})
        if count and not self._rendezvous.rank:
            self._reporter.say(f"{count} recordings have another ending than the script takes ({first})")
        return found if count else samples

    def _shared(self, check: Callable[[], tuple[str | None, set[Key]]]) -> tuple[str | None, set[Key]]:
        """Return rank 0's result; the others wait for it, and the launcher ends them if rank 0 is gone."""
        if self._rendezvous.size == 1:
            return check()
        name = f"samples{self._calls}.json"
        if not self._rendezvous.rank:
            refused, left_out = check()
            self._rendezvous.put(name, json.dumps([refused, sorted(left_out)]).encode())
            return refused, left_out
        data = self._rendezvous.get(name, "rank 0's check of the samples", self._sleep)
        refused, rows = json.loads(data)
        return refused, {(name, text) for name, text in rows}

    def _check(self, rows: list[tuple[str, Sample]], config: Any, model: Any) -> tuple[str | None, set[Key]]:
        """Check all samples. Returns why they are refused, if they are, and those to leave out."""
        began = self._clock()
        expected = Expected.of(self._rules, config, model)
        problems = check_samples([sample for _, sample in rows], expected)
        bad = [(part, sample, found) for (part, sample), found in zip(rows, problems, strict=True) if found]
        unusable = {_key(sample) for _, sample, found in bad if any(item.fatal for item in found)}
        count = sum(_key(sample) in unusable for _, sample in rows)
        kinds = Counter(item.kind for _, _, found in bad for item in found)
        skip = self._rules.bad_samples == "skip"
        self._reporter.say(f"checked {len(rows)} samples in {self._clock() - began:.1f} s")
        self._log_examples(bad, kinds)
        self._write_table(bad, skip=skip)
        fatal = [item for _, _, found in bad for item in found if item.fatal]
        refused = self._refusal(rows, unusable, count, kinds, _advice(fatal))
        if count and refused is None:
            done = "are left out" if skip else "are trained on all the same (data.bad_samples)"
            self._reporter.warn(
                f"{count} of {len(rows)} samples cannot be used and {done}: {self._words(kinds)}."
            )
        counts = BadSamples(
            checked=len(rows),
            left_out=count if skip else 0,
            by_kind={kind: kinds[kind] for kind in KINDS if kinds[kind]},
            seconds=_seconds(
                [sample for _, sample in rows if not skip or _key(sample) not in unusable], expected
            ),
        )
        self._reporter.write(bad_samples=counts, refused=refused)
        return refused, unusable if skip else set()

    def _refusal(
        self,
        rows: list[tuple[str, Sample]],
        unusable: set[Key],
        count: int,
        kinds: Mapping[str, int],
        advice: str,
    ) -> str | None:
        """Return why the session ends here; None if it goes on."""
        if not count or self._rules.bad_samples == "keep":
            return None
        what = f"{count} of {len(rows)} samples cannot be used: {self._words(kinds)}"
        if self._rules.bad_samples == "refuse":
            return f'{what}. Correct them, or let kgtts leave them out: data.bad_samples = "skip".'
        if count > _MAX_LEFT_OUT * len(rows):
            return f"{what}. That is more than half of them, so this is no accident of a few rows: {advice}."
        for part in _PARTS:
            of_part = [sample for where, sample in rows if where == part]
            if of_part and all(_key(sample) in unusable for sample in of_part):
                return f"{what}. Nothing is left of the {part} part: {advice}."
        return None

    def _words(self, kinds: Mapping[str, int]) -> str:
        found = [
            f"{kinds[kind]} {kind.replace('_', ' ')}"
            for kind in KINDS
            if kind not in HARMLESS and kinds[kind]
        ]
        return ", ".join(found) + (f" (listed in {self._table.name})" if self._table else "")

    def _log_examples(self, bad: list[Checked], kinds: Mapping[str, int]) -> None:
        """Write the count of each kind of problem and some examples to the log."""
        for kind, meaning in KINDS.items():
            if not kinds[kind]:
                continue
            self._reporter.say(f"  {kinds[kind]:>7}  {kind}: {meaning}")
            found = [(sample, item) for _, sample, problems in bad for item in problems if item.kind == kind]
            for sample, item in found[:_EXAMPLES]:
                self._reporter.say(f"           {_short(_file(sample))}: {_short(item.detail)}")

    def _write_table(self, bad: list[Checked], *, skip: bool) -> None:
        """Write one row for each problem."""
        if self._table is None or not bad:
            return
        part = self._table.with_name(f"{OWN_PREFIX}{self._table.name}.part")
        try:
            with part.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                table.writerow(["part", "file", "fault", "detail", "left_out", "text"])
                for where, sample, found in bad:
                    left_out = "yes" if skip and any(item.fatal for item in found) else "no"
                    for item in found:
                        row = [where, _file(sample), item.kind, item.detail, left_out, str(sample["text"])]
                        table.writerow([_cell(value) for value in row])
            part.replace(self._table)
        except OSError as error:
            self._reporter.warn(f"{self._table.name} could not be written: {error.strerror}.")


def _seconds(samples: list[Sample], expected: Expected) -> float:
    """Return how much sound is trained on and evaluated; a recording counts once."""
    names = {str(sample["audio_file"]) for sample in samples}
    return round(sum(expected.lengths.get(name, 0.0) for name in names), 1)


def _advice(problems: list[Problem]) -> str:
    """Return what to do about the most frequent kind of problem."""
    if not problems:
        return "correct the samples"
    if sum(item.is_letters for item in problems) * 2 >= len(problems):
        return (
            "the texts have letters that the configuration of the training does not know. If the script "
            "makes its own "
            "configuration, let it take `characters` from the base voice's config.json"
        )
    return _ADVICE[Counter(item.kind for item in problems).most_common(1)[0][0]]


def _key(sample: Sample) -> Key:
    return str(sample["audio_file"]), str(sample["text"])


def _file(sample: Sample) -> str:
    """Return the recording's name, relative to its dataset if that is known."""
    name, root = str(sample["audio_file"]), sample.get("root_path")
    inside = root and Path(name).is_relative_to(str(root))
    return str(Path(name).relative_to(str(root))) if inside else name


def _printable(text: str) -> str:
    """Replace control characters, and those that turn the direction of text, by their numbers."""
    return "".join(
        f"\\u{ord(item):04x}"
        if unicodedata.category(item) in _UNPRINTABLE or unicodedata.bidirectional(item) in _BIDIRECTIONAL
        else item
        for item in text
    )


def _cell(value: str) -> str:
    text = _printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _short(text: str) -> str:
    shown = _printable(text)
    return shown if len(shown) <= _EXAMPLE_LENGTH else f"…{shown[-_EXAMPLE_LENGTH:]}"

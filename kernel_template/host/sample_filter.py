"""What is done with samples that host_samples.py finds fault with: the table, and what the Trainer gets.

Nothing here needs torch.
"""

import csv
import json
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.sample_checks import HARMLESS, KINDS, Expected, is_sample, look_at

_MOST_LEFT_OUT = 0.5  # More than this is no accident of a few rows.
_EXAMPLES = 3
_EXAMPLE_LENGTH = 60
_FORMULA = ("=", "+", "-", "@")  # A spreadsheet would run what begins so.
_LOOK_EVERY_S = 0.05
_PARTS = ("train", "eval")


class SampleFilter:
    """Checks the samples that a script hands to its Trainer, and takes the bad ones out.

    Args:
        settings: the `data` section: `bad_samples` ("skip", "refuse" or "keep"; None does nothing), what
            host_samples.py reads of it, and `table`, the file that lists all faults.
        rendezvous: which rank this is: rank 0 looks, the others hear of it.
        say: tells the log.
        warn: tells the log and the kernel.
        report: gives the kernel values of HOST_REPORT.json.
        clock: seconds of a clock that never goes back.
        sleep: waits.
    """

    def __init__(  # noqa: PLR0913 - it stands between all of these.
        self,
        settings: Mapping[str, Any],
        rendezvous: Rendezvous,
        *,
        say: Callable[[str], None],
        warn: Callable[[str], None],
        report: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._mode = settings.get("bad_samples")
        self._rendezvous = rendezvous
        self._say = say
        self._warn = warn
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._times = 0

    def apply(self, config: Any, named: dict[str, Any]) -> dict[str, Any]:
        """The Trainer's named arguments, without the samples that are to be left out.

        Raises:
            SystemExit: the session is refused; the sentence is in the log and in the report.
        """
        parts = {part: named.get(f"{part}_samples") for part in _PARTS}
        if not self._mode or not parts["train"]:
            return named
        samples = [sample for part in parts.values() for sample in part or ()]
        if not all(is_sample(sample) for sample in samples):
            if not self._rendezvous.rank:
                self._say("the samples are not Coqui's own: they are not checked")
            return named
        self._times += 1
        found = self._shared(lambda: self._look(config, named.get("model"), parts))
        if found["refused"]:
            if not self._rendezvous.rank:
                self._say(found["refused"])
            raise SystemExit(1)
        out = {tuple(item) for item in found["out"]}
        return named | {
            f"{part}_samples": [sample for sample in held if _key(sample) not in out]
            for part, held in parts.items()
            if held
        }

    def _shared(self, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What rank 0 has found; the others wait for it, and launch.py ends them if it is gone."""
        if self._rendezvous.folder is None:
            return look()
        file = self._rendezvous.file(f"samples{self._times}.json")
        if not self._rendezvous.rank:
            found = look()
            part = file.with_suffix(".part")
            part.write_text(json.dumps(found), encoding="ascii")
            part.replace(file)
            return found
        while not file.exists():
            self._sleep(_LOOK_EVERY_S)
        heard: dict[str, Any] = json.loads(file.read_text(encoding="ascii"))
        return heard

    def _look(self, config: Any, model: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
        began = self._clock()
        expected = Expected.of(self._settings, config, model)
        rows = [(part, sample) for part, held in parts.items() for sample in held or ()]
        faults = look_at([sample for _, sample in rows], expected)
        bad = [(part, sample, told) for (part, sample), told in zip(rows, faults, strict=True) if told]
        leaving = self._mode == "skip"
        out = {_key(sample): part for part, sample, told in bad if any(fault.leaves_out for fault in told)}
        kinds = Counter(fault.kind for _, _, told in bad for fault in told)
        counted = sum(_key(sample) in out for _, sample in rows)
        summary = {
            "checked": len(rows),
            "left_out": counted if leaving else 0,
            "by_kind": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
        }
        self._say(f"{len(rows)} samples were checked in {self._clock() - began:.1f} s")
        if bad:
            self._tell(bad, kinds)
            self._write(bad, leaving=leaving)
        refused = self._refused(rows, out, counted, kinds)
        if counted and not refused:
            done = "are left out" if leaving else "are trained on all the same (data.bad_samples)"
            self._warn(f"{counted} of {len(rows)} samples cannot be used and {done}: {self._words(kinds)}.")
        self._report(bad_samples={**summary, "refused": refused})
        return {"refused": refused, "out": sorted(out) if leaving else []}

    def _refused(
        self, rows: list[Any], out: Mapping[Any, str], counted: int, kinds: Mapping[str, int]
    ) -> str | None:
        """Why the session ends here, if it does."""
        if not counted or self._mode == "keep":
            return None
        what = f"{counted} of {len(rows)} samples cannot be used: {self._words(kinds)}"
        if self._mode == "refuse":
            return f'{what}. Correct them, or let the session leave them out (data.bad_samples = "skip").'
        if counted > _MOST_LEFT_OUT * len(rows):
            return (
                f"{what}. That is more than half of them, so it is rather the settings that do not fit the "
                'data: check training.sample_rate and the base voice, or set data.bad_samples = "keep".'
            )
        for part in _PARTS:
            held = [sample for where, sample in rows if where == part]
            if held and all(_key(sample) in out for sample in held):
                return f"{what}, which are all that the {part} part has. Correct them first."
        return None

    def _words(self, kinds: Mapping[str, int]) -> str:
        fatal = [kind for kind in KINDS if kind not in HARMLESS]
        told = [f"{kinds[kind]} {kind.replace('_', ' ')}" for kind in fatal if kinds[kind]]
        return ", ".join(told) + (f" (listed in {self._table.name})" if self._table else "")

    @property
    def _table(self) -> Path | None:
        path = self._settings.get("table")
        return Path(path) if path else None

    def _tell(self, bad: list[Any], kinds: Mapping[str, int]) -> None:
        """The table, for the log: counts and examples."""
        for kind, meaning in KINDS.items():
            if not kinds[kind]:
                continue
            told = [(sample, fault) for _, sample, faults in bad for fault in faults if fault.kind == kind]
            self._say(f"  {kinds[kind]:>7}  {kind}: {meaning}")
            for sample, fault in told[:_EXAMPLES]:
                self._say(f"           {_short(_file(sample))}: {_short(fault.detail)}")

    def _write(self, bad: list[Any], *, leaving: bool) -> None:
        """The whole table, for people and programs; one line for each fault."""
        if self._table is None:
            return
        part = self._table.with_name(f".kgtts-{self._table.name}.part")
        try:
            with part.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                table.writerow(["part", "file", "fault", "detail", "left_out", "text"])
                for where, sample, faults in bad:
                    out = leaving and any(fault.leaves_out for fault in faults)
                    for fault in faults:
                        row = [where, _file(sample), fault.kind, fault.detail, "yes" if out else "no"]
                        table.writerow([_cell(value) for value in [*row, str(sample["text"])]])
            part.replace(self._table)
        except OSError as error:
            self._warn(f"{self._table.name} could not be written: {error.strerror}.")


def _key(sample: Mapping[str, Any]) -> tuple[str, str]:
    return str(sample["audio_file"]), str(sample["text"])


def _file(sample: Mapping[str, Any]) -> str:
    """The recording's name, within its data set where that is known."""
    name, root = str(sample["audio_file"]), sample.get("root_path")
    inside = root and Path(name).is_relative_to(str(root))
    return str(Path(name).relative_to(str(root))) if inside else name


def _printable(text: str) -> str:
    """Control characters and the like as their numbers: a name or a text may hold anything."""
    bad = ("Cc", "Cs", "Zl", "Zp")
    return "".join(
        f"\\u{ord(item):04x}" if unicodedata.category(item) in bad or _turns(item) else item for item in text
    )


def _turns(character: str) -> bool:
    """Whether it turns the direction of what follows."""
    return unicodedata.bidirectional(character) in {
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    }


def _cell(value: str) -> str:
    text = _printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _short(text: str) -> str:
    shown = _printable(text)
    return shown if len(shown) <= _EXAMPLE_LENGTH else f"…{shown[-_EXAMPLE_LENGTH:]}"

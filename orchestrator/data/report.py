"""Report what was found and changed: as JSON, as a page with players, and as a table for spreadsheets.

The page works offline: it holds its sounds, has no scripts, and its content security policy allows none.
"""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from orchestrator import untrusted
from orchestrator.data.findings import KINDS, Finding, Outcome, Utterance, Weight
from orchestrator.data.sounds import SoundError, read_sound, resample, wav_bytes
from orchestrator.data.study import Found
from orchestrator.data.summary import Summary, doubtful, verdict
from orchestrator.data.work import AudioSettings
from orchestrator.formatting import counted, duration

_MOST_SOUNDS = 60
_MOST_BYTES = 24 * 1024 * 1024  # Browsers on phones manage some tens of megabytes.
_LONGEST_SOUND_S = 20.0
_SOUND_RATE = 16_000  # Enough to judge by, and small.
_MOST_LISTED = 200
_FORMULA = ("=", "+", "-", "@")  # A spreadsheet would run text that begins so.


def report_json(found: Found, outcome: Outcome, summary: Summary, settings: AudioSettings) -> str:
    """Everything that was found and done, as JSON; the same for the same recordings and texts."""
    return json.dumps(as_json(found, outcome, summary, settings), ensure_ascii=False, indent=1) + "\n"


def as_json(found: Found, outcome: Outcome, summary: Summary, settings: AudioSettings) -> dict[str, Any]:
    """The report as JSON's values."""
    return {
        "version": 1,
        "transcripts": found.transcripts,
        "settings": asdict(settings),
        "summary": summary.to_json(),
        "findings": findings_json(outcome),
        "utterances": [_utterance_json(item) for item in outcome.utterances],
    }


def findings_json(outcome: Outcome) -> list[dict[str, Any]]:
    """Every finding as JSON's values."""
    return [_finding_json(item) for item in outcome.all_findings]


def _finding_json(item: Finding) -> dict[str, Any]:
    kind = KINDS[item.kind]
    return {
        "kind": item.kind,
        "title": kind.title,
        "weight": kind.weight.value,
        "file": untrusted.encodable(item.file),
        "line": item.line,
        "what": untrusted.encodable(item.what),
        "done": kind.done,
    }


def _utterance_json(item: Utterance) -> dict[str, Any]:
    row, sound = item.row, item.sound
    return {
        "id": item.id,
        "recording": untrusted.encodable(item.recording),
        "transcript": None if row is None else row.file,
        "line": None if row is None else row.line,
        "raw": item.raw,
        "spoken": item.spoken,
        "speaker": item.speaker,
        "place": "quarantine" if item.reasons else "dataset",
        "reasons": [finding.kind for finding in item.reasons],
        "accepted": item.accepted,
        "seconds": round(item.seconds, 3),
        "begin": None if sound is None else round(sound.begin, 3),
        "end": None if sound is None else round(sound.end, 3),
        "gain_db": None if sound is None else round(sound.gain, 2),
        "sample_rate": item.worked.rate or None,
        "channels": item.worked.channels or None,
        "form": item.worked.form,
    }


def quarantine_table(outcome: Outcome) -> str:
    """What is in quarantine and why, for a spreadsheet."""
    target = io.StringIO(newline="")
    table = csv.writer(target)
    table.writerow(["id", "recording", "transcript", "line", "text", "why", "what to do"])
    for item in outcome.quarantined:
        row = item.row
        kinds = [KINDS[finding.kind] for finding in item.reasons]
        whys = (
            f"{KINDS[it.kind].title}: {it.what}" if it.what else KINDS[it.kind].title for it in item.reasons
        )
        cells = [item.id, item.recording, *(("", "") if row is None else (row.file, str(row.line))), item.raw]
        todo = "; ".join(dict.fromkeys(kind.done.partition(": ")[2] or "listen to it" for kind in kinds))
        table.writerow([_cell(cell) for cell in (*cells, "; ".join(whys), todo)])
    return "\ufeff" + target.getvalue()  # Excel takes it for UTF-8 only with the mark.


def _cell(value: str) -> str:
    text = untrusted.file_name(value, 2000)
    return f"'{text}" if text.startswith(_FORMULA) else text


# ---- The page


@dataclass(frozen=True, slots=True)
class Group:
    """The findings of one kind, for a table: those that are listed, and how many there are."""

    kind: str
    title: str
    weight: Weight
    done: str
    findings: Sequence[Finding]
    count: int


def groups(outcome: Outcome, most: int = _MOST_LISTED) -> list[Group]:
    """The findings by kind, in the order of `KINDS`, at most `most` of each listed."""
    by_kind: dict[str, list[Finding]] = {}
    for item in outcome.all_findings:
        by_kind.setdefault(item.kind, []).append(item)
    return [
        Group(kind, KINDS[kind].title, KINDS[kind].weight, KINDS[kind].done, items[:most], len(items))
        for kind, items in by_kind.items()
    ]


@dataclass(frozen=True, slots=True)
class PlayableUtterance:
    """An utterance on the page: its sound as a data URI, empty if it has none, and why that is."""

    utterance: Utterance
    sound: str
    trouble: str


def page(found: Found, outcome: Outcome, summary: Summary, settings: AudioSettings) -> str:
    """The page for people; the same for the same recordings and texts."""
    template, style = _template()
    listened = doubtful(outcome)
    heard = list(_heard(listened, found))
    return template.render(
        style=style,
        # The policy names the only style sheet that the page may use by its hash.
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii"),
        name=untrusted.file_name(found.folder.path.resolve().name),
        summary=summary,
        verdict=verdict(summary),
        facts=facts(summary, settings),
        groups=groups(outcome),
        heard=heard,
        unheard=len(listened) - len(heard),
        kinds=KINDS,
        most=max(summary.histogram, default=1) or 1,
    )


@cache
def _template() -> tuple[Template, str]:
    """The page, and the style that it shares with the report of a run."""
    environment = Environment(
        loader=PackageLoader("orchestrator.data", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = untrusted.file_name
    environment.filters["line"] = untrusted.one_line
    style = PackageLoader("orchestrator.report", "page").get_source(environment, "style.css")[0]
    return environment.get_template("data.html.j2"), style


def facts(summary: Summary, settings: AudioSettings) -> list[tuple[str, str]]:
    """The dataset in numbers, as names and values."""
    least, middle, most = summary.lengths
    soft, usual, loud = summary.loudness
    found = [
        ("Recordings", f"{summary.recordings:,}"),
        ("Rows", f"{summary.rows:,}"),
        ("Utterances", f"{summary.utterances:,}"),
        ("In quarantine", f"{summary.quarantined:,}"),
        ("Speech", duration(summary.seconds)),
        ("Length", f"{least:.1f} to {most:.1f} s, median {middle:.1f} s"),
        ("Loudness", f"{soft:.0f} to {loud:.0f} LUFS, median {usual:.0f}; evened to {settings.loudness:.0f}"),
        ("Sample rates", ", ".join(f"{rate:,} Hz ({count})" for rate, count in summary.rates.items()) or "-"),
        ("Characters", f"{summary.characters} different ones, {summary.letters:,} in all"),
    ]
    if len(summary.speakers) > 1:
        speakers = (
            f"{untrusted.one_line(name, 40) or 'nobody named'} {seconds / 60:.1f} min"
            for name, seconds in summary.speakers.items()
        )
        found.append((counted(len(summary.speakers), "speaker").capitalize(), ", ".join(speakers)))
    return found


def _heard(utterances: Sequence[Utterance], found: Found) -> Iterator[PlayableUtterance]:
    """Give the sounds of what is doubtful, as long as the page stays small."""
    paths = {item.name: item.path for item in found.folder.recordings}
    left = _MOST_BYTES
    for item in utterances[:_MOST_SOUNDS]:
        if item.sound is None:
            yield PlayableUtterance(item, "", item.worked.error)
            continue
        try:
            sound = read_sound(paths[item.recording])
        except SoundError as error:
            yield PlayableUtterance(item, "", str(error))
            continue
        begin, end = item.sound.begin, min(item.sound.end, item.sound.begin + _LONGEST_SOUND_S)
        cut = sound.samples[int(begin * sound.rate) : int(end * sound.rate)]
        content = base64.b64encode(wav_bytes(resample(cut, sound.rate, _SOUND_RATE), _SOUND_RATE)).decode(
            "ascii"
        )
        if len(content) > left:
            return
        left -= len(content)
        yield PlayableUtterance(item, f"data:audio/wav;base64,{content}", "")

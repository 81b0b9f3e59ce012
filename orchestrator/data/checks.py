"""Decide by measures and texts what becomes of each recording."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.data.findings import KINDS, Finding, Outcome, Utterance, Weight
from orchestrator.data.pairing import Paired, comparable, letters
from orchestrator.data.work import AudioSettings, Worked
from orchestrator.formatting import counted

SHORTEST_S = 0.3  # Of speech.
LONGEST_S = 60.0  # The longest recording of the public run that trained well has 53 s.
_LONG_PAUSE_S = 1.5
_NOISY_DB, _TOO_NOISY_DB = 25.0, 12.0
_MUCH_CLIPPED = 0.001  # One sample in a thousand: it can be heard.
_CUT_OFF_S = 0.05
_OWN_DB = 0.5  # A smaller change of loudness is not worth a word.
_TRIMMED_S = 0.05
# Characters a second: outside of the first pair nobody reads; and how far a text may be from the usual.
_SLOWEST, _FASTEST = 2.5, 40.0
_FAR = math.log(1.8)
_ENOUGH_TO_COMPARE = 8


class Said(Protocol):
    """What `kernel_template.text.spoken` returns, as far as it is used here."""

    @property
    def text(self) -> str:
        """The text to speak."""

    @property
    def remarks(self) -> Sequence[str]:
        """What the writer should know about the whole text, as sentences."""

    @property
    def harmful(self) -> Sequence["Lost"]:
        """What is not spoken and a listener would miss."""


class Lost(Protocol):
    """A character that is not spoken."""

    @property
    def character(self) -> str:
        """The character itself."""


Speak = Callable[[str], Said]


@dataclass(frozen=True, slots=True)
class Rules:
    """How recordings and texts are judged.

    Attributes:
        settings: what the recordings become.
        speak: makes the spoken form of a text.
        accepted: ids or names of the recordings that the user accepts.
    """

    settings: AudioSettings
    speak: Speak
    accepted: frozenset[str] = frozenset()


def judge(pairs: Sequence[Paired], worked: Mapping[str, Worked], outcome: Outcome, rules: Rules) -> Outcome:
    """Decide what becomes of each recording; completes and returns the outcome.

    Args:
        pairs: the recordings with their texts.
        worked: what is known about each, by its name.
        outcome: from `pair`.
        rules: how to judge.
    """
    found: list[Utterance] = []
    for item in pairs:
        found += _utterances(item, worked[item.recording.name], rules)
    for each in _misfits(_duplicates(found)):
        accepted = each.id in rules.accepted or each.recording in rules.accepted
        outcome.utterances.append(replace(each, accepted=accepted))
        if accepted and any(KINDS[finding.kind].weight is Weight.QUARANTINE for finding in each.findings):
            outcome.findings.append(Finding("accepted", each.recording, what=each.id))
    outcome.utterances.sort(key=lambda item: item.id)
    return outcome


def _utterances(item: Paired, worked: Worked, rules: Rules) -> list[Utterance]:
    name = item.recording.name
    text = "" if item.row is None else item.row.text
    if worked.measures is None:
        kind = worked.error_kind if worked.error_kind in KINDS else "unreadable"
        why = Finding(kind, name, what=worked.error)
        return [
            Utterance(item.id, name, item.row, text, "", item.speaker, worked, None, (*item.findings, why))
        ]
    of_sound = (*item.findings, *_of_sound(name, worked, rules.settings))
    found = []
    for number in range(len(worked.parts)):
        is_part = len(worked.parts) > 1
        source = item.sentences[number] if is_part else " ".join(item.sentences) or text
        said = rules.speak(source)
        findings = [*of_sound, *_of_text(item, said)]
        if is_part:
            findings.append(Finding("split", name, what=f"{worked.seconds:.1f} s into {len(worked.parts)}"))
        elif worked.measures.end - worked.measures.begin > rules.settings.longest:
            findings.append(_too_long(name, worked, len(item.sentences)))
        ident = f"{item.id}-{number + 1}" if number else item.id
        raw = source if is_part else text
        spoken = " ".join(said.text.split())
        found.append(
            Utterance(ident, name, item.row, raw, spoken, item.speaker, worked, number, tuple(findings))
        )
    return found


def _too_long(name: str, worked: Worked, count: int) -> Finding:
    assert worked.measures is not None
    kind = "too_long" if worked.measures.end - worked.measures.begin > LONGEST_S else "long"
    pauses = counted(len(worked.measures.pauses), "pause")
    return Finding(kind, name, what=f"{worked.seconds:.0f} s; {counted(count, 'sentence')}, {pauses}")


def _of_text(item: Paired, said: Said) -> list[Finding]:
    if item.row is None:
        return []
    place = (item.row.file, item.row.line)
    if not letters(said.text):
        return [Finding("empty_text", *place, f"{item.row.text!r}")]
    lost = "".join(dict.fromkeys(loss.character for loss in said.harmful))
    found = [Finding("unsayable", *place, lost)] if lost else []
    return found + [Finding("spelling", *place, remark) for remark in said.remarks]


def _of_sound(name: str, worked: Worked, settings: AudioSettings) -> list[Finding]:
    """What is wrong with a recording or has to be changed, by its measures alone."""
    measures = worked.measures
    assert measures is not None
    if measures.is_silent:
        return [Finding("silent", name, what=f"its level is {measures.speech_db:.0f} dB")]
    speech = measures.end - measures.begin
    longest = max((end - begin for begin, end in measures.pauses), default=0.0)
    trimmed = worked.seconds - sum(part.seconds for part in worked.parts) if len(worked.parts) == 1 else 0.0
    is_clipped = worked.clipped >= _MUCH_CLIPPED
    is_noisy = not measures.has_contrast or measures.snr < _TOO_NOISY_DB
    above_noise = f"speech is {measures.snr:.0f} dB above the noise"
    channels = f"{worked.channels} channels" + (f"; {worked.channel}" if worked.channel else "")
    is_wav = worked.form == "16 bit" and name.lower().endswith((".wav", ".wave"))
    gain = worked.parts[0].gain
    found = (
        ("too_short", speech < SHORTEST_S, f"{speech:.2f} s of speech"),
        ("cut_off", worked.missing_s > _CUT_OFF_S, f"{worked.missing_s:.1f} s are missing at its end"),
        ("noise", is_noisy, above_noise),
        ("some_noise", not is_noisy and measures.snr < _NOISY_DB, above_noise),
        ("clipped", is_clipped, f"{worked.clipped:.2%} of its samples"),
        ("some_clipping", not is_clipped and worked.clipped > 0, f"{worked.clipped:.3%} of its samples"),
        ("long_pause", longest > _LONG_PAUSE_S and len(worked.parts) == 1, f"{longest:.1f} s"),
        ("low_rate", worked.rate < settings.rate, f"{worked.rate:,} Hz"),
        ("rate", worked.rate > settings.rate, f"{worked.rate:,} Hz"),
        ("channels", worked.channels > 1, channels),
        ("format", not is_wav, worked.form),
        ("beyond", worked.peak > 1, f"up to {worked.peak:.2f}"),
        ("silence", trimmed > _TRIMMED_S, f"{trimmed:.1f} s"),
        ("loudness", abs(gain) > _OWN_DB, f"{measures.loudness:.1f} LUFS, {gain:+.1f} dB"),
    )
    return [Finding(kind, name, what=what) for kind, applies, what in found if applies]


def _duplicates(found: list[Utterance]) -> list[Utterance]:
    """Find recordings with the same samples: the first stays if all have its text, else none does."""
    same: dict[str, list[Utterance]] = {}
    for item in found:
        if item.worked.digest and not item.part:
            same.setdefault(item.worked.digest, []).append(item)
    reasons: dict[str, Finding] = {}
    for items in same.values():
        recordings = list(dict.fromkeys(item.recording for item in items))
        if len(recordings) < 2 or items[0].worked.measures is None or items[0].worked.measures.is_silent:  # noqa: PLR2004
            continue
        texts = {comparable(item.row.text) for item in items if item.row is not None}
        # The one whose row comes first; one without a row is the copy.
        rows = [(item.row.file, item.row.line, item.recording) for item in items if item.row is not None]
        first = min(rows)[-1] if rows else recordings[0]
        for name in recordings:
            others = ", ".join(other for other in recordings if other != name)
            if len(texts) > 1:
                reasons[name] = Finding("same_sound", name, what=f"as {others}")
            elif name != first:
                reasons[name] = Finding("duplicate", name, what=f"as {first}")
    return [
        replace(item, findings=(*item.findings, reasons[item.recording]))
        if item.recording in reasons
        else item
        for item in found
    ]


def _pace(item: Utterance) -> float | None:
    """Letters a second of speech; None without text or speech."""
    measures = item.worked.measures
    if (
        not item.spoken
        or item.sound is None
        or measures is None
        or measures.is_silent
        or not measures.has_contrast
    ):
        return None
    begin, end = max(measures.begin, item.sound.begin), min(measures.end, item.sound.end)
    pauses = sum(last - first for first, last in measures.pauses if begin <= first and last <= end)
    return letters(item.spoken) / max(end - begin - pauses, 0.1)


def _misfits(found: list[Utterance]) -> list[Utterance]:
    """Find texts that are far too long or too short for their recordings."""
    paces = [_pace(item) for item in found]
    known = [math.log(pace) for pace in paces if pace]
    usual = statistics.median(known) if known else 0.0
    spread = 1.4826 * statistics.median(abs(value - usual) for value in known) if known else 0.0
    far = max(4 * spread, _FAR) if len(known) >= _ENOUGH_TO_COMPARE else math.inf
    result = []
    for item, pace in zip(found, paces, strict=True):
        if pace is not None and (not _SLOWEST < pace < _FASTEST or abs(math.log(pace) - usual) > far):
            what = f"{pace:.1f} letters a second; the others have {math.exp(usual):.1f}"
            finding = Finding("text_length", item.recording, what=what)
            result.append(replace(item, findings=(*item.findings, finding)))
        else:
            result.append(item)
    return result

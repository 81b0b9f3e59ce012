"""The README of a voice package, which is also its page on Hugging Face and its description on Kaggle.

What comes from a run's files is escaped: it can neither be Markdown nor HTML, and no link.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from kernel_template.text.vocabulary import Vocabulary
from orchestrator import untrusted
from orchestrator.formatting import size
from orchestrator.voice.card import VoiceCard
from orchestrator.voice.facts import LossCurve, VoiceFacts
from orchestrator.voice.licences import LICENCES
from orchestrator.voice.package import HASHES

# What can begin a mark, a tag, a link, a mention or a column; the stop of www. makes a link, too.
_MARKS = re.compile(r"([\\`*_{}\[\]<>()#|~&:@$!]|(?<=www)\.)", re.IGNORECASE)
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
_WIDTH, _HEIGHT, _EDGE = 640, 260, 40
_RARE = 5  # Fewer times in the training texts than this: the voice hardly learnt the letter.


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a package: its file, the text as it is written, and who speaks it."""

    file: str
    text: str
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What the README tells besides the card and the facts.

    Attributes:
        title: what the voice is called.
        licence: the SPDX name of its licence; None if nobody said it.
        base_licence: the same of the voice that the training began with.
        author: who gives it; None if that is not said.
        samples: the samples.
        model_size: bytes of the model.
        weights: how the weights are stored, and how near that is, in words.
        has_rules: whether there are text rules for sherpa-onnx.
    """

    title: str
    licence: str | None
    base_licence: str | None
    author: str | None
    samples: Sequence[Sample]
    model_size: int
    weights: str
    has_rules: bool


def escaped(value: object) -> str:
    """Write any text on one line so that Markdown shows it as it is."""
    return _MARKS.sub(r"\\\1", untrusted.one_line(value)).replace("\\&", "&amp;").replace("\\<", "&lt;")


def readme(card: VoiceCard, facts: VoiceFacts, about: About) -> str:
    """Write the README, with the header that Hugging Face reads."""
    parts = [
        _header(card, about),
        f"# {escaped(about.title)}\n",
        f"A {_language(card)} text-to-speech voice (VITS, {card.audio.sample_rate:,} Hz) made with kgtts.\n",
        _samples(about.samples),
        _use(card, about),
        _texts(about),
        _facts(card, facts, about),
        _limits(card),
        _licence(about),
        "## Is it whole?\n",
        f"`sha256sum --check {HASHES}` (macOS: `shasum -a 256 --check {HASHES}`) verifies each file.\n",
    ]
    return "\n".join(part for part in parts if part)


def _header(card: VoiceCard, about: About) -> str:
    known = next((item for item in LICENCES if item.name == about.licence), LICENCES[-1])
    code = (card.language or "bn").split("-")[0].lower()
    language = code if re.fullmatch(r"[a-z]{2,3}", code, re.ASCII) else "bn"
    values: dict[str, object] = {
        "language": [language],
        "license": known.hugging_face,
        "pipeline_tag": "text-to-speech",
        "tags": ["text-to-speech", "vits", "onnx", "sherpa-onnx", "piper", "kgtts"],
    }
    if known.hugging_face == "other":
        values["license_name"] = "see-license-txt"
        values["license_link"] = "LICENSE.txt"
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()) + "---\n"


def _language(card: VoiceCard) -> str:
    return "Bangla" if Vocabulary.of(card.text.model_dump()).is_bangla else escaped(card.language or "?")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _samples(samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    rows = [
        [
            f"[{item.file}]({item.file})",
            escaped(item.text) + (f" ({escaped(item.speaker)})" if item.speaker else ""),
        ]
        for item in samples
    ]
    return "## Samples\n\n" + _table(["sound", "text"], rows)


def _use(card: VoiceCard, about: About) -> str:
    scales = card.scales
    rules = " --tts-rule-fsts=bangla.fst" if about.has_rules else ""
    flags = (
        f"--vits-model=voice.onnx --vits-tokens=tokens.txt{rules} "
        f"--vits-noise-scale={scales.noise:g} --vits-length-scale={scales.length:g} "
        f"--vits-noise-scale-w={scales.duration_noise:g}"
    )
    speakers = ""
    if card.speakers:
        listed = ", ".join(f"{number} {escaped(name)}" for name, number in list(card.speakers.items())[:50])
        speakers = f"\nSpeakers (`--speaker`, `--sid`): {listed}.\n"
    return f"""## Use it

On a laptop with kgtts and its extra `speak`, which reads the most (numbers, dates, money, signs, Latin
words), in the folder of these files:

```sh
kgtts say --voice . "আমি বাংলায় গান গাই।"
```

On a phone or a small computer with [sherpa-onnx](https://k2-fsa.github.io/sherpa/onnx/tts/) (Android, iOS,
Windows, Linux, Raspberry Pi): its apps and libraries take these files as a VITS model: `voice.onnx`, its
tokens `tokens.txt`{_rules_words(about)}. They need no lexicon and no
`espeak-ng-data`. For Android, put them into the assets of its TTS engine as its guide says. To try it:

```sh
pip install sherpa-onnx sherpa-onnx-bin
sherpa-onnx-offline-tts {flags} --output-filename=said.wav "আমি বাংলায় গান গাই।"
```

sherpa-onnx shortens pauses to a fifth unless `silence_scale` is 1.

With [Piper](https://github.com/OHF-Voice/piper1-gpl) (Home Assistant): copy `voice.onnx` and
`voice.onnx.json` beside each other into its folder of voices. To try it:

```sh
pip install piper-tts
piper -m voice.onnx -f said.wav "আমি বাংলায় গান গাই।"
```
{speakers}"""


def _rules_words(about: About) -> str:
    return " and its rule FST `bangla.fst`" if about.has_rules else ""


def _texts(about: About) -> str:
    if not about.has_rules:
        return (
            "## What it reads\n\nsherpa-onnx and Piper read the letters of `tokens.txt` and leave out all "
            "else. Write numbers and signs out in words for them.\n"
        )
    return """## What it reads

| | kgtts | sherpa-onnx with `bangla.fst` | Piper |
| --- | --- | --- | --- |
| ো ৌ য় ড় ঢ় in either spelling of Unicode | yes | yes | yes |
| ends of sentences, `।` among them | yes | yes | reads a text as one sentence: give it sentences |
| numbers, also 1,25,000 and ১.৫, years, percent, taka | yes | yes | digit by digit |
| telephone numbers and what has ten digits or more | yes | digit by digit | digit by digit |
| abbreviations such as ড. and মো., SMS | yes | the commonest | no |
| dates, times, ranges, units, fractions, other money | yes | their numbers only | digit by digit |
| Latin words | yes | **left out**: write them in Bangla letters | **left out** |

`bangla.fst` reads four digits from 1700 to 1999 as a year. Without it, sherpa-onnx leaves out numbers, and
reads a text up to `.`, `?`, `!` or `:` at once.
"""


def _facts(card: VoiceCard, facts: VoiceFacts, about: About) -> str:
    rows = [[escaped(name), escaped(value)] for name, value in facts.rows]
    run = [
        f"run {card.run.id}" if card.run.id else "",
        f"session {card.run.session}" if card.run.session else "",
    ]
    made = [
        part for part in (*run, f"step {card.global_step:,}" if card.global_step is not None else "") if part
    ]
    rows += [["Exported from", escaped(", ".join(made))]] if made else []
    rows += [["Exported", escaped(card.made)]] if card.made else []
    rows += [["Model", escaped(f"{size(about.model_size)}; {about.weights}")]]
    text = "## How it was made\n\n" + _table(["", ""], rows)
    if facts.scores:
        scores = [[escaped(part) for part in row] for row in facts.scores]
        text += "\nSentences that nothing was trained on, mean ± spread between sentences:\n\n"
        text += _table(["measure", "recordings", "base voice", "this voice"], scores)
    if facts.curves:
        text += "\n![Losses by step](curves.svg)\n"
    return text


def _limits(card: VoiceCard) -> str:
    counts = card.text.counts
    words = ["It speaks as its recordings did: other texts, such as verse or foreign names, may sound wrong."]
    if counts:
        letters = [letter for letter in card.text.characters if letter.isalpha() or letter.isdigit()]
        rare = [letter for letter in letters if counts.get(letter, 0) < _RARE]
        if rare:
            listed = " ".join(escaped(letter) for letter in rare[:60])
            words.append(f"Letters that its training texts had fewer than {_RARE} times: {listed}")
    else:
        words.append("Nobody counted which letters its training texts had.")
    words.append("Do not let it say what its speaker would not: it can sound like a real person.")
    return "## Limits\n\n" + "".join(f"- {item}\n" for item in words)


def _licence(about: About) -> str:
    return (
        "## Licence\n\n"
        + "".join(f"{line}\n" for line in licence_lines(about, escaped))
        + ("\n`LICENSE.txt` says the same.\n")
    )


def licence_lines(about: About, show: Callable[[object], str] = str) -> list[str]:
    """Say under which licence the voice is, in sentences; `show` escapes what somebody else wrote."""
    known = next((item for item in LICENCES if item.name == about.licence), None)
    owner = f", by {show(about.author)}" if about.author else ""
    lines = [f"{show(about.title)}{owner}."]
    if known is None:
        lines.append("Its maker did not say under which licence it is: ask before you use or share it.")
    elif not known.url:
        lines.append("Its licence is none of the usual ones: ask its maker before you use or share it.")
    else:
        lines.append(f"Licence: {known.name}, {known.url}")
    if about.base_licence:
        lines.append(f"The voice that the training began with is under {show(about.base_licence)}.")
    else:
        lines.append("The licence of the voice that the training began with was not stated.")
    return lines


def curves_svg(curves: Sequence[LossCurve]) -> str:
    """Draw the losses by step, each from its lowest to its highest value."""
    last = max(step for curve in curves for step, _ in curve.points) or 1
    lines = []
    for number, curve in enumerate(curves):
        colour, values = _COLOURS[number % len(_COLOURS)], [value for _, value in curve.points]
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        points = " ".join(
            f"{_EDGE + (_WIDTH - 2 * _EDGE) * step / last:.1f},"
            f"{_HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * (value - low) / span:.1f}"
            for step, value in curve.points
        )
        label = escape(f"{curve.name}: {low:.3g} to {high:.3g}")
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        lines.append(f'<text x="{_EDGE}" y="{_HEIGHT + 16 * number}" fill="{colour}">{label}</text>')
    height = _HEIGHT + 16 * len(curves)
    axis = f"M{_EDGE},{_EDGE}V{_HEIGHT - _EDGE}H{_WIDTH - _EDGE}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f'<path d="{axis}" fill="none" stroke="#888"/>'
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - _EDGE + 14}" text-anchor="end">step {last:,}</text>'
        f"{''.join(lines)}</svg>\n"
    )

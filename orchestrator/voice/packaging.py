"""Make a voice package of an exported voice: of a session's as it is, of an older one after the same edits.

Needs numpy and onnxruntime (the extra `speak`); for a voice that a kgtts before 0.2 exported, also onnx.
"""

import hashlib
import importlib
import io
import json
import tempfile
import wave
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import VOICE_CARD, VOICE_MODEL, VOICE_TOKENS
from kernel_template.sound import pcm16
from kernel_template.text.front_ends import CHARACTERS, sherpa_metadata, sherpa_tokens, split_letters
from kernel_template.text.vocabulary import Vocabulary
from orchestrator import __version__, untrusted
from orchestrator.errors import LocalError, UsageError
from orchestrator.voice.card import VoiceCard, load_card
from orchestrator.voice.facts import VoiceFacts
from orchestrator.voice.licences import licence
from orchestrator.voice.piper import piper_config
from orchestrator.voice.readme import About, Sample, curves_svg, licence_lines, readme
from orchestrator.voice.rule_fst import rule_fst
from orchestrator.voice.synthesis import SynthesisOptions, Voice, open_voice

PACKAGE_SCHEMA = 1
_SENTENCES = (
    "আপনাকে স্বাগতম, আমি বাংলায় কথা বলি।",
    "আজ সকালে নদীর ধারে ঠান্ডা হাওয়া বইছে।",
    "ঢাকা থেকে চট্টগ্রাম দুইশো পঁয়ষট্টি কিলোমিটার।",
)
_INPUTS = ("input", "input_lengths", "scales", "sid")  # In the order in which sherpa-onnx passes them.
_MOST_SPEAKERS = 6  # Whose samples come with a package.
_SEED = 0


@dataclass(frozen=True, slots=True)
class VoiceDetails:
    """What the publisher says of the voice; licences by their SPDX names.

    Attributes:
        title: what it is called.
        licence: its licence; None if it is not given.
        base_licence: the licence of the voice that the training began with.
        author: who gives it.
    """

    title: str
    licence: str | None = None
    base_licence: str | None = None
    author: str | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of a package, without the hash list, and what is to be told about them."""

    files: Mapping[str, bytes]
    notes: tuple[str, ...]


def package_contents(place: Path, facts: VoiceFacts, asked: VoiceDetails) -> Contents:
    """Make the files of a package.

    Args:
        place: the voice's description, a voice.json or base.json.
        facts: what is known of the voice.
        asked: what its publisher says of it.

    Raises:
        UsageError: the voice is damaged, or other programs could not speak with it.
        LocalError: a package that is needed is not installed.
    """
    described = untrusted.as_object(untrusted.read_json_object(place))
    _check_fit(place, load_card(place), described)
    try:
        _json(described)
    except ValueError as error:  # A field that we do not know can hold anything.
        raise UsageError(
            f"{place} cannot go into a package: it has a number that is not finite, or half a character.",
            hint="download it again with `kgtts pull`",
        ) from error
    voice = open_voice(place, seed=_SEED)
    model, notes = (place.parent / voice.card.onnx.file).read_bytes(), []
    weights = untrusted.as_object(described.get("weights"))
    if not _is_prepared(voice, described):
        model, weights = _prepared(model, described, facts.sentences or _SENTENCES)
        notes.append("An earlier kgtts exported this voice; the metadata for sherpa-onnx was added.")
        if weights["why"] is not None:
            notes.append(f"Its weights stay in 32 bits: {weights['why']}.")
    described |= {
        "onnx": described["onnx"] | {"file": VOICE_MODEL, "size": len(model), "sha256": _sha256(model)},
        "weights": weights,
        "package": {
            "schema": PACKAGE_SCHEMA,
            "kgtts": __version__,
            "title": asked.title,
            "licence": licence(asked.licence).name if asked.licence else None,
            "base_licence": asked.base_licence,
            "author": asked.author,
        },
    }
    tokens = sherpa_tokens(described["text"]).encode()
    files = {VOICE_MODEL: model, VOICE_CARD: _json(described), VOICE_TOKENS: tokens}
    rules = rule_fst(Vocabulary.of(described["text"]))
    if rules is not None:
        files["bangla.fst"] = rules
    files[f"{VOICE_MODEL}.json"] = _json(piper_config(voice.card))
    samples = _samples(files, facts.sentences or _SENTENCES)
    about = _about(asked, [item for item, _ in samples], described, has_rules=rules is not None)
    files |= {item.file: sound for item, sound in samples}
    if facts.curves:
        files["curves.svg"] = curves_svg(facts.curves).encode()
    files["README.md"] = readme(voice.card, facts, about).encode()
    files["LICENSE.txt"] = ("\n".join(licence_lines(about)) + "\n").encode()
    return Contents(files, tuple(notes))


def _about(
    asked: VoiceDetails, samples: Sequence[Sample], described: Mapping[str, Any], *, has_rules: bool
) -> About:
    weights = untrusted.as_object(described["weights"])
    snr = untrusted.number(weights.get("snr_db"))
    words = "weights in 32 bits"
    if weights.get("stored") == "float16":
        words = "weights stored in 16 bits" + (f", {snr:.0f} dB from 32 bits" if snr is not None else "")
    return About(
        title=untrusted.one_line(asked.title, 100),
        licence=licence(asked.licence).name if asked.licence else None,
        base_licence=untrusted.one_line(asked.base_licence, 100) if asked.base_licence else None,
        author=untrusted.one_line(asked.author, 100) if asked.author else None,
        samples=samples,
        model_size=described["onnx"]["size"],
        weights=words,
        has_rules=has_rules,
    )


def _check_fit(place: Path, card: VoiceCard, described: Mapping[str, Any]) -> None:
    """See that other programs can speak with a voice.

    Raises:
        UsageError: they cannot.
    """
    kind = untrusted.as_object(described.get("text")).get("kind", CHARACTERS)
    if kind != CHARACTERS:
        raise UsageError(
            f"The voice at {place} reads phonemes: sherpa-onnx and Piper do not make those of its training.",
            hint="speak with it by `kgtts say`",
        )
    if card.onnx.inputs != _INPUTS[: len(card.onnx.inputs)]:
        listed = ", ".join(card.onnx.inputs)
        raise UsageError(f"The voice at {place} takes {listed}: sherpa-onnx and Piper pass no such inputs.")


def _is_prepared(voice: Voice, described: Mapping[str, Any]) -> bool:
    wanted, found = sherpa_metadata(described), voice.metadata
    return bool(described.get("weights")) and all(found.get(key) == value for key, value in wanted.items())


def _prepared(
    model: bytes, described: Mapping[str, Any], sentences: Sequence[str]
) -> tuple[bytes, dict[str, Any]]:
    """Edit the model of a voice that an earlier kgtts exported; give it and its `weights`.

    Raises:
        LocalError: onnx is not installed.
    """
    try:
        onnx = importlib.import_module("onnx")
    except ImportError as error:
        raise LocalError(
            "This voice was exported by an earlier kgtts: packaging it needs onnx, which is not installed.",
            hint='pip install "kgtts[package]"',
        ) from error
    edit = importlib.import_module("kernel_template.finish.onnx_edit")
    graph = onnx.load_model_from_string(model)
    edit.prepare(graph, described, split_letters(described["text"]))
    whole = graph.SerializeToString()
    edit.store_as_half(graph)
    half = graph.SerializeToString()
    spoken = [[_quiet(data, described, text) for data in (whole, half)] for text in sentences]
    weights: dict[str, Any] = edit.closeness([(one, other) for one, other in spoken if len(one)])
    return (half if weights["why"] is None else whole), weights


def _quiet(model: bytes, described: Mapping[str, Any], text: str) -> Any:
    """Speak a text without noise, with one form of a model."""
    with _opened({VOICE_MODEL: model}, described) as voice:
        parts = [piece.samples for piece in voice.say(text, SynthesisOptions(noise=0.0))]
    return importlib.import_module("numpy").concatenate(parts) if parts else []


def _samples(files: Mapping[str, bytes], sentences: Sequence[str]) -> list[tuple[Sample, bytes]]:
    """Let the voice of a package speak; by each of several speakers the first sentence, the others by one."""
    described = json.loads(files[VOICE_CARD])
    found: list[tuple[Sample, bytes]] = []
    with _opened(files, described) as voice:
        names: list[str | None] = [*voice.card.speakers] if "sid" in voice.card.onnx.inputs else []
        names = names or [None]
        told = [(sentences[0], name) for name in names[:_MOST_SPEAKERS]] + [
            (text, names[0]) for text in sentences[1:]
        ]
        for text, speaker in told:
            sound = b"".join(
                pcm16(piece.samples, piece.pause_s, voice.card.audio.sample_rate)
                for piece in voice.say(text, SynthesisOptions(speaker=speaker))
            )
            if sound:
                sample = Sample(f"samples/{len(found) + 1:02}.wav", text, speaker)
                found.append((sample, _wav(sound, voice.card.audio.sample_rate)))
    return found


@contextmanager
def _opened(files: Mapping[str, bytes], described: Mapping[str, Any]) -> Iterator[Voice]:
    """Open the voice of a package before there is one."""
    model = files[VOICE_MODEL]
    onnx = described["onnx"] | {"file": VOICE_MODEL, "size": len(model), "sha256": _sha256(model)}
    with tempfile.TemporaryDirectory(prefix="kgtts-voice-") as made:
        place = Path(made, VOICE_CARD)
        place.with_name(VOICE_MODEL).write_bytes(model)
        place.write_bytes(_json({**described, "onnx": onnx}))
        yield open_voice(place, seed=_SEED)


def _wav(sound: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(rate)
        target.writeframes(sound)
    return file.getvalue()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""The held-out sentences: the host lists what the trainer evaluates on, and the session chooses from it.

They are a part of the trainer's own evaluation split, which stays as it is.
All sessions of a run measure the same sentences as long as the split has them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import HeldOut

_MOST_LISTED = 2000
_USUAL_LENGTH = range(12, 161)  # Characters: long enough to say something, short enough to be spoken soon.


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recording that nothing is trained on."""

    path: str
    name: str  # Relative to its dataset if that is known.
    text: str
    speaker: str | None


def list_candidates(train: Iterable[Any], evaluation: Iterable[Any]) -> list[dict[str, Any]]:
    """The samples to evaluate on whose recording and text are not trained on too, as JSON has them."""
    used_files, used_texts = set(), set()
    for sample in train:
        if isinstance(sample, Mapping):
            used_files.add(str(sample.get("audio_file")))
            used_texts.add(str(sample.get("text")))
    found: dict[str, dict[str, Any]] = {}
    speakers = set()
    for sample in evaluation:
        if not isinstance(sample, Mapping) or len(found) >= _MOST_LISTED:
            continue
        path, text = str(sample.get("audio_file")), str(sample.get("text"))
        if path in used_files or text in used_texts or not text.strip():
            continue
        root, speaker = sample.get("root_path"), sample.get("speaker_name")
        inside = root and Path(path).is_relative_to(str(root))
        name = Path(path).relative_to(str(root)).as_posix() if inside else path
        speakers.add(speaker)
        found[path] = {"path": str(Path(path).absolute()), "name": name, "text": text, "speaker": speaker}
    return [item | ({"speaker": None} if len(speakers) <= 1 else {}) for item in found.values()]


def read_candidates(place: Path) -> list[Candidate]:
    """Read what the host listed; empty if it did not."""
    try:
        listed = json.loads(place.read_text(encoding="utf-8"))
        return [Candidate(**item) for item in listed]
    except (OSError, ValueError, TypeError):
        return []


def choose(
    candidates: Sequence[Candidate], count: int, before: Sequence[HeldOut] = ()
) -> tuple[list[HeldOut], list[str]]:
    """Choose at most `count` sentences: those measured before, then others in an order that chance made once.

    Returns:
        The sentences, and the path of each one's recording.
    """
    there = {(item.name, item.text): item for item in candidates}
    kept = [item for item in before if (item["recording"], item["text"]) in there][:count]
    taken = {(item["recording"], item["text"]) for item in kept}
    texts = {item["text"] for item in kept}
    names = {item["file"] for item in before}
    numbers = (
        name for number in range(1, count + len(names) + 1) if (name := f"{number:02d}.wav") not in names
    )
    others = sorted(
        (item for key, item in there.items() if key not in taken),
        key=lambda item: (len(item.text) not in _USUAL_LENGTH, _chance(item)),
    )
    for item in others:
        if len(kept) >= count:
            break
        if item.text in texts:
            continue
        texts.add(item.text)
        kept.append(
            {"file": next(numbers), "text": item.text, "recording": item.name, "speaker": item.speaker}
        )
    return kept, [there[item["recording"], item["text"]].path for item in kept]


def _chance(item: Candidate) -> bytes:
    return hashlib.sha256(f"{item.name}\0{item.text}".encode(errors="surrogatepass")).digest()

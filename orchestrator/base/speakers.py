"""The speakers of a base voice with several: their names go from a file beside config.json into it.

Coqui's trainer writes them into `speakers.pth` and the path of that file, on its own machine, into
config.json. A list `speakers` in config.json serves as well, and needs no path.
"""

import json
from pathlib import Path
from typing import Any

from orchestrator import untrusted
from orchestrator.base.checkpoint import Checkpoint, read_content
from orchestrator.errors import UsageError

# Trainer 0.8 and later write the first; older ones the others.
SPEAKER_FILES = ("speakers.pth", "speakers.json", "speaker_ids.json")
_KEYS = ("speakers_file", "speaker_file", "speakers_file_path")
_ROWS = "emb_g.weight"  # A row for each speaker.
_MOST = 100_000


def take_speakers(
    config: dict[str, Any], folder: Path, checkpoint: Checkpoint
) -> tuple[list[str], list[str]]:
    """Put the names of the speakers into a configuration that needs them.

    Args:
        config: the configuration; it is changed.
        folder: where its file was, and that of the speakers.
        checkpoint: its weights.

    Returns:
        What was changed, and what may matter to the person, as sentences.

    Raises:
        UsageError: the file of the speakers is damaged.
    """
    places = [config, untrusted.as_object(config.get("model_args"))]
    if any(place.get("use_d_vector_file") for place in places):
        said = (
            "It needs a vector of each speaker (use_d_vector_file), which kgtts cannot make of your "
            "recordings: the training will not begin without a file of them in your dataset."
        )
        return [], [said]
    weights = checkpoint.weights.get(_ROWS)
    if weights is None or not any(place.get("use_speaker_embedding") for place in places):
        return [], []
    rows = weights.shape[0]
    named = config.get("speakers")
    known = [str(name) for name in named] if isinstance(named, list) else []
    changed, warnings = list[str](), list[str]()
    if not known:
        file = next((folder / name for name in SPEAKER_FILES if (folder / name).is_file()), None)
        if file is not None:
            known = _read(file)
            changed.append(
                f"the names of its {len(known)} speakers, in {file.name}, stand in config.json now"
            )
        else:
            known = [f"speaker {number}" for number in range(1, rows + 1)]
            warnings.append(
                f"It has {rows} speakers, but {SPEAKER_FILES[0]}, which names them, is not beside "
                f"config.json: they are called {known[0]!r} and so on."
            )
        config["speakers"] = known
    for place in places:
        for key in _KEYS:
            place.pop(key, None)
    if len(known) != rows:
        warnings.append(
            f"config.json names {len(known)} speakers, the checkpoint has {rows}: they may not belong "
            "together."
        )
    return changed, warnings


def _read(path: Path) -> list[str]:
    """Return the names of the speakers in the order of their numbers.

    Raises:
        UsageError: it does not name them.
    """
    try:
        text = None if path.suffix == ".pth" else path.read_text(encoding="utf-8-sig")
        content = read_content(path) if text is None else json.loads(text)
    except (ValueError, RecursionError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}); it should name the speakers."
        ) from error
    numbers = content if isinstance(content, dict) and len(content) <= _MOST else {}
    names = {number: str(name) for name, number in numbers.items() if isinstance(number, int)}
    if not names or sorted(names) != list(range(len(numbers))):
        raise UsageError(
            f"{path} does not name the speakers: it should have the name and number of each.",
            hint="copy the one that the training of this checkpoint wrote",
        )
    return [names[number] for number in sorted(names)]

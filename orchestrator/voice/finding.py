"""Which of the pulled voices is meant.

A session leaves `voice/voice.json` when its model could be exported; a run's first session leaves
`voice/base.json` too: the voice that the training began with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import KgttsError, UsageError
from orchestrator.results import PulledSession
from orchestrator.voice.card import CARD_FILE, load_card

BASE_FILE = "base.json"
_FOLDER = "voice"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two voices to compare.

    Attributes:
        base: where the earlier one's description lies.
        is_base: whether it is the voice that the training began with; else it is an earlier session's.
        tuned: where the later one's lies.
    """

    base: Path
    is_base: bool
    tuned: Path


def pulled_voice(sessions: Sequence[PulledSession]) -> Path:
    """The description of the newest voice among a run's sessions, which come oldest first.

    Raises:
        UsageError: none of them has one.
    """
    for item in reversed(sessions):
        place = item.folder / _FOLDER / CARD_FILE
        if place.is_file():
            return place
    where = sessions[-1].folder if sessions else "here"
    raise UsageError(
        f"No voice was pulled with the sessions up to {where}.",
        hint="`kgtts pull` brings voice/voice.onnx where the session made one; where not, state.json's "
        "`export` says why",
    )


def pulled_pair(sessions: Sequence[PulledSession], tuned: Path | None = None) -> Pair:
    """A run's newest voice, and what to compare it with: its base voice, else its earliest session's.

    Args:
        sessions: those of a run, oldest first.
        tuned: another voice of the run than the newest.

    Raises:
        UsageError: there is nothing to compare with.
    """
    tuned = tuned or pulled_voice(sessions)
    for item in sessions:
        if (place := item.folder / _FOLDER / BASE_FILE).is_file():
            return Pair(place, True, tuned)
    for item in sessions:
        place = item.folder / _FOLDER / CARD_FILE
        if place.is_file() and place != tuned and _differ(place, tuned):
            return Pair(place, False, tuned)
    raise UsageError(
        f"There is no base voice to compare {tuned} with: neither {BASE_FILE} nor another session's voice "
        "was pulled.",
        hint="`kgtts pull` of the run's first session brings voice/base.onnx, where it had time to make it",
    )


def voice_beside(tuned: Path) -> Pair:
    """The base voice that lies beside a voice.

    Raises:
        UsageError: none does.
    """
    place = tuned.with_name(BASE_FILE)
    if not place.is_file():
        raise UsageError(
            f"There is no base voice beside {tuned}: {BASE_FILE} is missing.",
            hint="--run instead of --voice looks for it among all sessions of the run",
        )
    return Pair(place, True, tuned)


def _differ(one: Path, other: Path) -> bool:
    """Whether two descriptions are of different voices; a damaged one is none."""
    try:
        return load_card(one).onnx.sha256 != load_card(other).onnx.sha256
    except KgttsError:
        return False

"""Find the voice that a person means among the pulled sessions of a run.

A session leaves `voice/voice.json` if its model could be exported. A run's first session also leaves
`voice/base.json`: the voice that the training started from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_template.contract import BASE_CARD, VOICE_CARD, VOICE_FOLDER
from orchestrator.errors import KgttsError, UsageError
from orchestrator.results import PulledSession
from orchestrator.voice.card import load_card


@dataclass(frozen=True, slots=True)
class VoicePair:
    """Two voices to compare, each by the file of its description.

    Attributes:
        earlier: the earlier one.
        is_base: whether that is the voice that the training started from; if not, it is an earlier session's.
        tuned: the later one.
    """

    earlier: Path
    is_base: bool
    tuned: Path


def pulled_voice(sessions: Sequence[PulledSession]) -> Path:
    """The description of a run's newest voice.

    Args:
        sessions: the run's pulled sessions, oldest first.

    Raises:
        UsageError: none of them has a voice.
    """
    for session in reversed(sessions):
        place = session.folder / VOICE_FOLDER / VOICE_CARD
        if place.is_file():
            return place
    where = sessions[-1].folder if sessions else "the current folder"
    raise UsageError(
        f"None of the sessions pulled up to {where} has a voice.",
        hint="`kgtts pull` downloads the voice of a finished session; one that was interrupted made none, so "
        "go on with `kgtts train` or `kgtts push`; of another, `export` in its state.json says why",
    )


def pulled_pair(sessions: Sequence[PulledSession], tuned: Path | None = None) -> VoicePair:
    """A run's newest voice, and the one to compare it with: the base voice, or else the earliest session's.

    Args:
        sessions: the run's pulled sessions, oldest first.
        tuned: a voice of the run to take instead of the newest.

    Raises:
        UsageError: the run has only one voice here.
    """
    tuned = tuned or pulled_voice(sessions)
    for session in sessions:
        if (place := session.folder / VOICE_FOLDER / BASE_CARD).is_file():
            return VoicePair(place, True, tuned)
    for session in sessions:
        place = session.folder / VOICE_FOLDER / VOICE_CARD
        if place.is_file() and place != tuned and _differ(place, tuned):
            return VoicePair(place, False, tuned)
    raise UsageError(
        f"There is no base voice to compare {tuned} with: neither {BASE_CARD} nor another "
        "session's voice was pulled.",
        hint="`kgtts pull` of the run's first session downloads the base voice, if that session exported it",
    )


def base_voice_beside(tuned: Path) -> VoicePair:
    """A voice and the base voice in the same folder.

    Raises:
        UsageError: there is no base voice in that folder.
    """
    place = tuned.with_name(BASE_CARD)
    if not place.is_file():
        raise UsageError(
            f"There is no base voice beside {tuned}: {BASE_CARD} is missing.",
            hint="use --run instead of --voice to look for it in all sessions of the run",
        )
    return VoicePair(place, True, tuned)


def _differ(one: Path, other: Path) -> bool:
    """Whether two descriptions are of different voices; false if one of them is damaged."""
    try:
        return load_card(one).onnx.sha256 != load_card(other).onnx.sha256
    except KgttsError:
        return False

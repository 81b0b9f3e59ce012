"""`voice.json`, which a session writes beside the voice that it exports.

It comes from a server: nothing in it is believed before it is checked, and it can name no file but one that
lies beside it. The file's hash tells damage, not intent: a voice is as trustworthy as the kernel it is from.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.errors import UsageError

CARD_FILE = "voice.json"
SCHEMA = 1
_LARGEST_CARD = 4 * 1024 * 1024
_LARGEST_ID = 1_000_000
_MOST_STEPS = 64
_MOST = 1 << 53  # Steps and sessions beyond that are nobody's.

Id = Annotated[int, Field(ge=0, le=_LARGEST_ID)]
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Part = Annotated[str, Field(max_length=64)]
_Old = Annotated[str, Field(min_length=1, max_length=64)]
# As kernel_template/programs/voice_text.py writes them.
Step = (
    tuple[Literal["nfc", "lower", "collapse"]]
    | tuple[Literal["replace"], _Old, _Part]
    | tuple[Literal["drop"], _Part]
)


class _Section(BaseModel):
    # What a later kgtts adds is no reason to refuse; what is there has to be right.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class OnnxFile(_Section):
    """The file that speaks."""

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.onnx$")
    size: int = Field(gt=0, le=1 << 31)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    inputs: tuple[Literal["input", "input_lengths", "scales", "sid", "langid"], ...]


class Scales(_Section):
    """What the voice was trained to speak with."""

    noise: float = Field(ge=0, le=10)
    length: float = Field(gt=0, le=10)
    duration_noise: float = Field(ge=0, le=10)


class Audio(_Section):
    """The samples: how many a second, and how many for each frame."""

    sample_rate: int = Field(ge=1000, le=192_000)
    hop_length: int = Field(gt=0, le=65_536)


class SpecialIds(_Section):
    """The ids that stand for no character."""

    blank: Id
    bos: Id
    eos: Id


class TextRules(_Section):
    """How a text becomes ids; `speakable` is false, and `why` says why, where the rules are not all of it."""

    steps: tuple[Step, ...] = Field(max_length=_MOST_STEPS)
    characters: dict[Annotated[str, Field(min_length=1, max_length=1)], Id]
    ids: SpecialIds
    add_blank: bool
    use_eos_bos: bool
    speakable: bool
    why: str | None = None


class _Run(_Section):
    id: Annotated[str, Field(max_length=64)] | None = None
    session: _Count | None = None
    kernel: str | None = None


class VoiceCard(_Section):
    """A voice's description.

    Its `run`, `global_step`, `best` and `made` are for people: nothing is decided by them.
    """

    schema_: Literal[1] = Field(alias="schema")
    onnx: OnnxFile
    scales: Scales
    audio: Audio
    language: str | None = None
    speakers: dict[str, Id] = {}
    languages: dict[str, Id] = {}
    text: TextRules
    run: _Run = _Run()
    global_step: _Count | None = None
    made: str | None = None

    @model_validator(mode="after")
    def _has_what_is_needed(self) -> Self:
        for name in ("input", "input_lengths", "scales"):
            if name not in self.onnx.inputs:
                raise ValueError(f"the voice has no input {name!r}")
        return self


def card_place(named: Path) -> Path:
    """The description that a person means by a file or a folder.

    Raises:
        UsageError: there is none.
    """
    places = [named / CARD_FILE, named / "voice" / CARD_FILE] if named.is_dir() else [named]
    if named.suffix == ".onnx":
        places = [named.with_suffix(".json")]
    for place in places:
        if place.is_file():
            return place
    raise UsageError(
        f"There is no voice at {named}: {places[0]} was not found.",
        hint="`kgtts pull` brings the voice of a run whose session has ended",
    )


def load_card(place: Path) -> VoiceCard:
    """Read and check a voice's description.

    Raises:
        UsageError: it cannot be read, is of another kgtts, or is not what it should be.
    """
    try:
        if place.stat().st_size > _LARGEST_CARD:
            raise UsageError(f"{place} is far too large for a voice's description.")
        text = place.read_text(encoding="utf-8")
        told = json.loads(text)
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(place, "it is no JSON") from error
    schema = told.get("schema") if isinstance(told, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise UsageError(
            f"{place} was written by a later kgtts (schema {str(schema)[:20]}; this one reads {SCHEMA}).",
            hint="pip install --upgrade 'kgtts[speak]'",
        )
    try:
        return VoiceCard.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80]
        raise _damaged(place, f"{where!a}: {first['msg'][:200]}") from error


def _damaged(place: Path, why: str) -> UsageError:
    return UsageError(
        f"{place} is not the description of a voice: {why}.", hint="`kgtts pull` brings it anew"
    )

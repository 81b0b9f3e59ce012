"""`voice.json`: the description that a session writes beside the voice that it exports.

Pulled files come from a server, so everything is checked before it is used, and the description can name only
files in its own folder. The hash finds damage, not intent: trust a voice as far as the kernel that made it.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kernel_template.contract import VOICE_CARD, VOICE_FOLDER, VOICE_SCHEMA
from kernel_template.text.vocabulary import Vocabulary
from orchestrator import untrusted
from orchestrator.errors import UsageError

_LARGEST_CARD = 4 * 1024 * 1024
_LARGEST_ID = 1_000_000
_MOST_STEPS = 64

Id = Annotated[int, Field(ge=0, le=_LARGEST_ID)]
_Count = Annotated[int, Field(ge=0, le=untrusted.LARGEST_COUNT)]
_Part = Annotated[str, Field(max_length=64)]
_Old = Annotated[str, Field(min_length=1, max_length=64)]
# Written by kernel_template/text.
Step = (
    tuple[Literal["nfc", "lower", "collapse"]]
    | tuple[Literal["replace"], _Old, _Part]
    | tuple[Literal["drop"], _Part]
)


class _Section(BaseModel):
    # A later kgtts may add fields; those that are known must be right.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class OnnxFile(_Section):
    """The ONNX model's file."""

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.onnx$")
    size: int = Field(gt=0, le=1 << 31)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    inputs: tuple[Literal["input", "input_lengths", "scales", "sid", "langid"], ...]


class Scales(_Section):
    """The voice's own inference parameters, as VITS takes them."""

    noise: float = Field(ge=0, le=10)
    length: float = Field(gt=0, le=10)
    duration_noise: float = Field(ge=0, le=10)


class Audio(_Section):
    """The sound's format: samples per second, and samples per frame."""

    sample_rate: int = Field(ge=1000, le=192_000)
    hop_length: int = Field(gt=0, le=65_536)


class SpecialIds(_Section):
    """Ids that do not stand for a character."""

    blank: Id
    bos: Id
    eos: Id


class Phonemizer(_Section):
    """What makes phonemes of a text; see kernel_template/text/phonemes.py."""

    name: Literal["espeak", "bn_phonemizer"]
    language: str = Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$")
    version: Annotated[str, Field(max_length=64)] | None = None
    kept: Annotated[str, Field(max_length=64)] | None = None


class TextRules(_Section):
    """How a text becomes ids. If these rules are not enough, `speakable` is false and `why` says why."""

    steps: tuple[Step, ...] = Field(max_length=_MOST_STEPS)
    characters: dict[Annotated[str, Field(min_length=1, max_length=1)], Id]
    ids: SpecialIds
    add_blank: bool
    use_eos_bos: bool
    speakable: bool
    why: str | None = None
    phonemizer: Phonemizer | None = None
    counts: dict[Annotated[str, Field(min_length=1, max_length=2)], _Count] | None = None
    """How often the training texts had each letter; None for voices of earlier sessions."""

    @property
    def vocabulary(self) -> Vocabulary:
        """What the voice can say."""
        return Vocabulary.of(self.model_dump())


class _Run(_Section):
    id: Annotated[str, Field(max_length=64)] | None = None
    session: _Count | None = None
    kernel: str | None = None


class VoiceCard(_Section):
    """A voice's description.

    `run`, `global_step`, `best` and `made` are shown to people; nothing is decided by them.
    """

    schema_: Literal[1] = Field(alias="schema")
    onnx: OnnxFile
    scales: Scales
    audio: Audio
    language: str | None = None
    speakers: dict[str, Id] = {}
    languages: dict[str, Id] = {}
    text: TextRules
    recordings: dict[str, float | int] | None = None
    """What the speaker's recordings are like, for `sound_check.Reference`."""
    run: _Run = _Run()
    global_step: _Count | None = None
    made: str | None = None

    @model_validator(mode="after")
    def _has_what_is_needed(self) -> Self:
        for name in ("input", "input_lengths", "scales"):
            if name not in self.onnx.inputs:
                raise ValueError(f"the voice has no input {name!r}")
        return self


def find_card(named: Path) -> Path:
    """The description that a person means by a file or a folder: voice.json, its ONNX file, or a session.

    Raises:
        UsageError: there is no voice.
    """
    places = [named / VOICE_CARD, named / VOICE_FOLDER / VOICE_CARD] if named.is_dir() else [named]
    if named.suffix == ".onnx":
        places = [named.with_suffix(".json")]
    for place in places:
        if place.is_file():
            return place
    raise UsageError(
        f"There is no voice at {named}: {places[0]} was not found.",
        hint="download the voice of a finished session with `kgtts pull`",
    )


def load_card(place: Path) -> VoiceCard:
    """Read and check a voice's description.

    Raises:
        UsageError: it cannot be read, was written by a later kgtts, or is damaged.
    """
    try:
        text = place.read_bytes()
        content = untrusted.parse_json(text, _LARGEST_CARD)
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise _damaged(place, "it is not JSON, or larger than 4 MB") from error
    schema = untrusted.count(untrusted.as_object(content).get("schema"))
    if schema is not None and schema > VOICE_SCHEMA:
        raise UsageError(
            f"{place} was written by a later kgtts (schema {schema}; this one reads {VOICE_SCHEMA}).",
            hint="upgrade with `pip install --upgrade 'kgtts[speak]'`",
        )
    try:
        return VoiceCard.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80]
        raise _damaged(place, f"{where!a}: {first['msg'][:200]}") from error


def _damaged(place: Path, why: str) -> UsageError:
    return UsageError(
        f"{place} is not a valid description of a voice: {why}.",
        hint="download it again with `kgtts pull`",
    )

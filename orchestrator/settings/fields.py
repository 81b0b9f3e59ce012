"""The types of values in settings: names, sources, paths inside inputs, durations, Coqui keys."""

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, JsonValue, PlainSerializer, StrictStr, WithJsonSchema

from kernel_template.contract import PLACES
from orchestrator.models import MAX_RUN_LENGTH, MIN_SLUG_LENGTH
from orchestrator.settings.accelerators import ACCELERATORS, find_accelerator
from orchestrator.settings.text import format_duration, parse_duration

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_MODEL_PARTS = 5
_LOGIN = re.compile(r"(?<!ssh)://[^/@\s]+@")  # Over SSH a name alone lets nobody in.
_INT_BITS = 64  # What TOML promises, and more than any Coqui key needs.
# Those that have a key of their own in kgtts.toml, and those that the kernel decides.
_TAKEN_COQUI_KEYS = {
    "audio.sample_rate": "set training.sample_rate instead",
    "batch_size": "set training.batch_size instead",
    "epochs": "set training.epochs instead",
    "model": "set training.model instead",
    "output_path": "the kernel chooses it, so that the outputs are kept",
}


class SeveralKeysError(ValueError):
    """Several keys do not fit together; the sentence names them itself."""


def is_owner(text: str) -> bool:
    """Return whether `text` can be the name of a Kaggle user or organisation."""
    return _OWNER.fullmatch(text) is not None


def complete_source(source: str, owner: str, *, parts: int) -> str:
    """Return a source with its owner: as it is if it has all its parts, else with `owner` before it."""
    return source if source.count("/") == parts - 1 else f"{owner}/{source}"


def slugify(title: str) -> str:
    """Return the slug that Kaggle gives an ASCII title: lower case, other characters become single hyphens.

    The official client uses python-slugify, which also transliterates and knows quotes, entities and
    thousands; titles with any of those are refused instead, so that this rule is enough.
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def title_from(slug: str) -> str:
    """Return a readable title whose slug is `slug`."""
    return slug.replace("-", " ").capitalize()


def _owner(text: str) -> str:
    if text.lower() in PLACES:
        raise ValueError(f"cannot be {text}: kgtts names sessions outside Kaggle so")
    if text and not is_owner(text):
        raise ValueError("must be a Kaggle user name: ASCII letters, digits, hyphens and underscores")
    return text


def _slug(text: str) -> str:
    # kaggle 2.2.4 refuses titles of under five characters, and the slug is the slugified title.
    if not _SLUG.fullmatch(text) or not MIN_SLUG_LENGTH <= len(text) <= MAX_RUN_LENGTH:
        raise ValueError(
            f"must be {MIN_SLUG_LENGTH} to {MAX_RUN_LENGTH} lower-case ASCII letters and digits, with single "
            "hyphens between words"
        )
    return text


_VOICE_OF = re.compile(r"[a-z0-9-]+/[a-z0-9-]+/[A-Za-z0-9_-]{1,64}/[1-9][0-9]{0,6}", re.IGNORECASE)


def _dataset(text: str) -> str:
    parts = text.split("/")
    if len(parts) > 2 or not all(_PART.fullmatch(part) for part in parts):  # noqa: PLR2004 - OWNER/SLUG
        raise ValueError("must be a dataset, SLUG or OWNER/SLUG; Kaggle mounts its latest version")
    return text


def _model(text: str) -> str:
    parts = text.split("/")
    if (
        len(parts) not in (_MODEL_PARTS - 1, _MODEL_PARTS)
        or not all(_PART.fullmatch(part) for part in parts)
        or not _VERSION.fullmatch(parts[-1])
    ):
        raise ValueError(
            "is not fully written: it must be MODEL/FRAMEWORK/VARIATION/VERSION with OWNER/ before it "
            'unless the model is yours, such as "ttsbnng/transformers/default/1"'
        )
    return text


def _voice_of(text: str) -> str:
    if text and not _VOICE_OF.fullmatch(text):
        raise ValueError(
            "must be a session of another run, OWNER/SLUG/RUN/SESSION; `kgtts push --new --from RUN` sets it"
        )
    return text


def _path(text: str) -> str:
    parts = text.split("/")
    if (
        "\\" in text
        or not text.isprintable()
        or re.match(r"[A-Za-z]:", text)
        or any(part.strip() in ("", ".", "..") for part in parts)
    ):
        raise ValueError(
            "must be a relative path with forward slashes inside the input, such as "
            '"model/config.json", without "." or ".." parts'
        )
    return text


def _requirement(text: str) -> str:
    if _LOGIN.search(text):
        raise ValueError(
            "must not hold a password or token: the settings are written into the kernel, which Kaggle keeps"
        )
    return _filled(text)


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


# As a task of SkyPilot 0.14 takes them (its sky/utils/schemas.py).
_SKY_GPUS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,40}(?::[1-9][0-9]{0,2})?", re.ASCII)
_SKY_INFRA = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*._:@/-]{0,200}", re.ASCII)
_SKY_VOLUME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9]{2,10}://[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._=+@-]+)*/?", re.ASCII)


def is_bucket(text: str) -> bool:
    """Return whether `text` is the address of a bucket, or of a folder in one, such as `s3://name/folder`."""
    return _BUCKET.fullmatch(text) is not None and ".." not in text.split("/")


def _sky_gpus(text: str) -> str:
    if not _SKY_GPUS.fullmatch(text):
        raise ValueError('must be a GPU with its number, such as "T4:2" or "A100:1", or "none"')
    return text


def _sky_infra(text: str) -> str:
    if text and not _SKY_INFRA.fullmatch(text):
        raise ValueError('must be as SkyPilot has it, such as "aws", "gcp/us-central1", "k8s" or "ssh/POOL"')
    return text


def _sky_results(text: str) -> str:
    is_folder = text.startswith("/") and text.isprintable() and len(text.strip("/")) > 0
    if text and not (is_bucket(text) or is_folder or _SKY_VOLUME.fullmatch(text)):
        raise ValueError(
            'must be a bucket such as "s3://name/folder", the name of a volume of SkyPilot, or a folder that '
            'begins with "/"'
        )
    return text.rstrip("/")


def _sky_input(text: str) -> str:
    if "://" in text and not is_bucket(text):
        raise ValueError('must be a folder on this machine, or a bucket such as "s3://name/folder"')
    return text.rstrip("/") if "://" in text else text


def _accelerator(text: str) -> str:
    return find_accelerator(text).name


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be at least one second")
    return value


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as dotted keys: `{"audio": {"fft_size": 1}}` is `{"audio.fft_size": 1}`.

    TOML makes the first of `audio.fft_size = 1` and the second of `"audio.fft_size" = 1`; both mean one
    entry of the Coqui configuration, so both become the same.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def _coqui(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a table of Coqui's keys")  # noqa: TRY004 - pydantic collects ValueErrors
    flat = flatten(value)
    for key, item in flat.items():
        if not all(key.split(".")):
            raise ValueError(f'must have names between its dots: "{key}" has an empty one')
        if key in _TAKEN_COQUI_KEYS:
            raise ValueError(f'must not hold "{key}": {_TAKEN_COQUI_KEYS[key]}')
        if not _is_json(item):
            raise ValueError(
                f'must hold JSON values: "{key}" is not a text, finite number, boolean, list or table'
            )
    return flat


def _is_json(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, float):
        return math.isfinite(value)  # JSON and Python literals have no word for infinity.
    if isinstance(value, int):
        return value.bit_length() < _INT_BITS
    return value is None or isinstance(value, str)


Owner = Annotated[StrictStr, AfterValidator(_owner)]
Slug = Annotated[StrictStr, AfterValidator(_slug)]
DatasetSource = Annotated[StrictStr, AfterValidator(_dataset)]
Wheelhouse = Annotated[StrictStr, AfterValidator(lambda text: _dataset(text) if text else text)]
ModelSource = Annotated[StrictStr, AfterValidator(_model)]
VoiceOf = Annotated[StrictStr, AfterValidator(_voice_of)]
InputPath = Annotated[StrictStr, AfterValidator(_path)]
Text = Annotated[StrictStr, AfterValidator(_filled)]
Requirement = Annotated[StrictStr, AfterValidator(_requirement)]
SkyGpus = Annotated[StrictStr, AfterValidator(_sky_gpus)]
SkyInfra = Annotated[StrictStr, AfterValidator(_sky_infra)]
SkyResults = Annotated[StrictStr, AfterValidator(_sky_results)]
SkyInput = Annotated[StrictStr, AfterValidator(_sky_input)]
AcceleratorName = Annotated[
    StrictStr,
    AfterValidator(_accelerator),
    WithJsonSchema({"type": "string", "enum": [n for n, a in ACCELERATORS.items() if a.refused is None]}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(format_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^([0-9]+h)?\\s*([0-9]+m)?\\s*([0-9]+s?)?$", "minLength": 1},
                {"type": "integer", "minimum": 1},
            ]
        }
    ),
]
CoquiKeys = Annotated[Mapping[str, JsonValue], BeforeValidator(_coqui)]

"""Check the data that a run trains on: texts, recordings, vocabulary, and how long the training takes.

Read are metadata.csv, config.json and the headers of some recordings, on this machine or on Kaggle by the
first bytes of each file. The forecast is an estimate from one public run.
"""

import math
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from kernel_template.text.metadata import Metadata, Recordings, read_ljspeech
from kernel_template.text.speaking import spoken
from kernel_template.text.tokens import clean, cleaner_steps
from orchestrator import untrusted
from orchestrator.base.voice import vocabulary
from orchestrator.errors import KgttsError, LocalError, UsageError
from orchestrator.formatting import counted, duration
from orchestrator.models import Quota
from orchestrator.ports import Kaggle
from orchestrator.run.checked import Checked, Level, failed_check
from orchestrator.run.forecast import Work, forecast, terms_of
from orchestrator.settings import Settings, format_duration

METADATA = ("metadata.csv", "metadata.txt")
# A public run of VITS on one T4: 31,400 steps of 8 utterances in 23,244 s, everything included.
UTTERANCE_S = 23_244 / 31_400 / 8
_LARGEST_METADATA = 32 << 20
_HEAD = 1 << 12
_SAMPLED = 8  # Recordings of which the header is read on Kaggle.
_ENOUGH_MINUTES = 30
_SHOWN = 12
_MENDS = "`kgtts data prepare` mends it"


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """Where a dataset is: its files with their sizes, and a way to read the first bytes of one."""

    name: str
    sizes: Mapping[str, int]
    head: Callable[[str, int], bytes | None]


def local_place(folder: Path) -> DatasetFiles:
    """A dataset on this machine.

    Raises:
        UsageError: the folder holds none. LocalError: it cannot be read.
    """
    try:
        sizes = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file()
        }
    except OSError as error:
        raise LocalError(f"Could not read {folder}: {error.strerror or error}.") from error

    def head(name: str, most: int) -> bytes | None:
        with (folder / name).open("rb") as file:
            return file.read(most)

    return DatasetFiles(str(folder), sizes, head)


def kaggle_place(kaggle: Kaggle, source: str) -> DatasetFiles:
    """A dataset on Kaggle."""
    sizes = {file.name: file.size for file in kaggle.dataset_files(source)}
    return DatasetFiles(source, sizes, lambda name, most: kaggle.dataset_head(source, name, most))


def check_data(
    settings: Settings,
    place: DatasetFiles,
    config: Mapping[str, Any] | None,
    quota: Quota | None,
    now: datetime,
) -> Iterator[Checked]:
    """Check a dataset against the settings and the base voice.

    Args:
        settings: settings that went through `with_owner`.
        place: where it is.
        config: the base voice's config.json; None if it cannot be read.
        quota: the week's GPU hours.
        now: the wall clock, UTC.
    """
    try:
        found = _metadata(place)
    except KgttsError as error:
        yield failed_check("texts", error)
        return
    if found is None:
        hint = "`kgtts data prepare` makes one; a script of your own may need none"
        yield Checked("texts", Level.WARNING, f"{place.name} has no metadata.csv", hint)
        return
    folder, metadata, rows = found
    yield _texts(place, metadata, rows, folder)
    yield from _recordings(settings, place, [name for name, _ in rows], folder)
    if config is not None:
        yield from _voice(settings, config, [text for _, text in rows])
    yield from _batch(settings, len(rows))
    yield _outlook(settings, len(rows), quota, now)


def read_config(kaggle: Kaggle, settings: Settings) -> Mapping[str, Any] | None:
    """The base voice's config.json on Kaggle; None if it cannot be read."""
    source, path = settings.inputs.model, settings.inputs.config
    for name in (path, PurePosixPath(path).name):
        data = kaggle.model_head(source, name, untrusted.LARGEST_FILE)
        if data is not None:
            return untrusted.json_object(data)
    return None


def _metadata(place: DatasetFiles) -> tuple[str, Metadata, list[tuple[str, str]]] | None:
    """The folder of the metadata, what was found in it, and each row's recording and text."""
    names = [name for name in place.sizes if PurePosixPath(name).name in METADATA]
    if not names:
        return None
    name = min(names, key=lambda each: (each.count("/"), each))
    if place.sizes[name] > _LARGEST_METADATA:
        raise UsageError(f"{name} in {place.name} is too large to check.")
    data = place.head(name, _LARGEST_METADATA)
    if data is None:
        raise UsageError(f"{name} in {place.name} could not be read.")
    folder = name.rpartition("/")[0]
    top = f"{folder}/wavs/" if folder else "wavs/"
    try:
        found = read_ljspeech(
            data, Recordings(each.removeprefix(top) for each in place.sizes if each.startswith(top))
        )
        text = found.text if found.text is not None else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} in {place.name} is not UTF-8 text (byte {error.start}).",
            hint='save it as "CSV UTF-8"; `kgtts data prepare` reads other encodings',
        ) from error
    columns = [line.split("|") for line in text.splitlines() if line.strip()]
    return folder, found, [(row[0], row[2]) for row in columns if len(row) > 2]  # noqa: PLR2004 - name|text|text


def _texts(place: DatasetFiles, metadata: Metadata, rows: Sequence[tuple[str, str]], folder: str) -> Checked:
    top = f"{folder}/wavs/" if folder else "wavs/"
    missing = [name for name, _ in rows if f"{top}{name}.wav" not in place.sizes]
    named = {f"{top}{name}.wav" for name, _ in rows}
    unused = sum(
        1 for name in place.sizes if name.startswith(top) and name.endswith(".wav") and name not in named
    )
    text = f"{counted(len(rows), 'utterance')} in {place.name}"
    if not rows or len(missing) > len(rows) / 2:
        what = f"no recording of {', '.join(missing[:3])}" if missing else metadata.left_out_words
        hint = "`kgtts data check` shows what is wrong, `kgtts data prepare` mends it"
        return Checked("texts", Level.WARNING, f"{text}: most cannot be used: {what}", hint)
    faults = [
        *([f"{counted(len(missing), 'recording')} missing ({', '.join(missing[:3])})"] if missing else []),
        *([f"{counted(unused, 'recording')} without a text"] if unused else []),
        *([f"{counted(len(metadata.left_out), 'line')} left out"] if metadata.left_out else []),
        *metadata.remarks,
    ]
    if faults:
        return Checked("texts", Level.WARNING, f"{text}; {'; '.join(faults)}", _MENDS)
    return Checked("texts", Level.OK, f"{text}, each with its recording")


def _recordings(
    settings: Settings, place: DatasetFiles, names: Sequence[str], folder: str
) -> Iterator[Checked]:
    top = f"{folder}/wavs/" if folder else "wavs/"
    there = [f"{top}{name}.wav" for name in names if f"{top}{name}.wav" in place.sizes]
    if not there:
        yield Checked("recordings", Level.WARNING, f"{place.name} has no recordings in {top or 'wavs/'}")
        return
    step = max(1, len(there) // _SAMPLED)
    looked = {name: _header(place, name) for name in there[::step][:_SAMPLED]}
    bad = [name for name, header in looked.items() if header is None]
    headers = [header for header in looked.values() if header is not None]
    if not headers:
        yield Checked("recordings", Level.WARNING, f"{bad[0]} is not a WAV file of samples")
        return
    rates = Counter(rate for rate, _ in headers)
    rate, _ = rates.most_common(1)[0]
    a_second = sum(bytes_s for _, bytes_s in headers) / len(headers)
    minutes = sum(place.sizes[name] for name in there) / a_second / 60
    text = f"about {duration(minutes * 60)}, {rate:,} Hz ({counted(len(looked), 'header')} read)"
    if bad:
        yield Checked(
            "recordings", Level.WARNING, f"{text}; not WAV: {', '.join(bad[:3])}", "`kgtts data prepare`"
        )
    elif rates.keys() != {settings.training.sample_rate}:
        wrong = ", ".join(f"{each:,}" for each in sorted(rates))
        yield Checked(
            "recordings",
            Level.WARNING,
            f"recordings have {wrong} Hz, but training.sample_rate is {settings.training.sample_rate:,}: the "
            "session would end before it trains",
            "`kgtts data prepare` makes recordings of the voice's rate",
        )
    elif minutes < _ENOUGH_MINUTES:
        hint = f"{_ENOUGH_MINUTES} minutes or more make a better voice; a trial works with less"
        yield Checked("recordings", Level.WARNING, text, hint)
    else:
        yield Checked("recordings", Level.OK, text)


def _header(place: DatasetFiles, name: str) -> tuple[int, int] | None:
    """The samples and the bytes a second of a WAV file; None if it is none."""
    try:
        data = place.head(name, _HEAD)
    except (KgttsError, OSError):
        return None
    if data is None or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if kind == b"fmt " and at + 24 <= len(data):
            rate, bytes_s = struct.unpack_from("<II", data, at + 12)
            return (rate, bytes_s) if rate and bytes_s else None
        at += 8 + length + length % 2
    return None


def _voice(settings: Settings, config: Mapping[str, Any], texts: Sequence[str]) -> Iterator[Checked]:
    rate = untrusted.as_object(config.get("audio")).get("sample_rate") or config.get("sample_rate")
    if isinstance(rate, int) and rate != settings.training.sample_rate:
        yield Checked(
            "base voice",
            Level.WARNING,
            f"it has {rate:,} Hz, but training.sample_rate is {settings.training.sample_rate:,}",
            f"set training.sample_rate = {rate} in kgtts.toml, and give the recordings that rate",
        )
    letters = vocabulary(config)
    if letters is None or config.get("use_phonemes"):
        return
    steps = cleaner_steps(config.get("text_cleaner") or None, settings.training.language) or ()
    used = Counter(letter for text in texts for letter in clean(text.rstrip("\r\n"), steps) if letter != " ")
    unknown = Counter({letter: count for letter, count in used.items() if letter not in letters})
    # What a listener misses: letters, digits, and spaces of another kind, without which two words become one.
    missed = Counter({letter: n for letter, n in unknown.items() if _is_heard(letter)})
    if missed:
        yield Checked(
            "letters",
            Level.WARNING,
            f"the voice has no {_named(missed)}: {counted(missed.total(), 'character')} of the texts are "
            "left out",
            "`kgtts data prepare` writes numbers, signs and white space as they are spoken",
        )
        return
    silent = f"; it leaves out {_named(unknown)}, which have no sound" if unknown else ""
    sayable = len(used) - len(unknown)
    yield Checked("letters", Level.OK, f"the voice has all {sayable} letters and signs of the texts{silent}")


def _is_heard(letter: str) -> bool:
    return (
        unicodedata.category(letter)[0] in "LMN"
        or letter.isspace()
        or spoken(letter).text.strip()
        not in (
            "",
            letter,
        )
    )


def _named(letters: Counter[str]) -> str:
    return ", ".join(untrusted.character(letter) for letter, _ in letters.most_common(_SHOWN))


def _batch(settings: Settings, utterances: int) -> Iterator[Checked]:
    machine = settings.accelerator
    cards = machine.gpus if machine.has_gpu and settings.speed.gpus == "all" else 1
    taken = settings.training.batch_size * cards
    if utterances and taken > utterances:
        fit = max(1, utterances // (2 * cards))
        yield Checked(
            "batch",
            Level.WARNING,
            f"a step takes {taken} utterances ({settings.training.batch_size} a GPU), but there are only "
            f"{utterances:,}: an epoch is one step",
            f"set training.batch_size = {fit} in kgtts.toml, or record more",
        )


def _outlook(settings: Settings, utterances: int, quota: Quota | None, now: datetime) -> Checked:
    if not settings.accelerator.has_gpu:
        return Checked("outlook", Level.OK, "on the CPU nothing is forecast")
    epoch_s = max(1.0, utterances * UTTERANCE_S)
    found = forecast(Work(float(settings.training.epochs), epoch_s), terms_of(settings, quota), now)
    done = ""
    if found.done_at is not None:
        unit = timedelta(days=1) if found.done_at - now > timedelta(days=1) else timedelta(hours=1)
        count = max(1, math.ceil((found.done_at - now) / unit))
        done = f", done after {counted(count, 'day' if unit.days else 'hour')}"
    epoch, hours = format_duration(timedelta(seconds=round(epoch_s))), found.gpu_time / timedelta(hours=1)
    gpu_hours = counted(max(1, round(hours)), "GPU hour")
    return Checked(
        "outlook",
        Level.OK,
        f"estimate: {counted(settings.training.epochs, 'epoch')} of {epoch} take {gpu_hours} in "
        f"{counted(found.sessions, 'session')}{done}, at the speed of a public run on one T4 GPU",
    )

"""Find a base voice's two files in a folder, a ZIP archive or at an address; hostile archives are refused."""

import difflib
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from kernel_template.contract import BEST_MODEL_LINK
from orchestrator.base.speakers import SPEAKER_FILES
from orchestrator.base.voice import CONFIG
from orchestrator.connections import HttpSession
from orchestrator.download import TransferListener, fetch
from orchestrator.errors import LocalError, ServiceError, UsageError
from orchestrator.formatting import size
from orchestrator.models import OutputFile
from orchestrator.untrusted import is_loopback

LARGEST_FILE = 8 << 30  # Full trainer states of VITS have 1 GB.
_MOST_ENTRIES = 10_000
_CHUNK = 1 << 20
_ENDINGS = (".pth", ".pth.tar", ".pt", ".ckpt")
_BY_HAND = "check the connection and try again, or download it by hand: kgtts base add FILE takes the ZIP"
_STEP = re.compile(r"(?:checkpoint|best_model|best_score)_(\d+)\.pth$")


@dataclass(frozen=True, slots=True)
class KnownVoice:
    """A base voice that is known to work.

    Attributes:
        name: what `kgtts base add` calls it.
        language: what it speaks.
        about: one line.
        license: as its publisher names it.
        kaggle_license: as Kaggle names it.
        is_commercial: whether the licence lets what is made from it be sold.
        url: where it is published.
        source: where these facts are from.
        parameters: how many; None if nobody has told.
    """

    name: str
    language: str
    about: str
    license: str
    kaggle_license: str
    is_commercial: bool
    url: str
    source: str
    parameters: int | None


_COQUI = "https://github.com/coqui-ai/TTS/releases/download/v0.13.3_models/tts_models--bn--custom--"
# Names, licences and addresses: TTS/.models.json of coqui-tts 0.28. The size of the female voice: the public
# logs of a fine-tuning (83,050,540 parameters).
KNOWN_VOICES = (
    KnownVoice(
        "bangla-female",
        "Bangla",
        "one woman, 22,050 Hz, character input (VITS)",
        "Apache 2.0",
        "Apache 2.0",
        is_commercial=True,
        url=f"{_COQUI}vits_female.zip",
        source="Coqui's released models (bn/custom/vits-female), by @mobassir94",
        parameters=83_050_540,
    ),
    KnownVoice(
        "bangla-male",
        "Bangla",
        "one man, character input (VITS)",
        "Apache 2.0",
        "Apache 2.0",
        is_commercial=True,
        url=f"{_COQUI}vits_male.zip",
        source="Coqui's released models (bn/custom/vits-male), by @mobassir94",
        parameters=None,
    ),
)


@dataclass(frozen=True, slots=True)
class Download:
    """A download that is about to begin: its address and its size, if the server tells it."""

    url: str
    size: int | None


@contextmanager
def found(
    asked: str, home: Path, listener: TransferListener, announce: Callable[[Download], None]
) -> Iterator[tuple[Path, Path]]:
    """Give config.json and the checkpoint of a known voice, a folder, a ZIP archive or an https address.

    Args:
        asked: the name, path or address.
        home: kgtts's own folder: a download stays there until it is complete, and goes on where it broke off.
        listener: hears of a download's pieces.
        announce: is told of a download before it begins.

    Raises:
        UsageError: it is none of these, or an archive that is not safe to open.
        ServiceError: the address does not give it.
        LocalError: there is no room.
    """
    known = next((voice for voice in KNOWN_VOICES if voice.name == asked), None)
    address = known.url if known else asked if "://" in asked else None
    place = Path(asked)
    work = home / "base"
    if address is not None:
        place = _download(address, work, listener, announce)
    if place.is_dir():
        yield _in_folder(place)
        return
    if not place.exists():
        names = [voice.name for voice in KNOWN_VOICES]
        meant = difflib.get_close_matches(asked.casefold(), names, n=1)
        raise UsageError(
            f"{asked} is no folder, no ZIP archive, no address and no known voice ({', '.join(names)}).",
            hint=f"did you mean {meant[0]}?" if meant else "`kgtts base list` names voices that work",
        )
    if not zipfile.is_zipfile(place) or place.name.endswith(_ENDINGS):
        raise UsageError(
            f"{place} is not a ZIP archive of a voice.",
            hint=f"name the folder that holds the checkpoint and its {CONFIG}",
        )
    opened = work / "opened"
    try:
        _unpack(place, opened)
        yield opened / CONFIG, opened / "checkpoint.pth"
    finally:
        shutil.rmtree(opened, ignore_errors=True)
    if address is not None:
        place.unlink(missing_ok=True)


def _in_folder(folder: Path) -> tuple[Path, Path]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    config, checkpoint = _choose([path.relative_to(folder).as_posix() for path in files], str(folder))
    return folder / config, folder / checkpoint


def _choose(names: Sequence[str], where: str) -> tuple[str, str]:
    """Choose a checkpoint and the config.json beside it.

    Raises:
        UsageError: there is none, or several that are equally good.
    """
    weights = [
        name for name in names if name.endswith(_ENDINGS) and PurePosixPath(name).name not in SPEAKER_FILES
    ]
    pairs = [
        (config, name) for name in weights if (config := str(PurePosixPath(name).parent / CONFIG)) in names
    ]
    if not pairs:
        what = f"no {CONFIG} beside {weights[0]}" if weights else f"no checkpoint ({', '.join(_ENDINGS)})"
        raise UsageError(f"{where} holds no base voice: it has {what}.")
    best = min(pairs, key=_rank)
    same = [name for _, name in pairs if _rank((best[0], name)) == _rank(best) and name != best[1]]
    if same:
        raise UsageError(
            f"{where} has several checkpoints: {', '.join(sorted([best[1], *same])[:5])}.",
            hint="put the one to use, with its config.json, into a folder of its own",
        )
    return best


def _rank(pair: tuple[str, str]) -> tuple[int, int]:
    """Rank a checkpoint: the name of released voices first, then the best model, then the newest."""
    name = PurePosixPath(pair[1]).name
    step = int(match[1]) if (match := _STEP.search(name)) else 0
    if name == "model_file.pth":
        return 0, 0
    if name == BEST_MODEL_LINK:
        return 1, 0
    return (2 if name.startswith(("best_model", "best_score")) else 3 if step else 4), -step


def _unpack(archive_path: Path, target: Path) -> None:
    """Take the two files out of an archive, under names of our own, and the one that names the speakers."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        target.mkdir(parents=True)
        with zipfile.ZipFile(archive_path) as archive:
            entries = archive.infolist()
            _check_entries(archive_path, entries)
            names = {item.filename: item for item in entries if not item.is_dir()}
            config, checkpoint = _choose(list(names), str(archive_path))
            beside = PurePosixPath(config).parent
            speakers = [(str(beside / name), target / name) for name in SPEAKER_FILES]
            for name, place in (
                (config, target / CONFIG),
                (checkpoint, target / "checkpoint.pth"),
                *speakers,
            ):
                if name in names:
                    _take(archive, names[name], place)
    except OSError as error:
        raise LocalError(f"Could not unpack {archive_path}: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UsageError(f"{archive_path} is damaged or encrypted: {error}.") from error


def _check_entries(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive that is made to do harm.

    Raises:
        UsageError: names lead out of it, or it is a bomb.
    """
    if len(entries) > _MOST_ENTRIES:
        raise UsageError(f"{path} is refused: it has {len(entries):,} entries.")
    for item in entries:
        parts = re.split(r"[/\\]", item.filename)
        if item.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise UsageError(f"{path} is refused: the name {item.filename[:80]!r} in it leads out of it.")
        if item.external_attr >> 28 == 0xA:  # noqa: PLR2004 - the type of symbolic links.
            raise UsageError(f"{path} is refused: {item.filename[:80]!r} in it is a link.")
    total = sum(item.file_size for item in entries)
    if total > LARGEST_FILE:
        raise UsageError(f"{path} is refused: unpacked it would have {size(total)}.")


def _take(archive: zipfile.ZipFile, item: zipfile.ZipInfo, place: Path) -> None:
    left = item.file_size
    if shutil.disk_usage(place.parent).free < left:
        raise LocalError(f"Unpacking needs {size(left)}, which are not free in {place.parent}.")
    with archive.open(item) as source, place.open("xb") as file:
        while piece := source.read(_CHUNK):
            left -= len(piece)
            if left < 0:  # A bomb tells less than it holds.
                raise zipfile.BadZipFile("an entry is larger than it says")
            file.write(piece)


def _download(url: str, work: Path, listener: TransferListener, announce: Callable[[Download], None]) -> Path:
    parts = urlsplit(url)
    name = PurePosixPath(parts.path).name
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise UsageError(f"{url} is not an https address, so what comes from it could be anybody's.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.zip", name):
        raise UsageError(f"{url} does not end with the name of a ZIP archive.")
    length = _length(url)
    if length is not None and length > LARGEST_FILE:
        raise UsageError(f"{url} is refused: it has {size(length)}.")
    announce(Download(url, length))
    done = fetch([OutputFile(name, url)], work, listener)
    if done.refused:
        raise UsageError(f"{url} cannot be saved as {name!r}.")
    return work / name


def _length(url: str) -> int | None:
    """Ask how large a file is.

    Raises:
        ServiceError: it is not there.
    """
    import requests  # noqa: PLC0415 - a download only.

    try:
        with (
            HttpSession() as session,
            session.get(url, stream=True, headers={"Range": "bytes=0-0"}) as answer,
        ):
            if answer.status_code >= requests.codes.bad_request:
                raise ServiceError(
                    f"{url} could not be downloaded: the server answered {answer.status_code}.",
                    hint=_BY_HAND,
                )
            told = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get(
                "Content-Length", ""
            )
            return int(told) if told.isdecimal() else None
    except requests.RequestException as error:
        why = type(error).__name__
        raise ServiceError(f"{url} could not be reached ({why}).", hint=_BY_HAND) from error

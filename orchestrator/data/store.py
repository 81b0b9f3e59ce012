"""The folder that `prepare` makes, and what it knows of earlier runs.

    FOLDER/
        MyTTSDataset/    the dataset: metadata.csv, wavs/, report.json; this is what is uploaded
        quarantine/      what could not be judged: its WAV files, quarantine.csv, accepted.txt
        report.html      the page
        .kgtts/          the state: what each recording became, and what is not finished

A dataset without `metadata.csv` is not finished: it is removed before the first file of a finished dataset
changes, and written last. New files are made in `.kgtts/` and renamed, so that a run that is killed leaves
either the old dataset or none, and the next run goes on where it was.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from filelock import FileLock, Timeout

from kernel_template.contract import DATASET_SCRIPT
from orchestrator.data.recordings import STATE_FOLDER
from orchestrator.data.sounds import file_digest
from orchestrator.data.work import VERSION, AudioSettings, Job, Worked, part_file
from orchestrator.errors import LocalError, UsageError
from orchestrator.files import rename, write_atomically

DATASET = PurePosixPath(DATASET_SCRIPT).parts[0]
METADATA = "metadata.csv"
REPORT = "report.json"
PAGE = "report.html"
_STATE = "state.jsonl"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in the folder."""

    folder: Path

    @property
    def dataset(self) -> Path:
        """What is uploaded."""
        return self.folder / DATASET

    @property
    def wavs(self) -> Path:
        """The dataset's recordings."""
        return self.dataset / "wavs"

    @property
    def metadata(self) -> Path:
        """The dataset's texts; it is there if the dataset is finished."""
        return self.dataset / METADATA

    @property
    def quarantine(self) -> Path:
        """What could not be judged."""
        return self.folder / "quarantine"

    @property
    def accepted(self) -> Path:
        """The ids that the user accepts, one a line."""
        return self.quarantine / "accepted.txt"

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.folder / PAGE

    @property
    def report(self) -> Path:
        """The report for programs."""
        return self.dataset / REPORT

    @property
    def hidden(self) -> Path:
        """The state."""
        return self.folder / STATE_FOLDER

    @property
    def staging(self) -> Path:
        """Recordings that have no place yet."""
        return self.hidden / "new"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a recording became: its file's size and time, its id then, the settings, and the result."""

    size: int
    mtime_ns: int
    id: str
    settings: dict[str, Any]
    worked: Worked


class Store:
    """Knows what each recording became, and moves files to their places.

    Args:
        folder: the one that `prepare` makes.
    """

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self._before: dict[str, _Entry] = {}
        self._entries: dict[str, _Entry] = {}
        self._journal: TextIO | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator["Store"]:
        """Make the folder, keep other processes away from it, and read what is known.

        Raises:
            UsageError: it has a dataset that `prepare` did not make.
            LocalError: another process works on it, or it cannot be written to.
        """
        place = self.layout
        if place.dataset.exists() and not place.hidden.exists():
            raise UsageError(
                f"{place.dataset} exists, and kgtts data prepare did not make it.",
                hint="give another folder with --to",
            )
        lock = FileLock(place.hidden / "lock")
        try:
            for folder in (place.wavs, place.quarantine, place.staging):
                folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LocalError(
                f"Another kgtts is preparing {place.folder}.", hint="wait until it has finished"
            ) from error
        except OSError as error:
            raise LocalError(f"Could not write {place.folder}: {error.strerror or error}.") from error
        try:
            self._remove_parts()
            self._before = dict(self._read())
            self._entries = dict(self._before)
            with (place.hidden / _STATE).open("a", encoding="utf-8") as self._journal:
                yield self
        except OSError as error:
            raise LocalError(
                f"Could not write {error.filename or place.folder}: {error.strerror or error}.",
                hint="make room or correct the permissions; the same command goes on where it was",
            ) from error
        finally:
            lock.release()

    def _remove_parts(self) -> None:
        """Remove what `write_atomically` left behind when it was killed."""
        place = self.layout
        for folder in (place.folder, place.dataset, place.quarantine, place.hidden):
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)

    def _read(self) -> Iterator[tuple[str, _Entry]]:
        try:
            lines = (self.layout.hidden / _STATE).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            # The last line may be half written, and a newer kgtts may know other things.
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                value = json.loads(line)
                worked = Worked.from_json(value.pop("worked"))
                yield worked.name, _Entry(worked=worked, **value)

    def known(self, job: Job, ident: str, settings: AudioSettings) -> Worked | None:
        """What a recording became earlier, if neither it nor what is wanted of it has changed."""
        entry = self._entries.get(job.name)
        if entry is None or entry.settings != _key(settings) or entry.worked.error:
            return None
        worked, measures = entry.worked, entry.worked.measures
        assert measures is not None
        is_long = measures.end - measures.begin > settings.longest
        if is_long and worked.letters != job.letters:
            return None
        try:
            found = job.path.stat()
            if found.st_size != entry.size:
                return None
            if found.st_mtime_ns != entry.mtime_ns and file_digest(job.path) != worked.source:
                return None
        except OSError:  # It went away just now; working on it says so.
            return None
        parts = range(len(worked.parts))
        return worked if all(self.find(job.name, ident, number) is not None for number in parts) else None

    def find(self, name: str, ident: str, number: int) -> Path | None:
        """Where the file of a part is now; None if it is gone or was changed."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        part = entry.worked.parts[number]
        for folder in (self.layout.staging, self.layout.wavs, self.layout.quarantine):
            for stem in dict.fromkeys((ident, entry.id)):
                path = part_file(folder / stem, number)
                with contextlib.suppress(OSError):
                    found = path.stat()
                    if (found.st_size, found.st_mtime_ns) == (part.size, part.mtime_ns):
                        return path
        return None

    def remember(self, worked: Worked, path: Path, ident: str, settings: AudioSettings) -> None:
        """Write down what a recording became."""
        try:
            found = path.stat()
            size, mtime_ns = found.st_size, found.st_mtime_ns
        except OSError:  # It went away meanwhile: if it comes back, it counts as changed.
            size, mtime_ns = -1, 0
        entry = _Entry(size, mtime_ns, ident, _key(settings), worked)
        self._entries[worked.name] = entry
        assert self._journal is not None
        self._journal.write(_line(entry))
        self._journal.flush()

    def arrange(self, places: dict[tuple[str, int], Path], idents: dict[str, str], metadata: str) -> bool:
        """Move every file to its place and remove what is left over, if anything has to change.

        A finished dataset loses its `metadata.csv` first; the caller writes it last.

        Args:
            places: where the file of each recording's part belongs.
            idents: the id of each recording.
            metadata: what metadata.csv will be.

        Returns:
            whether anything changed.
        """
        moves = []
        for (name, number), target in places.items():
            path = self.find(name, idents[name], number)
            assert path is not None, name
            if path != target:
                moves.append((path, target))
        left_over = self._left_over({*places.values(), *(path for path, _ in moves)})
        if not moves and not left_over and _text(self.layout.metadata) == metadata:
            return False
        self.layout.metadata.unlink(missing_ok=True)
        for path in left_over:
            path.unlink(missing_ok=True)
        # A target may be where another file still is, so that all leave before any arrives.
        waiting = []
        for count, (path, target) in enumerate(moves):
            between = self.layout.staging / f"{count}.moving"
            rename(path, between)
            waiting.append((between, target))
        for path, target in waiting:
            rename(path, target)
        return True

    def _left_over(self, wanted: set[Path]) -> list[Path]:
        """Our files that have no place any more."""
        known = {
            part_file(folder / entry.id, number)
            for entry in (*self._before.values(), *self._entries.values())
            for number in range(len(entry.worked.parts))
            for folder in (self.layout.wavs, self.layout.quarantine)
        }
        return sorted(path for path in known - wanted if path.is_file())

    def strangers(self, wanted: Iterable[Path]) -> list[str]:
        """Files among the dataset's recordings that are none of ours."""
        known = {path.name for path in wanted}
        return sorted(path.name for path in self.layout.wavs.iterdir() if path.name not in known)

    def finish(self, idents: dict[str, str]) -> None:
        """Write the state anew, with what is still true, and clear the staging folder."""
        assert self._journal is not None
        self._journal.close()
        entries = {name: entry for name, entry in self._entries.items() if name in idents}
        lines = []
        for name, entry in sorted(entries.items()):
            lines.append(
                _line(_Entry(entry.size, entry.mtime_ns, idents[name], entry.settings, entry.worked))
            )
        text = "".join(lines)
        if _text(self.layout.hidden / _STATE) != text:
            write_atomically(self.layout.hidden / _STATE, text)
        shutil.rmtree(self.layout.staging, ignore_errors=True)

    def read_accepted(self) -> list[str]:
        """The ids and recordings that the user accepts."""
        lines = (_text(self.layout.accepted) or "").splitlines()
        return [line.strip() for line in lines if line.strip()]

    def write_if_changed(self, path: Path, text: str) -> None:
        """Write a file if its content is another one."""
        if _text(path) != text:
            write_atomically(path, text)


def _key(settings: AudioSettings) -> dict[str, Any]:
    return {**asdict(settings), "version": VERSION}


def _line(entry: _Entry) -> str:
    value = {
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "id": entry.id,
        "settings": entry.settings,
        "worked": entry.worked.to_json(),
    }
    return json.dumps(value, ensure_ascii=True) + "\n"


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None

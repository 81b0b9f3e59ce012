"""Corrects metadata that is written in another way than Coqui's formatters read it.

The rules are those of `kernel_template.text.metadata`. A corrected copy is written beside the host's report,
so in /kaggle/temp; the configuration keeps the name of the file itself.
"""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from kernel_template.host.report import Reporter
from kernel_template.text.metadata import AUDIO, LJSPEECH, Metadata, Recordings, read_lines, read_ljspeech

_Change = tuple[Any, str, Any]  # A dataset, its setting, and the value before.

_META_FILES = ("meta_file_train", "meta_file_val")
_MOST_LEFT_OUT = 0.5


class MetadataMender:
    """Reads the metadata before Coqui does.

    Args:
        folder: where corrected copies are written.
        reporter: the log and the report.
        quiet: whether another process prints these messages already.
    """

    def __init__(self, folder: Path, reporter: Reporter, *, quiet: bool) -> None:
        self._folder = folder
        self._reporter = reporter
        self._quiet = quiet
        self._copies = 0
        self._said = set[Path]()  # A script may load its samples twice.

    def load_tts_samples(self, original: Callable[..., Any], config: Any, *args: Any, **kwargs: Any) -> Any:
        """Hook of `TTS.tts.datasets.load_tts_samples`.

        Raises:
            SystemExit: most lines cannot be read; the log and the report say which.
        """
        own = kwargs.get("formatter") is not None
        datasets = list(getattr(config, "datasets", None) or ())
        known = [dataset for dataset in datasets if not own and _formatter(dataset) == LJSPEECH]
        others = [dataset for dataset in datasets if dataset not in known]
        changed = self._mend(known, ljspeech=True)
        try:
            try:
                return original(config, *args, **kwargs)
            except Exception:
                # A formatter whose columns are not known may read by itself what looks odd here.
                again = self._mend(others, ljspeech=False)
                changed += again
                if not again:
                    raise
                return original(config, *args, **kwargs)
        finally:
            for dataset, name, value in changed:
                setattr(dataset, name, value)

    def _mend(self, datasets: list[Any], *, ljspeech: bool) -> list[_Change]:
        """Let the datasets name corrected copies. Returns what each named before."""
        changed: list[_Change] = []
        for dataset in datasets:
            root = Path(str(getattr(dataset, "path", "") or ""))
            recordings, place = self._recordings(root) if ljspeech else (Recordings(()), None)
            for name in _META_FILES:
                file = getattr(dataset, name, None)
                if not isinstance(file, str) or not file or not (path := root / file).is_file():
                    continue
                found = self._ljspeech(path, recordings) if ljspeech else self._lines(path)
                copy = path
                if found is not None and found.text is not None:
                    self._say(path, found)
                    copy = self._write(path, found.text) or path
                if copy != path or place is not None:
                    changed.append((dataset, name, file))
                    setattr(dataset, name, str(copy))
            if place is not None:
                changed.append((dataset, "path", dataset.path))
                dataset.path = str(place)
        return changed

    def _ljspeech(self, path: Path, recordings: Recordings) -> Metadata:
        data = path.read_bytes()
        try:
            found = read_ljspeech(data, recordings)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._refuse(
                f'{path} is not UTF-8 text (line {line}, byte {error.start}): save it as "CSV UTF-8" '
                f"and upload "
                "the dataset again."
            )
        out = len(found.left_out)
        if out > _MOST_LEFT_OUT * (out + found.rows):
            self._refuse(
                f"{path} cannot be read: {out} of {out + found.rows} lines are not `name|text|text`, with "
                f"| between "
                f"the columns ({found.left_out_words}). Correct them, or set the formatter that fits the "
                f"file in "
                "training.coqui (datasets.0.formatter)."
            )
        return found

    def _recordings(self, root: Path) -> tuple[Recordings, Path | None]:
        """Find the recordings: those in `wavs`, or anywhere below `root` if there are none.

        The ljspeech formatter only takes `wavs/name.wav`. If some are called or lie otherwise, the second
        value is a folder in which links to all of them have such names; their content says what they are.
        """
        folder = root / "wavs"
        paths = _audio_files(folder)
        if not paths:
            folder, paths = root, _audio_files(root)
        names = [path.relative_to(folder) for path in paths]
        if folder != root and all(name.suffix == ".wav" for name in names):
            return Recordings(name.as_posix() for name in names), None
        self._copies += 1
        place = self._folder / f"recordings{self._copies}"
        linked = [name.with_suffix(".wav") for name in names]
        try:
            for path, name in zip(paths, linked, strict=True):
                link = place / "wavs" / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(path)
        except OSError as error:
            self._reporter.warn(f"Links to the recordings in {root} could not be made: {error.strerror}.")
            return Recordings(name.as_posix() for name in names), None
        if paths and not self._quiet and root not in self._said:
            self._said.add(root)
            self._reporter.say(f"recordings of {root} lie elsewhere than in wavs, or do not end in .wav")
        return Recordings(name.as_posix() for name in linked), place if paths else None

    @staticmethod
    def _lines(path: Path) -> Metadata | None:
        try:
            return read_lines(path.read_bytes())
        except (OSError, UnicodeDecodeError):
            return None

    def _refuse(self, sentence: str) -> None:
        self._reporter.write(refused=sentence)
        if not self._quiet:
            self._reporter.say(sentence)
        raise SystemExit(1)

    def _say(self, path: Path, found: Metadata) -> None:
        if self._quiet or path in self._said:
            return
        self._said.add(path)
        if found.remarks:
            self._reporter.warn(
                f"{path.name} is corrected for the training: {'; '.join(found.remarks)}. The file itself "
                "stays as it is."
            )
        if found.left_out:
            self._reporter.warn(
                f"{len(found.left_out)} lines of {path.name} are left out, since they have no text or no "
                f"name: "
                f"{found.left_out_words}."
            )

    def _write(self, path: Path, text: str) -> Path | None:
        self._copies += 1
        copy = self._folder / f"{path.stem}.corrected{self._copies}{path.suffix or '.csv'}"
        try:
            copy.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            self._reporter.warn(f"A corrected copy of {path.name} could not be written: {error.strerror}.")
            return None
        return copy


def _audio_files(folder: Path) -> list[Path]:
    """The recordings below a folder, also those behind links to folders."""
    return sorted(
        Path(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if PurePosixPath(name).suffix.lower() in AUDIO
    )


def _formatter(dataset: Any) -> str:
    return str(getattr(dataset, "formatter", "") or "").lower()

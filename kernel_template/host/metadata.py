"""Corrects metadata that is written in another way than Coqui's formatters read it.

The rules are those of `kernel_template.text.metadata`. A corrected copy is written beside the host's report,
so in /kaggle/temp; the configuration keeps the name of the file itself.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kernel_template.host.report import Reporter
from kernel_template.text.metadata import LJSPEECH, Metadata, find_recordings, read_lines, read_ljspeech

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
        changed = self._mend(known, self._ljspeech)
        try:
            try:
                return original(config, *args, **kwargs)
            except Exception:
                # A formatter whose columns are not known may read by itself what looks odd here.
                again = self._mend(others, self._lines)
                changed += again
                if not again:
                    raise
                return original(config, *args, **kwargs)
        finally:
            for dataset, name, value in changed:
                setattr(dataset, name, value)

    def _mend(
        self, datasets: list[Any], read: Callable[[Path, Path], Metadata | None]
    ) -> list[tuple[Any, str, Any]]:
        """Let the datasets name corrected copies. Returns what each named before."""
        changed = []
        for dataset, name in _files(datasets):
            root, file = Path(str(getattr(dataset, "path", "") or "")), getattr(dataset, name)
            path = root / str(file)
            if not path.is_file():
                continue
            found = read(path, root)
            if found is None or found.text is None:
                continue
            self._say(path, found)
            copy = self._write(path, found.text)
            if copy is not None:
                changed.append((dataset, name, file))
                setattr(dataset, name, str(copy))
        return changed

    def _ljspeech(self, path: Path, root: Path) -> Metadata:
        data = path.read_bytes()
        try:
            found = read_ljspeech(data, find_recordings(root / "wavs"))
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

    @staticmethod
    def _lines(path: Path, _root: Path) -> Metadata | None:
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


def _formatter(dataset: Any) -> str:
    return str(getattr(dataset, "formatter", "") or "").lower()


def _files(datasets: list[Any]) -> Iterator[tuple[Any, str]]:
    for dataset in datasets:
        for name in _META_FILES:
            if isinstance(getattr(dataset, name, None), str) and getattr(dataset, name):
                yield dataset, name

"""What a session on this machine mounts: the tree that Kaggle would mount, made of links to what is here.

Folders of the tree are read-only, so that a script which writes beside its inputs fails here as on Kaggle;
files are links, as nobody wants a second copy of gigabytes.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_template.contract import OWN_PREFIX
from orchestrator import untrusted
from orchestrator.base.sources import Download, found
from orchestrator.base.voice import read_voice
from orchestrator.download import TransferListener
from orchestrator.errors import LocalError, UsageError
from orchestrator.files import expanded, remove_tree, rename, write_atomically
from orchestrator.formatting import counted
from orchestrator.places.downloads import KaggleInputs
from orchestrator.results import PulledSession, Results
from orchestrator.run.dataset_upload import list_folder
from orchestrator.settings import Settings

USUAL_DATA = "data"  # Where the guide has `kgtts data prepare` make the dataset.
_SAID = f"{OWN_PREFIX}inputs"  # In the folder of a run's results.
_FOLDER_MODE = 0o555

Tree = Mapping[str, Path]  # Files by their names in a mount, with `/` for folders.


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where the inputs are, as a person says.

    Attributes:
        data: the folder of the dataset; None takes the usual one, or Kaggle's.
        voice: a base voice as `kgtts base add` takes it; None takes Kaggle's.
        python: the Python that trains; empty for the one that runs kgtts.
    """

    data: Path | None = None
    voice: str | None = None
    python: str = ""

    @classmethod
    def recall(cls, folder: Path) -> "Wanted":
        """What was said the last time, by the folder of a run's results: nobody types it again to go on."""
        told = untrusted.read_json_object(folder / _SAID) or {}
        data, voice, python = (untrusted.text(told.get(name)) for name in ("data", "voice", "python"))
        return cls(Path(data) if data else None, voice, python or "")

    def remember(self, folder: Path) -> None:
        """Write down what was said.

        Raises:
            LocalError: the folder cannot be written.
        """
        voice, python = self.voice, self.python
        told = {
            "data": None if self.data is None else str(self.data.absolute()),
            "voice": str(Path(voice).absolute()) if voice and Path(voice).exists() else voice,
            "python": str(Path(python).absolute()) if os.sep in python else python,
        }
        write_atomically(folder / _SAID, json.dumps(told) + "\n")


@dataclass(frozen=True, slots=True)
class InputFinder:
    """Finds the inputs of a run on this machine, or brings them here.

    Attributes:
        settings: the run's settings; they went through `with_owner`.
        kaggle: downloads what is not here.
        results: where other runs' results are, for a run that begins with the voice of one.
        home: kgtts's own folder on this machine.
        listener: hears of the download of a base voice.
        say: is told in a sentence what is used.
    """

    settings: Settings
    kaggle: KaggleInputs
    results: Results
    home: Path
    listener: TransferListener
    say: Callable[[str], None]

    def find(self, wanted: Wanted) -> dict[str, Tree]:
        """The trees by the folders below `input` in which Kaggle would mount them.

        Raises:
            UsageError: a folder holds something else.
            KgttsError: something is not here, and cannot be brought.
        """
        inputs = self.settings.inputs
        trees = {f"datasets/{inputs.dataset}": self._dataset(wanted.data)}
        if inputs.other_voice is None:
            trees[f"models/{inputs.model}"] = self._voice(wanted.voice)
        else:
            kernel, run, number = inputs.other_voice
            trees[f"notebooks/{kernel}"] = self._voice_of(run, number)
        return trees

    def _dataset(self, data: Path | None) -> Tree:
        if data is None and _holds_data(Path(USUAL_DATA)):
            data = Path(USUAL_DATA)
        if data is None:
            return _files_of(self.kaggle.dataset(self.settings.inputs.dataset))
        files, left_out = list_folder(data)
        links = [name for name in left_out if name.endswith("(a link)")]
        more = f"; left out: {', '.join(links[:3])}" if links else ""
        self.say(f"Dataset: {data} ({counted(len(files), 'file')}{more})")
        return files

    def _voice(self, voice: str | None) -> Tree:
        if voice is None:
            return _files_of(self.kaggle.model(self.settings.inputs.model))
        folder = self.voice_folder(voice)
        self.say(f"Base voice: {voice}")
        inputs = self.settings.inputs
        return {inputs.config: folder / "config.json", inputs.checkpoint: folder / "model_file.pth"}

    def voice_folder(self, voice: str) -> Path:
        """A base voice as `kgtts base add` takes it, as config.json and model_file.pth in a folder here.

        Raises:
            UsageError: it is none, or does not fit the settings.
            KgttsError: it cannot be brought or written.
        """
        folder = self.home / "inputs" / "voices" / _key(voice)
        if not folder.is_dir():
            self._convert(voice, folder)
        return folder

    def _convert(self, voice: str, folder: Path) -> None:
        """Do what `kgtts base add` does before it uploads."""
        with found(voice, self.home, self.listener, self._announce) as (config, checkpoint):
            read = read_voice(config, checkpoint)
            for sentence in (*(f"Changed: {words}" for words in read.changed), *read.warnings):
                self.say(sentence)
            asked = self.settings.training.sample_rate
            if read.sample_rate != asked:
                raise UsageError(
                    f"The base voice {voice} has {read.sample_rate:,} samples a second, and "
                    f"training.sample_rate is {asked:,}.",
                    hint=f"set training.sample_rate = {read.sample_rate} in kgtts.toml, and prepare the data "
                    f"with --rate {read.sample_rate}",
                )
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as made:
                    whole = Path(made, folder.name)
                    whole.mkdir()
                    read.write(whole)
                    rename(whole, folder)  # At once: half a voice would be taken for one.
            except OSError as error:
                raise LocalError(f"{folder} could not be written: {error.strerror or error}.") from error

    def _announce(self, download: Download) -> None:
        self.say(f"Downloading {download.url}")

    def _voice_of(self, run: str, number: int) -> Tree:
        sessions = self.results.find(run, None)
        session = next((item for item in sessions if item.number == number), None)
        if session is None:
            raise UsageError(
                f"The run begins with the voice of session {number} of run {run}, which is not in "
                f"{self.results.to}.",
                hint=f"bring it with `kgtts pull {run}`",
            )
        self.say(f"Base voice: that of run {run}, session {number} ({session.folder})")
        return _files_of(session.folder)


def newest_voice(sessions: Sequence[PulledSession], name: str) -> str:
    """The session whose best model another run can begin with, as the setting `inputs.voice_of`.

    Raises:
        UsageError: none of them left a model.
    """
    for session in reversed(sessions):
        state = untrusted.as_object(untrusted.read_json_object(session.files.state))
        kernel = untrusted.text(session.files.told.get("kernel"))
        model = untrusted.text(state.get("best_model")) or untrusted.text(state.get("checkpoint"))
        if kernel and model and session.run and session.number and (session.folder / model).is_file():
            return f"{kernel}/{session.run}/{session.number}"
    raise UsageError(
        f"No session of {name} has left a voice here.", hint=f"bring it with `kgtts pull {name}`"
    )


def _holds_data(folder: Path) -> bool:
    try:
        return bool(list_folder(folder)[0])
    except (UsageError, LocalError):
        return False


def _key(voice: str) -> str:
    """What tells a base voice apart: its name or address, or where its files are and of when."""
    place = expanded(voice)
    told = [voice]
    if place.exists():
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        stats = [(path, path.stat()) for path in files if path.is_file()]
        told = [f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _files_of(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(OWN_PREFIX))
        yield from (Path(current, name) for name in sorted(files) if not name.startswith(OWN_PREFIX))


def lay_out(root: Path, trees: Mapping[str, Tree]) -> None:
    """Make the input folder `root`; one that is there goes first.

    Raises:
        LocalError: it cannot be written.
    """
    try:
        remove_tree(root)
        for mount, files in trees.items():
            for name, file in files.items():
                place = root / mount / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(file.resolve())
        for current, _, _ in os.walk(root, topdown=False):
            Path(current).chmod(_FOLDER_MODE)
    except OSError as error:
        raise LocalError(f"{root} could not be written: {error.strerror or error}.") from error

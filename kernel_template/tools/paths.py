"""The session's folders and files, as Kaggle lays them out."""

from dataclasses import dataclass
from pathlib import Path

from kernel_template import contract


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders below `root`, which is /kaggle in a session there, and the files that the session leaves.

    Attributes:
        root: the folder of the inputs and of temporary files.
        outputs: what the session leaves, if that is not a folder in `root`.
    """

    root: Path
    outputs: Path | None = None

    @property
    def input(self) -> Path:
        """Where datasets, models and other kernels' outputs are mounted, read-only."""
        return self.root / "input"

    @property
    def working(self) -> Path:
        """What is kept as the session's output."""
        return self.outputs or self.root / "working"

    @property
    def temp(self) -> Path:
        """What is deleted with the session."""
        return self.root / "temp"

    @property
    def training(self) -> Path:
        """Coqui's output_path; the trainer makes its run folder in it."""
        return self.working / contract.TRAINING_FOLDER

    @property
    def config(self) -> Path:
        """The configuration that the training starts with, and at the end the one that it used."""
        return self.working / contract.CONFIG_FILE

    @property
    def log(self) -> Path:
        """Everything that the training printed."""
        return self.working / contract.TRAINING_LOG

    @property
    def bad_samples(self) -> Path:
        """The table of recordings that were left out."""
        return self.working / contract.BAD_SAMPLES_FILE

    @property
    def letters(self) -> Path:
        """How often the training texts had each letter, as the host counted; not an output."""
        return self.temp / "letters.json"

    @property
    def recordings(self) -> Path:
        """What the speaker's recordings are like, as the host measured; not an output."""
        return self.temp / "recordings.json"

    @property
    def held_out(self) -> Path:
        """The samples that are only evaluated on, as the host listed them; not an output."""
        return self.temp / "held_out.json"

    @property
    def scored(self) -> Path:
        """The held-out sentences as each voice speaks them."""
        return self.samples / contract.HELD_OUT_FOLDER

    @property
    def samples(self) -> Path:
        """The spoken test sentences."""
        return self.working / contract.SAMPLES_FOLDER

    @property
    def base_samples(self) -> Path:
        """The test sentences in the voice that the run began with."""
        return self.samples / contract.BASE_SAMPLES

    def step_samples(self, global_step: int) -> Path:
        """The test sentences in the voice of the checkpoint at `global_step`."""
        return self.samples / f"{contract.STEP_SAMPLES}{global_step}"

    @property
    def voice(self) -> Path:
        """The exported voice and its description."""
        return self.working / contract.VOICE_FOLDER

    @property
    def state(self) -> Path:
        """What the next session and the laptop read first."""
        return self.working / contract.STATE_FILE

    @property
    def metrics(self) -> Path:
        """The events, one JSON object a line."""
        return self.working / contract.METRICS_FILE

    @property
    def manifest(self) -> Path:
        """Size and hash of every output."""
        return self.working / contract.MANIFEST_FILE

    def relative(self, path: Path) -> str:
        """Name an output: its path relative to the working folder, with forward slashes."""
        return path.relative_to(self.working).as_posix() if path.is_relative_to(self.working) else str(path)

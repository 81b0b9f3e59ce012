"""The shape of SETTINGS: what the laptop asks of a session. The laptop has checked every value."""

from typing import Any, NotRequired, TypedDict

from kernel_template.contract import Run, Session


class DatasetSettings(TypedDict):
    """The dataset `owner/slug`, and the path of the training script in it or an installed module's name."""

    source: str
    script: str


class VoiceOf(TypedDict):
    """The session of another run whose best model is used instead of the base voice."""

    kernel: str
    run: str
    session: int


class ModelSettings(TypedDict):
    """The base voice `owner/model/framework/variation/version`, and the paths of its files in it."""

    source: str
    config: str
    checkpoint: str
    voice_of: NotRequired[VoiceOf | None]


class TrainingSettings(TypedDict):
    """The section `training` of kgtts.toml; `coqui` holds Coqui's own settings by dotted path."""

    model: str
    sample_rate: int
    language: str
    batch_size: int
    epochs: int
    until_step: int | None
    coqui: dict[str, Any]
    time_limit_s: int
    grace_s: int  # For saving, once the time limit is reached.


class StopSettings(TypedDict):
    """When to stop early: after `patience` evaluations without a better loss."""

    patience: int | None


class ResumeSettings(TypedDict):
    """The session to continue from; its output is mounted, or the dataset that holds it, or is downloaded.

    `downloads` has the signed URL of each output to download, by its path; None if a mount has them. Whoever
    has such a URL can download: it must not be printed or written anywhere. `folder` has its output outside
    Kaggle, where nothing is mounted.
    """

    kernel: str
    version: int
    run: str
    session: int
    global_step: int
    sha256: str | None
    dataset: str | None
    downloads: dict[str, str] | None
    folder: NotRequired[str]


class SpeedSettings(TypedDict):
    """The section `speed` of kgtts.toml."""

    gpus: int | str  # A number, or "all".
    mixed_precision: bool
    cudnn_benchmark: bool
    round_lengths: bool
    deterministic: bool
    loader_workers: int | None  # None leaves Coqui's own.
    length_buckets: int


class DataSettings(TypedDict):
    """The section `data` of kgtts.toml: what becomes of bad recordings."""

    bad_samples: str | None  # "skip", "refuse" or "keep"; None checks nothing.
    shortest_s: float
    longest_s: float


class DiskSettings(TypedDict):
    """How much the outputs may take, and how many checkpoints stay; None for no limit."""

    limit_bytes: int | None
    keep_checkpoints: int | None


class InstallSettings(TypedDict):
    """What to install if Coqui TTS cannot be imported, and the dataset of wheels to install it from."""

    packages: list[str]
    wheelhouse: str | None


class VoiceSettings(TypedDict):
    """Whether to export the voice to ONNX, and the packages that this needs."""

    onnx: bool
    packages: list[str]


class SamplesSettings(TypedDict):
    """The test sentences; without any, those of the base voice's configuration."""

    sentences: list[str]
    enabled: bool


class ScoresSettings(TypedDict):
    """How held-out sentences are measured, and what the best checkpoint is chosen by."""

    enabled: bool
    share: float  # Of the session's time, at most.
    sentences: int
    packages: list[str]  # Installed without their dependencies.
    recogniser: str | None  # The name of a model on Hugging Face.
    best_by: str  # BY_TRAINER or a Measure.


class SessionSettings(TypedDict):
    """The kernel's SETTINGS. `accelerator`, `gpu_name` and `gpus` are None for a session on the CPU."""

    schema: int
    run: Run
    accelerator: str | None
    gpu_name: str | None
    gpus: int | None
    internet: bool
    dataset: DatasetSettings
    model: ModelSettings
    training: TrainingSettings
    session_budget_s: int | None
    series_budget_s: NotRequired[int | None]  # Of all sessions outside Kaggle under this kernel's name.
    save_every_s: NotRequired[int | None]  # How old the newest checkpoint may get.
    stop: StopSettings
    resume: ResumeSettings | None
    before: list[Session]  # Sessions of the run that the parent's state.json does not know of.
    speed: SpeedSettings
    data: DataSettings
    disk: DiskSettings
    install: InstallSettings
    voice: VoiceSettings
    samples: SamplesSettings
    scores: ScoresSettings

"""What a session and the laptop agree on: file names, end reasons, events, state.json.

Both sides import this module, and no name in it is spelled out anywhere else. It needs nothing but the
standard library. Steps and epochs are those of the run, sizes are bytes, times are seconds unless a comment
says otherwise. The laptop must not trust a value because of its type here: the file comes from a server.
"""

import re
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

# ---- Versions of what is exchanged

SETTINGS_SCHEMA = 1  # The kernel's SETTINGS.
STATE_SCHEMA = 1  # state.json.
VOICE_SCHEMA = 1  # voice.json.

# ---- Names of files and folders, relative to /kaggle/working

STATE_FILE = "state.json"  # What the next session and the laptop read first.
METRICS_FILE = "metrics.jsonl"  # The run's events, one JSON object a line.
MANIFEST_FILE = "manifest.json"  # Size and SHA-256 of every output.
CONFIG_FILE = "config.json"  # The configuration that the training really used.
TRAINING_LOG = "train_log.txt"  # Everything that the training printed.
BAD_SAMPLES_FILE = "bad_samples.csv"  # The recordings that were left out, and why.
TRAINING_FOLDER = "training"  # Coqui's output_path; it makes a run folder in it.
SAMPLES_FOLDER = "validation_samples"  # The spoken test sentences: step_N/ and base/.
BASE_SAMPLES = "base"  # In SAMPLES_FOLDER: the voice that the run began with.
STEP_SAMPLES = "step_"  # In SAMPLES_FOLDER: followed by the step of the checkpoint that spoke.
SAMPLES_FILE = "samples.json"  # In each of those folders: what was spoken.
HELD_OUT_FOLDER = "held_out"  # In SAMPLES_FOLDER: recordings/, base/ and step_N/ with the held-out sentences.
RECORDINGS = "recordings"  # In HELD_OUT_FOLDER: the speaker's own recordings, under the same names.
VOICE_FOLDER = "voice"  # The exported voice.
VOICE_MODEL = "voice.onnx"  # In VOICE_FOLDER.
VOICE_CARD = "voice.json"  # In VOICE_FOLDER: the description of VOICE_MODEL.
VOICE_TOKENS = "tokens.txt"  # In VOICE_FOLDER: the vocabulary of VOICE_MODEL as sherpa-onnx reads it.
BASE_MODEL = "base.onnx"  # In VOICE_FOLDER: the voice that the run began with.
BASE_CARD = "base.json"  # In VOICE_FOLDER: the description of BASE_MODEL.
BEST_SCORE_PREFIX = "best_score_"  # In the run folder, if run.best_by is a measure: the best checkpoint.
BEST_MODEL_LINK = "best_model.pth"  # In the run folder: the trainer's second name for its best model.
HANDOVER_PREFIX = "kgtts-kept-"  # In a dataset that hands a session over: a file that names the session.
OWN_PREFIX = ".kgtts-"  # What kgtts keeps for itself in a folder of results; never an output.

# ---- Sessions outside Kaggle

# The "owners" of their kernels: `local/SLUG` is kgtts train, `skypilot/SLUG` a task of SkyPilot. The version
# of such a kernel is the session's number.
LOCAL, SKYPILOT = "local", "skypilot"
PLACES = (LOCAL, SKYPILOT)
UNLIMITED_S = 100 * 365 * 24 * 3600  # As training.time_limit_s: there is no limit.
# In the environment of a session.
ROOT_VARIABLE = "KGTTS_KAGGLE_ROOT"  # The folder with input and temp, in the place of /kaggle.
SERIES_VARIABLE = "KGTTS_SERIES"  # A folder with the sessions of a run; the session is the next of them.
WORKING_VARIABLE = "KGTTS_WORKING"  # Where the session works; what it saves is copied to the series.
NODES_VARIABLE = "KGTTS_NODES"  # How many machines train together.
NODE_VARIABLE = "KGTTS_NODE"  # Which of them this one is, from 0.
HEAD_VARIABLE = "KGTTS_HEAD"  # The address of machine 0.
PORT_VARIABLE = "KGTTS_PORT"  # Machine 0 listens on this port and the next one; 29470 without it.
# In the folder of a session on the laptop: the kernel version that its files are of, `owner/slug/version`.
COMPLETE_MARK = ".kgtts-complete"  # All of them are there. It goes on with the step and the run's id.
VERSION_MARK = ".kgtts-version"


_SESSION_FOLDER = re.compile(r"session-([0-9]{1,9})")


def session_folder(number: int) -> str:
    """The folder of a session among those of its run."""
    return f"session-{number:02}"


def session_number(folder: str) -> int | None:
    """The number of the session whose folder has this name; None if no session's has."""
    match = _SESSION_FOLDER.fullmatch(folder)
    return None if match is None else int(match[1])


# ---- The training script, as SETTINGS name it

DATASET_SCRIPT = "MyTTSDataset/train_tts.py"  # Where the guide has it, in the dataset.
FIND_SCRIPT = "auto"  # DATASET_SCRIPT if the dataset has it, else OWN_SCRIPT.
OWN_SCRIPT = "kgtts"  # The one that the kernel brings along.


def rank_log(rank: int) -> str:
    """The log of a training process other than the first."""
    return f"train_log_rank{rank}.txt"


# ---- Coqui TTS

COQUI_RELEASE = "0.28"  # Of coqui-tts; the hooks in its trainer fit this release.
TRAINER_RELEASE = "0.4"  # Of coqui-tts-trainer, which it brings.
# What a training with another release lacks.
WITHOUT_HOOKS = (
    "It uses one GPU. A session that resumes it repeats the checkpoint's epoch with other random numbers, so "
    "the result is not that of one training. It stops at the time limit only, not at run.until_step or "
    "run.patience, and ends if the GPU's memory is full or losses are NaN. All of that needs coqui-tts "
    f"{COQUI_RELEASE} in install.packages."
)

# ---- Prefixes of lines in the session's log

EVENT_PREFIX = "@kgtts "  # An event as JSON follows.
HOST_PREFIX = " > kgtts: "  # The host speaks, among the lines of the user's script.
RANK_LINES = HOST_PREFIX + "the last lines of rank {rank}:"  # Of the process that failed first.
RANK_ENDED = HOST_PREFIX + "rank {rank} {how}, so the training ended."  # Behind them.
NODE_LOST = HOST_PREFIX + "machine {node} {how}, so the training ended."  # In their place.


# ---- How a session ends


class EndReason(StrEnum):
    """Why a session ended."""

    FINISHED = "finished"  # All epochs are trained.
    TIME_LIMIT = "time_limit"  # training.time_limit was reached.
    BUDGET = "budget"  # What comes next would not fit into the session.
    UNTIL_STEP = "until_step"  # run.until_step was reached.
    NO_IMPROVEMENT = "no_improvement"  # run.patience evaluations were no better.
    INTERRUPTED = "interrupted"  # The session was told to stop.
    MISSING_INPUT = "missing_input"
    WRONG_PARENT = "wrong_parent"  # The mounted session is not the one to continue from.
    HANDOVER_FAILED = "handover_failed"  # What the session before had saved could not be downloaded.
    NO_GPU = "no_gpu"
    INSTALL_FAILED = "install_failed"
    BAD_CONFIG = "bad_config"
    BAD_DATA = "bad_data"
    TRAINING_FAILED = "training_failed"
    DISK_FULL = "disk_full"
    INTERNAL = "internal"  # A fault of kgtts.
    # Ended from outside without a word. No session writes this; the laptop adds it to a run's history.
    KILLED = "killed"

    @property
    def exit_code(self) -> int:
        """The kernel's exit code for a session that failed for this reason."""
        return 130 if self is EndReason.INTERRUPTED else 1


class Status(StrEnum):
    """The `status` of a session."""

    RUNNING = "running"
    COMPLETE = "complete"  # It left something to continue from, or to use.
    FAILED = "failed"


class DoneReason(StrEnum):
    """What a run has reached, so that it needs no further session."""

    EPOCHS = "epochs"
    UNTIL_STEP = "until_step"
    NO_IMPROVEMENT = "no_improvement"


# The ends after which a run needs no other session.
DONE = {
    EndReason.FINISHED: DoneReason.EPOCHS,
    EndReason.UNTIL_STEP: DoneReason.UNTIL_STEP,
    EndReason.NO_IMPROVEMENT: DoneReason.NO_IMPROVEMENT,
}
# The ends after which the run continues with another session.
CONTINUED = frozenset({EndReason.BUDGET, EndReason.TIME_LIMIT})
# The ends of failed sessions that are no fault of the run: a pass may continue it by itself.
EXCUSED = frozenset({EndReason.INTERRUPTED, EndReason.HANDOVER_FAILED})


class HostStop(StrEnum):
    """Why the host stopped the training, as HOST_REPORT.json says."""

    BUDGET = "budget"
    UNTIL_STEP = "until_step"
    NO_IMPROVEMENT = "no_improvement"
    SIGNAL = "signal"  # SIGINT: the time limit, or somebody stopped the session.
    OUT_OF_MEMORY = "oom"
    NOT_FINITE = "not_finite"  # Losses were NaN or infinite for some steps, or the checkpoint's weights are.


class ExportState(StrEnum):
    """What became of an export to ONNX."""

    MADE = "made"
    UNSUPPORTED = "unsupported"  # ONNX, or Coqui, cannot hold this voice.
    SKIPPED = "skipped"
    FAILED = "failed"


class ScoresState(StrEnum):
    """What became of a session's scores."""

    MADE = "made"
    PARTLY = "partly"  # Time ended before everything was measured, or something failed.
    SKIPPED = "skipped"
    FAILED = "failed"


class CheckState(StrEnum):
    """How the exported voice compares with its checkpoint."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MADE = "not_made"


class Measure(StrEnum):
    """What is measured of a held-out sentence; MEASURES says in which unit, and what is good."""

    MEL_DISTANCE = "mel_distance"  # Mel-cepstral distance to the recording, times aligned.
    F0_ERROR = "f0_error"  # Root mean square difference of pitch where both are voiced, times aligned.
    SIMILARITY = "similarity"  # Cosine to the speaker's recordings (Resemblyzer).
    MOS = "mos"  # Predicted mean opinion score (DistillMOS).
    CER = "cer"  # Characters that a recogniser hears otherwise, as a share of the text's.
    RATE = "rate"
    LOUDNESS = "loudness"  # RMS of what is not silent.
    SILENCE = "silence"  # The share of time that is silent.


class Better(StrEnum):
    """Which values of a measure are good."""

    LOW = "low"
    HIGH = "high"
    LIKE_RECORDINGS = "like_recordings"  # Those near the mean of the recordings.


# The unit of each measure, and which values are good.
MEASURES = {
    Measure.MEL_DISTANCE: ("dB", Better.LOW),
    Measure.F0_ERROR: ("semitones", Better.LOW),
    Measure.SIMILARITY: ("", Better.HIGH),
    Measure.MOS: ("", Better.HIGH),
    Measure.CER: ("", Better.LOW),
    Measure.RATE: ("characters/s", Better.LIKE_RECORDINGS),
    Measure.LOUDNESS: ("dBFS", Better.LIKE_RECORDINGS),
    Measure.SILENCE: ("", Better.LIKE_RECORDINGS),
}
BY_TRAINER = "trainer"  # The `best_by` that is no measure: the trainer's own best model.


class Speaker(StrEnum):
    """Who speaks held-out sentences: the `of` of `Scored`."""

    RECORDINGS = "recordings"
    BASE = "base"
    STEP = "step"


class Stage(StrEnum):
    """The stages of a session, in their order."""

    ENVIRONMENT = "environment"
    INPUTS = "inputs"
    GPU = "gpu"
    INSTALL = "install"
    PREPARE = "prepare"
    TRAIN = "train"
    SCORES = "scores"
    EXPORT = "export"
    SAMPLES = "samples"
    OUTPUTS = "outputs"


class StageState(StrEnum):
    """The `state` of a `stage` event."""

    START = "start"
    DONE = "done"
    FAILED = "failed"


# ---- Events: one JSON object a line, in the log behind EVENT_PREFIX and in METRICS_FILE; see events.py


class EventName(StrEnum):
    """The `event` of each event."""

    SESSION = "session"
    STAGE = "stage"
    START = "start"
    PROGRESS = "progress"
    EVAL = "eval"
    EPOCH = "epoch"
    CHECKPOINT = "checkpoint"
    OUT_OF_MEMORY = "oom"
    RESOURCES = "resources"
    WARNING = "warning"
    EXPORT = "export"
    SCORES = "scores"
    END = "end"


# Every event also has `event`, and `t`: seconds since the session's start. In METRICS_FILE it has `session`.
# METRICS_FILE leaves out a stage, since state.json has how long each took, and what only Kaggle needs.
LOG_ONLY_EVENTS = frozenset({EventName.SESSION, EventName.STAGE})


# ---- STATE_FILE


class Run(TypedDict):
    """The run and session that a kernel version is; also in the kernel's settings and in its stamp."""

    id: str
    session: int
    parent: str | None
    fingerprint: str
    kernel: str
    kgtts: str


class SavedCheckpoint(TypedDict):
    """A checkpoint among the outputs."""

    path: str  # Relative to the outputs, with forward slashes.
    global_step: int
    size: int
    sha256: str


class Session(TypedDict):
    """A session in a run's history."""

    session: int
    kernel: str
    from_step: int
    to_step: int
    from_epoch: int | None
    to_epoch: int | None
    reason: str | None  # An EndReason; None while the session runs.
    seconds: float
    train_seconds: NotRequired[float | None]  # Of `seconds`: what the training took.


class Losses(TypedDict):
    """The run's last losses by name."""

    train: dict[str, float]
    eval: dict[str, float]


class Learned(TypedDict):
    """What sessions changed after GPU memory ran out or losses were NaN; the next one begins with it."""

    asked: int  # The batch size in the settings.
    batch_size: int | None  # Samples at once; None as asked.
    accumulate: int  # Batches whose gradients make a step.
    full_precision: NotRequired[bool]  # Mixed precision gave losses that are NaN.


class BadSamples(TypedDict):
    """How many recordings were checked and left out, and how much sound the others have."""

    checked: int | None
    left_out: int | None
    by_kind: dict[str, int | None]
    seconds: NotRequired[float | None]


class Check(TypedDict):
    """How far the exported voice is from its checkpoint, as a share of the loudest sample."""

    state: str  # A CheckState.
    why: str | None
    tolerance: float
    difference: float | None
    sentences: int
    samples: int


class Export(TypedDict):
    """The voice as ONNX. Fields after `why` are there only as far as the export got."""

    state: str  # An ExportState.
    why: str | None
    checkpoint: NotRequired[str]
    global_step: NotRequired[int]
    best: NotRequired[bool]
    file: NotRequired[str]
    size: NotRequired[int]
    sha256: NotRequired[str]
    seconds: NotRequired[float]
    speakable: NotRequired[bool]
    check: NotRequired[Check]
    session: NotRequired[int]  # Of a base voice: the session that made it.
    base: NotRequired["Export"]  # The voice that the run began with.


class HeldOut(TypedDict):
    """A recording that nothing was trained on."""

    file: str  # Its sounds' name in each folder of HELD_OUT_FOLDER, such as 01.wav.
    text: str
    recording: str  # The name of the recording in the dataset.
    speaker: str | None  # Of several speakers: who speaks it.


class SentenceScores(TypedDict):
    """What was measured of one sentence."""

    file: str
    scores: dict[str, float]  # By Measure; without those that could not be measured.
    error: str | None  # Why there is no sound.


class MeanScore(TypedDict):
    """A measure over all sentences that have it."""

    mean: float
    spread: float  # The standard deviation between sentences; 0 for a single one.
    count: int


class Scored(TypedDict):
    """Held-out sentences as somebody speaks them. The recordings have no step, the base voice step 0."""

    of: str  # A Speaker.
    global_step: int | None
    session: int  # The session that measured it.
    set: str  # Names the sentences and how they were measured: only values of one set can be compared.
    checkpoint: str | None  # Relative to that session's outputs.
    folder: str  # Where the sounds are, relative to the outputs.
    seconds: float  # What speaking and measuring took.
    means: dict[str, MeanScore]  # By Measure.
    sentences: NotRequired[list[SentenceScores]]  # In the events; state.json has the means.
    missing: dict[str, str]  # By Measure: why it was not measured.


class BestByScore(TypedDict):
    """The checkpoint that run.best_by chose."""

    by: str  # A Measure.
    value: float
    global_step: int
    checkpoint: str


class Scores(TypedDict):
    """What is known of the voice's quality, over all sessions so far."""

    state: str  # A ScoresState, of this session.
    why: str | None  # Unless it was made: why not, or what was left out.
    seconds: float  # What this session spent,
    limit_s: float  # and what it might have.
    best_by: str  # BY_TRAINER or a Measure.
    best: BestByScore | None  # None with BY_TRAINER.
    sentences: list[HeldOut]
    recordings: Scored | None
    base: Scored | None
    steps: list[Scored]  # By step.


class GpuSummary(TypedDict):
    """One GPU over the training: per cent of the time in which it was busy, and MiB of its memory."""

    utilisation_mean: float | None
    memory_used_mean_mb: float | None
    memory_used_peak_mb: float | None
    memory_total_mb: float | None


class Resources(TypedDict):
    """What the training used. Shares are between 0 and 1; `goodput` is the share of time in steps."""

    seconds: float
    step_seconds: float
    loader_wait_seconds: float
    samples: int
    samples_per_s: float | None
    loader_wait_share: float | None
    goodput: float | None
    goodput_since_first_step: float | None
    gpus: list[GpuSummary]
    disk_used_peak_bytes: float | None
    disk_limit_bytes: int | None
    ram_used_mean_bytes: int | None
    ram_used_peak_bytes: float | None
    ram_total_bytes: int | None


class Environment(TypedDict):
    """What the session ran on."""

    python: str
    torch: str | None
    tts: str | None
    gpus: list[str]
    cpu_count: int


class State(TypedDict):
    """The content of STATE_FILE."""

    schema: int
    run: Run
    status: str  # A Status.
    reason: str | None  # An EndReason; None while the session runs.
    message: str | None
    done: bool  # The run needs no further session.
    done_reason: str | None  # A DoneReason.
    global_step: int | None  # Of the newest checkpoint.
    epoch: int | None
    epochs: int
    steps_per_epoch: int | None
    seconds_per_epoch: float | None
    best_loss: float | None
    learned: Learned | None
    bad_samples: BadSamples | None
    losses: Losses
    checkpoint: str | None  # The path of the newest checkpoint, one of `checkpoints`.
    best_model: str | None
    checkpoints: list[SavedCheckpoint]
    export: Export | None
    scores: NotRequired[Scores | None]
    resources: Resources | None
    seconds: dict[str, float]  # By stage, and `total`.
    started: str  # ISO 8601, UTC.
    ended: str | None
    exit_code: int | None
    environment: Environment | dict[str, Any]  # Empty until the session has looked.
    history: list[Session]  # Of all sessions so far, this one last.


# ---- SAMPLES_FILE


class OddSound(TypedDict):
    """Something odd about a sound, as `sound_check` finds it."""

    kind: str  # A sound_check.OddKind.
    what: str  # The end of a sentence about the sound.


class SpokenSample(TypedDict):
    """A sentence that a voice was asked to speak. Without an error it has all fields but `spoken`."""

    file: str  # In the same folder.
    text: str  # As it was asked for.
    error: str | None
    spoken: NotRequired[str]  # The text as the voice said it, if that is another one.
    sample_rate: NotRequired[int]
    seconds: NotRequired[float]
    peak: NotRequired[float]  # Before clipping: full scale is 1.
    unknown: NotRequired[list[str]]  # What the voice does not know, each character once.
    sound: NotRequired[dict[str, Any]]  # The figures of sound_check.Measures.
    odd: NotRequired[list[OddSound]]


class SpokenSamples(TypedDict):
    """The content of SAMPLES_FILE."""

    global_step: int
    best: bool
    checkpoint: str
    samples: list[SpokenSample]


# ---- MANIFEST_FILE


class ManifestEntry(TypedDict):
    """One output."""

    path: str  # Relative to the outputs, with forward slashes.
    size: int
    sha256: str


class Manifest(TypedDict):
    """The content of MANIFEST_FILE."""

    files: list[ManifestEntry]

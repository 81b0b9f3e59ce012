"""The tables of kgtts.toml as frozen models: every key, its default, its limits and its sentence.

The descriptions are the comments of the file that `kgtts init` writes and those of the JSON schema.
"""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from kernel_template.contract import (
    BAD_SAMPLES_FILE,
    CONFIG_FILE,
    FIND_SCRIPT,
    MANIFEST_FILE,
    METRICS_FILE,
    SAMPLES_FOLDER,
    STATE_FILE,
    TRAINING_LOG,
    VOICE_FOLDER,
)
from orchestrator.models import MAX_RUN_LENGTH
from orchestrator.settings.accelerators import DEFAULT
from orchestrator.settings.fields import (
    AcceleratorName,
    CoquiKeys,
    DatasetSource,
    Duration,
    InputPath,
    ModelSource,
    Owner,
    Requirement,
    SeveralKeysError,
    SkyGpus,
    SkyInfra,
    SkyInput,
    SkyResults,
    Slug,
    Text,
    VoiceOf,
    Wheelhouse,
    slugify,
    title_from,
)

NotNegative = Annotated[StrictInt, Field(ge=0)]
NotNegativeHours = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
BestBy = Literal["trainer", "mel_distance", "f0_error", "similarity", "mos", "cer"]
Gigabytes = Annotated[float, Field(gt=0, le=20, allow_inf_nan=False)]
_TITLE = re.compile(r"[A-Za-z0-9 ._:()/+-]*", re.ASCII)


class _Section(BaseModel):
    # Built when Settings is: a validator of its own for each table would double the time to start.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Kernel(_Section):
    """The kernel on Kaggle, and its machine."""

    owner: Owner = Field("", description="Your Kaggle user name. Empty: the user of the credentials.")
    slug: Slug = Field(
        "bangla-tts",
        description="The run's name: its kernels are SLUG-a and SLUG-b. 5 to 48 characters.",
    )
    title: StrictStr = Field(
        "",
        description="The title on Kaggle's page; in lower case, with hyphens for spaces, it is the slug. "
        "Empty: made from the slug.",
    )
    accelerator: AcceleratorName = Field(
        DEFAULT,
        description='The machine: "NvidiaTeslaT4" (two T4 GPUs of 15 GB), or "none" to train on the CPU.',
    )
    private: StrictBool = Field(default=True, description="Whether only you can see the kernel.")
    internet: StrictBool = Field(
        default=True,
        description="Whether the session may use the internet, which installing Coqui needs. "
        "Kaggle asks for a phone-verified account.",
    )
    docker_image: StrictStr = Field(
        "",
        description="One exact Kaggle image, such as gcr.io/kaggle-images/python@sha256:... "
        "Empty: Kaggle's choice.",
    )
    docker_image_pinning: Literal["", "original", "latest"] = Field(
        "",
        description='Which image later versions run on: "original" (that of the first version) or "latest". '
        "Empty: Kaggle's choice.",
    )

    @model_validator(mode="after")
    def _title_gives_slug(self) -> Self:
        if not self.title:
            return self
        if len(self.title) > MAX_RUN_LENGTH:
            raise SeveralKeysError(
                f'kernel.title = "{self.title}": must have at most {MAX_RUN_LENGTH} characters'
            )
        if not _TITLE.fullmatch(self.title) or slugify(self.title) != self.slug:
            raise SeveralKeysError(
                f'kernel.title = "{self.title}": does not give the slug "{self.slug}", so Kaggle would make '
                f'another kernel; leave it empty, or write for example "{title_from(self.slug)}"'
            )
        return self


class Inputs(_Section):
    """What the kernel mounts, and the files in it."""

    dataset: DatasetSource = Field(
        "datahrbnn", description="The dataset: SLUG if it is yours, else OWNER/SLUG."
    )
    model: ModelSource = Field(
        "ttsbnng/transformers/default/1",
        description="The base voice, a Kaggle Model: MODEL/FRAMEWORK/VARIATION/VERSION if it is yours, "
        "else with OWNER/ before it.",
    )
    script: InputPath = Field(
        FIND_SCRIPT,
        description='The training script. "auto": MyTTSDataset/train_tts.py if the dataset has it, else\n'
        '"kgtts", the one that kgtts brings along. "TTS.bin.train_tts": the one in Coqui. Or a path in the '
        "dataset.",
    )
    config: InputPath = Field("model/config.json", description="The Coqui configuration in the model.")
    checkpoint: InputPath = Field(
        "model/model_file.pth", description="The base voice's weights in the model."
    )
    voice_of: VoiceOf = Field(
        "",
        description="Begin with the best model of another run instead of the base voice: "
        "OWNER/SLUG/RUN/SESSION. `kgtts push --new --from RUN` sets it.",
    )

    @property
    def other_voice(self) -> tuple[str, str, int] | None:
        """Kernel, run and session of `voice_of`; None without it."""
        if not self.voice_of:
            return None
        owner, slug, run, session = self.voice_of.split("/")
        return f"{owner}/{slug}", run, int(session)


class Training(_Section):
    """What is trained, and for how long."""

    model: Text = Field(
        "vits", description="Coqui's name of the architecture; config.json must have the same."
    )
    sample_rate: Annotated[StrictInt, Field(ge=8000, le=192_000)] = Field(
        22050, description="Samples a second of the recordings."
    )
    language: Text = Field("bn-Bangladesh", description="The language's name in the configuration.")
    batch_size: Annotated[StrictInt, Field(ge=1, le=100_000)] = Field(
        16,
        description="Utterances that one GPU takes in a training step; two GPUs learn from twice as many.",
    )
    epochs: Annotated[StrictInt, Field(ge=1, le=10_000_000)] = Field(
        1000, description="The target: how often to go through all utterances, over all sessions."
    )
    time_limit: Duration = Field(
        timedelta(hours=6),
        description="The longest that one session trains. It then saves a checkpoint and ends by itself. "
        "With session.grace it must fit into session.budget.",
    )
    coqui: CoquiKeys = Field(
        default_factory=dict,
        description="Any further key of Coqui's configuration, with dots for nested keys.\n"
        "For example: lr_gen = 0.0002, or audio.fft_size = 1024",
    )


class Speed(_Section):
    """How the machine is used. Changes do not start another run; keys for GPUs are ignored without one."""

    gpus: Literal["all"] | Annotated[StrictInt, Field(ge=1, le=1)] = Field(
        "all",
        description='"all": every GPU trains the same model, each on its own utterances. 1: only one trains.',
    )
    mixed_precision: StrictBool = Field(
        default=True, description="Half precision (fp16) where it is safe; a T4 is made for it."
    )
    cudnn_benchmark: StrictBool = Field(
        default=False,
        description="Let cuDNN search for the fastest algorithms for VITS's decoder and discriminators,\n"
        "whose batches have one length. A session may then round otherwise than the one before it.",
    )
    round_lengths: StrictBool = Field(
        default=True,
        description="Pad batches of VITS to multiples of 16 letters and 64 frames: for each new length\n"
        "cuDNN chooses its algorithms anew, which may take longer than the step itself.",
    )
    deterministic: StrictBool = Field(
        default=False,
        description="Let the GPU add numbers in the same order each time, so that a resumed training is the\n"
        "same to the bit as one that was never stopped. Slower; cuDNN does not search then.",
    )
    loader_workers: NotNegative = Field(
        4, description="Processes that load utterances, for all GPUs together. A T4 machine has 4 cores."
    )
    length_buckets: NotNegative = Field(
        8,
        description="Utterances of similar length share a batch: this many batches are sorted at a time,\n"
        "and shuffled in every epoch. 0: Coqui's own order, the same in every epoch.",
    )


class Data(_Section):
    """What to do with utterances that cannot be trained on; all are checked before the training."""

    bad_samples: Literal["skip", "refuse", "keep"] = Field(
        "skip",
        description='"skip": train without them. "refuse": end the session and say what is wrong. "keep":\n'
        "leave them to Coqui.",
    )
    shortest: Seconds = Field(0.4, description="The shortest recording to train on, in seconds.")
    longest: Seconds = Field(
        60.0, description="The longest, in seconds: it decides how much memory a step needs."
    )


class Session(_Section):
    """How much of a Kaggle session is used."""

    budget: Duration = Field(
        timedelta(hours=11),
        description="The time that one session may take in all. At most 12h: then Kaggle kills it.",
    )
    grace: Duration = Field(
        timedelta(minutes=5),
        description="How long the trainer may take to save its checkpoint after it was told to stop.",
    )
    disk_limit: Gigabytes = Field(
        19.0,
        description="GB that the outputs may take; Kaggle keeps 20. Old checkpoints give way to new ones.",
    )
    keep_checkpoints: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        2, description="How many of the newest checkpoints to keep, besides the best model."
    )


class Run(_Section):
    """When the run ends, besides at training.epochs, and what it does if the quota is short."""

    until_step: NotNegative = Field(0, description="Stop at this global step. 0: at training.epochs.")
    patience: NotNegative = Field(
        0,
        description="Stop when the trainer has found no better model (by the sum of its evaluation losses)\n"
        "for this many evaluations. 0: never.",
    )
    best_by: BestBy = Field(
        "trainer",
        description='How the best checkpoint, which is exported, is chosen: by the "trainer" (the lowest\n'
        'sum of its evaluation losses), or by what [scores] measures: "mel_distance", "f0_error",\n'
        '"similarity", "mos" or "cer".',
    )
    max_sessions: NotNegative = Field(0, description="The most sessions of a run. 0: no limit.")
    max_gpu_hours: NotNegativeHours = Field(
        0.0, description="The most hours of all sessions of a run on Kaggle together. 0: no limit."
    )
    rescue: StrictBool = Field(
        default=True,
        description="Resume from what a killed session saved. No kernel can mount it: the next session\n"
        "downloads it, or, without internet, a pass uploads it as the private dataset SLUG-kept.\n"
        "false: resume from the session before it.",
    )
    when_quota_is_short: Literal["wait", "shorten"] = Field(
        "wait",
        description='If the week\'s quota is less than a session needs: "wait" until it refreshes, or\n'
        '"shorten" the session to what is left.',
    )
    shortest_session: Duration = Field(
        timedelta(hours=1), description="Rather than run a session shorter than this, wait for the quota."
    )


class Install(_Section):
    """What the kernel installs if the image has no Coqui TTS."""

    packages: tuple[Requirement, ...] = Field(
        # Its trainer (0.4) is the one that the host's hooks fit: with another, a session trains on one GPU
        # and goes on in the trainer's own way. six: coqui-tts 0.28 imports it, but does not declare it.
        ("coqui-tts>=0.28,<0.29", "six>=1.16"),
        description="Requirements for pip; torch, torchaudio and numpy stay those of the image.",
    )
    wheelhouse: Wheelhouse = Field(
        "",
        description="A dataset of wheels to install from, without the internet: SLUG if it is yours, else\n"
        "OWNER/SLUG. Empty: from the package index.",
    )


class Samples(_Section):
    """Sentences that the trained voice speaks at the end of a session."""

    enabled: StrictBool = Field(default=True, description="Whether to make samples.")
    sentences: tuple[Text, ...] = Field(
        (), description="The sentences to speak. Empty: test_sentences of config.json."
    )


class Scores(_Section):
    """How the voice is measured after each session: it speaks recordings that nothing was trained on."""

    enabled: StrictBool = Field(default=True, description="Whether to measure it.")
    share: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        0.02,
        description="The share of a session's time that this may take. What does not fit is left out.",
    )
    sentences: Annotated[StrictInt, Field(ge=1, le=50)] = Field(
        8, description="How many recordings of the evaluation split to speak."
    )
    packages: tuple[Requirement, ...] = Field(
        # Both bring their models. Resemblyzer's voice detector would need a compiler.
        ("Resemblyzer==0.1.4", "distillmos==0.9.1", "xls-r-sqa==0.1.0"),
        description="Speaker similarity and a predicted opinion score need these; installed without their\n"
        "dependencies, after the training. Without them the other measures remain.",
    )
    recogniser: StrictStr = Field(
        "",
        description="A speech recogniser on Hugging Face, to count the characters that it hears wrongly.\n"
        "It needs internet and time. Empty: none.",
    )


class Voice(_Section):
    """What is made from the best model at the end of a session, to speak with on any machine."""

    onnx: StrictBool = Field(
        default=True, description="Whether to export it to ONNX, with its vocabulary beside it."
    )
    packages: tuple[Requirement, ...] = Field(
        # As coqui-tts 0.28 has them in its extra `onnx`. Kaggle's image brings onnx by itself
        # (kaggle_requirements.txt of Kaggle/docker-python, 2026-08), and does not name onnxruntime.
        ("onnx>=1.16", "onnxruntime>=1.18"),
        description="What the export needs; installed after the training if the image does not have it.",
    )


class Pull(_Section):
    """Which outputs `kgtts pull` downloads, and where to."""

    to: Text = Field("runs", description="The folder for results, relative to the working directory.")
    include: tuple[Text, ...] = Field(
        (
            "best-model",
            "newest-checkpoint",
            f"*{CONFIG_FILE}",
            f"*{TRAINING_LOG}",
            "*trainer_0_log.txt",
            BAD_SAMPLES_FILE,
            METRICS_FILE,
            f"{SAMPLES_FOLDER}/*",
            f"{VOICE_FOLDER}/*",
            "newest-events",
            STATE_FILE,
            MANIFEST_FILE,
        ),
        description="What to download: patterns of paths, whose * crosses folders, and the words best-model\n"
        "and newest-checkpoint for one file each (a checkpoint of a full VITS has 1 GB), and newest-events\n"
        "for the session's own event files of TensorBoard.",
    )
    exclude: tuple[Text, ...] = Field(
        (), description="Patterns of what to leave out although it is included."
    )


class Train(_Section):
    """What `kgtts train` uses on this machine. Nothing of it is part of the run."""

    data: StrictStr = Field(
        "",
        description="The folder that `kgtts data prepare` made. Empty: `data`, if it is there; else the\n"
        "dataset is downloaded from Kaggle.",
    )
    voice: StrictStr = Field(
        "",
        description="The base voice: a folder with config.json and the checkpoint, or what `kgtts base add`\n"
        "takes. Empty: inputs.model, downloaded from Kaggle.",
    )
    python: StrictStr = Field(
        "", description="The Python that trains; it has coqui-tts. Empty: the one that runs kgtts."
    )
    hours: NotNegativeHours = Field(
        0.0, description="Stop, save and give the machine back after so many hours. 0: train to the end."
    )


class Notify(_Section):
    """Who is told what becomes of the run, by `kgtts watch` and `kgtts sync`. Needs the extra notify."""

    to: tuple[Text, ...] = Field(
        (),
        description="Addresses as apprise has them, such as ntfy://ntfy.sh/TOPIC or tgram://TOKEN/CHAT.\n"
        "Most hold secrets: better in the environment variable KGTTS_NOTIFY, separated by spaces.",
    )
    events: tuple[Literal["done", "failed", "session", "quota"], ...] = Field(
        ("done", "failed", "session", "quota"),
        description="What is told: the run is done; it failed, stalled or hangs; a session ended; quota is\n"
        "short.",
    )


class SkyPilot(_Section):
    """The machines that `kgtts render --for skypilot` asks SkyPilot for. See docs/skypilot.md."""

    gpus: SkyGpus = Field(
        "T4:1",
        description='The GPUs of each machine, as SkyPilot names them: "T4:2", "A100:1". "none": the CPU.',
    )
    nodes: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        1, description="How many such machines train the same model together."
    )
    spot: StrictBool = Field(
        default=True,
        description="Whether to use spot machines, which cost less and may be taken away at any time: a run "
        "then continues elsewhere. Ignored on Kubernetes and on your own machines, which have none.",
    )
    infra: SkyInfra = Field(
        "",
        description='Where, as SkyPilot has it: "aws", "gcp/us-central1", "k8s", "ssh/POOL". Empty: wherever '
        "it is cheapest of what `sky check` lists.",
    )
    image: StrictStr = Field(
        "",
        description='A machine image, or a container such as "docker:pytorch/pytorch:latest". Empty: '
        "SkyPilot's choice. What is missing in it is installed.",
    )
    disk_size: Annotated[StrictInt, Field(ge=30, le=10_000)] = Field(
        100, description="GB of each machine's own disk: inputs, packages and a session's checkpoints."
    )
    results: SkyResults = Field(
        "",
        description="Where each session leaves its results for you and for the next session: a bucket "
        '("s3://NAME", "gs://NAME/FOLDER"), a volume of SkyPilot (its name), or a folder that all machines '
        'of a Slurm cluster share ("/mnt/results").',
    )
    data: SkyInput = Field(
        "",
        description="The dataset: a folder that `kgtts data prepare` made, or a bucket with the same files. "
        "SkyPilot uploads a folder. Empty: train.data, or `data` if it is there.",
    )
    voice: SkyInput = Field(
        "",
        description="The base voice: a folder with config.json and checkpoint, what `kgtts base add` takes, "
        "or a bucket with what inputs.config and inputs.checkpoint name. Empty: train.voice.",
    )
    save_every: Duration = Field(
        timedelta(minutes=15),
        description="The longest that a training goes on without a checkpoint: what a machine costs that is "
        "taken away.",
    )
    hours: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = Field(
        24.0,
        description="The most hours that all sessions of the run on these machines take together. The last "
        "one saves a checkpoint and ends by itself.",
    )
    dollars: NotNegativeHours = Field(
        0.0,
        description="The most dollars for machines in these hours: SkyPilot takes no machine that costs more "
        "than dollars / hours / nodes an hour, where it knows prices. 0: any price.",
    )

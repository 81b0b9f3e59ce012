"""The settings of one run: all tables, the checks between their keys, and their fingerprint."""

import hashlib
import json
from datetime import timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kernel_template.contract import BY_TRAINER, DATASET_SCRIPT, FIND_SCRIPT
from orchestrator.errors import SettingsError
from orchestrator.settings.accelerators import ACCELERATORS, Accelerator
from orchestrator.settings.fields import SeveralKeysError, complete_source, is_owner, title_from
from orchestrator.settings.sections import (
    Data,
    Inputs,
    Install,
    Kernel,
    Notify,
    Pull,
    Run,
    Samples,
    Scores,
    Session,
    SkyPilot,
    Speed,
    Train,
    Training,
    Voice,
)
from orchestrator.settings.text import format_duration

SESSION_LIMIT = timedelta(hours=12)  # Kaggle ends a GPU session then.
# Keys of inputs, training and install that may change within a run.
UNTRAINED = ("training.time_limit", "training.epochs", "install.wheelhouse")


class Settings(BaseModel):
    """All settings of one run: the tables of kgtts.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="kgtts.toml")

    kernel: Kernel = Field(default_factory=Kernel)
    inputs: Inputs = Field(default_factory=Inputs)
    training: Training = Field(default_factory=Training)
    speed: Speed = Field(default_factory=Speed)
    data: Data = Field(default_factory=Data)
    session: Session = Field(default_factory=Session)
    run: Run = Field(default_factory=Run)
    install: Install = Field(default_factory=Install)
    samples: Samples = Field(default_factory=Samples)
    scores: Scores = Field(default_factory=Scores)
    voice: Voice = Field(default_factory=Voice)
    pull: Pull = Field(default_factory=Pull)
    train: Train = Field(default_factory=Train)
    notify: Notify = Field(default_factory=Notify)
    skypilot: SkyPilot = Field(default_factory=SkyPilot)

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        budget, grace, limit = self.session.budget, self.session.grace, self.training.time_limit
        if budget > SESSION_LIMIT:
            raise SeveralKeysError(
                f'session.budget = "{format_duration(budget)}": must be at most '
                f"{format_duration(SESSION_LIMIT)}, when Kaggle kills the session"
            )
        if grace >= budget:
            raise SeveralKeysError(
                f'session.grace = "{format_duration(grace)}": must be less than '
                f"session.budget ({format_duration(budget)})"
            )
        if limit + grace > budget:
            raise SeveralKeysError(
                f'training.time_limit = "{format_duration(limit)}": with session.grace '
                f"({format_duration(grace)}) it is more than session.budget ({format_duration(budget)}); "
                f"it must be at most {format_duration(budget - grace)}"
            )
        if self.data.shortest >= self.data.longest:
            raise SeveralKeysError(
                f"data.shortest = {self.data.shortest:g}: must be less than data.longest "
                f"({self.data.longest:g})"
            )
        by = self.run.best_by
        if by != BY_TRAINER and not self.scores.enabled:
            raise SeveralKeysError(f'run.best_by = "{by}": needs scores.enabled = true, which measures it')
        if by == "cer" and not self.scores.recogniser:
            raise SeveralKeysError(
                f'run.best_by = "{by}": needs scores.recogniser, which hears the characters'
            )
        return self

    @property
    def accelerator(self) -> Accelerator:
        """The machine that `kernel.accelerator` names."""
        return ACCELERATORS[self.kernel.accelerator]

    @property
    def title(self) -> str:
        """The kernel's title: as set, else made from its slug."""
        return self.kernel.title or title_from(self.kernel.slug)

    def with_owner(self, owner: str) -> Self:
        """Return these settings with the owner filled in, and with the owner in every source.

        `kernel.owner` is preferred to `owner`, the user of the credentials.

        Raises:
            SettingsError: there is no owner, or its name is not one of Kaggle's.
        """
        name = self.kernel.owner or owner
        if not is_owner(name):
            raise SettingsError(
                f"kernel.owner: the kernel's owner is not known: {name!r} is not a Kaggle user name.",
                hint='set kernel.owner in kgtts.toml, or add --set kernel.owner="YOUR-NAME"',
            )
        kernel = self.kernel.model_copy(update={"owner": name})
        wheels = self.install.wheelhouse and complete_source(self.install.wheelhouse, name, parts=2)
        install = self.install.model_copy(update={"wheelhouse": wheels})
        inputs = self.inputs.model_copy(
            update={
                "dataset": complete_source(self.inputs.dataset, name, parts=2),
                "model": complete_source(self.inputs.model, name, parts=5),
            }
        )
        return self.model_copy(update={"kernel": kernel, "inputs": inputs, "install": install})


def fingerprint(settings: Settings) -> str:
    """Return the SHA-256 (hex) of the settings that change what is trained: inputs, training, packages.

    Time limits and the target are left out: a run may be continued in longer or shorter sessions, and
    further than it was meant to go. So is the place that packages come from. Use settings that went through
    `with_owner`: `datahrbnn` and `owner/datahrbnn` are different texts.
    """
    matter = settings.model_dump(
        mode="json",
        include={"inputs": True, "training": True, "install": True},
        exclude={"training": {"time_limit", "epochs"}, "install": {"wheelhouse"}},
    )
    if not settings.inputs.voice_of:
        del matter["inputs"]["voice_of"]  # Older runs began before this setting existed.
    if settings.inputs.script == FIND_SCRIPT:
        matter["inputs"]["script"] = DATASET_SCRIPT  # As above: that was the default.
    text = json.dumps(matter, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()

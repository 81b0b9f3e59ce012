"""Upload a base voice as a version of the account's Kaggle Model, if it changed, and until it is ready."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ForbiddenError, NotFoundError, ServiceError, UsageError
from orchestrator.models import InputDetails, ModelVariation, Sending
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.content import content_of, holds, wait, write_marker

# Kaggle's names of licences of models, the likely ones first.
LICENSES = ("Apache 2.0", "MIT", "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 4.0", "CC BY-NC-SA 4.0", "Other")


@dataclass(frozen=True, slots=True)
class UploadedVoice:
    """A version that holds the voice now: `owner/model/framework/variation/version`."""

    source: str
    is_new: bool


class VoiceUpload:
    """Brings a base voice to a variation of a model.

    Args:
        kaggle: the account.
        clock: time.
        variation: `owner/model/framework/variation`.
        details: what a model that is made now says of itself.
    """

    def __init__(
        self, kaggle: Kaggle, clock: Clock, variation: str, *, details: InputDetails | None = None
    ) -> None:
        title = variation.split("/")[1]
        self._details = details or InputDetails(title, description="Base voices for kgtts.")
        self._kaggle = kaggle
        self._clock = clock
        self._variation = variation
        self._model = "/".join(variation.split("/")[:2])

    def newest(self) -> ModelVariation | None:
        """Return the variation with its newest version; None if there is none.

        Raises:
            ServiceError: Kaggle could not be read.
        """
        try:
            variations = self._kaggle.model_variations(self._model)
        except (NotFoundError, ForbiddenError):
            # Kaggle answers 403 for what is absent: two answers must agree.
            if self._model.casefold() not in (name.casefold() for name in self._kaggle.my_models()):
                return None
            raise
        wanted = self._variation.casefold()
        return next((item for item in variations if item.source.casefold() == wanted), None)

    def current(self, files: Mapping[str, Path]) -> str | None:
        """Return the newest version if it holds these files; None if it does not, or there is none.

        Raises:
            ServiceError: Kaggle could not be read.
        """
        newest = self.newest()
        source = None if newest is None else f"{self._variation}/{newest.version}"
        return source if source is not None and self._holds(source, content_of(files)) else None

    def bring(
        self, files: Mapping[str, Path], *, license_name: str | None, notes: str, sending: Sending
    ) -> UploadedVoice:
        """Upload the files if the newest version does not hold them, and wait until sessions get them.

        Raises:
            UsageError: a licence is needed.
            RefusedError: Kaggle refused it.
            ServiceError: Kaggle could not be reached, or was not ready in time; trying again continues.
            LocalError: a file cannot be read.
        """
        content = content_of(files)
        newest = self.newest()
        if newest is None and not license_name:
            raise UsageError(
                f"The model {self._variation} does not exist yet, and Kaggle asks for its licence.",
                hint=f"add --license NAME, one of {', '.join(map(repr, LICENSES))}",
            )
        source = None if newest is None else f"{self._variation}/{newest.version}"
        is_new = source is None or not self._holds(source, content)
        if is_new:
            source = self._send(files, content, license_name or "", notes, sending)
        assert source is not None
        if not self._is_ready(source):
            sending.say(f"Kaggle is preparing {source}; this takes seconds to minutes.")
            wait(self._clock, source, lambda: self._is_ready(source))
        return UploadedVoice(source, is_new)

    def _send(
        self, files: Mapping[str, Path], content: str, license_name: str, notes: str, sending: Sending
    ) -> str:
        if self._model.casefold() not in (name.casefold() for name in self._kaggle.my_models()):
            self._kaggle.create_model(self._model, self._details)
        marker = write_marker(next(iter(files.values())).parent, content, {"files": len(files)})
        try:
            return self._kaggle.upload_model(
                self._variation,
                {**files, marker.name: marker},
                notes=notes,
                license_name=license_name,
                sending=sending,
            )
        except ServiceError:
            newest = self.newest()  # Only the answer may be lost.
            source = None if newest is None else f"{self._variation}/{newest.version}"
            if source is None or not self._holds(source, content):
                raise
            return source

    def _holds(self, source: str, content: str) -> bool:
        try:
            return holds(self._kaggle.model_files(source), content)
        except (NotFoundError, ForbiddenError):
            return False  # It is being made.

    def _is_ready(self, source: str) -> bool:
        try:
            found = next(iter(self._kaggle.model_files(source)), None)
            newest = self.newest()
        except (NotFoundError, ForbiddenError):
            return False  # It was made just now, and is not visible yet.
        is_newest = newest is not None and source == f"{self._variation}/{newest.version}"
        return found is not None and not (is_newest and newest is not None and newest.is_ready is False)

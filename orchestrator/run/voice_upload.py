"""Upload a base voice as a version of the account's Kaggle Model, if it changed, and until it is ready."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ForbiddenError, NotFoundError, ServiceError, UsageError
from orchestrator.files import write_atomically
from orchestrator.models import InputDetails, ModelVariation, Sending
from orchestrator.ports import Clock, Kaggle

# Kaggle's names of licences of models, the likely ones first.
LICENSES = ("Apache 2.0", "MIT", "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 4.0", "CC BY-NC-SA 4.0", "Other")
_CONTENT = re.compile(r"(?:.*/)?kgtts-content-([0-9a-f]{32})\.json")
_READY_WITHIN_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 3.0, 60.0


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
        say: is told what is being waited for.
    """

    def __init__(self, kaggle: Kaggle, clock: Clock, variation: str, say: Callable[[str], None]) -> None:
        self._kaggle = kaggle
        self._clock = clock
        self._variation = variation
        self._model = "/".join(variation.split("/")[:2])
        self._say = say

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

    def bring(
        self, files: Mapping[str, Path], *, license_name: str | None, notes: str, sending: Sending
    ) -> UploadedVoice:
        """Upload the files if the newest version does not hold them, and wait until sessions get them.

        Raises:
            UsageError: a licence is needed.
            RefusedError: Kaggle refused it.
            ServiceError: Kaggle could not be reached, or did not become ready in time; trying again goes on.
            LocalError: a file cannot be read.
        """
        content = _content(files)
        newest = self.newest()
        if newest is None and not license_name:
            raise UsageError(
                f"The model {self._variation} is made now, and Kaggle wants to know its licence.",
                hint=f"add --license NAME, one of {', '.join(map(repr, LICENSES))}",
            )
        source = None if newest is None else f"{self._variation}/{newest.version}"
        is_new = source is None or not self._holds(source, content)
        if is_new:
            source = self._send(files, content, license_name or "", notes, sending)
        assert source is not None
        self._wait(source)
        return UploadedVoice(source, is_new)

    def _send(
        self, files: Mapping[str, Path], content: str, license_name: str, notes: str, sending: Sending
    ) -> str:
        if self._model.casefold() not in (name.casefold() for name in self._kaggle.my_models()):
            title = self._model.rpartition("/")[2]
            self._kaggle.create_model(self._model, InputDetails(title, description="Base voices for kgtts."))
        marker = next(iter(files.values())).parent / f"kgtts-content-{content}.json"
        write_atomically(marker, "{}\n")
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
            names = [file.name for file in self._kaggle.model_files(source)]
        except (NotFoundError, ForbiddenError):
            return False  # It is being made.
        return content in [match[1] for name in names if (match := _CONTENT.fullmatch(name))]

    def _wait(self, source: str) -> None:
        deadline, pause, is_told = self._clock.monotonic() + _READY_WITHIN_S, _FIRST_PAUSE_S, False
        while not self._is_ready(source):
            if not is_told:
                self._say(f"Kaggle is preparing {source}; this takes seconds to minutes.")
                is_told = True
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise ServiceError(
                    f"Kaggle has not prepared {source} within {_READY_WITHIN_S / 60:.0f} minutes.",
                    hint="give the same command again: nothing is uploaded twice, and it waits on",
                )
            self._clock.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)

    def _is_ready(self, source: str) -> bool:
        try:
            found = next(iter(self._kaggle.model_files(source)), None)
            newest = self.newest()
        except (NotFoundError, ForbiddenError):
            return False  # It was made just now, and is not visible yet.
        is_newest = newest is not None and source == f"{self._variation}/{newest.version}"
        return found is not None and not (is_newest and newest is not None and newest.is_ready is False)


def _content(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            digest.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()} {name}\n".encode())
    return digest.hexdigest()[:32]

"""The part of the fake Kaggle that makes, describes and deletes datasets and models."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import NotFoundError, RefusedError
from orchestrator.models import InputArchive, InputDetails, ModelVariation, OutputFile, Sending
from tests.fakes.clock import FakeClock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upload:
    """One version of a dataset."""

    files: Mapping[str, bytes]
    notes: str = ""
    ready_s: float = 0.0  # When Kaggle has prepared it, on the clock's monotonic time.


class FakeInputs:
    """Datasets and models; the attributes are those of `FakeKaggle`."""

    clock: FakeClock
    username: str
    datasets: dict[str, list[Upload]]
    models: dict[str, Mapping[str, bytes]]  # By `owner/model/framework/variation/version`.
    models_ready_s: dict[str, float]  # When versions that were uploaded are prepared.
    details: dict[str, InputDetails]  # Of datasets and models that were made here.
    dataset_processing_s: float

    @abstractmethod
    def _call(self, method: str, words: str, work: Callable[[], T]) -> T: ...

    def upload_dataset(
        self,
        source: str,
        details: InputDetails,
        files: Mapping[str, Path],
        *,
        notes: str,
        sending: Sending | None = None,
    ) -> None:
        """Store a version of a dataset; Kaggle's limits are checked before anything is sent."""
        slug = source.partition("/")[2]
        if not (6 <= len(slug) <= 50 and 6 <= len(details.title) <= 50):
            raise RefusedError(f"Kaggle does not accept the dataset {source}, titled {details.title!r}.")
        _check_files(f"the dataset {source}", files)

        def keep() -> None:
            self._check_owner(source)
            ready_s = self.clock.monotonic() + self.dataset_processing_s
            self.details.setdefault(source, details)
            self.datasets.setdefault(source, []).append(Upload(_read(files), notes, ready_s))

        self._call("upload_dataset", f"upload {source}", keep)

    def my_datasets(self) -> Sequence[str]:
        """List the account's datasets."""
        return self._call(
            "my_datasets", "my datasets", lambda: [name for name in self.datasets if self._is_mine(name)]
        )

    def dataset_details(self, source: str) -> InputDetails:
        """Return the stored details."""
        return self._call("dataset_details", f"details of {source}", lambda: self._details(source))

    def update_dataset(self, source: str, details: InputDetails) -> None:
        """Replace the stored details."""

        def change() -> None:
            self._details(source)
            if not 6 <= len(details.title) <= 50:
                raise RefusedError(f"Kaggle refused {source}: The dataset title must be between 6 and 50.")
            self.details[source] = details

        self._call("update_dataset", f"update {source}", change)

    def delete_dataset(self, source: str) -> None:
        """Delete a dataset."""

        def forget() -> None:
            if self.datasets.pop(source, None) is None:
                raise NotFoundError(f"There is no dataset {source}.")
            self.details.pop(source, None)

        self._call("delete_dataset", f"delete {source}", forget)

    def dataset_archive(self, source: str) -> InputArchive:
        """Describe an archive of the newest version; nothing serves its address."""

        def describe() -> InputArchive:
            if source not in self.datasets:
                raise NotFoundError(f"There is no dataset {source}.")
            return _archive("archive.zip", source, self.datasets[source][-1].files)

        return self._call("dataset_archive", f"download {source}", describe)

    def model_archive(self, source: str) -> InputArchive:
        """Describe an archive of a version."""

        def describe() -> InputArchive:
            if source not in self.models:
                raise NotFoundError(f"There is no model {source}.")
            return _archive("archive.tar.gz", source, self.models[source])

        return self._call("model_archive", f"download {source}", describe)

    def my_models(self) -> Sequence[str]:
        """List the account's models."""
        return self._call(
            "my_models", "my models", lambda: [name for name in self._model_names() if self._is_mine(name)]
        )

    def model_variations(self, model: str) -> Sequence[ModelVariation]:
        """List the newest version of each variation."""

        def look() -> list[ModelVariation]:
            if model not in self._model_names():
                raise NotFoundError(f"There is no model {model}.")
            newest: dict[str, int] = {}
            for name in self.models:
                if name.startswith(f"{model}/"):
                    variation, _, number = name.rpartition("/")
                    newest[variation] = max(newest.get(variation, 0), int(number))
            return [
                ModelVariation(
                    variation,
                    number,
                    self.models_ready_s.get(f"{variation}/{number}", 0.0) <= self.clock.monotonic(),
                )
                for variation, number in newest.items()
            ]

        return self._call("model_variations", f"variations of {model}", look)

    def create_model(self, model: str, details: InputDetails) -> None:
        """Store a model."""

        def make() -> None:
            self._check_owner(model)
            if model in self._model_names():
                raise RefusedError(f"Kaggle refused it: the model {model} already exists.")
            self.details[model] = details

        self._call("create_model", f"create {model}", make)

    def update_model(self, model: str, details: InputDetails) -> None:
        """Replace the stored details."""

        def change() -> None:
            if model not in self._model_names():
                raise NotFoundError(f"There is no model {model}.")
            self.details[model] = details

        self._call("update_model", f"update {model}", change)

    def upload_model(
        self,
        variation: str,
        files: Mapping[str, Path],
        *,
        notes: str,
        license_name: str,
        sending: Sending | None = None,
    ) -> str:
        """Store a version."""
        _check_files(f"the model {variation}", files)

        def keep() -> str:
            model = "/".join(variation.split("/")[:2])
            if model not in self._model_names():
                raise NotFoundError(f"There is no model {model}.")
            numbers = [
                int(name.rpartition("/")[2]) for name in self.models if name.startswith(f"{variation}/")
            ]
            version = f"{variation}/{max(numbers, default=0) + 1}"
            self.models[version] = _read(files)
            self.models_ready_s[version] = self.clock.monotonic() + self.dataset_processing_s
            return version

        return self._call("upload_model", f"upload {variation} ({license_name}): {notes}", keep)

    def delete_model(self, source: str) -> None:
        """Delete a model, a variation or a version."""

        def forget() -> None:
            gone = [name for name in self.models if f"{name}/".startswith(f"{source}/")]
            if not gone and self.details.pop(source, None) is None:
                raise NotFoundError(f"There is no model {source}.")
            self.details.pop(source, None)
            for name in gone:
                del self.models[name]

        self._call("delete_model", f"delete {source}", forget)

    def _details(self, source: str) -> InputDetails:
        if source not in self.datasets:
            raise NotFoundError(f"There is no dataset {source}.")
        return self.details.get(source, InputDetails(source.partition("/")[2], license="unknown"))

    def _model_names(self) -> set[str]:
        made = {name for name in self.details if name not in self.datasets}
        return made | {"/".join(name.split("/")[:2]) for name in self.models}

    def _is_mine(self, source: str) -> bool:
        return source.partition("/")[0].lower() == self.username.lower()

    def _check_owner(self, source: str) -> None:
        if not self._is_mine(source):
            raise RefusedError(f"Kaggle refused {source}: no permission for another user's.")


def _archive(name: str, source: str, files: Mapping[str, bytes]) -> InputArchive:
    content = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    return InputArchive(OutputFile(name, f"memory://{source}"), content, sum(map(len, files.values())))


def _check_files(what: str, files: Mapping[str, Path]) -> None:
    if not files or any(
        ".." in name.split("/") or name.rpartition("/")[2] != path.name for name, path in files.items()
    ):
        raise RefusedError(f"Kaggle does not accept {what} of {len(files)} files.")


def _read(files: Mapping[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}

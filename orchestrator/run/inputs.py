"""Whether what a session would mount is ready: a push during Kaggle's processing trains on the old data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.errors import ForbiddenError, NotFoundError, RefusedError, ServiceError
from orchestrator.ports import Kaggle
from orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class InputState:
    """One dataset or model that a session mounts.

    Attributes:
        kind: `dataset` or `model`.
        source: its name on Kaggle.
        words: what there is to wait for; None if it is ready.
        note: what could not be found out about it.
    """

    kind: str
    source: str
    words: str | None = None
    note: str | None = None


def input_states(settings: Settings, kaggle: Kaggle) -> Iterator[InputState]:
    """Look at everything that a push of these settings mounts, one call each.

    Raises:
        NotFoundError: two answers agree that there is no such dataset or model.
        RefusedError: Kaggle could not process it.
        ServiceError: Kaggle could not be read, or does not tell.
    """
    yield _dataset(settings.inputs.dataset, kaggle)
    yield _model(settings.inputs.model, kaggle)


def _dataset(source: str, kaggle: Kaggle) -> InputState:
    try:
        if kaggle.dataset_ready(source):
            return InputState("dataset", source)
    except (NotFoundError, ForbiddenError) as error:
        has_files = _lists_files(lambda: next(iter(kaggle.dataset_files(source)), None), error)
        own = source.partition("/")[0].casefold() == kaggle.username.casefold()
        if not has_files or own:
            raise ServiceError(
                f"Whether the newest version of the dataset {source} is ready is not known: {error.message}",
                hint="try again in a minute; `kgtts doctor` checks it",
            ) from error
        note = "Kaggle does not tell whether its newest version is ready"
        return InputState("dataset", source, note=note)
    return InputState(
        "dataset",
        source,
        f"Kaggle is still preparing the newest version of the dataset {source}; a session that starts now "
        "would train on the version before it.",
    )


def _model(source: str, kaggle: Kaggle) -> InputState:
    try:
        found = next(iter(kaggle.model_files(source)), None)
    except (NotFoundError, ForbiddenError) as error:
        if _lists_files(lambda: next(iter(kaggle.model_files(source)), None), error):
            return InputState("model", source)
        raise ServiceError(
            f"Whether the model {source} is ready is not known: {error.message}",
            hint="try again in a minute; `kgtts doctor` checks it",
        ) from error
    note = "it lists no files" if found is None else None
    return InputState("model", source, note=note)


def _lists_files(first: Callable[[], object | None], error: RefusedError) -> bool:
    """Whether a listing shows a file of a source that another call did not show.

    Raises:
        NotFoundError: both calls agree that it does not exist.
    """
    try:
        return first() is not None
    except (NotFoundError, ForbiddenError) as again:
        if isinstance(error, NotFoundError) and isinstance(again, NotFoundError):
            raise again from error
        return False

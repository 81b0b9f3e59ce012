"""Whether what a session would mount is ready: a push during Kaggle's processing trains on the old data."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.errors import ForbiddenError, NotFoundError, RefusedError, ServiceError
from orchestrator.models import ModelVariation
from orchestrator.ports import Kaggle
from orchestrator.settings import Settings

# What puts a missing input there.
UPLOADS = {
    "dataset": "`kgtts data upload FOLDER` makes it; or correct inputs.dataset in kgtts.toml",
    "model": "`kgtts base add bangla-female` puts a base voice there; or correct inputs.model in kgtts.toml",
}


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
        ServiceError: Kaggle could not be read, or does not say.
    """
    yield _dataset(settings.inputs.dataset, kaggle)
    yield _model(settings.inputs.model, kaggle)


def _dataset(source: str, kaggle: Kaggle) -> InputState:
    try:
        if kaggle.dataset_ready(source):
            return InputState("dataset", source)
    except (NotFoundError, ForbiddenError) as error:
        has_files = _lists_files(lambda: next(iter(kaggle.dataset_files(source)), None))
        if has_files is None and _is_own(source, kaggle):
            _check_listed("dataset", source, kaggle.my_datasets(), error)
        elif has_files is None and isinstance(error, NotFoundError):
            raise
        if not has_files or _is_own(source, kaggle):
            raise ServiceError(
                f"Whether the newest version of the dataset {source} is ready is not known: {error.message}",
                hint="try again in a minute; `kgtts doctor` checks it",
            ) from error
        note = "Kaggle does not say whether its newest version is ready"
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
        if _lists_files(lambda: next(iter(kaggle.model_files(source)), None)):
            return InputState("model", source)
        _check_model(source, kaggle, error)
        raise ServiceError(
            f"Whether the model {source} is ready is not known: {error.message}",
            hint="try again in a minute; `kgtts doctor` checks it",
        ) from error
    try:
        variations = kaggle.model_variations(_model_of(source))
    except (NotFoundError, ForbiddenError):
        return InputState("model", source, note="Kaggle does not say whether it is ready")
    if any(_version(item) == source.casefold() and item.is_ready is False for item in variations):
        words = f"Kaggle is still preparing the model {source}; a session that starts now would not find it."
        return InputState("model", source, words)
    note = "it lists no files" if found is None else None
    return InputState("model", source, note=note)


def _check_model(source: str, kaggle: Kaggle, error: RefusedError) -> None:
    """See whether a model that Kaggle does not show stands in any of its lists.

    Raises:
        NotFoundError: it does not.
    """
    model = _model_of(source)
    try:
        listed = [_version(item) for item in kaggle.model_variations(model)]
    except (NotFoundError, ForbiddenError):
        if _is_own(source, kaggle):
            _check_listed("model", model, kaggle.my_models(), error)
        elif isinstance(error, NotFoundError):
            raise error from None
        return
    variation, _, number = source.casefold().rpartition("/")
    newest = [int(name.rpartition("/")[2]) for name in listed if name.rpartition("/")[0] == variation]
    if not newest or int(number) > max(newest):
        _check_listed("model", source, listed, error)


def _check_listed(kind: str, source: str, listed: Sequence[str], error: RefusedError) -> None:
    """See that a list has a source that Kaggle does not show otherwise.

    Raises:
        NotFoundError: it does not: two answers agree that there is none.
    """
    known = [name.casefold() for name in listed]
    if source.casefold() not in known:
        close = difflib.get_close_matches(source.casefold(), known, n=1)
        near = f"; the nearest name there is {close[0]}" if close else ""
        raise NotFoundError(
            f"There is no {kind} {source}: Kaggle's list does not have it either{near}.", hint=UPLOADS[kind]
        ) from error


def _lists_files(first: Callable[[], object | None]) -> bool | None:
    """Whether a listing has a file of a source that another call did not show; None if it is refused too."""
    try:
        return first() is not None
    except (NotFoundError, ForbiddenError):
        return None


def _is_own(source: str, kaggle: Kaggle) -> bool:
    return source.partition("/")[0].casefold() == kaggle.username.casefold()


def _model_of(source: str) -> str:
    return "/".join(source.split("/")[:2])


def _version(variation: ModelVariation) -> str:
    return f"{variation.source}/{variation.version}".casefold()

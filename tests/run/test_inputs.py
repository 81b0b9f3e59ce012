"""Whether the inputs of a session exist and are ready, for every combination of Kaggle's answers."""

from collections.abc import Sequence

import pytest

from orchestrator.errors import ForbiddenError, KgttsError, NotFoundError, ServiceError
from orchestrator.models import ModelVariation
from orchestrator.run.inputs import InputState, input_states
from orchestrator.settings import Settings
from tests.fakes.inputs import Upload
from tests.fakes.kaggle import OWNER, FakeKaggle, inputs
from tests.fakes.sessions import Answer

DATASET, MODEL = f"{OWNER}/datahrbnn", f"{OWNER}/ttsbnng/transformers/default/1"
REFUSALS = [ForbiddenError("Kaggle refused (403)."), NotFoundError("Kaggle has none (404).")]


@pytest.fixture
def kaggle() -> FakeKaggle:
    """A Kaggle with both inputs ready."""
    return FakeKaggle(**inputs())


def looked(kaggle: FakeKaggle, **names: str) -> Sequence[InputState]:
    """Return what is seen of the settings' dataset and model."""
    wanted = {"dataset": DATASET, "model": MODEL, **names}
    return list(input_states(Settings.model_validate({"inputs": wanted}), kaggle))


def test_inputs_that_are_ready(kaggle: FakeKaggle) -> None:
    """There is nothing to wait for and no warning."""
    assert [(item.words, item.note) for item in looked(kaggle)] == [(None, None)] * 2


def test_a_dataset_in_preparation(kaggle: FakeKaggle) -> None:
    """It is waited for, since a session would train on the version before it."""
    kaggle.datasets[DATASET].append(Upload({"a": b""}, ready_s=1e9))
    assert "preparing the newest version of the dataset" in (looked(kaggle)[0].words or "")


def test_a_model_in_preparation(kaggle: FakeKaggle) -> None:
    """It is waited for; other versions, and one without a state, are not."""
    kaggle.models_ready_s[MODEL] = 1e9
    assert "preparing the model" in (looked(kaggle)[1].words or "")
    variation = MODEL.rpartition("/")[0]
    for told in (ModelVariation(variation, 2, is_ready=False), ModelVariation(variation, 1, is_ready=None)):
        kaggle.next("model_variations", Answer([told]))
        assert looked(kaggle)[1].words is None


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_model_whose_state_is_not_shown(kaggle: FakeKaggle, refusal: KgttsError) -> None:
    """Its files are listed, so it exists: a note says so, and nothing waits."""
    kaggle.next("model_variations", refusal)
    assert "does not say" in (looked(kaggle)[1].note or "")


@pytest.mark.parametrize("second", REFUSALS)
@pytest.mark.parametrize("first", REFUSALS)
def test_a_dataset_that_no_list_has(kaggle: FakeKaggle, first: KgttsError, second: KgttsError) -> None:
    """It is absent, whether 403 or 404, and the error gives the nearest name."""
    kaggle.next("dataset_ready", first)
    kaggle.next("dataset_files", second)
    with pytest.raises(
        NotFoundError, match=rf"no dataset {OWNER}/datahrbn:.*nearest name there is {DATASET}"
    ):
        looked(kaggle, dataset=f"{OWNER}/datahrbn")


@pytest.mark.parametrize("second", REFUSALS)
@pytest.mark.parametrize("first", REFUSALS)
def test_a_dataset_that_the_list_has(kaggle: FakeKaggle, first: KgttsError, second: KgttsError) -> None:
    """The answers disagree, so it is unknown; so it is if the list cannot be read."""
    for spoil in (False, True):
        kaggle.next("dataset_ready", first)
        kaggle.next("dataset_files", second)
        if spoil:
            kaggle.next("my_datasets", ServiceError("Kaggle failed (500)."))
        with pytest.raises(ServiceError):
            looked(kaggle)


@pytest.mark.parametrize(
    ("refusal", "error"), [(REFUSALS[0], ServiceError), (REFUSALS[1], NotFoundError)], ids=["403", "404"]
)
def test_a_dataset_of_somebody_else(kaggle: FakeKaggle, refusal: KgttsError, error: type[KgttsError]) -> None:
    """No list of ours has it: a 403 proves nothing, but two 404s do."""
    kaggle.next("dataset_ready", refusal)
    kaggle.next("dataset_files", refusal)
    with pytest.raises(error):
        looked(kaggle, dataset="omar/their-data")


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize(
    "name", ["ttsbnng/onnx/default/1", "ttsbnng/transformers/default/2", "ttsbnn/transformers/default/1"]
)
def test_a_model_that_no_list_has(kaggle: FakeKaggle, refusal: KgttsError, name: str) -> None:
    """Another framework, a missing version and another name are absent."""
    kaggle.next("model_files", refusal, refusal)
    with pytest.raises(NotFoundError, match="There is no model"):
        looked(kaggle, model=f"{OWNER}/{name}")


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_model_that_a_list_has(kaggle: FakeKaggle, refusal: KgttsError) -> None:
    """Its files are refused twice, but its version or name is listed, so it is unknown."""
    for variations in (None, refusal):
        kaggle.next("model_files", refusal, refusal)
        if variations is not None:
            kaggle.next("model_variations", variations)
        with pytest.raises(ServiceError, match="is not known"):
            looked(kaggle)


def test_a_single_refusal_is_looked_at_again(kaggle: FakeKaggle) -> None:
    """If a model's files are listed at the second look, it exists."""
    kaggle.next("model_files", REFUSALS[0])
    assert looked(kaggle)[1] == InputState("model", MODEL)

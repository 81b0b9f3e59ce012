"""Models through the client on the emulator: over broken lines, with lists that lag behind, and refused."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.emulator.faults.kinds import UploadLost
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.emulator.service.model_records import VariationRef
from orchestrator.emulator.service.uploads import CHUNK_MULTIPLE
from orchestrator.errors import OddAnswerError, RefusedError, ServiceError, UsageError
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import InputDetails
from tests.altered import Altered, altered
from tests.kaggle.helpers import make_files
from tests.support import USER

MODEL = f"{USER}/ttsbnng"
VARIATION = f"{MODEL}/transformers/default"
DETAILS = InputDetails("Bangla voices")
NONE = b'{"instances": []}'


@pytest.fixture
def plan(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Altered]:
    """A server in front of the emulator, with its address in the environment."""
    with altered(emulator.url) as server:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", server.url)
        server.changes["StartBlobUpload"] = lambda body: body.replace(
            emulator.url.encode(), server.url.encode()
        )
        yield server


@pytest.fixture
def client(plan: Altered) -> Iterator[KaggleClient]:
    """A client of that server, with a model without variations."""
    found = connect()
    found.create_model(MODEL, DETAILS)
    yield found
    found.close()


def upload(client: KaggleClient, folder: Path, content: bytes = b"weights") -> str:
    """Upload a version; gives its name."""
    files = make_files(folder, model_pth=content)
    return client.upload_model(VARIATION, files, notes="x", license_name="MIT")


def test_a_broken_upload_goes_on_where_it_broke(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path
) -> None:
    """As for datasets, and the file arrives unchanged."""
    kaggle.create_model(MODEL, DETAILS)
    content = os.urandom(3 * CHUNK_MULTIPLE + 5)
    emulator.server.faults.set(FaultPlan(faults=(UploadLost(after=CHUNK_MULTIPLE, first=1),)))
    assert upload(kaggle, tmp_path / "1", content) == f"{VARIATION}/1"
    models = emulator.backend.models
    model, variation, version = models.get_version(VariationRef(*VARIATION.split("/")))
    assert (models.folder(model, variation, version.number) / "model.pth").read_bytes() == content
    assert (variation.license, variation.fine_tunable) == ("MIT", True)


def test_a_list_that_lacks_a_variation_for_a_moment(
    client: KaggleClient, plan: Altered, tmp_path: Path
) -> None:
    """Making it is refused because it exists, and then it gets another version."""
    assert upload(client, tmp_path / "1") == f"{VARIATION}/1"
    answers = [NONE]
    plan.changes["ListModelInstances"] = lambda body: answers.pop() if answers else body
    assert upload(client, tmp_path / "2") == f"{VARIATION}/2"
    made = [name for name in plan.calls if name.startswith("CreateModelInstance")]
    assert made == ["CreateModelInstance", "CreateModelInstance", "CreateModelInstanceVersion"]


def test_a_version_whose_number_is_not_shown(client: KaggleClient, plan: Altered, tmp_path: Path) -> None:
    """It was saved, which is said; a number is not made up."""
    plan.changes["ListModelInstances"] = lambda _: NONE
    with pytest.raises(ServiceError, match="was saved, but Kaggle does not show its number yet"):
        upload(client, tmp_path / "1")


@pytest.mark.parametrize("status", [403, 404])
def test_a_login_that_may_not_write_models(
    emulator: Emulator, kaggle: KaggleClient, tmp_path: Path, status: int
) -> None:
    """It is a refusal, with the two reasons that it can have."""
    kaggle.create_model(MODEL, DETAILS)
    emulator.server.faults.fail_next(status, method="CreateModelInstance")
    with pytest.raises(RefusedError) as caught:
        upload(kaggle, tmp_path / "1")
    assert "while it processes the one before it" in (caught.value.hint or "")


@pytest.mark.parametrize("method", ["CreateModel", "UpdateModel", "CreateModelInstance"])
def test_an_answer_that_does_not_say_what_was_made(
    client: KaggleClient, plan: Altered, tmp_path: Path, method: str
) -> None:
    """It is odd: whether it was made cannot be told."""
    plan.changes[method] = lambda _: b"{}"
    calls: dict[str, Callable[[], object]] = {
        "CreateModel": lambda: client.create_model(f"{USER}/another", DETAILS),
        "UpdateModel": lambda: client.update_model(MODEL, DETAILS),
        "CreateModelInstance": lambda: upload(client, tmp_path / "1"),
    }
    with pytest.raises(OddAnswerError, match="what was made"):
        calls[method]()


def test_what_names_no_model_is_not_deleted(kaggle: KaggleClient) -> None:
    """Nothing is sent for it."""
    with pytest.raises(UsageError, match="does not name a model"):
        kaggle.delete_model(f"{MODEL}/transformers")
    assert kaggle.calls == 0

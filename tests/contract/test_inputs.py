"""What every implementation of the port does with datasets and models: fake, and client over HTTP."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    ServiceError,
)
from orchestrator.models import InputDetails, InputFile, ModelVariation
from orchestrator.ports import Kaggle
from tests.contract.worlds import ATTEMPTS, PREPARED_S, World
from tests.support import USER

DATASET = f"{USER}/some-dataset"
MODEL = f"{USER}/ttsbnng"
VARIATION = f"{MODEL}/transformers/default"
DATASET_DETAILS = InputDetails(
    "Some dataset",
    subtitle="Recordings of one Bangla voice",
    description="Two hours, one speaker.",
    license="CC-BY-4.0",
    keywords=("bangla",),
)
MODEL_DETAILS = InputDetails("Bangla voices", description="Base voices.")
READS: dict[str, Callable[[Kaggle], object]] = {
    "my_datasets": lambda kaggle: kaggle.my_datasets(),
    "my_models": lambda kaggle: kaggle.my_models(),
    "dataset_details": lambda kaggle: kaggle.dataset_details(DATASET),
    "model_variations": lambda kaggle: kaggle.model_variations(MODEL),
}
CHANGES: dict[str, Callable[[Kaggle], object]] = {
    "create_model": lambda kaggle: kaggle.create_model(f"{USER}/another", MODEL_DETAILS),
    "update_model": lambda kaggle: kaggle.update_model(MODEL, MODEL_DETAILS),
    "delete_model": lambda kaggle: kaggle.delete_model(VARIATION),
    "update_dataset": lambda kaggle: kaggle.update_dataset(DATASET, DATASET_DETAILS),
    "delete_dataset": lambda kaggle: kaggle.delete_dataset(DATASET),
}
KINDS: dict[int, type[KgttsError]] = {
    400: RefusedError,
    401: CredentialsError,
    403: ForbiddenError,
    404: NotFoundError,
    429: ServiceError,
    503: ServiceError,
}


def files(folder: Path, **texts: str) -> dict[str, Path]:
    """Make files by their names: `deep__a_txt` is `deep/a.txt`."""
    made = {}
    for key, text in texts.items():
        name = key.replace("__", "/").replace("_", ".")
        made[name] = folder / name
        made[name].parent.mkdir(parents=True, exist_ok=True)
        made[name].write_text(text, encoding="utf-8")
    return made


def have(world: World, tmp_path: Path) -> None:
    """Make a dataset and a model, both ready."""
    made = files(tmp_path / "first", a_txt="a")
    world.kaggle.upload_dataset(DATASET, DATASET_DETAILS, made, notes="first")
    world.kaggle.create_model(MODEL, MODEL_DETAILS)
    world.kaggle.upload_model(VARIATION, made, notes="first", license_name="MIT")
    world.clock.advance(PREPARED_S + 1)


def test_a_dataset_keeps_its_folders(world: World, tmp_path: Path) -> None:
    """Each file keeps its name, however deep, in the first version and in later ones."""
    for number in ("1", "2"):
        made = files(tmp_path / number, metadata_csv="id|text", wavs__a_wav="a", wavs__deep__a_wav=number)
        world.kaggle.upload_dataset(DATASET, DATASET_DETAILS, made, notes=number)
        listed = sorted(world.kaggle.dataset_files(DATASET), key=lambda item: item.name)
        assert listed == [
            InputFile("metadata.csv", 7),
            InputFile("wavs/a.wav", 1),
            InputFile("wavs/deep/a.wav", 1),
        ]
        world.clock.advance(PREPARED_S + 1)


def test_what_a_dataset_says_of_itself(world: World, tmp_path: Path) -> None:
    """It is private, with the details it was made with or changed to; versions change none."""
    have(world, tmp_path)
    assert world.kaggle.my_datasets() == [DATASET]
    told = world.kaggle.dataset_details(DATASET)
    assert (told.title, told.private, told.license) == ("Some dataset", True, "CC-BY-4.0")
    changed = replace(DATASET_DETAILS, title="Another title", license="CC0-1.0", keywords=("audio", "tts"))
    world.kaggle.update_dataset(DATASET, changed)
    assert world.kaggle.dataset_details(DATASET) == changed
    world.kaggle.upload_dataset(DATASET, DATASET_DETAILS, files(tmp_path, b_txt="b"), notes="second")
    assert world.kaggle.dataset_details(DATASET) == changed
    with pytest.raises(RefusedError, match="title must be between 6 and 50"):
        world.kaggle.update_dataset(DATASET, replace(changed, title="Short"))


def test_a_deleted_dataset_is_gone(world: World, tmp_path: Path) -> None:
    """It is in no list, and cannot be deleted twice."""
    have(world, tmp_path)
    world.kaggle.delete_dataset(DATASET)
    assert list(world.kaggle.my_datasets()) == []
    with pytest.raises((NotFoundError, ForbiddenError)):
        world.kaggle.delete_dataset(DATASET)


def test_a_model_grows_version_by_version(world: World, tmp_path: Path) -> None:
    """The first upload makes the variation; each version has its own files and becomes ready by itself."""
    world.kaggle.create_model(MODEL, MODEL_DETAILS)
    assert world.kaggle.my_models() == [MODEL]
    assert list(world.kaggle.model_variations(MODEL)) == []
    for number in (1, 2):
        made = files(tmp_path / str(number), config_json="{}", model__file_pth="x" * number)
        version = world.kaggle.upload_model(VARIATION, made, notes=str(number), license_name="CC BY 4.0")
        assert version == f"{VARIATION}/{number}"
        listed = sorted(world.kaggle.model_files(version), key=lambda item: item.name)
        assert listed == [InputFile("config.json", 2), InputFile("model/file.pth", number)]
        assert world.kaggle.model_variations(MODEL) == [ModelVariation(VARIATION, number, is_ready=False)]
        world.clock.advance(PREPARED_S + 1)
        assert world.kaggle.model_variations(MODEL) == [ModelVariation(VARIATION, number, is_ready=True)]
    assert [item.size for item in world.kaggle.model_files(f"{VARIATION}/1")] == [2, 1]


def test_a_model_is_made_once(world: World, tmp_path: Path) -> None:
    """A second one, one for another user, and a version of a missing one are refused."""
    made = files(tmp_path, config_json="{}")
    with pytest.raises((NotFoundError, RefusedError)):
        world.kaggle.upload_model(VARIATION, made, notes="x", license_name="MIT")
    world.kaggle.create_model(MODEL, MODEL_DETAILS)
    with pytest.raises(RefusedError, match="already exists"):
        world.kaggle.create_model(MODEL, MODEL_DETAILS)
    with pytest.raises(RefusedError, match="permission"):
        world.kaggle.create_model("omar/ttsbnng", MODEL_DETAILS)
    world.kaggle.update_model(MODEL, replace(MODEL_DETAILS, title="Other voices"))
    assert world.kaggle.my_models() == [MODEL]


@pytest.mark.parametrize("names", [[], ["../config.json"], ["other.json"]])
def test_files_that_a_model_cannot_have_are_refused_without_a_call(
    world: World, tmp_path: Path, names: list[str]
) -> None:
    """No files, a name that leads out of the version, and another file's name are refused."""
    world.kaggle.create_model(MODEL, MODEL_DETAILS)
    before = world.kaggle.calls
    with pytest.raises(RefusedError, match=f"Kaggle does not accept the model {VARIATION}"):
        world.kaggle.upload_model(
            VARIATION, dict.fromkeys(names, tmp_path / "config.json"), notes="x", license_name="MIT"
        )
    assert world.kaggle.calls == before


def test_models_are_deleted_from_below(world: World, tmp_path: Path) -> None:
    """A version, a variation and the model are deleted; nothing is deleted twice."""
    have(world, tmp_path)
    world.kaggle.upload_model(VARIATION, files(tmp_path, b_txt="b"), notes="2", license_name="MIT")
    world.kaggle.delete_model(f"{VARIATION}/2")
    assert [item.version for item in world.kaggle.model_variations(MODEL)] == [1]
    world.kaggle.delete_model(VARIATION)
    assert list(world.kaggle.model_variations(MODEL)) == []
    world.kaggle.delete_model(MODEL)
    assert list(world.kaggle.my_models()) == []
    for source in (f"{VARIATION}/1", VARIATION, MODEL):
        with pytest.raises((NotFoundError, ForbiddenError)):
            world.kaggle.delete_model(source)


@pytest.mark.parametrize("name", [*READS, *CHANGES])
def test_each_failure_has_its_kind(world: World, tmp_path: Path, name: str) -> None:
    """Every call raises the right error; reads are retried, and changes are sent once."""
    have(world, tmp_path)
    call = {**READS, **CHANGES}[name]
    for status, kind in KINDS.items():
        before, repeats = world.kaggle.calls, status in (429, 503) and name in READS
        world.fail(name, status, times=ATTEMPTS if repeats else 1)
        with pytest.raises(KgttsError) as caught:
            call(world.kaggle)
        assert type(caught.value) is kind
        if name in CHANGES:
            assert world.kaggle.calls <= before + 2  # `update_dataset` reads first.


@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_upload_is_told_apart(world: World, tmp_path: Path, status: int) -> None:
    """A 403 may be temporary: whoever hands a session over tries again, and gives up for any other."""
    world.fail("upload_dataset", status)
    with pytest.raises(KgttsError) as caught:
        world.kaggle.upload_dataset(DATASET, DATASET_DETAILS, files(tmp_path, a_txt="a"), notes="first")
    assert type(caught.value) is KINDS[status]


@pytest.mark.parametrize("name", READS)
def test_a_read_survives_a_short_bad_spell(world: World, tmp_path: Path, name: str) -> None:
    """A read is retried inside the port."""
    have(world, tmp_path)
    for status in (429, 503):
        world.fail(name, status)
        READS[name](world.kaggle)


def test_the_beginning_of_a_file_is_read(world: World, tmp_path: Path) -> None:
    """No more than was asked for comes; a file that is not there is no error."""
    have(world, tmp_path)
    made = files(tmp_path / "second", config_json='{"model": "vits"}')
    world.kaggle.upload_dataset(DATASET, DATASET_DETAILS, made, notes="second")
    world.kaggle.upload_model(VARIATION, made, notes="second", license_name="MIT")
    world.clock.advance(PREPARED_S + 1)
    assert world.kaggle.dataset_head(DATASET, "config.json", 6) == b'{"mode'
    assert world.kaggle.model_head(f"{VARIATION}/2", "config.json", 1000) == b'{"model": "vits"}'
    assert world.kaggle.dataset_head(DATASET, "no.json", 6) is None
    assert world.kaggle.model_head(f"{VARIATION}/2", "no.json", 6) is None


def test_an_archive_is_told_from_that_of_another_version(world: World, tmp_path: Path) -> None:
    """The same version has the same archive each time, with its bytes; another version has another one."""
    have(world, tmp_path)
    first, again = (world.kaggle.dataset_archive(DATASET) for _ in range(2))
    assert first.identity
    assert (first.identity, first.size, first.file.name) == (again.identity, again.size, "archive.zip")
    other = files(tmp_path / "second", a_txt="another", b_txt="b")
    world.kaggle.upload_dataset(DATASET, DATASET_DETAILS, other, notes="second")
    world.clock.advance(PREPARED_S + 1)
    assert world.kaggle.dataset_archive(DATASET).identity != first.identity
    model = world.kaggle.model_archive(f"{VARIATION}/1")
    assert (model.file.name, bool(model.identity)) == ("archive.tar.gz", True)
    with pytest.raises((NotFoundError, ForbiddenError)):
        world.kaggle.dataset_archive(f"{USER}/no-such-thing")

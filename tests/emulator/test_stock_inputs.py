"""Each command of the unmodified stock `kaggle` for datasets and models, on the emulator."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.stock import StockClient
from tests.emulator.support import USER, Account
from tests.fakes.clock import FakeClock

Kaggle = Callable[..., str]
DATASET = f"{USER}/stock-data"
MODEL = f"{USER}/ttsbnng"
VARIATION = f"{MODEL}/transformers/default"
LOOK = (
    "import os, pathlib\nroot = pathlib.Path(os.environ['KGTTS_KAGGLE_ROOT']) / 'input'\n"
    "for path in sorted(root.rglob('*')):\n"
    "    if path.is_file(): print('sees', path.relative_to(root), path.read_text())\n"
)


@pytest.fixture
def kaggle(stock: StockClient, account: Account, tmp_path: Path) -> Kaggle:
    """Runs a `kaggle` command line that succeeds, or ends with `code`; gives what it prints."""

    def run(*arguments: str, code: int = 0) -> str:
        ended, said = stock.run(account.url, tmp_path, *arguments)
        assert ended == code, said
        return said

    return run


def folder_of(folder: Path, **files: str) -> Path:
    """Make a folder with files; `deep__a_txt` is `deep/a.txt`."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def describe(folder: Path, name: str, **fields: Any) -> None:
    """Write a metadata file, or change fields of it."""
    path = folder / name
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | fields), encoding="utf-8")


def seen(account: Account, **sources: Any) -> list[str]:
    """Return the files with their texts that a session finds among its inputs."""
    assert account.run(LOOK, "Look around", **sources) == "COMPLETE"
    return [line.removeprefix("sees ") for line in account.text("look-around").splitlines() if "sees" in line]


@pytest.mark.parametrize("mode", ["skip", "zip", "tar"])
def test_folders_of_a_dataset(kaggle: Kaggle, account: Account, tmp_path: Path, mode: str) -> None:
    """With `--dir-mode skip` they are left out; zip and tar archives are unpacked in the mount."""
    folder = folder_of(tmp_path / "data", a_txt="a", wavs__b_txt="b", wavs__deep__c_txt="c")
    kaggle("datasets", "init", "-p", str(folder))
    describe(folder, "dataset-metadata.json", id=DATASET, title="Stock data")
    said = kaggle("datasets", "create", "-p", str(folder), "--dir-mode", mode)
    assert "Your private Dataset is being created" in said
    assert ("Skipping folder: wavs" in said) is (mode == "skip")
    below = f"datasets/{DATASET}"
    deeper = [] if mode == "skip" else [f"{below}/wavs/b.txt b", f"{below}/wavs/deep/c.txt c"]
    assert seen(account, dataset_data_sources=[DATASET]) == [f"{below}/a.txt a", *deeper]


def test_every_command_on_datasets(kaggle: Kaggle, account: Account, tmp_path: Path) -> None:
    """create, status, list, files, download, version, metadata read and written, delete."""
    folder = folder_of(tmp_path / "data", metadata_csv="id|text", b_txt="b")
    describe(folder, "dataset-metadata.json", id=DATASET, title="Stock data", licenses=[{"name": "CC0-1.0"}])
    kaggle("datasets", "create", "-p", str(folder))
    assert kaggle("datasets", "status", DATASET).strip() == "ready"
    assert DATASET in kaggle("datasets", "list", "--mine")
    assert DATASET not in kaggle("datasets", "list")
    listed = kaggle("datasets", "files", DATASET)
    assert "b.txt" in listed
    assert "metadata.csv" in listed
    out = tmp_path / "out"
    assert "License(s): CC0-1.0" in kaggle("datasets", "download", DATASET, "-p", str(out), "--unzip")
    assert (out / "metadata.csv").read_text() == "id|text"
    kaggle("datasets", "download", DATASET, "-f", "b.txt", "-p", str(tmp_path / "one"))
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["b.txt"]
    kaggle("datasets", "download", DATASET, "-f", "none.txt", "-p", str(out), code=1)

    (folder / "b.txt").unlink()
    kaggle("datasets", "version", "-p", str(folder), "-m", "without b")
    assert "b.txt" not in kaggle("datasets", "files", DATASET)
    assert "b.txt" in kaggle("datasets", "files", f"{DATASET}/1")

    about = tmp_path / "about"
    kaggle("datasets", "metadata", DATASET, "-p", str(about))
    told = json.loads((about / "dataset-metadata.json").read_text())["info"]
    assert (told["title"], told["isPrivate"], told["licenses"]) == ("Stock data", True, [{"name": "CC0-1.0"}])
    told |= {"title": "Better data", "subtitle": "Recordings of one Bangla voice"}
    describe(about, "dataset-metadata.json", info=told)
    kaggle("datasets", "metadata", DATASET, "-p", str(about), "--update")
    assert "Better data" in kaggle("datasets", "list", "--mine")
    describe(about, "dataset-metadata.json", info={**told, "title": "Short", "subtitle": "Short"})
    said = kaggle("datasets", "metadata", DATASET, "-p", str(about), "--update", code=1)
    assert "title must be between 6 and 50" in said
    assert "Subtitle length must be between 20 and 80" in said
    found = account.emulator.backend.datasets.find(USER, "stock-data")
    assert found is not None
    assert (found.title, found.private) == ("Better data", True)

    kaggle("datasets", "version", "-p", str(folder), "-m", "the only one", "--delete-old-versions")
    kaggle("datasets", "files", f"{DATASET}/1", code=1)
    kaggle("datasets", "delete", DATASET, "-y")
    assert "403" in kaggle("datasets", "status", DATASET, code=1)
    assert "No datasets found" in kaggle("datasets", "list", "--mine")


def test_a_dataset_by_its_number_and_with_a_picture(kaggle: Kaggle, account: Account, tmp_path: Path) -> None:
    """`id_no` in the metadata overrides the name; a cover picture is uploaded too."""
    folder = folder_of(tmp_path / "data", a_txt="a", deep__b_txt="b")
    resources = [{"path": "a.txt", "description": "The letter a"}]
    known = {"id": DATASET, "title": "Stock data", "licenses": [{"name": "other"}], "resources": resources}
    describe(folder, "dataset-metadata.json", **known)
    kaggle("datasets", "create", "-p", str(folder))
    found = account.emulator.backend.datasets.find(USER, "stock-data")
    assert found is not None
    assert found.descriptions == {"a.txt": "The letter a"}
    describe(folder, "dataset-metadata.json", id_no=found.key, id=f"{USER}/another-name")
    kaggle("datasets", "version", "-p", str(folder), "-m", "by number")
    assert kaggle("datasets", "files", f"{DATASET}/2")
    describe(folder, "dataset-metadata.json", isPrivate=True)
    (folder / "dataset-cover-image.png").write_bytes(b"a picture")
    assert "Upload successful" in kaggle("datasets", "metadata", DATASET, "-p", str(folder), "--update")
    assert list((account.emulator.backend.state.root / "uploads").iterdir()) == []
    settings = {"title": "Stock data", "image": {"token": "0" * 32}}
    body = {"ownerSlug": USER, "datasetSlug": "stock-data", "settings": settings}
    answer = account.post("UpdateDatasetMetadata", body, "datasets.DatasetApiService")
    assert answer.json()["errors"] == ["The image was not uploaded."]


def test_a_metadata_file_without_privacy_makes_a_dataset_public(
    kaggle: Kaggle, account: Account, tmp_path: Path
) -> None:
    """Without it the stock client sends `isPrivate` as false."""
    folder = folder_of(tmp_path / "data", a_txt="a")
    describe(folder, "dataset-metadata.json", id=DATASET, title="Stock data", licenses=[{"name": "other"}])
    kaggle("datasets", "create", "-p", str(folder))
    kaggle("datasets", "metadata", DATASET, "-p", str(folder), "--update")
    found = account.emulator.backend.datasets.find(USER, "stock-data")
    assert found is not None
    assert not found.private


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"licenses": [{"name": "my-own"}]}, "license 'my-own' is not valid"),
        ({"licenses": [{"name": "copyright-authors"}]}, "is not valid"),
        ({"id": f"{USER}/Stock_Data"}, 'Slug can only contain alphanumeric or "-" characters'),
        ({"id": "omar/stock-data"}, "another user"),
    ],
)
def test_a_dataset_that_is_refused(
    kaggle: Kaggle, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    """The stock client prints Kaggle's words and exits with 0."""
    folder = folder_of(tmp_path / "data", a_txt="a")
    wanted = {"id": DATASET, "title": "Stock data", "licenses": [{"name": "other"}], **fields}
    describe(folder, "dataset-metadata.json", **wanted)
    said = kaggle("datasets", "create", "-p", str(folder))
    assert "Dataset creation error" in said
    assert words in said


def make_model(kaggle: Kaggle, folder: Path, **fields: Any) -> str:
    """Create a model from a metadata file; returns what is printed."""
    folder.mkdir(exist_ok=True)
    kaggle("models", "init", "-p", str(folder))
    wanted = {"ownerSlug": USER, "slug": "ttsbnng", "title": "Bangla voices", **fields}
    describe(folder, "model-metadata.json", **wanted)
    return kaggle("models", "create", "-p", str(folder))


def make_variation(kaggle: Kaggle, folder: Path, *arguments: str, **fields: Any) -> str:
    """Create a variation from a folder; returns what is printed."""
    kaggle("models", "variations", "init", "-p", str(folder))
    wanted = {
        "ownerSlug": USER,
        "modelSlug": "ttsbnng",
        "instanceSlug": "default",
        "framework": "transformers",
        "licenseName": "CC BY-NC-SA 4.0",
        **fields,
    }
    describe(folder, "model-instance-metadata.json", **wanted)
    return kaggle("models", "variations", "create", "-p", str(folder), *arguments)


def test_every_command_on_models(kaggle: Kaggle, account: Account, tmp_path: Path) -> None:
    """create, get, list, update, delete; the same for variations, and for their versions."""
    assert "Your model was created" in make_model(kaggle, tmp_path / "model")
    assert MODEL in kaggle("models", "list", "--owner", USER)
    assert MODEL not in kaggle("models", "list")
    folder = folder_of(tmp_path / "voice", config_json="{}", model__file_txt="first")
    said = make_variation(kaggle, folder, "--dir-mode", "tar")
    assert "Your model instance was created" in said
    assert "model/file.txt" in kaggle("models", "variations", "files", VARIATION)
    assert "default" in kaggle("models", "variations", "get", VARIATION)
    kaggle("models", "variations", "list", MODEL)

    second = folder_of(tmp_path / "second", config_json='{"two": 2}')
    said = kaggle("models", "variations", "versions", "create", VARIATION, "-p", str(second), "-n", "better")
    assert "Your model instance version was created" in said
    assert f"{VARIATION}/2" in said
    assert "default" in kaggle("models", "variations", "versions", "list", VARIATION)
    versions = "models", "variations", "versions"
    assert "config.json" in kaggle(*versions, "files", f"{VARIATION}/1")
    kaggle(*versions, "download", f"{VARIATION}/1", "-p", str(tmp_path / "out"), "--untar")
    assert (tmp_path / "out" / "model" / "file.txt").read_text() == "first"
    mounted = f"models/{VARIATION}"
    assert seen(account, model_data_sources=[f"{VARIATION}/1"]) == [
        f"{mounted}/1/config.json {{}}",
        f"{mounted}/1/model/file.txt first",
    ]
    assert seen(account, model_data_sources=[f"{VARIATION}/2"]) == [f'{mounted}/2/config.json {{"two": 2}}']

    kaggle("models", "get", MODEL, "-p", str(tmp_path / "model"))
    describe(tmp_path / "model", "model-metadata.json", title="Voices of Bangla", publishTime="2026-11-27")
    assert "Your model was updated" in kaggle("models", "update", "-p", str(tmp_path / "model"))
    assert "Voices of Bangla" in kaggle("models", "get", MODEL)
    kaggle("models", "variations", "get", VARIATION, "-p", str(folder))
    describe(folder, "model-instance-metadata.json", overview="Female", licenseName="Apache 2.0")
    assert "Your model instance was updated" in kaggle("models", "variations", "update", "-p", str(folder))
    variation = account.emulator.backend.models.get(USER, "ttsbnng").variations[0]
    assert (variation.overview, variation.license, variation.slug) == ("Female", "Apache 2.0", "default")

    assert "was deleted" in kaggle(*versions, "delete", f"{VARIATION}/2", "-y")
    assert account.push(LOOK, model_data_sources=[f"{VARIATION}/2"]).invalid_model_sources
    account.wait()
    third = kaggle(*versions, "create", VARIATION, "-p", str(second))
    assert f"{VARIATION}/3" in third
    assert "was deleted" in kaggle("models", "variations", "delete", VARIATION, "-y")
    assert "403" in kaggle("models", "variations", "get", VARIATION, code=1)
    assert "was deleted" in kaggle("models", "delete", MODEL, "-y")
    assert "No models found" in kaggle("models", "list", "--owner", USER)
    assert "403" in kaggle("models", "get", MODEL, code=1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"slug": "ab"}, "slug must be between 3 and 50"),
        ({"slug": "x" * 51}, "slug must be between 3 and 50"),
        ({"title": "x" * 51}, "title must be between 3 and 50"),
        ({"ownerSlug": "omar"}, "another user"),
    ],
)
def test_a_model_that_is_refused(kaggle: Kaggle, tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    """The stock client prints Kaggle's words and exits with 0."""
    said = make_model(kaggle, tmp_path / "model", **fields)
    assert "Model creation error" in said
    assert words in said


def test_a_variation_that_is_refused(kaggle: Kaggle, tmp_path: Path) -> None:
    """A missing model, an unknown licence, no files and a second creation are refused."""
    folder = folder_of(tmp_path / "voice", config_json="{}")
    assert "was not found" in make_variation(kaggle, folder)
    make_model(kaggle, tmp_path / "model")
    assert "already exists" in make_model(kaggle, tmp_path / "model")
    assert "license 'Coqui' is not valid" in make_variation(kaggle, folder, licenseName="Coqui")
    (tmp_path / "empty").mkdir()
    assert "There are no files" in make_variation(kaggle, tmp_path / "empty")
    assert "was created" in make_variation(kaggle, folder)
    assert "already exists" in make_variation(kaggle, folder)
    describe(tmp_path / "model", "model-metadata.json", isPrivate=False)
    assert "was updated" in kaggle("models", "update", "-p", str(tmp_path / "model"))


def test_a_model_is_processed_before_it_is_mounted(
    stock: StockClient, start: Callable[..., Account], clock: FakeClock, tmp_path: Path
) -> None:
    """Until then a session does not see it, and no next version can be made."""
    account = start(clock=clock, dataset_processing_s=60.0)

    def kaggle(*arguments: str, code: int = 0) -> str:
        ended, said = stock.run(account.url, tmp_path, *arguments)
        assert ended == code, said
        return said

    make_model(kaggle, tmp_path / "model")
    folder = folder_of(tmp_path / "voice", config_json="{}")
    make_variation(kaggle, folder)
    assert seen(account, model_data_sources=[f"{VARIATION}/1"]) == []
    again = "models", "variations", "versions", "create", VARIATION, "-p", str(folder)
    assert "403" in kaggle(*again, code=1)
    clock.advance(60)
    assert seen(account, model_data_sources=[f"{VARIATION}/1"]) == [f"models/{VARIATION}/1/config.json {{}}"]
    assert "was created" in kaggle(*again)

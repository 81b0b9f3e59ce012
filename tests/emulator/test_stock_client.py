"""The stock `kaggle` command on the emulator, changed only in its address."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator.faults.kinds import UploadLost
from orchestrator.emulator.faults.plan import FaultPlan
from tests.emulator.stock import StockClient
from tests.emulator.support import USER, Account

SCRIPT = "print('training')\nopen('model.pth', 'w').write('weights')\nopen('notes.txt', 'w').write('n')\n"
METADATA = {
    "id": f"{USER}/stock-kernel",
    "title": "Stock Kernel",
    "code_file": "kernel.py",
    "language": "python",
    "kernel_type": "script",
    "is_private": True,
    "enable_gpu": False,
    "enable_internet": True,
    "dataset_sources": [f"{USER}/some-data"],
}
Kaggle = Callable[..., str]


@pytest.fixture
def kaggle(stock: StockClient, account: Account, tmp_path: Path) -> Kaggle:
    """Runs a `kaggle` command line that succeeds; gives what it prints."""

    def run(*arguments: str) -> str:
        code, said = stock.run(account.url, tmp_path, *arguments)
        assert code == 0, said
        return said

    return run


def test_the_stock_client_works(kaggle: Kaggle, account: Account, root: Path, tmp_path: Path) -> None:
    """push, logs -f, status, output, files, pull, list, quota and delete, one after another."""
    folder = tmp_path / "to push"
    folder.mkdir()
    (folder / "kernel.py").write_text(SCRIPT)
    (folder / "kernel-metadata.json").write_text(json.dumps(METADATA))
    name = f"{USER}/stock-kernel"
    assert "Kernel version 1 successfully pushed" in kaggle("kernels", "push", "-p", str(folder))
    assert "training" in kaggle("kernels", "logs", "-f", name)
    assert '"KernelWorkerStatus.COMPLETE"' in kaggle("kernels", "status", name)
    assert "training" in kaggle("kernels", "logs", name)
    kaggle("kernels", "output", name, "-p", str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.pth").read_text() == "weights"
    assert json.loads((tmp_path / "out" / "stock-kernel.log").read_text())[-1]["data"] == "training\n"
    assert "model.pth" in kaggle("kernels", "files", name)
    kaggle("kernels", "pull", name, "-m", "-p", str(tmp_path / "pulled"))
    assert (tmp_path / "pulled" / "stock-kernel.py").read_text() == SCRIPT
    pulled = json.loads((tmp_path / "pulled" / "kernel-metadata.json").read_text())
    assert pulled["dataset_sources"] == [f"{USER}/some-data"]
    assert name in kaggle("kernels", "list", "--mine")
    assert "30.00h" in kaggle("quota")
    kaggle("kernels", "delete", name, "-y")
    assert "Not found" in kaggle("kernels", "list", "--mine")


def test_the_stock_client_says_a_refusal(kaggle: Kaggle, account: Account, tmp_path: Path) -> None:
    """The stock client prints a rejected push, but exits with 0."""
    (tmp_path / "kernel.py").write_text(SCRIPT)
    (tmp_path / "kernel-metadata.json").write_text(json.dumps({**METADATA, "machine_shape": "NvidiaH100"}))
    assert "Kernel push error: You do not have permission" in kaggle("kernels", "push", "-p", str(tmp_path))


def test_the_stock_client_uploads_datasets(kaggle: Kaggle, account: Account, tmp_path: Path) -> None:
    """It creates, lists, versions (over a broken connection), and is refused a second create."""
    folder, name = tmp_path / "data", f"{USER}/stock-data"
    folder.mkdir()
    metadata = {"id": name, "title": "Stock data", "licenses": [{"name": "other"}]}
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
    (folder / "model.pth").write_bytes(b"1" * 600_000)
    (folder / "empty.txt").touch()
    assert "Your private Dataset is being created" in kaggle("datasets", "create", "-p", str(folder))
    assert kaggle("datasets", "status", name).strip() == "ready"
    listed = kaggle("datasets", "files", name)
    assert "model.pth" in listed
    assert "empty.txt" in listed
    (folder / "empty.txt").unlink()
    (folder / "model.pth").write_bytes(b"2" * 600_000)
    lost = UploadLost(after=300_000, first=1)
    account.emulator.server.faults.set(FaultPlan(faults=(lost,)))
    said = kaggle("datasets", "version", "-p", str(folder), "-m", "the second")
    assert "Already uploaded" in said
    assert "Dataset version is being created" in said
    assert "empty.txt" not in kaggle("datasets", "files", name)
    found = account.emulator.backend.datasets.find(*name.split("/"))
    assert found is not None
    assert (found.private, found.versions[1].notes) == (True, "the second")
    assert (account.emulator.backend.datasets.folder(found, 2) / "model.pth").read_bytes() == b"2" * 600_000
    assert "already in use by a dataset" in kaggle("datasets", "create", "-p", str(folder))

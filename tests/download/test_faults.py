"""The emulator's faults, alone and together: every byte right, nothing outside, little downloaded twice."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.download import TransferOptions, UnavailableError, fetch
from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.errors import ServiceError
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import KernelPush, KernelRef
from orchestrator.ports import SystemClock
from orchestrator.results import SESSION_LOG
from orchestrator.run.collect import bring, collect, outline
from orchestrator.run.context import RunContext, Target
from orchestrator.run.ledger import Ledger
from tests.download.support import Ear, content

USER, KEY = "asha", "not-a-real-key"
REF = KernelRef(USER, "voice")
SCRIPT = """
import json, hashlib, os, random
draw = random.Random(5)
sizes = {"run/checkpoint_100.pth": 24 << 20, "run/best_model_90.pth": 9 << 20, "empty": 0}
sizes |= {f"samples/{number}.wav": 50_000 + number for number in range(12)}
files = []
for name, size in sizes.items():
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    data = draw.randbytes(size)
    open(name, "wb").write(data)
    files.append({"path": name, "size": size, "sha256": hashlib.sha256(data).hexdigest()})
json.dump({"files": files}, open("manifest.json", "w"))
"""
DISOWNED = """
import json
open("model.pth", "w").write("something")
json.dump({"files": [{"path": "model.pth", "size": 9, "sha256": "0" * 64}]}, open("manifest.json", "w"))
"""
BIG = "storage:*.pth"
FAULTS: Mapping[str, list[dict[str, Any]]] = {
    "none": [],
    "latency": [{"what": "latency", "where": "storage", "seconds": 0.01}],
    "bandwidth": [{"what": "bandwidth", "where": "storage", "bytes_per_s": 20_000_000}],
    "429": [{"what": "error", "where": "storage", "status": 429, "retry_after_s": 0, "every": 7}],
    "5xx": [{"what": "error", "where": "storage", "status": 503, "every": 13, "burst": 2}],
    "reset": [{"what": "reset", "where": BIG, "after": 1_000_003, "every": 2, "first": 8}],
    "reset at once": [{"what": "reset", "where": "storage", "every": 5}],
    "truncated": [{"what": "truncated", "where": BIG, "after": 700_001, "every": 2, "first": 8}],
    "truncated, declared": [
        {"what": "truncated", "where": BIG, "after": 700_001, "declared": True, "every": 2}
    ],
    "corrupted": [{"what": "corrupted", "where": "storage:samples/3.wav", "first": 1}],
    "range ignored": [{"what": "range_ignored", "where": BIG, "skip": 3, "every": 4, "first": 2}],
    "expired": [{"what": "expired", "where": "storage", "first": 1, "per_name": True}],
    "hostile names": [{"what": "hostile_names"}],
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An account whose kernel left two big files, small ones, an empty one and a manifest."""
    options = EmulatorOptions(sandbox="relocate", standins=False)
    with Emulator(tmp_path_factory.mktemp("kaggle"), options=options, credentials=(USER, KEY)) as running:
        client = connected(running)
        client.push(KernelPush(REF, "Voice", SCRIPT, accelerator=None))
        while not client.session_status(REF).state.is_terminal:
            time.sleep(0.02)
        yield running


def connected(emulator: Emulator) -> KaggleClient:
    """A client of the emulator's account."""
    return connect({"KGTTS_KAGGLE_URL": emulator.url}, login=(USER, KEY))


def right(emulator: Emulator) -> dict[str, str]:
    """Return what the kernel left: names and hashes."""
    left = emulator.backend.kernels.output_file
    return {
        file.name: digest(left(USER, "voice", 1, file.name)[0].read_bytes())
        for file in connected(emulator).outputs(REF)
    }


def digest(data: bytes) -> str:
    """Return a hash."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Pulled:
    """What a pull downloaded, by name and hash, and its counts."""

    files: dict[str, str]
    ear: Ear
    received: int
    again: int
    refused: list[str]


PROMPT = TransferOptions(first_delay_s=0.001, longest_delay_s=0.01)


def pull(
    emulator: Emulator, folder: Path, faults: list[dict[str, Any]], options: TransferOptions = PROMPT
) -> Pulled:
    """Pull everything under a fault plan."""
    client, ear = connected(emulator), Ear()
    try:
        emulator.server.faults.set(FaultPlan.model_validate({"faults": faults, "seed": 5}))
        listed = client.outputs(REF)
        brought = fetch(listed, folder / "to", ear, relist=lambda: client.outputs(REF), options=options)
    finally:
        emulator.server.faults.clear()
        client.close()
    files = {name: digest(data) for name, data in content(folder / "to").items()}
    refused = [item.name for item in brought.refused]
    return Pulled(files, ear, brought.counts.received, brought.counts.again, refused)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_nothing_but_time(emulator: Emulator, tmp_path: Path, name: str) -> None:
    """Every byte is right, nothing is written outside, and at most 5 % is downloaded twice."""
    wanted = right(emulator)
    pulled = pull(emulator, tmp_path, FAULTS[name])
    brought = {name: hashed for name, hashed in pulled.files.items() if name in wanted}
    assert brought == wanted
    assert pulled.again <= 0.05 * pulled.received
    assert [path.name for path in tmp_path.iterdir()] == ["to"]
    if name == "hostile names":
        assert len(pulled.refused) >= 14
        assert set(pulled.files) - set(wanted) <= {"hostile.txt", "Hostile.TXT", "hostile/twice.txt"}
    else:
        assert (set(pulled.files), pulled.refused) == (set(wanted), [])


def test_all_faults_together(emulator: Emulator, tmp_path: Path) -> None:
    """All faults at once cost no more than each alone."""
    wanted = right(emulator)
    faults = [fault for name in FAULTS if name != "hostile names" for fault in FAULTS[name]]
    pulled = pull(emulator, tmp_path, faults)
    assert pulled.files == wanted
    assert pulled.again <= 0.05 * pulled.received
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


@pytest.mark.parametrize(
    "fault",
    [{"what": "bandwidth", "bytes_per_s": 50}, {"what": "stalled", "after": 10, "seconds": 5}],
    ids=["slow", "stalled"],
)
def test_a_storage_that_brings_next_to_nothing_is_given_up(
    emulator: Emulator, tmp_path: Path, fault: dict[str, Any]
) -> None:
    """What it brought stays for the next pull."""
    options = TransferOptions(first_delay_s=0.001, longest_delay_s=0.01, stall_s=0.2, patience_s=0.4)
    with pytest.raises(ServiceError, match=r"could not be fetched: (only|the connection broke)"):
        pull(emulator, tmp_path, [{"where": BIG, **fault}], options)
    assert pull(emulator, tmp_path, []).files == right(emulator)


def test_a_pull_checks_the_manifest_and_lists_again(emulator: Emulator, tmp_path: Path) -> None:
    """`kgtts pull` with expired URLs gets all files, and the log beside them."""
    client = connected(emulator)
    emulator.server.faults.set(FaultPlan.model_validate({"faults": FAULTS["expired"]}))
    try:
        with Ledger(tmp_path / "ledger.db", client.service) as ledger:
            context = RunContext(client, ledger, SystemClock())
            target = Target(REF.at(1), None)
            planned = outline(context, target, tmp_path / "to", list)
            collected = collect(context, target, tmp_path / "to", list, Ear())
    finally:
        emulator.server.faults.clear()
        client.close()
    assert not any(item.here for item in planned.files)
    assert planned.to_come == sum(item.size for item in collected.transfer.files)
    brought = {name: digest(data) for name, data in content(tmp_path / "to").items()}
    assert brought.pop(SESSION_LOG)
    assert brought == right(emulator)


def test_a_file_that_its_manifest_disowns_is_not_kept(emulator: Emulator, tmp_path: Path) -> None:
    """A file that fits the storage's hashes but not the session's is reported and not kept."""
    client, ref = connected(emulator), KernelRef(USER, "disowned")
    client.push(KernelPush(ref, "Disowned", DISOWNED, accelerator=None))
    while not client.session_status(ref).state.is_terminal:
        time.sleep(0.02)
    with pytest.raises(UnavailableError, match=r"model\.pth arrived damaged twice \(it has another SHA-256"):
        bring(client, ref, tmp_path / "to", lambda _: ["model.pth"], Ear())
    client.close()
    assert content(tmp_path) == {}

"""Two machines on loopback train the toy: the same training as two ranks of one machine, bit for bit."""

import json
from pathlib import Path
from typing import Any

from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.nodes.rendezvous import NodesRendezvous
from kernel_template.nodes.same import described, difference
from tests.kernel.hosting import (
    CONFIG,
    PACKAGE,
    REAL_TRAINER,
    TOY,
    ForkServer,
    Toy,
    load,
    with_package,
)
from tests.kernel.hosting import difference as weights_differ
from tests.kernel.kit import put


def machine(folder: Path, **config: Any) -> list[str]:
    """Make the inputs of one machine. Returns the launcher's arguments."""
    values = {**CONFIG, "output_path": str(folder / "out"), **config}
    put(folder / "config.json", json.dumps(values))
    put(folder / "control.json", json.dumps({"report": str(folder / "HOST_REPORT.json")}))
    return ["1", str(folder / "control.json"), str(TOY), "--config_path", str(folder / "config.json")]


@REAL_TRAINER
def test_two_machines_train_as_two_ranks_of_one(fork_server: ForkServer, tmp_path: Path) -> None:
    """An interrupt saves once and stops both; weights are equal everywhere, and to those of one machine."""
    config = {"epochs": 50, "interrupt_at": 5}
    watch = {"KGTTS_WATCH": str(tmp_path)}
    pair = Toy(fork_server, tmp_path / "pair", dict(config), ranks=2, variables=watch)
    pair.session()
    alone = [load(tmp_path / f"{rank}.pth") for rank in (0, 1)]
    machines = [machine(tmp_path / f"machine{number}", **config) for number in (0, 1)]
    environment = {"OMP_NUM_THREADS": "1", "TRAINER_TELEMETRY": "0", "CUDA_VISIBLE_DEVICES": "", **watch}
    log = tmp_path / "log"
    codes = fork_server.run_nodes(machines, log, with_package(environment, PACKAGE), cwd=tmp_path)
    assert codes == [0, 0], log.read_text()[-3000:]
    report = json.loads((tmp_path / "machine0" / "HOST_REPORT.json").read_text())
    assert (report["stopped"], report["global_step"], report["ranks"]) == ("signal", 5, 2)
    assert report["sync_bytes"] == 4 * 229  # The toy's weights.
    (saved,) = (tmp_path / "machine0" / "out").rglob("checkpoint_*.pth")
    assert saved.name == "checkpoint_5.pth"
    one, other = load(saved), load(pair.newest())
    assert one["kgtts"]["batch"] == other["kgtts"]["batch"] == 1
    for part in ("model", "optimizer", "scaler"):
        assert weights_differ(one[part], other[part]) is None
    assert weights_differ(one["kgtts"]["rng"], other["kgtts"]["rng"]) is None
    assert not list(tmp_path.glob("machine1/out/**/*.pth"))
    ended = [load(tmp_path / f"{rank}.pth") for rank in (0, 1)]
    assert [item["steps"] for item in ended] == [4, 4]
    for one, other in [(ended[0], ended[1]), (ended[0], alone[0]), (ended[1], alone[1])]:
        for part in ("model", "optimizer"):
            assert weights_differ(one[part], other[part]) is None


class Parameters:
    """A model with one weight."""

    def parameters(self) -> list["Parameters"]:
        """Return it."""
        return [self]

    def numel(self) -> int:
        """Return how many numbers it has."""
        return 1


class Trained:
    """A Trainer that has restored something."""

    def __init__(self, step: int = 0, **config: Any) -> None:
        self.total_steps_done = step
        self.model = Parameters()
        self.config = self
        self._values = {"lr": 0.1, "num_loader_workers": 2, "datasets": [{"path": "/here/data"}], **config}

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration."""
        return self._values


def test_machines_must_agree() -> None:
    """Another step, batch size or setting is named; paths and loader workers may differ."""

    def found(trainer: Trained, *, batch: int | None = None, place: int | None = None) -> str | None:
        record = None if place is None else {"total_steps_done": 4, "epoch": 2, "batch": place}
        return difference(
            described(Control(Path(), batch_size=batch), trainer, record),
            described(Control(Path()), Trained(), None),
        )

    assert found(Trained(num_loader_workers=8, datasets=[{"path": "/there/data"}])) is None
    assert found(Trained(4)) == "the step it resumes from = 4, and machine 0 has 0"
    assert found(Trained(lr=0.2)) == "config.lr = 0.2, and machine 0 has 0.1"
    assert found(Trained(), batch=3) == "batch_size = 3, and machine 0 has None"
    assert found(Trained(), place=1) == "the place it resumes from = [4, 2, 1], and machine 0 has None"


def test_nothing_from_the_network_is_unpickled() -> None:
    """Samples go to other machines as JSON, and stay where they are if they are not plain."""
    rendezvous = Rendezvous.read(
        {
            "KGTTS_RENDEZVOUS": "/r",
            "KGTTS_RANK": "3",
            "KGTTS_RANKS": "4",
            "KGTTS_STORE": "10.0.0.1:29471",
            "KGTTS_LOCAL_RANK": "0",
            "KGTTS_NODE": "1",
        }
    )
    assert isinstance(rendezvous, NodesRendezvous)
    assert (rendezvous.leads, rendezvous.node) == (True, 1)
    samples = {"train_samples": [{"text": "আমি", "audio_file": "a.wav"}, 3]}
    assert rendezvous.pack(samples) == json.dumps(samples).encode()
    assert rendezvous.unpack(rendezvous.pack(samples)) == samples
    assert rendezvous.pack({"train_samples": [("a", "b")]}) == b""
    assert rendezvous.pack({"train_samples": [object()]}) == b""

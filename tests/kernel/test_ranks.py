"""How many processes train, on which GPUs, and what the host measures for all of them."""

import os
from pathlib import Path
from typing import Any

import pytest

from kernel_template.host.counters import StepCounters, count_samples
from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.start.config_file import PreparedConfig
from kernel_template.start.inputs import Inputs
from kernel_template.tools.package import PackagePrograms
from kernel_template.train.command import TrainingCommand, training_environment, training_ranks
from tests.fakes.clock import FakeClock
from tests.kernel.kit import put, settings


@pytest.mark.parametrize(
    ("changes", "gpus", "ranks"),
    [
        ({"accelerator": "NvidiaTeslaT4", "speed": {"gpus": "all"}}, 2, 2),
        ({"accelerator": "NvidiaTeslaT4", "speed": {"gpus": "all"}}, 1, 1),
        ({"accelerator": "NvidiaTeslaT4", "speed": {"gpus": "all"}}, 0, 1),
        ({"accelerator": "NvidiaTeslaT4", "speed": {"gpus": 1}}, 2, 1),
        ({"accelerator": None, "speed": {"gpus": 1}}, 0, 3),
    ],
)
def test_a_process_for_each_gpu(changes: dict[str, Any], gpus: int, ranks: int) -> None:
    """One process for each GPU if all are to be used; without a GPU as many as the environment says."""
    assert training_ranks(settings(**changes), gpus, {"KGTTS_CPU_RANKS": "3"}) == ranks
    assert training_ranks(settings(), 0, {"KGTTS_CPU_RANKS": "many"}) == 1


def test_gpus_are_visible_to_the_launcher() -> None:
    """One process sees one GPU, launch.py sees all of them, and without a GPU there is none."""
    assert training_environment({}, gpu=True)["CUDA_VISIBLE_DEVICES"] == "0"
    assert training_environment({}, gpu=True, ranks=2)["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert training_environment({}, gpu=False, ranks=2)["CUDA_VISIBLE_DEVICES"] == ""


def test_several_ranks_start_through_launch(tmp_path: Path) -> None:
    """The launcher gets the number of ranks; the rest of the command is that of one process."""
    inputs = Inputs(tmp_path / "train.py", None, tmp_path / "c.json", tmp_path / "m.pth", tmp_path)
    put(tmp_path / "train.py", "# config_path")
    prepared = PreparedConfig({}, {})
    control, programs = Path("/p/CONTROL.json"), PackagePrograms("python")
    one, two = (
        TrainingCommand(
            inputs, prepared, Path("c"), control, Path("run"), Path("run/c_1.pth"), ranks
        ).arguments(programs)
        for ranks in (1, 2)
    )
    assert one[:5] == ["python", "-u", "-P", "-m", "kernel_template.host"]
    assert two[:6] == ["python", "-u", "-P", "-m", "kernel_template.host.launch", "2"]
    assert one[5:] == two[6:]
    # A script that insists on --restore_path gets it in every session.
    assert one[-4:] == ["--restore_path", "run/c_1.pth", "--continue_path", "run"]


def test_a_rank_that_does_not_write_has_its_own_run_folder(tmp_path: Path) -> None:
    """Its report and run folder, with a copy of the configuration, are in the rendezvous folder."""
    run = put(tmp_path / "run" / "config.json", "{}").parent
    control = Control(tmp_path / "HOST_REPORT.json", continue_path=str(run), checkpoint=str(run / "c.pth"))
    program = [
        "s.py",
        "--continue_path",
        str(run),
        f"--continue_path={run}",
        "--config_path",
        f"{run}/config.json",
    ]
    assert Rendezvous().own(control, program) == (control, program)
    (tmp_path / "rendezvous").mkdir()
    own, changed = Rendezvous(1, 2, tmp_path / "rendezvous").own(control, program)
    folder = tmp_path / "rendezvous" / "rank1"
    assert own.report == folder / "HOST_REPORT.json"
    assert own.continue_path == str(folder / "run")
    assert own.checkpoint == control.checkpoint
    assert (folder / "run" / "config.json").read_text() == "{}"
    assert changed == [
        *("s.py", "--continue_path", str(folder / "run"), f"--continue_path={folder / 'run'}"),
        *("--config_path", f"{run}/config.json"),
    ]


@pytest.mark.parametrize(
    ("rendezvous", "kept"),
    [
        (Rendezvous(1, 2, Path(), "1"), "1"),
        (Rendezvous(1, 2, Path(), ""), ""),
        (Rendezvous(1, 2, Path()), "0"),
        (Rendezvous(), "0"),
    ],
)
def test_a_rank_keeps_its_gpu(monkeypatch: pytest.MonkeyPatch, rendezvous: Rendezvous, kept: str) -> None:
    """A rank with a GPU of its own keeps it; otherwise the script's setting counts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    rendezvous.restore_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == kept


def test_seconds_and_samples_are_counted(clock: FakeClock) -> None:
    """Steps are timed without the saves within them; waits, loaders and the first step are timed too."""
    counters = StepCounters(clock, clock())
    with counters.making_data():
        clock.advance(3)
    for _ in range(2):
        with counters.waiting():
            clock.advance(1)
        with counters.stepping():
            clock.advance(7)
            counters.saved(5.0)
        counters.trained(8)
    assert counters.due()
    expected = {
        "data_s": 3.0,
        "first_step_at": 11.0,
        "step_seconds_total": 4.0,
        "loader_wait_s_total": 2.0,
        "samples_total": 16,
    }
    assert expected.items() <= counters.values().items()
    assert not counters.due()


class Rows:
    """An object with a shape, like a tensor."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        (Rows(4, 80), 4),
        ({"name": "x", "text": ["a", "b"], "tokens": Rows(3, 5)}, 2),
        ([Rows(5, 2), Rows(5)], 5),
        (["a", "b", "c"], 3),
        ({}, 0),
        (None, 0),
    ],
)
def test_how_many_samples_a_batch_has(batch: Any, samples: int) -> None:
    """A batch has as many samples as its first tensor or list is long."""
    assert count_samples(batch) == samples

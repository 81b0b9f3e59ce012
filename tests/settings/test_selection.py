"""What `[pull]` downloads: patterns, the best model and the newest checkpoint."""

import pytest

from orchestrator.settings import Settings, select_outputs

RUN = "training/vits-November-22-2026_07+31AM-0000000"
OUTPUTS = [
    f"{RUN}/best_model.pth",
    f"{RUN}/best_model_8.pth",
    f"{RUN}/best_model_12.pth",
    f"{RUN}/checkpoint_9.pth",
    f"{RUN}/checkpoint_10.pth",
    f"{RUN}/config.json",
    f"{RUN}/trainer_0_log.txt",
    f"{RUN}/events.out.tfevents.1700000000.b47e31f0a8c2.17.0",
    f"{RUN}/events.out.tfevents.1700040000.0c9d1e2f3a4b.17.0",
    f"{RUN}/events.out.tfevents.1700050000.0c9d1e2f3a4b.91.0",
    f"{RUN}/train_tts.py",
    "config.json",
    "train_log.txt",
    "metrics.jsonl",
    "bad_samples.csv",
    "state.json",
    "manifest.json",
    "validation_samples/0.wav",
    "validation_samples/বাংলা.wav",
]


def test_default_brings_what_people_want() -> None:
    """One best model, one newest checkpoint and all small files are chosen, in the given order."""
    pull = Settings().pull
    left = {f"{RUN}/best_model.pth", f"{RUN}/best_model_8.pth", f"{RUN}/checkpoint_9.pth"}
    left |= {f"{RUN}/events.out.tfevents.1700000000.b47e31f0a8c2.17.0", f"{RUN}/train_tts.py"}
    assert select_outputs(OUTPUTS, pull.include, pull.exclude) == [
        name for name in OUTPUTS if name not in left
    ]


def test_exclude_wins() -> None:
    """An excluded file is never chosen, not even the best model."""
    assert select_outputs(OUTPUTS, ["best-model", "*.json"], ["*.pth", "state.json"]) == [
        f"{RUN}/config.json",
        "config.json",
        "manifest.json",
    ]


def test_best_model_without_a_step_is_taken_when_it_is_the_only_one() -> None:
    """Without numbered best models the plain one is the best."""
    assert select_outputs(["a/best_model.pth", "a/x"], ["best-model"]) == ["a/best_model.pth"]


@pytest.mark.parametrize(
    "names", [[], ["a/other.txt"], ["checkpoint_.pth", "checkpoint_৯.pth", "checkpoint_1.pth.part"]]
)
def test_nothing_to_choose_is_no_error(names: list[str]) -> None:
    """Without a checkpoint the choice is empty."""
    assert select_outputs(names, ["best-model", "newest-checkpoint"]) == []


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["9.h", "10.h", "x.h", "11"], ["9.h", "10.h"]),  # Older writers give time and host alone.
        (["10.a.example.org.7.0", "11.b.example.org.7.0"], ["11.b.example.org.7.0"]),
        (["10.10.0.0.7.5.0", "11.10.0.0.8.5.0"], ["11.10.0.0.8.5.0"]),
        (["৯.h", ""], []),
    ],
)
def test_the_newest_events_are_those_of_the_last_host(names: list[str], chosen: list[str]) -> None:
    """Event files that a session took over from other hosts are not chosen."""
    before = "a/events.out.tfevents."
    found = select_outputs([before + name for name in names], ["newest-events"])
    assert found == [before + name for name in chosen]


def test_the_best_by_score_comes_before_the_trainers() -> None:
    """With run.best_by, the checkpoint that a score chose is the best model, also an older one."""
    chosen = f"{RUN}/best_score_7.pth"
    assert select_outputs([*OUTPUTS, chosen], ["best-model"]) == [chosen]
    assert select_outputs([*OUTPUTS, chosen], ["newest-checkpoint"]) == [f"{RUN}/checkpoint_10.pth"]

"""How fast a step of the whole VITS is, and what it has to do."""

import itertools
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.card.inputs import full_voice
from benchmarks.card.machine import Card, Child

WARM = 14  # Steps that do not count: the first ones prepare, and an epoch has 12 of batch 16.
SECONDS = 45.0  # From the first step; then it ends with what it has.
SIZE = 16  # Samples a batch; the small voice of a dry run takes 4.


@dataclass(frozen=True)
class Job:
    """A training that gets the GPU for itself for a while."""

    child: Child
    facts: dict[str, Any]  # Of its result.
    turn: Path
    result: Path
    limit_s: float


def speed_jobs(card: Card) -> list[Job]:
    """Coqui's command and ours."""
    ways: list[tuple[str, dict[str, Any] | None]] = [
        ("by Coqui", None),
        ("ours", {"length_buckets": 8, "speed": {"round_lengths": True}}),  # The defaults on a GPU.
    ]
    size = 4 if card.dry else SIZE
    asked = {"mode": "time", "seconds": SECONDS}
    asked |= {"warm": 2, "steps": 4} if card.dry else {"warm": WARM, "steps": 1000}
    config = full_voice(card, size)
    return [
        _job(
            card,
            f"speed {way}",
            asked,
            {"way": way, "batch_size": size},
            config,
            control,
            limit_s=SECONDS + 30,
        )
        for way, control in ways
    ]


def compare_jobs(card: Card) -> list[Job]:
    """Each rule on and off, in one process on the same batches."""
    size = 4 if card.dry else SIZE
    asked = {
        "mode": "compare",
        "batches": 2 if card.dry else 5,
        "rounds": 2 if card.dry else 5,
        "seconds": 40,
    }
    config = full_voice(card, size)
    return [_job(card, "compare", asked, {"batch_size": size}, config, {"length_buckets": 8}, limit_s=90)]


def part_lengths(card: Card) -> None:
    """What lengths cost that cuDNN has not seen yet, and what it helps to round them."""
    control = {"length_buckets": 8}
    jobs = []
    for size, batches in ((4, 3),) if card.dry else ((16, 11), (8, 20)):
        asked = {"mode": "lengths", "batches": batches}
        config = full_voice(card, size)
        jobs.append(_job(card, f"lengths {size}", asked, {"batch_size": size}, config, control, limit_s=90))
    take_turns(card, "lengths", jobs)


def _job(  # noqa: PLR0913, PLR0917 - each is a fact of its own.
    card: Card,
    name: str,
    asked: dict[str, Any],
    facts: dict[str, Any],
    config: dict[str, Any],
    hosted: dict[str, Any] | None,
    limit_s: float = 60,
) -> Job:
    """Start it; it will wait for its turn."""
    folder = card.work / name.replace(" ", "-")
    command = card.training(folder, config, hosted=hosted)
    turn, result = folder / "turn", folder / "result.json"
    env = card.environment({**asked, "result": str(result), "turn": str(turn)})
    return Job(card.start(name, command, env), facts, turn, result, limit_s * (4 if card.dry else 1))


def take_turns(card: Card, part: str, jobs: list[Job]) -> None:
    """Wait until all have imported what they need; then let one after the other have the GPU."""
    try:
        until = time.monotonic() + min(90, card.left)
        for job in jobs:
            while not Path(f"{job.turn}.ready").exists() and job.child.process.poll() is None:
                if time.monotonic() > until:
                    break
                time.sleep(0.1)
        for job in jobs:
            Path(f"{job.turn}.go").touch()
            code = job.child.wait(min(job.limit_s, card.left))
            card.keep_log(job.child.name, job.child.text, 15)
            if not job.result.exists():
                log = job.child.text[-1500:]
                card.note(part, **job.facts, failed=f"{job.child.name}: exit code {code}", log=log)
                continue
            found = json.loads(job.result.read_text())
            if "medians" in found:
                _note_comparison(card, job.child.name.split()[0], found, job.facts)
            else:
                card.note(part, **job.facts, **_step_figures(found, job.facts["batch_size"]))
    finally:
        for job in jobs:
            job.child.end()


def _step_figures(found: dict[str, Any], size: int) -> dict[str, Any]:
    """Figures of the steps that count."""
    every = found.pop("steps")
    steps = every[found.pop("warm") :]
    taken = [end - begin for _, begin, end in steps]
    waits = [after[1] - before[2] for before, after in itertools.pairwise(steps) if after[0] == before[0]]
    mean, wait = statistics.mean(taken), statistics.mean(waits or [0.0])
    return {
        "steps": len(taken),
        # The first ones load what the GPU runs, and lengths that are new cost more: judge by all of them.
        "every_ms": [round((end - begin) * 1000) for _, begin, end in every],
        "steps_per_s_from_the_second_on": round((len(every) - 1) / (every[-1][2] - every[0][2]), 3),
        "ms_per_step": round(mean * 1000, 2),
        "ms_median": round(statistics.median(taken) * 1000, 2),
        "ms_wait_for_batch": round(wait * 1000, 2),
        "steps_per_s": round(1 / (mean + wait), 3),
        "samples_per_s": round(size / (mean + wait), 2),
        **found,
    }


def _note_comparison(card: Card, part: str, found: dict[str, Any], facts: dict[str, Any]) -> None:
    base = found["medians"].get("as Coqui")
    ratios = {name: round(base / value, 3) for name, value in found["medians"].items()} if base else {}
    profiles = found.pop("profiles")
    card.note(part, **facts, speedup=ratios, **found)
    for name, profile in profiles.items():
        card.note("compare", profile=name, **profile)


def part_speed(card: Card) -> None:
    """Each alone on the GPU, though all are started at once."""
    take_turns(card, "speed", speed_jobs(card))


def part_compare(card: Card) -> None:
    """Each rule on and off."""
    take_turns(card, "compare", compare_jobs(card))


def part_both(card: Card) -> None:
    """`speed` and `compare`, which saves the time to start the latter."""
    take_turns(card, "speed", [*speed_jobs(card), *compare_jobs(card)])


def part_count(card: Card) -> None:
    """Operations of a step, by torch's own counter, and the bytes that each reads and writes.

    With recordings of one length both grow by the same for each sample of a batch, so two small batches tell
    all others.
    """
    found = {}
    for size in (1, 2):
        name = f"count-{size}"
        config = full_voice(card, size, (5.0, 5.0)) | {"num_loader_workers": 0}
        result = card.work / name / "result.json"
        command = card.training(card.work / name, config, hosted={})
        asked = {"mode": "count", "result": str(result)}
        child = card.start(name, command, card.environment(asked))
        code = child.wait(min(600, card.left))
        if not result.exists():
            card.note("count", batch_size=size, failed=f"exit code {code}", log=child.text[-1500:])
            return
        found[size] = json.loads(result.read_text())
        card.note("count", batch_size=size, **found[size])
    for size in (8, 16):
        grown = {
            what: found[1][what] + (size - 1) * (found[2][what] - found[1][what])
            for what in ("operations", "bytes")
        }
        card.note("count", batch_size=size, calculated=True, **grown)

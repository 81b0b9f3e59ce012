"""Two ranks on one GPU, memory that runs out, losses that are not finite, and sessions that are resumed."""

import json
import math
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.card.inputs import tiny_training
from benchmarks.card.machine import SCRIPT, Card


def _sessions(card: Card, name: str, plans: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Run sessions of one small training after each other. Returns what each left."""
    found = []
    until = time.monotonic() + min(seconds, card.left)
    folder = card.work / name.replace(" ", "-").replace(",", "")
    for number, plan in enumerate(plans):
        ranks, config = plan.get("ranks", 1), plan.get("config", {})
        result = folder / f"session{number}"
        asked = {
            "mode": "watch",
            "result": str(result),
            "fault": plan.get("fault"),
            "gradients": "watch" in plan,
        }
        command = card.training(
            folder,
            tiny_training(card, **config),
            hosted=plan.get("control", {}),
            ranks=ranks,
            resumed=number > 0,
        )
        more = {"KGTTS_WATCH": str(folder), "KGTTS_WATCH_STEPS": plan["watch"]} if "watch" in plan else {}
        child = card.start(name, command, card.environment(asked, ",".join(["0"] * ranks), **more))
        began = time.monotonic()
        code = child.wait(until - time.monotonic())
        steps = [
            [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted(folder.glob(f"session{number}.rank*"))
        ]
        report = folder / "HOST_REPORT.json"
        found.append(
            {
                "code": code,
                "seconds": round(time.monotonic() - began, 1),
                "report": json.loads(report.read_text()) if report.exists() else None,
                "files": sorted(item.name for item in (folder / "out").glob("*/*.pth")),
                "steps": steps,
                "log": child.text,
            }
        )
        card.keep_log(f"{name}, session {number}: exit code {code}", child.text, 80)
        if code is None:
            break
    return found


def _brief(session: dict[str, Any]) -> dict[str, Any]:
    report = session["report"] or {}
    kept = ("stopped", "finished", "global_step", "epoch", "batch", "ranks", "warnings")
    return {
        "code": session["code"],
        "seconds": session["seconds"],
        **{name: report.get(name) for name in kept},
        "files": session["files"],
        "steps_seen": [len(rank) for rank in session["steps"]],
        "said": [line for line in session["log"].splitlines() if "kgtts" in line.lower() or "Error" in line][
            -8:
        ],
    }


def part_ranks(card: Card) -> None:
    """Two ranks on one GPU: equal weights, gradients that are means, steps skipped alike."""
    inf = {"kind": "inf", "rank": 1, "step": 2, "optimizer": 1}
    control = {"until_step": 5, "length_buckets": 2}
    # An epoch is one step of watch.py's; the batches are those of 16 samples.
    plan = {
        "ranks": 2,
        "control": control,
        "fault": None if card.dry else inf,  # Without a loss scaler it would spoil the weights.
        "watch": "1,3",
        "config": {"batch_size": 2, "epochs": 20},
    }
    name = "ranks"
    (session,) = _sessions(card, name, [plan], 150)
    card.note("ranks", **_brief(session))
    one, other = [*session["steps"], [], []][:2]
    card.note(
        "ranks",
        weights_alike=[a["weights"] == b["weights"] for a, b in zip(one, other, strict=False)],
        scales=[[line["scale"] for line in rank] for rank in (one, other)],
        scales_alike=[a["scale"] == b["scale"] for a, b in zip(one, other, strict=False)],
    )
    result = card.work / name / "gradients.json"
    asked = {"mode": "gradients", "folder": str(card.work / name), "result": str(result)}
    child = card.start(name, [sys.executable, str(SCRIPT)], card.environment(asked))
    child.wait(min(60, card.left))
    card.note("ranks", gradients=json.loads(result.read_text()) if result.exists() else child.text[-500:])


def part_memory(card: Card) -> None:
    """Memory that runs out, on one rank and on either of two."""
    kinds = ("memory in the forward pass", "memory in the backward pass")
    cases = [(ranks, rank, kind) for kind in kinds for ranks, rank in ((1, 0), (2, 0), (2, 1))]

    def run(case: tuple[int, int, str]) -> None:
        ranks, rank, kind = case
        fault = {"kind": kind, "rank": rank, "step": 3}
        plan = {"ranks": ranks, "fault": fault, "control": {"until_step": 6}, "config": {"batch_size": 2}}
        then = {"ranks": ranks, "control": {"until_step": 6, "batch_size": 1, "accumulate": 2}}
        name = f"memory {ranks} ranks rank {rank} {kind.split()[3]}"
        sessions = _sessions(card, name, [plan, {**then, "config": {"batch_size": 2}}], 170)
        card.note("memory", ranks=ranks, rank=rank, kind=kind, sessions=[_brief(item) for item in sessions])

    _together(card, "memory", run, cases[::5] if card.dry else cases)


def part_nan(card: Card) -> None:
    """Losses that are not finite: once, and from some step on."""
    cases = [("nan", False, 0), ("nan", True, 1), ("inf", True, 1)]

    def run(case: tuple[str, bool, int]) -> None:
        kind, stays, optimizer = case
        fault = {"kind": kind, "rank": 0, "step": 3, "stays": stays, "optimizer": optimizer}
        plan = {"fault": fault, "control": {"until_step": 12}, "config": {"save_step": 2}}
        name = f"nan {kind} {'stays' if stays else 'once'} {optimizer}"
        (session,) = _sessions(card, name, [plan], 120)
        scales = [[line["scale"], line["losses"].get("loss_1")] for line in session["steps"][0]]
        card.note("nan", fault=fault, scales=scales, **_brief(session))

    _together(card, "nan", run, cases[:1] if card.dry else cases)


def part_resume(card: Card) -> None:
    """A session stopped in an epoch and one killed, against one that runs through.

    With deterministic algorithms all must be the same to the bit; without them, `free` and `free again` show
    how far two trainings differ that nobody stopped.
    """
    kill = {"kind": "kill", "rank": 0, "step": 6}
    plans: dict[str, list[dict[str, Any]]] = {
        "whole": [{"control": {"until_step": 9}}],
        "whole again": [{"control": {"until_step": 9}}],
        "stopped": [{"control": {"until_step": 3}}, {"control": {"until_step": 9}}],
        "killed": [{"control": {"until_step": 9}, "fault": kill}, {"control": {"until_step": 9}}],
        "free": [{"control": {"until_step": 9}}],
        "free again": [{"control": {"until_step": 9}}],
    }
    for name in ("whole", "whole again", "stopped", "killed"):
        for plan in plans[name]:
            plan["control"]["speed"] = {"deterministic": True}
    found: dict[str, dict[int, Any]] = {}

    def run(name: str) -> None:
        config = {"save_step": 2, "save_n_checkpoints": 10}
        sessions = _sessions(
            card, f"resume {name}", [{**plan, "config": config} for plan in plans[name]], 150
        )
        found[name] = {line["step"]: line for session in sessions for line in (session["steps"] or [[]])[0]}
        card.note("resume", way=name, sessions=[_brief(item) for item in sessions])

    _together(card, "resume", run, ["whole", "killed"] if card.dry else list(plans))
    for name, steps in found.items():
        whole = found.get("free" if name.startswith("free") else "whole", {})
        same = {
            what: [step for step in whole if whole[step][what] != steps.get(step, {}).get(what)]
            for what in ("weights", "random", "scale", "losses")
        }
        worst = max(
            (
                abs(value - steps[step]["losses"].get(key, math.nan)) / (abs(value) + 1e-12)
                for step in whole
                if step in steps
                for key, value in whole[step]["losses"].items()
            ),
            default=None,
        )
        card.note(
            "resume",
            against_whole=name,
            deterministic=not name.startswith("free"),
            steps=sorted(steps),
            steps_that_differ=same,
            worst_loss=worst,
        )


def _together(card: Card, part: str, run: Callable[[Any], None], cases: list[Any]) -> None:
    """Run cases side by side; on the CPU after each other."""

    def guarded(case: Any) -> None:
        try:
            run(case)
        except Exception:  # noqa: BLE001 - the other cases go on.
            card.note(part, case=case, failed=traceback.format_exc()[-1500:])

    with ThreadPoolExecutor(1 if card.dry else len(cases)) as pool:
        list(pool.map(guarded, cases))

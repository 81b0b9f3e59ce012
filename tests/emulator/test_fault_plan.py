"""The fault plan as a value: when faults hit, how plans are read, and what the errors say."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from orchestrator.emulator.faults.kinds import (
    Corrupted,
    Error,
    Expired,
    Fault,
    HostileNames,
    Latency,
    LogDropped,
    Reset,
    Rule,
    StaleVersion,
)
from orchestrator.emulator.faults.plan import FaultCount, FaultInjector, FaultPlan, FaultTarget, load_plan
from orchestrator.errors import UsageError
from tests.emulator.support import documented_faults

KINDS = get_args(get_args(Fault)[0])


def hit(count: int = 12, **when: Any) -> list[int]:
    """Return which of `count` requests a fault hits, counted from 1."""
    injector = FaultInjector()
    injector.set(FaultPlan(faults=(Latency(where="storage", seconds=1, **when),), seed=7))
    target = FaultTarget("storage", ("x",))
    return [number for number in range(1, count + 1) if injector.faults_for(target).faults]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, list(range(1, 13))),
        ({"first": 2}, [1, 2]),
        ({"every": 5}, [5, 10]),
        ({"every": 5, "burst": 2}, [5, 6, 10, 11]),
        ({"skip": 3, "every": 4, "first": 1}, [7]),
        ({"skip": 10}, [11, 12]),
    ],
)
def test_when_a_fault_hits(when: dict[str, Any], expected: list[int]) -> None:
    """Requests are skipped, counted and hit as the plan says."""
    assert hit(**when) == expected


def test_drawn_faults_come_again_with_the_same_seed() -> None:
    """A probability hits about its share of requests, the same ones each time."""
    drawn = hit(1000, probability=0.2)
    assert drawn == hit(1000, probability=0.2)
    assert 150 < len(drawn) < 250
    assert hit(1000, probability=0.2, first=3) == drawn[:3]


def test_each_name_can_be_counted_by_itself() -> None:
    """With `per_name` the first request of every file is hit, otherwise only the first of all."""
    for per_name, expected in ((False, 1), (True, 2)):
        injector = FaultInjector()
        injector.set(FaultPlan(faults=(Corrupted(first=1, per_name=per_name),)))
        targets = [FaultTarget("storage", (name, name)) for name in ("a", "b", "a", "b")]
        hits = [injector.faults_for(target).faults for target in targets]
        assert sum(map(len, hits)) == expected
        assert injector.counts() == [FaultCount(4, expected)]


def test_where_a_fault_hits() -> None:
    """A place selects everything in it; a case-sensitive pattern selects names, by path or full name."""
    injector = FaultInjector()
    names = ("alice/my-kernel/1/run/best.pth", "run/best.pth")
    for where, hit in (
        ("storage", True),
        ("storage:*.pth", True),
        ("storage:run/*", True),
        ("storage:alice/my-kernel/*", True),
        ("storage:*.PTH", False),
        ("storage:best.pth", False),
        ("api", False),
    ):
        injector.set(FaultPlan(faults=(Reset(where=where),)))
        assert bool(injector.faults_for(FaultTarget("storage", names)).faults) is hit, where


def test_a_request_can_be_hit_by_several() -> None:
    """Faults apply in the plan's order: all of some kinds, the first of others."""
    slow, slower = Latency(where="api", seconds=1), Latency(where="api:Get*", seconds=2)
    injector = FaultInjector()
    injector.set(FaultPlan(faults=(slow, StaleVersion(), slower)))
    found = injector.faults_for(FaultTarget("api", ("GetKernel",)))
    assert found.all(Latency) == [slow, slower]
    assert found.first(StaleVersion) is not None
    assert found.first(Error) is None
    injector.clear()
    assert injector.faults_for(FaultTarget("api", ("GetKernel",))).faults == ()


def test_a_plan_survives_json() -> None:
    """The plan that the control address returns can be set again."""
    plan = FaultPlan(
        faults=(Expired(status=403), HostileNames(), LogDropped(lines=3, clean=True), Reset(where="api")),
        seed=3,
    )
    assert FaultPlan.model_validate_json(plan.model_dump_json()) == plan


def test_a_plan_from_toml_and_from_json(tmp_path: Path) -> None:
    """Both formats mean the same; sizes may have units."""
    toml, other = tmp_path / "plan.toml", tmp_path / "plan.json"
    toml.write_text(
        'seed = 3\n[[faults]]\nwhat = "reset"\nwhere = "storage:*.pth"\nafter = "3MB"\nfirst = 2\n',
        encoding="utf-8",
    )
    fault = {"what": "reset", "where": "storage:*.pth", "after": 3_000_000, "first": 2}
    other.write_text(json.dumps({"seed": 3, "faults": [fault]}), encoding="utf-8")
    expected = FaultPlan(faults=(Reset(where="storage:*.pth", after=3_000_000, first=2),), seed=3)
    assert load_plan(toml) == load_plan(other) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[faults]]\nwhat = "latencyy"\n', "fault 1: `what` must be one of: latency, bandwidth"),
        ("[[faults]]\nfirst = 1\n", "fault 1: `what` must be one of"),
        ('[[faults]]\nwhat = "latency"\nwhere = "api"\n', "fault 1 (latency), seconds: is missing."),
        (
            '[[faults]]\nwhat = "expired"\n[[faults]]\nwhat = "reset"\nwhere = "api"\nafetr = 1\n',
            "fault 2 (reset), afetr: there is no such key; did you mean after?",
        ),
        (
            '[[faults]]\nwhat = "range_ignored"\nwhere = "disk"\n',
            "where cannot be 'disk'; choose one of: storage",
        ),
        ('[[faults]]\nwhat = "stale_version"\nwhere = "api"\n', "choose one of: api:GetKernel."),
        (
            '[[faults]]\nwhat = "error"\nwhere = "api"\nstatus = 200\n',
            "must be greater than or equal to 400.",
        ),
        (
            '[[faults]]\nwhat = "reset"\nwhere = "api"\nafter = "lots"\n',
            "after: must be a size, such as 3000000",
        ),
        ('[[faults]]\nwhat = "expired"\nburst = 2\n', "burst cannot be above every."),
        ('[[faults]]\nwhat = "log_dropped"\n', "fault 1 (log_dropped): lines or idle_s must be given."),
        ("faults = 3\n", "faults: must be a list."),
        ("faults = [3]\n", "fault 1: must be a table with `what` in it."),
        ("fault = []\n", "fault: there is no such key; did you mean faults?"),
        ("seed = ", "cannot be read: Invalid value"),
    ],
)
def test_a_mistake_in_a_plan_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    """Each error names the file, the fault, the key, and what would be right."""
    path = tmp_path / "bad day.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_plan(path)
    assert str(path) in caught.value.message
    assert sentence in caught.value.message


def test_a_plan_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """A missing file, binary data and a JSON list are errors."""
    for name, content in (("none.toml", None), ("binary.toml", b"\xff\xfe"), ("list.json", b"[1]")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=name):
            load_plan(path)


def test_python_is_checked_as_files_are() -> None:
    """A wrong place or key is refused where the fault is created."""
    with pytest.raises(ValidationError, match="where cannot be"):
        Corrupted(where="api")
    with pytest.raises(ValidationError, match="Extra inputs"):
        Latency.model_validate({"where": "api", "seconds": 1, "often": 2})


def test_the_documentation_names_every_fault_and_every_key() -> None:
    """The documentation's table lists every fault with its keys."""
    text = documented_faults()
    for kind in KINDS:
        (row,) = [
            line for line in text.splitlines() if line.startswith(f"| `{kind.model_fields['what'].default}`")
        ]
        for key in set(kind.model_fields) - {"what", *Rule.model_fields}:
            assert f"`{key}`" in row, key
    for key in ("where", "skip", "every", "burst", "probability", "first", "per_name", "seed"):
        assert f"`{key}`" in text


def test_the_documented_example_is_a_plan(tmp_path: Path) -> None:
    """The example in the documentation works with `--faults` unchanged."""
    path = tmp_path / "faults.toml"
    path.write_text(documented_faults().partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    plan = load_plan(path)
    assert [fault.what for fault in plan.faults] == ["latency", "bandwidth", "reset", "error", "log_dropped"]

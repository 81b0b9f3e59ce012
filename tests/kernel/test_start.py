"""What runs in parallel before the training, and in which order it is logged."""

import importlib.metadata
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import EndReason
from kernel_template.start.background import BackgroundWork, Cancellation
from kernel_template.start.environment import installed_versions, kaggle_session
from kernel_template.start.gpu import Gpu, missing_gpus
from kernel_template.start.probe import Probe
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import (
    Captured,
    ChildEnd,
    ChildPlan,
    ChildRunner,
    StopCause,
    StopFlag,
    capture_through,
)
from tests.fakes.clock import FakeClock
from tests.kernel.kit import MODEL, Capture, Log, mount_inputs, probe_answer, reporter, settings
from tests.kernel.sessions import HEAD, TRAINS, Played
from tests.kernel.wheels import OFFERED, make_wheels

_FOUND = Probe(ok=True, error=None, cuda=False, details={})
_BROKEN = probe_answer(ok=False, error="ModuleNotFoundError: No module named 'TTS'", missing="TTS")


def background(work: Callable[[BackgroundWork[Probe]], Probe], **more: Any) -> BackgroundWork[Probe]:
    """A background thread that has not started anything."""
    abandon = more.pop("abandon", None) or Cancellation(StopFlag())
    return BackgroundWork(work, more.pop("after", None), abandon, more.pop("clock", FakeClock()))


def test_the_thread_speaks_when_its_stage_comes(log: Log) -> None:
    """Its messages wait for its stage, warnings included; its result can be read then."""
    said = threading.Event()

    def work(own: BackgroundWork[Probe]) -> Probe:
        own.messages.say("from the thread")
        own.messages.warn("a warning")
        said.set()
        return _FOUND

    report = reporter(log)
    with background(work) as own:
        own.start()
        assert said.wait(10)
        report.say("another stage")
        assert own.result(report) is _FOUND
    assert [line for line in log.lines if not line.startswith("@")] == [
        "another stage",
        "from the thread",
        "⚠ a warning",
    ]
    assert len(log.events("warning")) == 1


def test_its_failure_is_raised_where_it_is_waited_for(log: Log) -> None:
    """Any exception of the thread is raised where its result is read."""

    def work(own: BackgroundWork[Probe]) -> Probe:
        raise ZeroDivisionError

    with background(work) as own:
        own.start()
        with pytest.raises(ZeroDivisionError):
            own.result(reporter(log))


def test_a_closed_gate_opens_for_nobody(log: Log) -> None:
    """If the stages end before the gate opens, the thread ends without installing."""
    seen: list[EndReason] = []

    def work(own: BackgroundWork[Probe]) -> Probe:
        try:
            own.wait_until_allowed()
        except KernelFailure as failure:
            seen.append(failure.reason)
            raise
        log("installed")
        return _FOUND

    with background(work) as own:
        own.start()
    assert seen == [EndReason.INTERRUPTED]
    assert log.lines == []


def test_what_is_no_longer_needed_is_ended(tmp_path: Path) -> None:
    """If a stage fails, the thread's child is killed and no process is left."""
    abandon = Cancellation(StopFlag())
    run = ChildRunner(stop=abandon, poll_s=0.01)
    mark = tmp_path / "ready"
    ends: list[ChildEnd] = []

    def work(own: BackgroundWork[Probe]) -> Probe:
        command = ("sh", "-c", f"touch {mark}; exec sleep 60")
        ends.append(
            run(ChildPlan(command, {"PATH": "/usr/bin:/bin"}, grace_s=0.5), lambda _t, *, is_bar: None)
        )
        return _FOUND

    with background(work, abandon=abandon) as own:
        own.start()
        while not mark.exists():
            threading.Event().wait(0.01)
    assert [end.stop_cause for end in ends] == [StopCause.INTERRUPTED]


def test_short_programs_end_with_the_session(tmp_path: Path) -> None:
    """A hanging import is not waited for after a stop; a missing program returns None."""
    stop = StopFlag()
    capture = capture_through(ChildRunner(stop=stop, poll_s=0.01))
    env = {"PATH": "/usr/bin:/bin"}
    assert capture(("sh", "-c", "echo one; echo two; exit 3"), env, 10.0) == Captured(3, "one\ntwo")
    assert capture((str(tmp_path / "nothing"),), env, 10.0) is None
    assert capture(("sleep", "60"), env, 0.05) is None
    stop.received = "SIGTERM"
    assert capture(("sleep", "60"), env, 60.0) is None


def test_the_warm_up_follows_only_while_there_is_time(log: Log) -> None:
    """Nothing is warmed up once the result is being waited for."""
    warmed, free = threading.Event(), threading.Event()

    def work(own: BackgroundWork[Probe]) -> Probe:
        free.wait(10)
        return _FOUND

    with background(lambda _own: _FOUND, after=warmed.set) as own:
        own.start()
        assert warmed.wait(10)
    warmed.clear()
    with background(work, after=warmed.set) as own:
        own.start()
        timer = threading.Timer(0.05, free.set)
        timer.start()
        own.result(reporter(log))
    timer.join()
    assert not warmed.is_set()


def test_the_right_machine_is_known_early() -> None:
    """What is missing is known before the stage that fails for it."""
    asked = settings(accelerator="NvidiaTeslaT4", gpu_name="T4", gpus=2)
    card = Gpu("Tesla T4", "15360 MiB", "580")
    assert missing_gpus(settings(), ()) is None
    assert missing_gpus(asked, (card, card)) is None
    assert missing_gpus(asked, (card,)) == "2 × T4 (NvidiaTeslaT4)"


class Slow(Capture):
    """Answers the probe only after the inputs were searched, which proves that both run at once."""

    inputs_done = threading.Event()

    def __call__(self, command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> Captured | None:
        """Answer the probe."""
        if any("start.probe_program" in part for part in command):
            assert self.inputs_done.wait(30)
        return super().__call__(command, env, timeout_s)


def test_the_probe_runs_beside_the_inputs_and_is_told_after_them(root: Path, log: Log) -> None:
    """The probe runs while inputs are searched; the log shows the stages in order."""
    capture = Slow({"start.probe_program": probe_answer()})
    log.reactions.append(("■ inputs", capture.inputs_done.set))
    assert Played(root, log, HEAD + TRAINS, tools={"capture": capture}).code == 0
    done = [event["name"] for event in log.events("stage") if event["state"] == "done"]
    assert done[:5] == ["environment", "inputs", "gpu", "install", "prepare"]
    told = log.lines.index("✓ TTS 0.28.0 can be imported: nothing to install")
    assert log.lines.index("▶ Coqui TTS") < told < log.lines.index("▶ Configuration")


def test_missing_inputs_come_first(root: Path, log: Log) -> None:
    """If both inputs and Coqui are missing, the error is about the inputs."""
    mount_inputs(root / "input")
    (root / "input" / "models" / MODEL / "model" / "model_file.pth").unlink()
    played = Played(
        root, log, "", tools={"capture": Capture({"start.probe_program": _BROKEN})}, internet=False
    )
    assert played.end["reason"] == "missing_input"
    assert "TTS" not in log.lines[-1]


def test_no_internet_ends_in_a_true_report(root: Path, log: Log) -> None:
    """The error says what to set; state.json has the cause and the stage's duration."""
    capture = Capture({"start.probe_program": _BROKEN})
    played = Played(root, log, HEAD, tools={"capture": capture}, internet=False)
    assert (played.code, played.end["reason"]) == (1, "install_failed")
    assert "install.wheelhouse" in log.lines[-1]
    assert played.state["reason"] == "install_failed"
    assert played.state["resources"] is None
    assert "install" in played.state["seconds"]


def test_a_wheelhouse_is_found_in_its_mount(root: Path, log: Log) -> None:
    """The dataset's folder is passed to pip, and no index is used."""
    make_wheels(root / "input" / "datasets" / "owner" / "tts-wheels", OFFERED[:1])
    asked: list[Sequence[str]] = []
    real = ChildRunner(poll_s=0.02)

    def run(plan: ChildPlan, on_line: Any, on_stop: Any = None) -> ChildEnd:
        if "pip" in plan.command:
            asked.append(plan.command)
            return ChildEnd(0, 3.0)
        return real(plan, on_line, on_stop)

    tools = {"capture": Capture({"start.probe_program": [_BROKEN, probe_answer()]}), "run": run}
    wanted = {"packages": ["coqui-tts"], "wheelhouse": "owner/tts-wheels"}
    played = Played(root, log, HEAD + TRAINS, tools=tools, internet=False, install=wanted)
    assert played.code == 0
    (command,) = asked
    at = list(command).index("--no-index")
    folder = str(root / "input" / "datasets" / "owner" / "tts-wheels")
    assert list(command[at + 1 : at + 3]) == ["--find-links", folder]
    assert any(line.startswith("pip installed 0 packages, 0 B, in 3.0 s") for line in log.lines)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("kkb-notebook-48151623-x7f2", 48151623),
        ("some-9-session", 9),
        ("a-b-c", None),
        ("a--c", None),
        ("a-12", None),
        ("a-٣-c", None),
        (f"a-{'9' * 16}-c", None),
        ("", None),
        (None, None),
    ],
)
def test_kaggles_id_is_in_the_containers_name(name: str | None, number: int | None) -> None:
    """The id is the number between the last two hyphens; other names have none."""
    assert kaggle_session({} if name is None else {"KAGGLE_CONTAINER_NAME": name}) == number


def test_a_session_introduces_itself(root: Path, log: Log) -> None:
    """Its first event has Kaggle's id and when it stops by itself; metrics.jsonl has neither."""
    env = {"PATH": "/usr/bin:/bin", "KAGGLE_CONTAINER_NAME": "kkb-x-4815-y"}
    Played(root, log, HEAD + TRAINS, session_budget_s=39600, tools={"env": env})
    first, *others = log.events()
    assert {name: first[name] for name in ("event", "kaggle_session", "stops_by_s")} == {
        "event": "session",
        "kaggle_session": 4815,
        "stops_by_s": 39600 - 30,
    }
    assert "session" not in {event["event"] for event in others}
    assert "4815" not in (root / "working" / "metrics.jsonl").read_text()


def test_versions_are_those_of_the_metadata() -> None:
    """What is read from the first lines of the metadata is what Python says; what is missing is left out."""
    names = ("click", "pydantic", "pytest", "no-such-package")
    assert installed_versions(names) == {name: importlib.metadata.version(name) for name in names[:-1]}

"""`kgtts sync` on the emulator: each state of a run, with its message and exit code."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator import Emulator
from orchestrator.errors import ExitCode
from orchestrator.kaggle import connect
from orchestrator.models import KernelPush, KernelRef, SessionState
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import fingerprint, load_settings
from tests.fakes.clock import FakeClock, HastyClock
from tests.support import KEY, USER, Cli, eventually

SLUG = "chained"
_STATE = """
import json, os, pathlib
state = {"schema": 1, "run": STAMP, "status": "complete", "reason": "budget", "global_step": STEP, "epoch": 1}
line = {"session": STAMP["session"], "kernel": STAMP["kernel"], "from_step": 0, "to_step": STEP}
state |= {"history": [{**line, "seconds": 60}], "done": DONE, "done_reason": "epochs", "epochs": 1000}
pathlib.Path(os.environ["KGTTS_KAGGLE_ROOT"], "working", "state.json").write_text(json.dumps(state))
"""
ENDS = {
    "complete": _STATE,
    "done": _STATE.replace("DONE", "True"),
    "killed": "import os\nos.kill(os.getpid(), 9)\n",
    "failed": """
import json
print("@kgtts " + json.dumps({"event": "end", "status": "failed", "message": "No T4 is here."}))
raise SystemExit(1)
""",
    "hangs": "import time\ntime.sleep(600)\n",
}


@dataclass
class Account:
    """An account on the emulator whose run has had some sessions, and kgtts for it."""

    emulator: Emulator
    kgtts: Cli
    sessions: int = 0
    last: KernelRef | None = None

    def session(self, end: str, step: int = 100) -> None:
        """Add a session to the run, on the right kernel, with a script that ends this way."""
        self.sessions += 1
        settings = load_settings(environ={}, cwd=Path.cwd()).settings.with_owner(USER)
        parent = None if self.last is None else str(self.last)
        kernel = KernelRef(USER, f"{SLUG}-{'a' if self.last is None or self.last.slug[-1] == 'b' else 'b'}")
        stamp = RunStamp("run", self.sessions, parent, fingerprint(settings), str(kernel), "0.1.0")
        head = f"{stamp.comment}\nSTAMP, STEP, DONE = {stamp.to_dict()!r}, {step}, False\n"
        title = kernel.slug.replace("-", " ")
        client = connect({"KGTTS_KAGGLE_URL": self.emulator.url}, login=(USER, KEY))
        try:
            ref = client.push(KernelPush(kernel, title, head + ENDS[end], accelerator=None)).ref
            wanted = (lambda state: state is SessionState.RUNNING) if end == "hangs" else _has_ended
            with eventually(f"the session {end}") as again:
                while not wanted(client.session_status(ref).state):
                    again()
        finally:
            client.close()
        if end in ("complete", "done"):
            self.last = ref

    def sync(self, code: ExitCode = ExitCode.DONE) -> dict[str, Any]:
        """Make one pass with that exit code; returns what it tells programs and people."""
        result = self.kgtts("sync", "--no-pull", "--json")
        assert result.code == code, result.said
        told: dict[str, Any] = json.loads(result.out)
        return {**told, "said": result.err}

    def versions(self) -> int:
        """Return how many versions both siblings have."""
        return sum(len(kernel.versions) for kernel in self.emulator.backend.kernels.all())


def _has_ended(state: SessionState) -> bool:
    return state.is_terminal


@pytest.fixture
def account(
    start_emulator: Callable[..., Emulator], cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Account]:
    """Makes an account with inputs and a kgtts.toml; takes the emulator's options and clock."""

    def make(*, clock: FakeClock | None = None, **options: object) -> Account:
        for name in ("datasets/asha/datahrbnn", "models/asha/ttsbnng/transformers/default/1"):
            (tmp_path / "kaggle" / name).mkdir(parents=True)
            (tmp_path / "kaggle" / name / "a_file.txt").write_text("1", encoding="utf-8")
        Path("kgtts.toml").write_text(f'[kernel]\nslug = "{SLUG}"\n', encoding="utf-8")
        emulator = start_emulator(**options)
        if clock is not None:
            emulator.stop()
            emulator._clock = clock
            emulator.start()
        for name, value in (
            ("KGTTS_KAGGLE_URL", emulator.url),
            ("KAGGLE_USERNAME", USER),
            ("KAGGLE_KEY", KEY),
        ):
            monkeypatch.setenv(name, value)
        return Account(emulator, cli)

    return make


def test_a_run_that_is_done_is_left_alone(account: Callable[..., Account]) -> None:
    """Every pass says that it is done, and does nothing."""
    run = account()
    run.session("done", 630)
    for _ in range(2):
        told = run.sync()
        assert (told["state"], told["done"], told["pushed"], told["global_step"]) == (
            "done",
            True,
            False,
            630,
        )
        assert "all epochs are trained" in told["reason"]
    assert run.versions() == 1


def test_an_ended_session_is_continued_on_its_sibling(account: Callable[..., Account]) -> None:
    """The next session names the version that it continues from; a second pass sees it."""
    run = account()
    run.session("complete")
    told = run.sync()
    assert (told["state"], told["pushed"], told["session"]) == ("running", True, 2)
    assert told["kernel"] == f"{USER}/{SLUG}-b/1"
    assert run.versions() == 2


def test_a_session_killed_without_grace_is_followed_by_another(account: Callable[..., Account]) -> None:
    """The last completed session is continued once; the second kill in a row stalls the run."""
    run = account()
    run.session("complete")
    run.session("killed")
    run.session("killed")
    told = run.sync(ExitCode.RUN_FAILED)
    assert (told["state"], told["pushed"]) == ("stalled", False)
    assert "2 sessions in a row saved nothing new" in told["reason"]
    assert run.versions() == 3


def test_a_failed_session_ends_the_run_with_its_own_words(account: Callable[..., Account]) -> None:
    """Another try would waste quota, so a person has to look."""
    run = account()
    run.session("complete")
    run.session("failed")
    told = run.sync(ExitCode.RUN_FAILED)
    assert (told["state"], told["reason"]) == ("failed", "Session 2 failed: No T4 is here.")
    assert run.versions() == 2


def test_a_session_that_runs_past_every_limit_is_reported(account: Callable[..., Account]) -> None:
    """If Kaggle still says RUNNING after fourteen hours, a person has to look."""
    run = account(clock=FakeClock(datetime.now(UTC) - timedelta(hours=14)))
    run.session("hangs")
    told = run.sync(ExitCode.RUN_FAILED)
    assert told["state"] == "zombie"
    assert re.search(rf"14h\w* that {USER}/{SLUG}-a/1 runs", told["reason"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weekly_quota_s": 0.0}, "quota has 0s left"),
        (
            {"max_gpu_sessions": 0, "refused_leaves_shell": False},
            "Maximum batch GPU session count of 0 reached",
        ),
    ],
)
def test_what_only_time_mends_is_waited_for(
    account: Callable[..., Account], options: dict[str, Any], words: str
) -> None:
    """Short quota and busy machines are not failures: the next pass tries again."""
    run = account(**options)
    for _ in range(2):
        told = run.sync()
        assert (told["state"], told["pushed"]) == ("waiting", False)
        assert words in told["reason"]
    assert run.versions() == 0


def test_half_a_second_kernel_is_named_and_nothing_is_lost(account: Callable[..., Account]) -> None:
    """Passes say what to delete; after that the run goes on from its first session."""
    run = account()
    run.session("complete", 630)
    run.emulator.backend.state.add_shell(f"{SLUG}-b")
    for _ in range(2):
        result = run.kgtts("sync", "--no-pull", "--json")
        assert result.code == ExitCode.REFUSED, result.said
        assert f"`kgtts delete {USER}/{SLUG}-b`" in result.said
    assert run.kgtts("delete", f"{USER}/{SLUG}-b", "--yes").code == 0
    told = run.sync()
    assert (told["pushed"], told["session"], told["global_step"]) == (True, 2, 630)


@pytest.mark.parametrize("status", [409, 500])
def test_a_push_that_did_not_arrive_is_made_by_the_next_pass(
    account: Callable[..., Account], status: int
) -> None:
    """Kaggle failed before it saved anything: the first pass says so, the second pushes."""
    run = account(queue_delay_s=3600.0)
    run.emulator.server.faults.fail_next(status, method="SaveKernel")
    result = run.kgtts("sync", "--no-pull", clock=HastyClock())
    assert result.code == ExitCode.SERVICE
    assert "did not arrive" in result.said
    assert (run.sync()["pushed"], run.sync()["state"], run.versions()) == (True, "running", 1)

"""Not being able to see a thing is not its absence: odd answers about a run of two ended sessions."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli.main import run
from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.emulator.faults.kinds import Error, StaleVersion
from orchestrator.emulator.faults.plan import FaultPlan
from orchestrator.render.stamp import read_stamp
from tests.altered import Altered, altered
from tests.cli.conftest import wait_for_end
from tests.cli.voice import CUT, SETTINGS, make_python, provide_inputs
from tests.fakes.clock import HastyClock
from tests.support import KEY, USER, Cli, clean_environment

pytestmark = [
    pytest.mark.posix,  # It has an emulator of its own.
    pytest.mark.xdist_group("not_seeing"),  # One worker plays the run.
]

# One epoch in each session, until it is told to stop.
STEPWISE = CUT.replace("if not arguments.continue_path:", "if True:")
SHORT = SETTINGS.replace("epochs = 2", "epochs = 9").replace('time_limit = "5m"', 'time_limit = "1s"')
FIRST, SECOND = f"{USER}/bangla-tts-a", f"{USER}/bangla-tts-b"
REFUSED = {
    status: (status, json.dumps({"error": {"code": status, "message": "Not now"}}).encode())
    for status in (403, 404, 500)
}
RUNNING, FAILED = (200, b'{"status": "RUNNING"}'), (200, b'{"status": "ERROR"}')
ODD = {"403": REFUSED[403], "404": REFUSED[404], "nothing": (200, b"{}"), "a page": (200, b"<html></html>")}


@dataclass(frozen=True)
class Played:
    """Two sessions that have ended, the machine that pushed them, and what the pass between them printed."""

    emulator: Emulator
    home: Path
    said: str

    @property
    def versions(self) -> list[tuple[str, int]]:
        """Every kernel, with the number of its versions."""
        return [(kernel.slug, len(kernel.versions)) for kernel in self.emulator.backend.kernels.all()]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Play the two sessions; no test changes anything."""
    root = tmp_path_factory.mktemp("played")
    for name in ("python", "work", "home"):
        (root / name).mkdir()
    options = EmulatorOptions(sandbox="relocate", standins=False, python=make_python(root / "python"))
    provide_inputs(root / "kaggle", STEPWISE)
    said = io.StringIO()
    with (
        Emulator(root / "kaggle", options=options, credentials=(USER, KEY)) as emulator,
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
    ):
        access = {"KGTTS_KAGGLE_URL": emulator.url, "KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}
        for name, value in {**clean_environment(root), **access}.items():
            patch.setenv(name, value)
        patch.chdir(root / "work")
        (root / "work/kgtts.toml").write_text(SHORT, encoding="utf-8")
        assert run(["push"], HastyClock()) == 0
        wait_for_end(emulator, "bangla-tts-a")
        emulator.server.faults.set(FaultPlan(faults=(Error(where="storage:*.pth", status=404),)))
        run(["sync"], HastyClock())
        emulator.server.faults.set(FaultPlan())
        wait_for_end(emulator, "bangla-tts-b")
        yield Played(emulator, root / "data", said.getvalue())


@pytest.fixture(params=["fresh", "laptop"])
def machine(request: pytest.FixtureRequest, played: Played, tmp_path: Path) -> str:
    """A machine that knows nothing, and the one that pushed."""
    if request.param == "laptop":
        shutil.copytree(played.home, tmp_path / "data")
    return str(request.param)


@pytest.fixture
def plan(played: Played, machine: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Altered]:
    """A server in front of the emulator; nothing may reach it that changes anything."""
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    (workplace / "kgtts.toml").write_text(SHORT, encoding="utf-8")
    before = played.versions
    with altered(played.emulator.url) as server:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", server.url)
        server.answers["SaveKernel"] = (400, b'{"error": {"code": 400, "message": "No push in this test"}}')
        yield server
    played.emulator.server.faults.set(FaultPlan())
    assert played.versions == before


def test_a_good_push_is_reported_although_collecting_failed(played: Played) -> None:
    """The pass between the sessions found nothing in the storage."""
    assert f"pushed     {SECOND}/1" in played.said


@pytest.mark.parametrize(
    ("answer", "is_lasting"), [*((name, False) for name in ODD), ("404", True), ("nothing", True)]
)
def test_a_state_that_is_not_seen(cli: Cli, plan: Altered, answer: str, *, is_lasting: bool) -> None:
    """The next session continues from the second, or nothing is pushed at all; never from the first."""
    if is_lasting:
        plan.answers["DownloadKernelOutput"] = ODD[answer]
    else:
        plan.once["DownloadKernelOutput"] = [ODD[answer]]
    result = cli("sync", clock=HastyClock())
    sent = "SaveKernel" in plan.calls
    if sent:
        source = json.loads(plan.bodies["SaveKernel"])["text"]
        stamp = read_stamp(source)
        assert stamp is not None
        assert (stamp.session, stamp.parent, is_lasting) == (3, f"{SECOND}/1", False)
    assert "saved nothing" not in result.said
    assert result.code == (4 if sent else 7), result.said


@pytest.mark.parametrize("answer", ["403", "404", "nothing"])
@pytest.mark.parametrize("method", ["GetKernel", "GetKernelSessionStatus"])
def test_a_kernel_that_is_not_seen(cli: Cli, plan: Altered, method: str, answer: str) -> None:
    """No run begins from zero, and no session follows one whose state is unknown."""
    plan.answers[method] = ODD[answer]
    result = cli("sync", clock=HastyClock())
    assert (result.code, "SaveKernel" in plan.calls) == (7, False), result.said
    assert "Nothing was pushed yet" not in result.said


@pytest.mark.parametrize("machine", ["laptop"], indirect=True)
def test_kernels_that_were_renamed(cli: Cli, plan: Altered) -> None:
    """Neither their own answers nor the list show them; the machine that pushed begins no run from zero."""
    plan.answers["GetKernel"] = ODD["404"]
    plan.changes["ListKernels"] = lambda body: body.replace(b"bangla-tts-", b"another-")
    result = cli("sync", clock=HastyClock())
    assert (result.code, "SaveKernel" in plan.calls) == (7, False), result.said


def test_a_kernel_that_is_seen_one_version_too_old(
    cli: Cli, plan: Altered, played: Played, machine: str
) -> None:
    """What the ledger, or the version after it, shows is believed."""
    played.emulator.server.faults.set(FaultPlan(faults=(StaleVersion(where="api:GetKernel"),)))
    result = cli("sync", clock=HastyClock())
    assert (result.code, "SaveKernel" in plan.calls) == (7, False), result.said


def test_an_end_that_is_taken_back(cli: Cli, plan: Altered) -> None:
    """ERROR, and then RUNNING: nothing starts beside a session that may be at work."""
    plan.once["GetKernelSessionStatus"], plan.answers["GetKernelSessionStatus"] = [FAILED], RUNNING
    result = cli("sync", clock=HastyClock())
    assert "SaveKernel" not in plan.calls, result.said
    assert result.code in (0, 7), result.said


def test_a_refusal_ends_no_watch(cli: Cli, plan: Altered) -> None:
    """It follows the session until its own time is over."""
    plan.answers["GetKernelSessionStatus"] = RUNNING
    plan.once["GetKernelSessionStatus"] = [RUNNING, REFUSED[403], *[RUNNING] * 3, REFUSED[404]] * 3
    result = cli("watch", "--timeout", "10m", clock=HastyClock())
    assert (result.code, "SaveKernel" in plan.calls) == (6, False), result.said


def test_what_is_never_seen_is_given_up(cli: Cli, plan: Altered) -> None:
    """Patience is bounded, and ends with exit code 7."""
    plan.answers["GetKernel"] = REFUSED[403]
    result = cli("watch", clock=HastyClock())
    assert (result.code, "SaveKernel" in plan.calls) == (7, False), result.said


def test_an_unreadable_quota_stops_no_pass(cli: Cli, plan: Altered) -> None:
    """A running session needs none, and the next one waits for it."""
    plan.changes["GetAcceleratorQuotaStatistics"] = lambda _: b"<html></html>"
    plan.answers["GetKernelSessionStatus"], plan.only = RUNNING, b'"bangla-tts-b"'
    gpu = ("--set", "kernel.accelerator=NvidiaTeslaT4")
    assert cli("sync", *gpu, clock=HastyClock()).code == 0
    plan.answers.clear()
    result = cli("sync", *gpu, clock=HastyClock())
    assert (result.code, "SaveKernel" in plan.calls) == (0, False), result.said
    assert "quota is not known" in result.said

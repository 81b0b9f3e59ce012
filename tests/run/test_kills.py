"""kgtts is killed at each point of push, sync and pull, then run again: nothing is lost or done twice.

`pytest -s` prints the points. KGTTS_KILL_STRIDE=1 also tries every point of a hand over, and of the part of
`sync` that brings the results, which is that of `pull`, where every point is tried anyway.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.models import KernelRef
from orchestrator.render.stamp import read_stamp
from orchestrator.run.ledger import Ledger, PushOutcome
from tests.support import KEY, REPOSITORY, TIMEOUT_S, USER, clean_environment, eventually

pytestmark = pytest.mark.posix

SLUG = "killed"
STRIDE = int(os.environ.get("KGTTS_KILL_STRIDE", "5"))
FIRST, SECOND = f"{USER}/{SLUG}-a", f"{USER}/{SLUG}-b"
KILLED = -9  # Windows, which collects this file, has no `signal.SIGKILL`.


@dataclass
class Stage:
    """An emulator, a machine's folder that is copied for each try, and the driver that runs kgtts."""

    folder: Path
    emulator: Emulator
    driver: subprocess.Popen[str]
    tries: int = 0

    def machine(self, like: Path | None = None) -> Path:
        """Make a fresh machine, or a copy of `like`."""
        self.tries += 1
        home = self.folder / f"machine-{self.tries}"
        if like is None:
            home.mkdir()
        else:
            shutil.copytree(like, home)
        return home

    def run(self, command: str, home: Path, *, kill_at: int = 0) -> int:
        """Run kgtts to its end or its death; returns the exit code."""
        order = {
            "command": command,
            "kill_at": kill_at,
            "home": str(home),
            "url": self.emulator.url,
            "username": USER,
            "key": KEY,
            "slug": SLUG,
            "kernel": f"{FIRST}/1",
        }
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        self.driver.stdin.write(json.dumps(order) + "\n")
        self.driver.stdin.flush()
        return int(self.driver.stdout.readline())

    def points(self, command: str, home: Path) -> list[str]:
        """Return the points of a command that lives."""
        assert self.run(command, home) == 0
        names: list[str] = json.loads((home / "points.json").read_text(encoding="utf-8"))
        return names

    def delete(self, text: str) -> None:
        """Delete a kernel, so that the next try starts like the last one."""
        owner, slug = text.split("/")
        if self.emulator.backend.kernels.find(owner, slug) is not None:
            self.emulator.backend.delete(owner, slug)

    def sessions(self) -> dict[str, int]:
        """Return how many versions each session has."""
        found: Counter[str] = Counter()
        kernels = self.emulator.backend.kernels
        for kernel in kernels.all():
            for version in kernel.versions:
                stamp = read_stamp(kernels.source(kernel, version.number))
                assert stamp is not None
                found[f"{kernel.ref} session {stamp.session}"] += 1
        return dict(found)

    def check_whole(self, folder: Path) -> None:
        """Check that `folder` has every output, with every byte."""
        backend = self.emulator.backend
        kernel, version = backend.kernels.get_run(USER, f"{SLUG}-a", "v1")
        outputs = backend.kernels.outputs(kernel, version)
        assert len(outputs) == 4
        for output in outputs:
            kept = backend.kernels.paths(kernel, 1).output / output.name
            assert (folder / output.name).read_bytes() == kept.read_bytes(), output.name

    def check_ledger(self, home: Path, kernel: str, session: int) -> None:
        """Check that the ledger can be read and has the session once."""
        with Ledger(home / "ledger.db", self.emulator.url) as ledger:
            records = [item for item in ledger.all() if item.outcome is PushOutcome.PUSHED]
        ours = [item for item in records if item.number == session]
        assert [str(item.ref) for item in ours] == [f"{kernel}/1"]


def start(folder: Path, queue_delay_s: float) -> Emulator:
    """Start an emulator whose sessions stay queued for this long."""
    options = EmulatorOptions(
        sandbox="relocate", standins=False, queue_delay_s=queue_delay_s, max_cpu_sessions=100
    )
    return Emulator(folder / "kaggle", options=options, credentials=(USER, KEY)).start()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Nothing is pushed, the inputs exist, and sessions stay queued, so that none ends in between."""
    for name in ("datasets/asha/datahrbnn", "models/asha/ttsbnng/transformers/default/1"):
        (tmp_path / "kaggle" / name).mkdir(parents=True)
        (tmp_path / "kaggle" / name / "a_file.txt").write_text("1", encoding="utf-8")
    environment = {**clean_environment(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_driver.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as driver:
        made = Stage(tmp_path, start(tmp_path, 3600), driver)
        try:
            yield made
        finally:
            made.emulator.stop()
            assert driver.stdin is not None
            driver.stdin.close()
            driver.wait(TIMEOUT_S)


@pytest.fixture
def after_first(stage: Stage) -> Path:
    """The first session has ended well; returns the machine that pushed it."""
    return play_first(stage, "push")


@pytest.fixture
def after_killed(stage: Stage) -> Path:
    """The first session was killed with its outputs kept; returns the machine that pushed it."""
    return play_first(stage, "push-killed")


def play_first(stage: Stage, command: str) -> Path:
    """Let the first session end; all later ones stay queued."""
    stage.emulator.stop()
    stage.emulator = start(stage.folder, 0)
    home = stage.machine()
    assert stage.run(command, home) == 0
    ref = KernelRef.parse(FIRST)
    with eventually("the session ends") as again:
        while stage.emulator.backend.kernels.get_run(ref.owner, ref.slug)[1].is_active:
            again()
    url = stage.emulator.url
    stage.emulator.stop()
    stage.emulator = start(stage.folder, 3600)
    # Another port is another service to the ledger: it must know the first session by this one's name.
    with Ledger(home / "ledger.db", url) as ledger:
        ledger._db.execute("UPDATE sessions SET service = ?", (stage.emulator.url,))
    return home


def say(command: str, points: list[str], tried: int) -> None:
    """Print what was tried, for `pytest -s` and failure reports."""
    kinds = ", ".join(f"{count} {name}" for name, count in Counter(points).most_common())
    print(  # noqa: T201  # The count is what the test shows.
        f"{command}: killed at {tried} of {len(points)} points ({kinds}); no second push, nothing lost"
    )


def test_push_is_killed_at_every_point(stage: Stage) -> None:
    """Run again, kgtts makes the missing push, or sees that it was made."""
    points = stage.points("push", stage.machine())
    assert {"answered", "http.client.send", "sql INSERT", "sql UPDATE"} <= set(points)
    for kill_at in range(1, len(points) + 1):
        stage.delete(FIRST)
        home = stage.machine()
        assert stage.run("push", home, kill_at=kill_at) == KILLED, points[kill_at - 1]
        assert stage.run("push", home) == 0, points[kill_at - 1]
        assert stage.sessions() == {f"{FIRST} session 1": 1}, points[kill_at - 1]
        stage.check_ledger(home, FIRST, 1)
    say("push", points, len(points))


def test_sync_is_killed_at_every_point(stage: Stage, after_first: Path) -> None:
    """Run again, it has pushed the second session once and downloaded all results of the first."""
    points = stage.points("sync", stage.machine(after_first))
    pushed = len(points) - points[::-1].index("sql UPDATE")
    tried = [*range(1, pushed + 1), *range(pushed + 1, len(points) + 1, STRIDE)]
    for kill_at in tried:
        stage.delete(SECOND)
        home = stage.machine(after_first)
        code = stage.run("sync", home, kill_at=kill_at)
        assert code in (KILLED, 0), points[kill_at - 1]  # The last points of threads vary in number.
        assert stage.run("sync", home) == 0, points[kill_at - 1]
        assert stage.sessions() == {f"{FIRST} session 1": 1, f"{SECOND} session 2": 1}
        stage.check_ledger(home, SECOND, 2)
        stage.check_whole(home / "runs" / SLUG / "session-01")
    say("sync", points, len(tried))


def test_a_hand_over_is_killed_at_every_point(stage: Stage, after_killed: Path) -> None:
    """Run again, it has uploaded one version of the dataset and pushed the second session once."""
    points = stage.points("rescue", stage.machine(after_killed))
    tried = range(1, len(points) + 1, STRIDE)
    for kill_at in tried:
        stage.delete(SECOND)
        shutil.rmtree(stage.folder / "kaggle" / "uploaded" / USER)
        home = stage.machine(after_killed)
        code = stage.run("rescue", home, kill_at=kill_at)
        assert code in (KILLED, 0), points[kill_at - 1]  # The last points of threads vary in number.
        assert stage.run("rescue", home) == 0, points[kill_at - 1]
        assert stage.sessions() == {f"{FIRST} session 1": 1, f"{SECOND} session 2": 1}, points[kill_at - 1]
        stage.check_ledger(home, SECOND, 2)
        dataset = stage.emulator.backend.datasets.find(USER, f"{SLUG}-kept")
        assert dataset is not None
        assert len(dataset.versions) == 1, points[kill_at - 1]
        assert not list(home.glob("kept/*")), points[kill_at - 1]
    say("hand over", points, len(tried))


def test_pull_is_killed_at_every_point(stage: Stage, after_first: Path) -> None:
    """A file is complete whenever it has its name; run again, everything is there."""
    points = stage.points("pull", stage.machine(after_first))
    tried = range(1, len(points) + 1)
    for kill_at in tried:
        home = stage.machine(after_first)
        assert stage.run("pull", home, kill_at=kill_at) in (KILLED, 0)
        pulled = home / "pulled"
        files = [path for path in pulled.rglob("*") if path.is_file()]
        # What begins with a dot is kgtts's own: the index, and the parts of files on their way.
        names = [path for path in files if f"{os.sep}." not in f"{os.sep}{path.relative_to(pulled)}"]
        kept = stage.folder / "kaggle"
        for path in names:
            if path.name != "session.log":
                original = next(kept.rglob(f"output/{path.relative_to(pulled)}"))
                assert path.read_bytes() == original.read_bytes()
        assert stage.run("pull", home) == 0
        stage.check_whole(pulled)
    say("pull", points, len(tried))

"""Fixtures for all tests: a clean environment, a running emulator, and kgtts in this process or its own."""

import contextlib
import gc
import itertools
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import stamina

from tests.support import KEY, USER, Cli, Process, clean_environment

if TYPE_CHECKING:
    from orchestrator.emulator import Emulator

# Hypothesis takes the same examples each time and sets no time limit: a busy machine must not fail a test.
hypothesis.settings.register_profile(
    "kgtts",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("kgtts")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job of a shell ignores interrupts, and every process that a test starts inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a private folder in it.
_ENOUGH_BYTES = 6 * 2**30  # All tests together leave about 2 GB.
_NUMBERS = itertools.count()  # Of the folders of this process's tests.


def _has_room() -> bool:
    """Return whether this system has a file system in memory that programs may run from, with room for us."""
    try:
        found = os.statvfs(_MEMORY)
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except (AttributeError, OSError):  # It is not Linux.
        return False
    (left,) = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min(left, found.f_frsize * found.f_bavail) > _ENOUGH_BYTES and not found.f_flag & os.ST_NOEXEC


# The tests write many small files that are synced to the disk, for which they would often wait.
_asked = os.environ.get("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))  # Workers of xdist inherit ours.
if "TMPDIR" not in os.environ and _asked == str(_MEMORY) and _has_room():
    os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = str(_MEMORY)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give the memory back unless a test failed; the workers of xdist leave that to their parent."""
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    made = factory._basetemp if factory._given_basetemp is None else None
    if exitstatus == 0 and made is not None and made.is_relative_to(_MEMORY):
        shutil.rmtree(made, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Take two workers more than cores for `-n auto`: each waits for servers and sessions at times."""
    return (os.cpu_count() or 1) + 2


def pytest_collection() -> None:
    """Keep the garbage collector from looking at thousands of tests again and again, now and later."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Set apart what is there, which stays, and collect from now on, as rarely as kgtts itself does."""
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the test's own folder; to number it, pytest's fixture looks at those of all tests before."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    return tmp_path_factory.mktemp(f"{name}-{next(_NUMBERS)}", numbered=False)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start with an empty home, environment and working directory; returns the working directory."""
    place = tmp_path / "work"
    place.mkdir()
    for name in set(os.environ) - set(clean_environment(tmp_path)):
        monkeypatch.delenv(name)
    for name, value in clean_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    Path(os.environ["HOME"]).mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def voice_cache(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """Share what is slow to make between the tests of all workers that train: base voice, numba code.

    The code, which numba takes 20 s to compile, is also kept for the next run.
    """
    root = tmp_path_factory.getbasetemp()
    place = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared" / "cache"
    place.mkdir(parents=True, exist_ok=True)
    cache: pytest.Cache | None = getattr(pytestconfig, "cache", None)  # It can be switched off.
    with contextlib.suppress(FileExistsError):
        (place / "numba").symlink_to(cache.mkdir("numba") if cache else tmp_path_factory.mktemp("numba"))
    return place


@pytest.fixture(scope="session")
def stop_later() -> "Iterator[Callable[[Emulator], None]]":
    """Stop an emulator while the next test runs: its server waits a fifth of a second before it ends."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        stopping: list[Future[None]] = []
        yield lambda emulator: stopping.append(pool.submit(emulator.stop))
    for future in stopping:
        future.result()


@pytest.fixture
def start_emulator(
    tmp_path: Path, workplace: Path, stop_later: "Callable[[Emulator], None]"
) -> "Iterator[Callable[..., Emulator]]":
    """Start emulators in tmp_path/kaggle; keyword arguments are the fields of EmulatorOptions."""
    from orchestrator.emulator import Emulator, EmulatorOptions  # noqa: PLC0415 - Windows has no emulator.

    running: list[Emulator] = []

    def start(**options: object) -> Emulator:
        wanted = {"sandbox": "relocate", "standins": False, **options}
        emulator = Emulator(
            tmp_path / "kaggle",
            options=EmulatorOptions(**wanted),  # type: ignore[arg-type] # Each test names what it wants.
            credentials=(USER, KEY),
        )
        running.append(emulator)
        return emulator.start()

    yield start
    for emulator in running:
        stop_later(emulator)


@pytest.fixture
def emulator(start_emulator: "Callable[..., Emulator]", monkeypatch: pytest.MonkeyPatch) -> "Emulator":
    """Run an emulator, with its address and credentials in the environment."""
    started = start_emulator()
    monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    return started


@pytest.fixture
def cli(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Run kgtts in this process; retries are made without waiting."""
    with stamina.set_testing(True, attempts=8, cap=True):
        yield Cli(capsys)


@pytest.fixture
def spawn(workplace: Path) -> Iterator[Callable[..., Process]]:
    """Start kgtts in its own process, for tests of signals and of a fresh interpreter."""
    started: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        process = Process(arguments, {**os.environ, **environment})
        started.append(process)
        return process

    yield start
    for process in started:
        process.end()

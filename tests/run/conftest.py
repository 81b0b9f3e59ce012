"""Fixtures of the tests of runs: a fake Kaggle, and a run played session by session."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orchestrator.download import Fetch
from orchestrator.render.package import Templates
from orchestrator.run.context import RunContext
from orchestrator.run.ledger import Ledger
from orchestrator.run.look import Asked, Pass, look
from orchestrator.run.passes import Collecting, make_pass
from orchestrator.settings import Settings, load_settings
from tests.fakes.clock import FakeClock
from tests.fakes.kaggle import OWNER, FakeKaggle, inputs
from tests.fakes.sessions import hours
from tests.run.deciding import Make


@pytest.fixture
def kaggle() -> FakeKaggle:
    """A Kaggle in memory."""
    return FakeKaggle(**inputs())


@pytest.fixture
def ledger(tmp_path: Path, kaggle: FakeKaggle) -> Iterator[Ledger]:
    """An empty ledger."""
    with Ledger(tmp_path / "ledger.db", kaggle.service) as opened:
        yield opened


@pytest.fixture
def context(kaggle: FakeKaggle, ledger: Ledger) -> RunContext:
    """The context of a run on the Kaggle in memory."""
    return RunContext(kaggle, ledger, kaggle.clock)


def small_kernel(folder: Path) -> Templates:
    """Make a package that does nothing, to be pushed instead of the whole one."""
    whole, package = Templates.installed(), folder / "kernel_template"
    package.mkdir()
    (package / "main.py").write_text('"""Do nothing."""\n', encoding="utf-8")
    shutil.copy(whole.package / "kernel.py.j2", package)
    return Templates(package, whole.metadata)


@cache
def shared_kernel() -> Templates:
    """Make the small package once for all tests."""
    folder = tempfile.mkdtemp(prefix="kgtts-kernel-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return small_kernel(Path(folder))


@dataclass
class Play:
    """A run as a person sees it: settings, and passes with a fresh machine's ledger unless one is named."""

    folder: Path
    clock: FakeClock = field(default_factory=lambda: FakeClock(tick_s=1.0))
    kaggle: FakeKaggle = field(init=False)
    changes: dict[str, Any] = field(default_factory=dict)
    machine: str | None = None
    machines: int = 0
    templates: Templates = field(default_factory=shared_kernel)  # What kernels are rendered from.
    fetch: Fetch | None = None  # What downloads files.

    def __post_init__(self) -> None:
        self.kaggle = FakeKaggle(self.clock, week=hours(30), **inputs())

    @property
    def settings(self) -> Settings:
        """The defaults with the test's changes, as `KEY=VALUE` of TOML."""
        overrides = tuple(f"{key}={value}" for key, value in self.changes.items())
        return load_settings(None, overrides, environ={}, cwd=self.folder).settings.with_owner(OWNER)

    def ledger(self) -> Ledger:
        """This machine's ledger, or a fresh machine's."""
        self.machines += 1
        return Ledger(self.folder / f"{self.machine or self.machines}.db", self.kaggle.service)

    def context(self, ledger: Ledger, home: Path | None = None) -> RunContext:
        """Return what a command works with."""
        return RunContext(self.kaggle, ledger, self.clock, home, templates=self.templates, fetch=self.fetch)

    def sync(self, *, home: Path | None = None, collecting: Collecting | None = None, **options: Any) -> Pass:
        """Make one pass; the options are those of `Asked`."""
        with self.ledger() as ledger:
            context = self.context(ledger, home)
            return make_pass(self.settings, context, Asked(**options), collecting=collecting)

    def look(self, **options: Any) -> Pass:
        """Look once; the options are those of `Asked`."""
        with self.ledger() as ledger:
            return look(self.settings, RunContext(self.kaggle, ledger, self.clock), Asked(**options))

    def pushed(self, **options: Any) -> str:
        """Make one pass, which must push; returns the version."""
        done = self.sync(**options)
        assert done.pushed is not None, done.decision
        return str(done.pushed.target.ref)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """A run of which nothing was pushed."""
    return Play(tmp_path)


@pytest.fixture
def after(play: Play) -> Callable[..., Play]:
    """Plays sessions: a number ends the next session at that step, None kills it, a text is its failure."""

    def run(*ends: int | str | None) -> Play:
        for end in ends:
            version = play.pushed(retry=True)
            if end is None:
                play.kaggle.kill(version)
            elif isinstance(end, str):
                play.kaggle.fail(version, end)
            else:
                play.kaggle.complete(version, end)
        return play

    return run


@pytest.fixture
def settings(tmp_path: Path) -> Make:
    """The defaults with ten epochs and the test's changes."""

    def make(**changes: Any) -> Settings:
        changes = {"training__epochs": 10, **changes}
        overrides = tuple(f"{key.replace('__', '.')}={value}" for key, value in changes.items())
        return load_settings(None, overrides, environ={}, cwd=tmp_path).settings.with_owner(OWNER)

    return make

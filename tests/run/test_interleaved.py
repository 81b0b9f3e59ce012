"""Passes, people and faults in any order: no push is ever a second run, or from an older parent.

The test tries a fixed part; `python -m tests.run.test_interleaved 2000` tries so many random histories.
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.errors import KgttsError
from orchestrator.models import KernelRef, SessionState
from tests.download.storage import Storage
from tests.run.conftest import Play
from tests.run.faults import FAULTS, Faulty, faults_in

KERNELS = st.sampled_from([KernelRef("asha", "bangla-tts-a"), KernelRef("asha", "bangla-tts-b")])
MACHINES = st.sampled_from([None, "laptop"])
WRONG = st.dictionaries(st.integers(0, 25), st.sampled_from(FAULTS), max_size=2)


class Kaggle(RuleBasedStateMachine):
    """A run on a Kaggle that fails, with people who use the website; sessions end by rules."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.play = Play(Path(self.folder.name))
        self.play.kaggle.storage = Storage()
        self.play.kaggle.save("asha/something-else")
        self.ask = self.play.kaggle._call
        self.step = 0
        self.found: list[str] = []

    def teardown(self) -> None:
        """Remove the ledgers."""
        self.folder.cleanup()

    @property
    def alive(self) -> list[str]:
        """Return the sessions of kgtts that have not ended."""
        return [
            str(ref.at(number))
            for ref, versions in self.play.kaggle.kernels.items()
            for number, version in enumerate(versions, 1)
            if version.push is not None and not version.state.is_terminal
        ]

    @rule(machine=MACHINES, wrong=WRONG, retry=st.booleans())
    def make_a_pass(self, machine: str | None, wrong: dict[int, str], *, retry: bool) -> None:
        """Make a pass, with a ledger or a fresh machine, while some answers are wrong."""
        kaggle, self.play.machine = self.play.kaggle, machine
        kaggle._call = self.ask  # type: ignore[method-assign] # A fake of the tests.
        Faulty(kaggle, wrong or {-1: ""}).install()
        before = len(kaggle.pushes)
        with suppress(KgttsError):
            self.play.sync(retry=retry)
        kaggle._call = self.ask  # type: ignore[method-assign] # As above.
        self.found += faults_in(self.play, before)

    @precondition(lambda self: self.alive)
    @rule()
    def begin(self) -> None:
        """Start a queued session."""
        self.play.kaggle.version(self.alive[0]).state = SessionState.RUNNING

    @precondition(lambda self: self.alive)
    @rule()
    def complete(self) -> None:
        """End a session well, further than any before it."""
        self.step += 100
        with suppress(KeyError, IndexError):  # Its parent was deleted.
            self.play.kaggle.complete(self.alive[0], self.step)

    @precondition(lambda self: self.alive)
    @rule(state=st.sampled_from([SessionState.ERROR, SessionState.CANCEL_ACKNOWLEDGED]))
    def kill(self, state: SessionState) -> None:
        """End a session without keeping anything of it."""
        self.play.kaggle.kill(self.alive[0], state=state)

    @rule(kernel=KERNELS, state=st.sampled_from([SessionState.COMPLETE, SessionState.NEW_SCRIPT]))
    def save_on_the_website(self, kernel: KernelRef, state: SessionState) -> None:
        """Save another program over a kernel, with or without running it."""
        if kernel in self.play.kaggle.kernels:
            self.play.kaggle.save(str(kernel), "print('mine')", state)

    @rule(kernel=KERNELS)
    def quick_save(self, kernel: KernelRef) -> None:
        """Save the kernel unchanged in the website's editor."""
        if kernel in self.play.kaggle.kernels:
            newest = self.play.kaggle.kernels[kernel][-1]
            self.play.kaggle.save(str(kernel), newest.source, SessionState.NEW_SCRIPT)

    @rule(kernel=KERNELS)
    def delete(self, kernel: KernelRef) -> None:
        """Delete a kernel with its sessions."""
        kaggle = self.play.kaggle
        kaggle.kernels.pop(kernel, None)
        left = [version for versions in kaggle.kernels.values() for version in versions]
        kaggle.pushes = [push for push in kaggle.pushes if any(version.push is push for version in left)]

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        """Advance the time."""
        self.play.clock.advance(3600.0 * hours)

    @invariant()
    def nothing_is_wrong(self) -> None:
        """Check that nothing irreversible was wrong."""
        assert self.found == []


QUIET = tuple(HealthCheck)  # A pass takes some hundredths of a second, which is long for hypothesis.
TestInterleaved = Kaggle.TestCase
TestInterleaved.settings = settings(
    max_examples=25, stateful_step_count=25, derandomize=True, deadline=None, suppress_health_check=QUIET
)

if __name__ == "__main__":
    many = settings(
        max_examples=int(sys.argv[1]), stateful_step_count=50, deadline=None, suppress_health_check=QUIET
    )
    run_state_machine_as_test(Kaggle, settings=many)

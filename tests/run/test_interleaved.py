"""Passes, people and faults in any order: what is pushed is never a second run, or from an older parent.

The test tries a fixed part; `python -m tests.run.test_interleaved 2000` tries so many random histories.
"""

import json
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
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
from tests.download.storage import serve
from tests.run.conftest import Play, small_kernel
from tests.run.faulty import FAULTS, Faulty
from tests.run.states import RESULTS, faults_in, left_by, stamp_of
from tests.run.trained_here import train_here

KERNELS = st.sampled_from([KernelRef("asha", "bangla-tts-a"), KernelRef("asha", "bangla-tts-b")])
MACHINES = st.sampled_from([None, "laptop"])
WRONG = st.dictionaries(st.integers(0, 20), st.sampled_from(FAULTS), min_size=1, max_size=2)
ASKED = st.fixed_dictionaries({"retry": st.booleans(), "overwrite": st.booleans()})
MOST_BY_PEOPLE = 3  # Without it, most histories are of people who delete and save.


class Kaggle(RuleBasedStateMachine):
    """A run on a Kaggle that fails, with people who use the website; sessions end by rules."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.play = Play(Path(self.folder.name))
        self.play.changes["pull.to"] = json.dumps(str(self.play.folder / RESULTS))
        self.play.templates = small_kernel(Path(self.folder.name))
        self.stack = ExitStack()
        self.play.kaggle.storage = self.stack.enter_context(serve())
        self.play.kaggle.save("asha/something-else")
        self.ask = self.play.kaggle._call
        self.step = 0
        self.by_people = 0
        self.found: list[str] = []

    def teardown(self) -> None:
        """Remove the ledgers, and stop the storage."""
        self.stack.close()
        self.folder.cleanup()

    @property
    def alive(self) -> list[str]:
        """The sessions of kgtts that have not ended."""
        return [
            str(ref.at(number))
            for ref, versions in self.play.kaggle.kernels.items()
            for number, version in enumerate(versions, 1)
            if version.push is not None and not version.state.is_terminal
        ]

    @rule(machine=MACHINES, wrong=WRONG, asked=ASKED)
    def make_a_faulty_pass(self, machine: str | None, wrong: dict[int, str], asked: dict[str, bool]) -> None:
        """Make a pass, with a ledger or a fresh machine, while some answers are wrong."""
        self._pass(machine, wrong, **asked)

    @rule(machine=MACHINES, asked=ASKED)
    def make_a_pass(self, machine: str | None, asked: dict[str, bool]) -> None:
        """Make a pass to which every answer is true."""
        self._pass(machine, {}, **asked)

    @rule(machine=MACHINES)
    def go_on(self, machine: str | None) -> None:
        """Push a session, and end it well."""
        self._pass(machine, {})
        if self.alive:
            self.complete()

    def _pass(self, machine: str | None, wrong: dict[int, str], **asked: Any) -> None:
        kaggle, self.play.machine = self.play.kaggle, machine
        Faulty(kaggle, wrong).install()
        before = len(kaggle.pushes)
        with suppress(KgttsError):
            self.play.sync(**asked)
        kaggle._call = self.ask  # type: ignore[method-assign] # A fake of the tests.
        self.found += faults_in(self.play, before)

    def _is_calm(self) -> bool:
        return self.by_people < MOST_BY_PEOPLE and bool(self.play.kaggle.pushes)

    @precondition(lambda self: not self.alive and bool(self.play.kaggle.pushes))
    @rule()
    def train_here(self) -> None:
        """Train a session on this machine that goes on from what the run has saved."""
        view = None
        with suppress(KgttsError):
            view = self.play.look().view
        parent = None if view is None or view.is_alive else view.stranded or view.resumable
        if view is not None and parent is not None:
            self.step += 10
            train_here(self.play, self.step, str(parent.ref), number=view.next_number, run_id=view.run_id)

    @precondition(lambda self: self.alive)
    @rule()
    def begin(self) -> None:
        """A queued session runs."""
        self.play.kaggle.version(self.alive[0]).state = SessionState.RUNNING

    @precondition(lambda self: self.alive)
    @rule()
    def complete(self) -> None:
        """End a session well, further than any before it."""
        self.step += 10
        version = self.play.kaggle.version(self.alive[0])
        with suppress(KeyError, IndexError):  # Its parent was deleted.
            version.outputs = left_by(self.play.kaggle, stamp_of(version), self.step)
        version.state = SessionState.COMPLETE

    @precondition(lambda self: self.alive)
    @rule(state=st.sampled_from([SessionState.ERROR, SessionState.CANCEL_ACKNOWLEDGED]))
    def kill(self, state: SessionState) -> None:
        """A session ends, and nothing is kept of it."""
        self.play.kaggle.kill(self.alive[0], state=state)

    @precondition(_is_calm)
    @rule(kernel=KERNELS, state=st.sampled_from([SessionState.COMPLETE, SessionState.NEW_SCRIPT]))
    def save_on_the_website(self, kernel: KernelRef, state: SessionState) -> None:
        """Save another program over a kernel, with or without running it."""
        self.by_people += 1
        if kernel in self.play.kaggle.kernels:
            self.play.kaggle.save(str(kernel), "print('mine')", state)

    @precondition(_is_calm)
    @rule(kernel=KERNELS)
    def quick_save(self, kernel: KernelRef) -> None:
        """Save the kernel unchanged in the website's editor."""
        self.by_people += 1
        if kernel in self.play.kaggle.kernels:
            newest = self.play.kaggle.kernels[kernel][-1]
            self.play.kaggle.save(str(kernel), newest.source, SessionState.NEW_SCRIPT)

    @precondition(_is_calm)
    @rule(kernel=KERNELS)
    def delete(self, kernel: KernelRef) -> None:
        """Delete a kernel with its sessions."""
        self.by_people += 1
        kaggle = self.play.kaggle
        kaggle.kernels.pop(kernel, None)
        left = [version for versions in kaggle.kernels.values() for version in versions]
        kaggle.pushes = [push for push in kaggle.pushes if any(version.push is push for version in left)]

    @rule(hours=st.integers(1, 3))
    def wait(self, hours: int) -> None:
        """Time passes."""
        self.play.clock.advance(3600.0 * hours)

    @invariant()
    def nothing_is_wrong(self) -> None:
        """What cannot be undone was right."""
        assert self.found == []


# A pass takes some hundredths of a second, long for hypothesis; to shorten a history would take hours.
USUAL = settings(deadline=None, suppress_health_check=tuple(HealthCheck), phases=(Phase.generate,))
TestInterleaved = Kaggle.TestCase
TestInterleaved.settings = settings(USUAL, max_examples=25, stateful_step_count=30, derandomize=True)

if __name__ == "__main__":
    run_state_machine_as_test(
        Kaggle, settings=settings(USUAL, max_examples=int(sys.argv[1]), stateful_step_count=50)
    )

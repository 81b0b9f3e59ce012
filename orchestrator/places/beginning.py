"""What comes before a session on this machine: its run, with all that Kaggle has of it, and its inputs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.download import TransferListener
from orchestrator.errors import ServiceError
from orchestrator.models import KernelRef
from orchestrator.places.downloads import KaggleInputs
from orchestrator.places.inputs import InputFinder, Tree, Wanted
from orchestrator.places.local import LocalPlace
from orchestrator.places.series import Series, bring_newer, check_takeover, find_series
from orchestrator.results import Results
from orchestrator.run.context import RunContext
from orchestrator.settings import Settings

_OFFLINE = "`kgtts train --offline` goes on from what is here, whatever Kaggle has"


@dataclass(frozen=True, slots=True)
class Account:
    """The account on Kaggle, as far as it can be reached.

    Attributes:
        bench: the account and the ledger; None without a login, or if Kaggle is not to be asked.
        name: its user name; empty if it is not known.
        problem: why it cannot be reached although there is a login.
    """

    bench: RunContext | None = None
    name: str = ""
    problem: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """Finds the run and the inputs of a session.

    Attributes:
        settings: the settings, with `overrides`.
        results: the results on this machine.
        overrides: what of the settings comes from `--set`.
        account: the account on Kaggle.
        home: kgtts's own folder on this machine.
        listen: makes what hears of downloads.
        say: is told in a sentence what happens.
        warn: is told what could not be found out.
    """

    settings: Settings
    results: Results
    overrides: Sequence[str]
    account: Account
    home: Path
    listen: Callable[[], AbstractContextManager[TransferListener]]
    say: Callable[[str], None]
    warn: Callable[[str], None]

    def find_run(self, *, new: bool) -> Series:
        """The run, with all that Kaggle has of it brought here; its last session here has ended.

        Raises:
            KgttsError: it cannot go on here; or Kaggle has part of it, and cannot be asked.
        """
        series = self._find(new=new)
        if not new and LocalPlace(series).settle(
            lambda: self.say("A session whose kgtts has ended still saves; waiting for it.")
        ):
            series = self._find(new=new)
        if not new and self._bring(series):
            series = self._find(new=new)
        check_takeover(series)
        return series

    def _find(self, *, new: bool) -> Series:
        return find_series(
            self.settings, self.results, overrides=self.overrides, owner=self.account.name, new=new
        )

    def _bring(self, series: Series) -> bool:
        """Bring what Kaggle has of a run; whether that was anything."""
        bench, problem = self.account.bench, self.account.problem
        slug = self.settings.kernel.slug
        brought: list[str] = []
        if bench is not None:
            base = KernelRef(self.account.name, slug)
            try:
                with self.listen() as listener:
                    brought = bring_newer(series, base, bench, self.results, listener)
            except ServiceError as error:
                problem = error
        if problem is not None:
            pushed = bench is not None and bool(bench.ledger.of_slug(slug, self.account.name))
            if series.was_on_kaggle or pushed:
                raise ServiceError(
                    f"Whether Kaggle has more of the run is not known: {problem.message}", hint=_OFFLINE
                ) from problem
            self.warn(f"Kaggle could not be asked about the run: {problem.message}")
        for name in brought:
            self.say(f"Brought {name}, from which the run goes on.")
        return bool(brought)

    def find_inputs(self, series: Series, wanted: Wanted) -> dict[str, Tree]:
        """What the session mounts.

        Raises:
            KgttsError: as `InputFinder.find`.
        """
        kaggle = None if self.account.bench is None else self.account.bench.kaggle
        with self.listen() as listener:
            cache = KaggleInputs(kaggle, self.home / "inputs", listener, self.say)
            finder = InputFinder(series.settings, cache, self.results, self.home, listener, self.say)
            return finder.find(wanted)

"""Settings as texts by their full keys, to stamp a session with; what differs, and when that counts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.settings.loading import override_key
from orchestrator.settings.models import UNTRAINED, Settings
from orchestrator.settings.template import to_toml

# These are not settings of a run: they name it, each machine decides them for itself, or they are secret.
_NOT_OF_THE_RUN = ("kernel.owner", "kernel.slug", "pull.", "notify.", "train.", "skypilot.")
# Only passes use these; a session never sees them.
_OF_PASSES = (
    "run.max_sessions",
    "run.max_gpu_hours",
    "run.rescue",
    "run.when_quota_is_short",
    "run.shortest_session",
)


class Effect(StrEnum):
    """When a changed setting counts."""

    NOW = "it counts from now on"
    NEXT_SESSION = "it takes effect in the next session"
    NEW_RUN = "it needs a new run (`kgtts push --new`); put it back to go on with this one"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that differs: its full key, and both values as TOML writes them."""

    key: str
    before: str
    after: str

    @property
    def effect(self) -> Effect:
        """When the new value counts."""
        if self.key in _OF_PASSES:
            return Effect.NOW
        section = self.key.partition(".")[0]
        if section in ("inputs", "training", "install") and self.key not in UNTRAINED:
            return Effect.NEW_RUN
        return Effect.NEXT_SESSION

    def __str__(self) -> str:
        return f"{self.key} from {self.before} to {self.after}"


def values_of(settings: Settings) -> dict[str, str]:
    """Return a run's settings by their full keys, without those that each machine decides for itself."""
    found: dict[str, str] = {}
    for name, section in settings:
        for key, value in section:
            if isinstance(value, Mapping):
                found |= {f"{name}.{key}.{each}": to_toml(item) for each, item in value.items()}
            elif _is_of_the_run(f"{name}.{key}"):
                found[f"{name}.{key}"] = to_toml(value)
    return found


def find_changes(before: Mapping[str, str], settings: Settings) -> list[Change]:
    """Find the settings that differ from `before`, a result of `values_of`.

    A key that one of the two versions of kgtts lacks is no change.
    """
    after, found = values_of(settings), list[Change]()
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new and (key.startswith("training.coqui.") or None not in (old, new)):
            found.append(Change(key, old or "Coqui's own value", new or "Coqui's own value"))
    return found


def merged(stamped: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that a run has from now on: those before, unless a new one sets the same key."""
    given = {key: item for item in own if _is_of_the_run(key := override_key(item))}
    return (*(item for item in stamped if override_key(item) not in given), *given.values())


def inherited(stamped: Sequence[str], own: Sequence[str]) -> Iterator[str]:
    """Return the overrides of the run that no new one replaces; a stamp sets no key of a machine itself."""
    given = {override_key(item) for item in own}
    return (item for item in stamped if _is_of_the_run(key := override_key(item)) and key not in given)


def _is_of_the_run(key: str) -> bool:
    return not key.startswith(_NOT_OF_THE_RUN)

"""A run keeps the settings that `--set` gave at its push, and later changes are named."""

import ast
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.run.decide import RunState
from orchestrator.run.push import preview
from orchestrator.settings import Settings, load_settings, values_of, with_overrides
from tests.run.conftest import Play


def settings_of(play: Play, version: str) -> dict[str, Any]:
    """Return the SETTINGS of a pushed kernel."""
    _, _, rest = play.kaggle.version(version).source.partition("\nSETTINGS = ")
    found: dict[str, Any] = ast.literal_eval(rest[: rest.find("\n}\n") + 2])
    return found


def push_with(play: Play, *overrides: str, **options: Any) -> str:
    """Make a pass of a command that was given `--set`."""
    own = {**play.changes, **dict(item.split("=", 1) for item in overrides)}
    play.changes, kept = own, play.changes
    try:
        return play.pushed(overrides=overrides, **options)
    finally:
        play.changes = kept


def stamp_of(play: Play, version: str) -> RunStamp:
    """Return the stamp of a pushed kernel."""
    stamp = read_stamp(play.kaggle.version(version).source)
    assert stamp is not None
    return stamp


def test_set_at_a_push_belongs_to_the_run(play: Play) -> None:
    """A fresh machine without it continues with the same settings, and stamps them again."""
    first = push_with(play, "training.batch_size=8", "samples.enabled=false")
    play.kaggle.complete(first, 100)
    second = play.pushed()
    assert settings_of(play, second)["training"]["batch_size"] == 8
    assert settings_of(play, second)["samples"]["enabled"] is False
    assert stamp_of(play, second).overrides == ("training.batch_size=8", "samples.enabled=false")


def test_a_later_set_replaces_an_earlier_one(play: Play) -> None:
    """The new value is stamped from then on; the others stay."""
    play.kaggle.complete(push_with(play, "training.epochs=20", "samples.enabled=false"), 100)
    second = push_with(play, "training.epochs=30")
    assert stamp_of(play, second).overrides == ("samples.enabled=false", "training.epochs=30")
    play.kaggle.complete(second, 200)
    assert settings_of(play, play.pushed())["training"]["epochs"] == 30


def test_what_each_machine_decides_is_not_stamped(play: Play) -> None:
    """Neither the results' folder nor the run's name is taken over."""
    first = push_with(play, "pull.to=elsewhere")
    assert stamp_of(play, first).overrides == ()
    assert not any(key.startswith(("pull.", "kernel.slug")) for key in stamp_of(play, first).values)


def test_a_run_on_the_cpu_stays_there(play: Play) -> None:
    """Its later passes neither ask for quota nor use any."""
    first = push_with(play, "kernel.accelerator=none")
    play.kaggle.complete(first, 100)
    done = play.sync()
    assert done.quota is None
    assert settings_of(play, "asha/bangla-tts-b/1")["accelerator"] is None


def test_a_new_run_begins_without_it(play: Play) -> None:
    """With `--new` only kgtts.toml counts."""
    play.kaggle.complete(push_with(play, "training.batch_size=8"), 100)
    again = play.pushed(new=True)
    assert settings_of(play, again)["training"]["batch_size"] == 16
    assert stamp_of(play, again).overrides == ()


def test_a_change_while_a_session_runs_is_named_at_once(play: Play) -> None:
    """The warning has the old and the new value, and says when the change takes effect."""
    play.pushed()
    assert not play.sync().warnings
    play.changes |= {"training.batch_size": 8, "training.epochs": 7, "run.max_sessions": 5}
    done = play.sync()
    assert done.state is RunState.RUNNING
    text = "\n".join(done.warnings)
    assert "training.epochs from 1000 to 7; it takes effect in the next session" in text
    assert "training.batch_size from 16 to 8; it needs a new run" in text
    assert "run.max_sessions from 0 to 5; it counts from now on" in text


def test_a_change_that_only_set_makes_is_told_so(play: Play) -> None:
    """A pass that pushes nothing does not keep it, and says so."""
    play.pushed()
    play.changes |= {"training.epochs": 7}
    (note,) = play.sync(overrides=("training.epochs=7",)).warnings
    assert "from 1000 to 7" in note
    assert "only in --set, so give that again" in note


def test_a_change_that_a_run_cannot_take_is_named(play: Play) -> None:
    """The error names the setting."""
    play.kaggle.complete(play.pushed(), 100)
    play.changes |= {"training.batch_size": 8, "training.coqui.lr": 0.1, "training.epochs": 7}
    with pytest.raises(UsageError, match=r"training\.batch_size from 16 to 8") as caught:
        play.sync()
    assert "training.coqui.lr from Coqui's own value to 0.1" in caught.value.message
    assert "training.epochs" not in caught.value.message


def test_a_stamp_without_settings_is_read_as_before() -> None:
    """Earlier versions of kgtts stamped one line; damaged settings are ignored."""
    old = RunStamp("run", 1, None, "0" * 64, "asha/bangla-tts-a", "0.1.0")
    assert "\n" not in old.comment
    for second in ("", "\nimport os\n", "\n# kgtts-settings: {\n", '\n# kgtts-settings: {"set": 3}\n'):
        assert read_stamp(old.comment + second) == old


def test_settings_survive_the_way_through_a_stamp(play: Play) -> None:
    """Every value comes back as the same text, and an override changes only one."""
    changes = (
        'samples.sentences=["আমি", "a\\nb"]',
        "training.coqui.audio.fft_size=512",
        "session.budget=5h30m",
    )
    settings = load_settings(None, (*changes, "training.time_limit=1h"), environ={}, cwd=play.folder).settings
    values = values_of(settings)
    stamp = RunStamp("run", 1, None, "0" * 64, "asha/bangla-tts-a", "0.1.0", changes, values)
    assert read_stamp(f"{stamp.comment}\nprint()\n") == stamp
    assert with_overrides(settings, ("training.time_limit=1h",)) == settings
    other = values_of(with_overrides(settings, ("training.batch_size=9",)))
    assert {key for key in other if other[key] != values[key]} == {"training.batch_size"}


def test_addresses_of_notifications_are_not_stamped() -> None:
    """They hold secrets, and whoever sees a kernel sees its stamp."""
    settings = Settings.model_validate({"notify": {"to": ["ntfy://key"]}}).with_owner("someone")
    assert not [key for key in values_of(settings) if key.startswith("notify.")]
    assert "ntfy://key" not in preview(settings).source

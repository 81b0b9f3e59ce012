"""Settings are frozen, checked across keys, completed with the owner and fingerprinted."""

import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kernel_template.contract import BY_TRAINER, MEASURES, Better
from orchestrator.errors import SettingsError
from orchestrator.run.packages import lost_by_release
from orchestrator.settings import Settings, fingerprint, slugify, title_from
from orchestrator.settings.sections import BestBy


def test_defaults_are_those_of_the_guide() -> None:
    """Without settings, the paths, rates and limits are those of the training guide."""
    plain = Settings()
    assert plain.inputs.model_dump() == {
        "dataset": "datahrbnn",
        "model": "ttsbnng/transformers/default/1",
        "script": "auto",
        "config": "model/config.json",
        "checkpoint": "model/model_file.pth",
        "voice_of": "",
    }
    training = plain.training.model_dump()
    assert training == {
        "model": "vits",
        "sample_rate": 22050,
        "language": "bn-Bangladesh",
        "batch_size": 16,
        "epochs": 1000,
        "time_limit": "6h",
        "coqui": {},
    }
    assert (plain.kernel.accelerator, plain.kernel.private, plain.kernel.internet) == (
        "NvidiaTeslaT4",
        True,
        True,
    )


def test_settings_are_frozen() -> None:
    """Settings cannot be changed after they were checked."""
    plain = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        plain.training.epochs = 3  # type: ignore[misc] # what is tried here


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"session": {"budget": "12h1s"}}, 'session.budget = "12h1s": must be at most 12h'),
        ({"session": {"grace": "11h"}}, 'session.grace = "11h": must be less than session.budget (11h)'),
        ({"training": {"time_limit": "11h"}}, "it must be at most 10h55m"),
        ({"session": {"budget": "5h"}}, "it must be at most 4h55m"),
        (
            {"kernel": {"title": "My Voice"}},
            'kernel.title = "My Voice": does not give the slug "bangla-tts"',
        ),
        ({"kernel": {"title": "Bangla, TTS"}}, 'write for example "Bangla tts"'),
        ({"kernel": {"title": "বাংলা tts"}}, "does not give the slug"),
        (
            {"run": {"best_by": "mos"}, "scores": {"enabled": False}},
            'run.best_by = "mos": needs scores.enabled',
        ),
        ({"run": {"best_by": "cer"}}, 'run.best_by = "cer": needs scores.recogniser'),
    ],
)
def test_keys_must_fit_each_other(tables: dict[str, Any], message: str) -> None:
    """Times that do not fit, and titles that give another slug, are errors with the key."""
    with pytest.raises(ValidationError, match=re.escape(message)):
        Settings.model_validate(tables)


# Each key's first and last value, and the nearest ones that are refused.
LIMITS: dict[str, tuple[list[Any], list[Any]]] = {
    "training.sample_rate": ([8000, 192_000], [7999, 192_001]),
    "training.batch_size": ([1, 100_000], [0, 100_001]),
    "training.epochs": ([1, 10_000_000], [0, 10_000_001]),
    "speed.gpus": (["all", 1], [0, 2, "two"]),
    "speed.loader_workers": ([0, 64], [-1]),
    "speed.length_buckets": ([0, 64], [-1]),
    "data.shortest": ([0.001, 59.999], [0, -1.0, 60.0, float("nan")]),
    "data.longest": ([0.401, 3600.0], [0.4, 3600.1, float("inf")]),
    "session.disk_limit": ([0.001, 20.0], [0.0, 20.001, float("nan")]),
    "session.keep_checkpoints": ([1, 1000], [0, 1001]),
    "run.until_step": ([0, 10**9], [-1]),
    "run.patience": ([0, 1000], [-1]),
    "run.max_sessions": ([0, 1000], [-1]),
    "run.best_by": (["trainer", "mel_distance", "f0_error", "similarity", "mos"], ["rate", "", "loss"]),
    "scores.share": ([0.001, 0.5], [0.0, 0.501, float("nan")]),
    "scores.sentences": ([1, 50], [0, 51]),
    "run.max_gpu_hours": ([0.0, 1e6], [-0.1, float("inf"), float("nan")]),
}


@pytest.mark.parametrize("key", LIMITS)
def test_each_number_has_its_limits(key: str) -> None:
    """The first and the last value are accepted, the next ones are not."""
    table, name = key.split(".")
    taken, refused = LIMITS[key]
    for value in taken:
        found = Settings.model_validate({table: {name: value}})
        assert getattr(getattr(found, table), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            Settings.model_validate({table: {name: value}})


def test_a_whole_number_for_coqui_has_the_size_that_toml_promises() -> None:
    """Integers have 64 bits: a larger one is a slip, and the JSON for Coqui could not hold it."""
    for value in (2**63 - 1, -(2**63) + 1):
        assert Settings.model_validate({"training": {"coqui": {"a": value}}}).training.coqui == {"a": value}
    with pytest.raises(ValidationError, match='"a" is no'):
        Settings.model_validate({"training": {"coqui": {"a": 2**63}}})


@pytest.mark.parametrize("limit", ["10h55m", "1s"])
def test_a_time_limit_up_to_the_budget_is_taken(limit: str) -> None:
    """Time limit and grace may fill the budget exactly."""
    Settings.model_validate({"training": {"time_limit": limit}})


def test_title_comes_from_the_slug_unless_it_is_set() -> None:
    """An empty title is made readable from the slug, and always gives the slug back."""
    assert Settings().title == "Bangla tts"
    assert Settings.model_validate({"kernel": {"title": "Bangla TTS"}}).title == "Bangla TTS"


@given(st.from_regex(r"[a-z0-9]+(-[a-z0-9]+){0,4}", fullmatch=True))
def test_a_made_title_gives_back_its_slug(slug: str) -> None:
    """Whatever the slug, its title slugifies to it."""
    assert slugify(title_from(slug)) == slug


@given(st.text(alphabet="abcXYZ0189 ._:()/+-", min_size=1))
def test_slugs_are_those_of_the_official_client(title: str) -> None:
    """For every accepted title the slug equals python-slugify's."""
    official = pytest.importorskip("slugify", reason="ships with kaggle")
    assert slugify(title) == official.slugify(title)


def test_bare_sources_are_completed_with_the_owner() -> None:
    """`datahrbnn` and the model's path get the owner."""
    resolved = Settings().with_owner("someone")
    assert (resolved.kernel.owner, resolved.inputs.dataset, resolved.inputs.model) == (
        "someone",
        "someone/datahrbnn",
        "someone/ttsbnng/transformers/default/1",
    )
    assert resolved.with_owner("another") == resolved


def test_full_sources_and_a_set_owner_stay() -> None:
    """The owner in the settings comes first, and other people's inputs stay theirs."""
    resolved = Settings.model_validate(
        {
            "kernel": {"owner": "team"},
            "inputs": {"dataset": "other/data", "model": "other/voice/pyTorch/small/12"},
        }
    ).with_owner("someone")
    assert (resolved.kernel.owner, resolved.inputs.dataset, resolved.inputs.model) == (
        "team",
        "other/data",
        "other/voice/pyTorch/small/12",
    )


@pytest.mark.parametrize("owner", ["", "a/b", "../x", "a b", "বাংলা", "x\n"])
def test_an_owner_that_is_no_user_name_is_refused(owner: str) -> None:
    """Without a valid owner nothing is completed."""
    with pytest.raises(SettingsError, match="the kernel's owner is not known"):
        Settings().with_owner(owner)


@pytest.mark.parametrize(
    ("tables", "changes"),
    [
        ({"training": {"sample_rate": 24000}}, True),
        ({"training": {"epochs": 3}}, False),
        ({"run": {"max_sessions": 3}}, False),
        ({"training": {"coqui": {"lr_gen": 0.1}}}, True),
        ({"inputs": {"dataset": "other/datahrbnn"}}, True),
        ({"install": {"packages": ["coqui-tts==0.28.0"]}}, True),
        ({"training": {"time_limit": "1h"}}, False),
        ({"session": {"budget": "10h"}}, False),
        ({"pull": {"to": "elsewhere"}}, False),
        ({"kernel": {"private": False, "slug": "another-kernel"}}, False),
        ({"samples": {"sentences": ["আমি"]}}, False),
        ({"run": {"best_by": "mos"}, "scores": {"share": 0.1}}, False),
    ],
)
def test_fingerprint_follows_what_changes_the_training(tables: dict[str, Any], changes: bool) -> None:  # noqa: FBT001 - a parameter of the table above
    """Inputs, training and installation change the fingerprint; time limits and the rest do not."""
    plain = fingerprint(Settings().with_owner("me"))
    assert re.fullmatch(r"[0-9a-f]{64}", plain)
    assert (fingerprint(Settings.model_validate(tables).with_owner("me")) != plain) is changes


def test_a_run_goes_on_although_the_script_is_now_found() -> None:
    """Runs that were begun when the default was the guide's path have the fingerprint of today's default."""
    before = Settings.model_validate({"inputs": {"script": "MyTTSDataset/train_tts.py"}})
    other = Settings.model_validate({"inputs": {"script": "kgtts"}})
    assert fingerprint(before) == fingerprint(Settings()) != fingerprint(other)


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    """The same Coqui keys in another order or form are the same training."""
    one = Settings.model_validate({"training": {"coqui": {"a": 1, "b": {"c": "আ", "d": 2}}}})
    two = Settings.model_validate({"training": {"coqui": {"b.d": 2, "b.c": "আ", "a": 1}}})
    assert fingerprint(one) == fingerprint(two)


def test_the_best_checkpoint_can_be_chosen_by_each_measure_that_ranks() -> None:
    """The names are the contract's: the trainer's choice, and measures of which less or more is better."""
    ranking = {name for name, (_, better) in MEASURES.items() if better is not Better.LIKE_RECORDINGS}
    assert set(get_args(BestBy)) == {BY_TRAINER, *ranking}


def test_the_default_packages_fit_the_hooks() -> None:
    """The release that sessions install is the one that the kernel's hooks fit."""
    assert lost_by_release(Settings().install.packages) is None

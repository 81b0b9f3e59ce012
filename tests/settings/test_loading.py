"""kgtts.toml is found, read and overridden; an error names file, key, value and what would be right."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode, SettingsError
from orchestrator.settings import LoadedSettings, Settings, load_settings


def load(tmp_path: Path, text: str, *overrides: str) -> Settings:
    """Load a kgtts.toml with that text in `tmp_path`."""
    (tmp_path / "kgtts.toml").write_text(text, encoding="utf-8")
    return load_settings(None, overrides, environ={}, cwd=tmp_path).settings


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    """Return the error message for this text."""
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text, *overrides)
    assert error.value.exit_code is ExitCode.USAGE
    return error.value.message


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    """Without a kgtts.toml there are the defaults, and no path."""
    assert load_settings(environ={}, cwd=tmp_path) == LoadedSettings(Settings(), None)


def test_the_nearest_file_upwards_is_found(tmp_path: Path) -> None:
    """The file is looked for from the working directory upwards; the nearest counts."""
    deep = tmp_path / "বাংলা কণ্ঠ" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "kgtts.toml").write_text("training.epochs = 1", encoding="utf-8")
    nearest = deep.parent / "kgtts.toml"
    nearest.write_text("training.epochs = 2", encoding="utf-8")
    loaded = load_settings(environ={}, cwd=deep)
    assert (loaded.path, loaded.settings.training.epochs) == (nearest, 2)


def test_config_goes_before_the_environment_and_both_before_the_search(tmp_path: Path) -> None:
    """`--config` beats KGTTS_CONFIG, which beats the kgtts.toml of the working directory."""
    for name, epochs in (("kgtts.toml", 1), ("env.toml", 2), ("flag.toml", 3)):
        (tmp_path / name).write_text(f"training.epochs = {epochs}", encoding="utf-8")
    environ = {"KGTTS_CONFIG": str(tmp_path / "env.toml")}
    by_flag = load_settings(Path("flag.toml"), environ=environ, cwd=tmp_path)
    by_environment = load_settings(environ=environ, cwd=tmp_path)
    assert (by_flag.settings.training.epochs, by_environment.settings.training.epochs) == (3, 2)


@pytest.mark.parametrize(
    ("path", "environ", "who"),
    [(Path("missing.toml"), {}, "--config"), (None, {"KGTTS_CONFIG": "missing.toml"}, "KGTTS_CONFIG")],
)
def test_a_named_file_must_exist(
    path: Path | None, environ: dict[str, str], who: str, tmp_path: Path
) -> None:
    """If a named file is missing, the error says who named it."""
    with pytest.raises(SettingsError, match=f"missing.toml: there is no such file; {who}"):
        load_settings(path, environ=environ, cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[kernel]\nslug = bangla", "line 2, column 8: bad TOML"),
        ('[kernel]\nslug = "a\n', "line 2, column 10: bad TOML"),
        ("\n\n[kernel", "line 3: bad TOML"),
        ("[kernel]\n[kernel]\n", "line 2, column 8: bad TOML"),
    ],
)
def test_bad_toml_gives_file_and_line(text: str, place: str, tmp_path: Path) -> None:
    """A syntax error has its file and line."""
    message = refusal(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'kgtts.toml'}, {place}")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_toml_beyond_pythons_limits_is_an_error_too(value: str, tmp_path: Path) -> None:
    """Numbers and nesting that Python cannot read are errors, in the file and in `--set`."""
    assert "kgtts.toml" in refusal(tmp_path, f"training.epochs = {value}")
    assert "must be a whole number" in refusal(tmp_path, "", f"training.epochs={value}")


def test_a_file_in_another_encoding_gives_the_line(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are an error with their line."""
    (tmp_path / "kgtts.toml").write_bytes(b"# fine\nkernel.title = '\xff\xfe'\n")
    with pytest.raises(SettingsError, match=r"kgtts\.toml, line 2: is not UTF-8"):
        load_settings(environ={}, cwd=tmp_path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Files with a byte order mark are read."""
    assert load(tmp_path, "\ufefftraining.epochs = 7").training.epochs == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training.bach_size = 3",
            "training.bach_size = 3: there is no such key; did you mean training.batch_size?",
        ),
        ("batch_size = 3", "batch_size = 3: there is no such key; did you mean training.batch_size?"),
        ("[trainin]\nepochs=1", 'trainin = {"epochs": 1}: there is no such key; did you mean training?'),
        (
            "kernel.zzz = 1",
            "kernel.zzz = 1: there is no such key; kernel has owner, slug, title, accelerator,",
        ),
        ("kernel.slug = 5", "kernel.slug = 5: must be a text in quotes."),
        ("kernel.slug = 'TTS'", 'kernel.slug = "TTS": must be 5 to 48 lower-case ASCII letters'),
        ("kernel.slug = 'বাংলা-কণ্ঠ'", 'kernel.slug = "বাংলা-কণ্ঠ": must be 5 to 48 lower-case ASCII'),
        ("kernel.slug = 'abcd'", 'kernel.slug = "abcd": must be 5 to 48'),
        ("kernel.owner = 'a b'", 'kernel.owner = "a b": must be a Kaggle user name'),
        ("kernel.owner = 'Local'", "cannot be Local: kgtts names sessions outside Kaggle so"),
        ("kernel.private = 'yes'", 'kernel.private = "yes": must be true or false.'),
        ("kernel.private = 1", "kernel.private = 1: must be true or false."),
        ("kernel.accelerator = 'P100'", 'did you mean "NvidiaTeslaP100"?'),
        ("kernel.docker_image_pinning = 'newest'", "must be '', 'original' or 'latest'."),
        ("training.batch_size = '8'", 'training.batch_size = "8": must be a whole number.'),
        ("training.batch_size = 8.5", "training.batch_size = 8.5: must be a whole number."),
        ("training.batch_size = true", "training.batch_size = true: must be a whole number."),
        ("training.batch_size = 0", "training.batch_size = 0: must be at least 1."),
        ("training.sample_rate = 96000000", "training.sample_rate = 96000000: must be at most 192000."),
        ("training.time_limit = 'long'", 'training.time_limit = "long": must be a duration such as 6h'),
        ("training.time_limit = 0", "training.time_limit = 0: must be at least one second."),
        (
            f"training.epochs = 0x{'f' * 5000}",
            "training.epochs = (a number of thousands of digits): must be at most",
        ),
        (f"training.coqui.big = 0x{'f' * 5000}", 'must hold JSON values: "big" is not a text'),
        ("training.model = ' '", 'training.model = " ": must not be empty.'),
        ("training = 3", "training = 3: must be a table, written as [training] with its keys below it."),
        ("install.packages = 'coqui-tts'", 'install.packages = "coqui-tts": must be a list of texts'),
        ("install.packages = ['a @ https://user:a-password@host/a.whl']", "must not hold a password"),
        ("scores.packages = ['git+https://a-token@host/a.git']", "must not hold a password"),
        ("install.packages = [1]", "install.packages[0] = 1: must be a text in quotes."),
        ("training.coqui.batch_size = 3", 'must not hold "batch_size": set training.batch_size instead.'),
        ("training.coqui.audio.sample_rate = 1", "set training.sample_rate instead."),
        ("training.coqui.output_path = '/x'", "the kernel chooses it"),
        ("training.coqui.lr = inf", 'must hold JSON values: "lr" is not a text, finite number'),
        ("training.coqui.start = 2026-11-22", 'must hold JSON values: "start" is not a text'),
        ("training.coqui.'a..b' = 1", 'must have names between its dots: "a..b"'),
        ("training.coqui = 'x'", 'training.coqui = "x": must be a table of Coqui'),
        ("inputs.dataset = 'a/b/c'", 'inputs.dataset = "a/b/c": must be a dataset, SLUG or OWNER/SLUG'),
        ("inputs.model = 'ttsbnng'", 'inputs.model = "ttsbnng": is not fully written'),
        ("inputs.model = 'me/ttsbnng/transformers/default'", "is not fully written"),
        ("inputs.model = 'ttsbnng/transformers/default/v1'", "is not fully written"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(text: str, message: str, tmp_path: Path) -> None:
    """The message has the file, the key, the value and the rule."""
    found = refusal(tmp_path, text)
    assert found.startswith(f"{tmp_path / 'kgtts.toml'}: ")
    assert message in found


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../up.json",
        "a/../../b",
        "a//b",
        "a/",
        "./a",
        "a\\b",
        "C:/x",
        "",
        " ",
        "a\nb",
        "a\x00b",
    ],
)
def test_paths_stay_inside_the_input(path: str, tmp_path: Path) -> None:
    """A path in an input is relative, has forward slashes and cannot leave it."""
    with pytest.raises(SettingsError, match="must be a relative path with forward slashes"):
        load_settings(overrides=[f"inputs.config={path}"], environ={}, cwd=tmp_path)


@pytest.mark.parametrize("path", ["config.json", 'a b/it\'s "my" কণ্ঠ.json', "TTS.bin.train_tts", "...json"])
def test_odd_but_harmless_paths_are_taken(path: str, tmp_path: Path) -> None:
    """Paths with spaces, quotes, Bangla and dots are accepted."""
    assert (
        load_settings(overrides=[f"inputs.script={path}"], environ={}, cwd=tmp_path).settings.inputs.script
        == path
    )


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """A file with three mistakes gives a message of three lines."""
    message = refusal(tmp_path, "training.epochs = 0\nkernel.slug = 'x'\ntypo = 1")
    assert len(message.splitlines()) == 3


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    """A value of a thousand characters is shortened in the message."""
    assert len(refusal(tmp_path, f"kernel.slug = '{'x' * 1000}!'")) < 400


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.batch_size=8", "batch_size", 8),
        ("training.batch_size = 8", "batch_size", 8),
        ("training.language=bn-Bangladesh", "language", "bn-Bangladesh"),
        ('training.language="bn"', "language", "bn"),
        ("training.language=12", "language", "12"),
        ("training.language=a=b", "language", "a=b"),
        ("training.language=x\nepochs=1", "language", "x\nepochs=1"),
        ("training.language=1\nepochs=1", "language", "1\nepochs=1"),
        ("training.time_limit=90m", "time_limit", timedelta(minutes=90)),
        ("training.time_limit=90", "time_limit", timedelta(seconds=90)),
        ("training.coqui.lr_gen=2e-4", "coqui", {"lr_gen": 2e-4}),
        ("training.coqui.audio.fft_size=1024", "coqui", {"audio.fft_size": 1024}),
        ('training.coqui."audio.fft_size"=1024', "coqui", {"audio.fft_size": 1024}),
        ("training.coqui={a = {b = [1, 'x']}}", "coqui", {"a.b": [1, "x"]}),
    ],
)
def test_set_takes_toml_values_and_bare_texts(override: str, key: str, value: object, tmp_path: Path) -> None:
    """`--set` reads TOML values, and takes anything else as text."""
    loaded = load_settings(overrides=[override], environ={}, cwd=tmp_path)
    assert getattr(loaded.settings.training, key) == value


def test_set_goes_before_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    """An override replaces the file's value, under both ways of writing a dotted Coqui key."""
    text = '[training]\nepochs = 5\n[training.coqui]\naudio.fft_size = 1\n"audio.hop_length" = 2\n'
    training = load(
        tmp_path, text, "training.epochs=6", "training.epochs=7", "training.coqui.audio.hop_length=3"
    ).training
    assert (training.epochs, dict(training.coqui)) == (7, {"audio.fft_size": 1, "audio.hop_length": 3})


@pytest.mark.parametrize("override", ["", "training", "=3", "training.=3", ".epochs=3"])
def test_set_wants_key_and_value(override: str, tmp_path: Path) -> None:
    """Anything but KEY=VALUE is refused with an example."""
    assert "must be KEY=VALUE" in refusal(tmp_path, "", override)


def test_set_below_a_value_is_refused(tmp_path: Path) -> None:
    """A key below one that has a value is an error."""
    assert "epochs is not a table" in refusal(tmp_path, "training.epochs = 3", "training.epochs.deep=3")


def test_a_wrong_override_is_blamed_on_set_and_not_on_the_file(tmp_path: Path) -> None:
    """The message names `--set` as the source of the wrong value."""
    message = refusal(tmp_path, "training.epochs = 3", "training.epochs=many")
    assert message == '--set: training.epochs = "many": must be a whole number.'
    assert refusal(tmp_path, "", "training.coqui.epochs=1").startswith("--set: training.coqui = ")
    assert refusal(tmp_path, "", "trianing.epochs=1").endswith("did you mean training?")

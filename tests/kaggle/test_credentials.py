"""Credentials as people paste them: white space and byte order marks are harmless, and no value is shown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.errors import CredentialsError
from orchestrator.kaggle import connect
from orchestrator.kaggle.auth import find_credentials, known_username
from tests.support import KEY, USER, Cli

AROUND = ["{}\n", " {}", "\t{}\r\n", "\ufeff{}", "\ufeff {}\u200b\n", "\u00a0{}\u2028"]
MIDDLE = len(KEY) // 2
ODD = {
    "a line break": f"{KEY[:MIDDLE]}\n{KEY[MIDDLE:]}",
    "a line break of Windows": f"{KEY[:MIDDLE]}\r\n{KEY[MIDDLE:]}",
    "a space": f"{KEY[:MIDDLE]} {KEY[MIDDLE:]}",
    "U+200B": f"{KEY[:MIDDLE]}\u200b{KEY[MIDDLE:]}",
    "U+0000": f"{KEY[:MIDDLE]}\x00{KEY[MIDDLE:]}",
    "U+0986": f"{KEY[:MIDDLE]}আ{KEY[MIDDLE:]}",
}
# How each place is filled with a text: from the home folder and the text to the variables it takes.
Place = Callable[[Path, str], dict[str, str]]


def written(home: Path, name: str, text: str) -> dict[str, str]:
    """Write a file below `.kaggle`."""
    path = home / ".kaggle" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return {}


def named_file(home: Path, text: str) -> dict[str, str]:
    """Write the file that the variable names, with a line end after the name."""
    written(home, "elsewhere", text)
    return {"KAGGLE_API_TOKEN": f"{home / '.kaggle/elsewhere'}\n"}


PLACES: dict[str, Place] = {
    "KAGGLE_API_TOKEN": lambda _, text: {"KAGGLE_API_TOKEN": text},
    "file of KAGGLE_API_TOKEN": named_file,
    "access_token": lambda home, text: written(home, "access_token", text),
    "access_token.txt": lambda home, text: written(home, "access_token.txt", text),
    "KAGGLE_KEY": lambda _, text: {"KAGGLE_KEY": text, "KAGGLE_USERNAME": text.replace(KEY, USER)},
    "kaggle.json": lambda home, text: written(
        home, "kaggle.json", "\ufeff" + json.dumps({"username": text.replace(KEY, USER), "key": text}) + "\n"
    ),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_pasted_along_is_dropped(
    start_emulator: Callable[..., Emulator],
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    around: str,
) -> None:
    """The login works from every place."""
    monkeypatch.setenv("KGTTS_KAGGLE_URL", start_emulator().url)
    for name, value in PLACES[place](Path.home(), around.format(KEY)).items():
        monkeypatch.setenv(name, value)
    client = connect()
    assert client.username == USER
    assert list(client.my_kernels()) == []
    client.close()


@pytest.mark.parametrize("place", [place for place in PLACES if "KEY" not in place and "json" not in place])
@pytest.mark.parametrize("kind", ODD)
def test_a_malformed_token_is_named_without_its_value(tmp_path: Path, place: str, kind: str) -> None:
    """The error says where it is and what is wrong, without any part of it."""
    environ = {
        name: value for name, value in PLACES[place](tmp_path, ODD[kind]).items() if place != name or value
    }
    with pytest.raises(CredentialsError) as caught:
        find_credentials(environ, tmp_path)
    assert "access token in" in caught.value.message
    assert "cannot be right" in caught.value.message
    assert kind.removesuffix(" of Windows") in caught.value.message
    said = repr(caught.value) + str(caught.value.hint)
    assert KEY[:MIDDLE] not in said
    assert KEY[MIDDLE:] not in said


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"KAGGLE_USERNAME": USER, "KAGGLE_KEY": ODD["a line break"]}, "API key in KAGGLE_USERNAME and"),
        ({"KAGGLE_USERNAME": "asha:x", "KAGGLE_KEY": KEY}, "user name in .* a colon"),
        ({"KAGGLE_USERNAME": "asha rahman", "KAGGLE_KEY": KEY}, "user name in .* a space"),
    ],
)
def test_a_malformed_key_is_named_without_its_value(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    """The same for key and user name."""
    with pytest.raises(CredentialsError, match=words) as caught:
        find_credentials(environ, tmp_path)
    assert KEY[:MIDDLE] not in repr(caught.value)


def test_a_variable_of_white_space_counts_as_unset(tmp_path: Path) -> None:
    """A workflow's missing secret is an empty text, perhaps with a line end."""
    environ = {"KAGGLE_API_TOKEN": " \n", "KAGGLE_USERNAME": f"{USER}\n", "KAGGLE_KEY": KEY}
    assert find_credentials(environ, tmp_path).secret == KEY
    assert known_username(environ, tmp_path) == USER


@pytest.mark.parametrize("in_actions", [False, True])
@pytest.mark.parametrize("debug", [False, True])
def test_a_token_with_a_line_break_is_never_printed(
    cli: Cli,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    in_actions: bool,
    debug: bool,
) -> None:
    """It is not in the error, annotation, summary or traceback; `requests` would print it."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", ODD["a line break"])
    monkeypatch.setenv("KGTTS_KAGGLE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(workplace / "summary.md"))
    if in_actions:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
    if debug:
        monkeypatch.setenv("KGTTS_DEBUG", "1")
    (workplace / "kgtts.toml").touch()
    result = cli("sync")
    assert (result.code, "access token in KAGGLE_API_TOKEN" in result.err) == (3, True)
    said = result.said + (workplace / "summary.md").read_text(encoding="utf-8")
    assert KEY[:MIDDLE] not in said
    assert KEY[MIDDLE:] not in said

"""Credentials as people paste them: white space and byte order marks are harmless, and no value is shown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.errors import CredentialsError
from orchestrator.kaggle import connect
from orchestrator.kaggle.auth import (
    CredentialKind,
    find_credentials,
    known_username,
    learn_all,
    prepare_stock_client,
)
from orchestrator.scrubbing import scrub
from tests.support import KEY, USER, Cli, Process

AROUND = ["{}\n", '"{}"\r\n', "' {} '", " {}", "\t{}\r\n", "\ufeff{}", "\ufeff {}\u200b\n", "\u00a0{}\u2028"]
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


@pytest.mark.parametrize(
    "place",
    ["KAGGLE_KEY", "KAGGLE_KEY alone", "kaggle.json", "kaggle.json without a name", "JSON as a token"],
)
def test_an_access_token_in_the_place_of_a_key_is_one(tmp_path: Path, place: str) -> None:
    """Kaggle answers 401 to one that is sent as a key; the official client gets it as a token, too."""
    token = f"KGAT_{KEY}"
    whole, bare = json.dumps({"username": "me", "key": token}), json.dumps({"key": token})
    environ = {
        "KAGGLE_KEY": {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": token},
        "KAGGLE_KEY alone": {"KAGGLE_KEY": token},
        "kaggle.json": written(tmp_path, "kaggle.json", whole) if place == "kaggle.json" else {},
        "kaggle.json without a name": written(tmp_path, "kaggle.json", bare) if "without" in place else {},
        "JSON as a token": {"KAGGLE_API_TOKEN": whole},
    }[place]
    found = find_credentials(environ, tmp_path)
    assert (found.kind, found.secret, found.username) == (CredentialKind.ACCESS_TOKEN, token, None)
    prepare_stock_client([], environ, tmp_path)
    assert environ["KAGGLE_API_TOKEN"] == token


def test_the_text_of_kaggle_json_in_the_place_of_a_token_is_a_key(tmp_path: Path) -> None:
    """People paste it into the secret of a GitHub Action."""
    environ = {"KAGGLE_API_TOKEN": json.dumps({"username": USER, "key": KEY})}
    found = find_credentials(environ, tmp_path)
    assert (found.kind, found.username, found.secret) == (CredentialKind.API_KEY, USER, KEY)
    learn_all(environ, tmp_path)
    assert scrub(f"the key {KEY}") == "the key ***"
    prepare_stock_client([], environ, tmp_path)
    assert (environ["KAGGLE_USERNAME"], environ["KAGGLE_KEY"]) == (USER, KEY)
    assert "KAGGLE_API_TOKEN" not in environ


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


TOKENS = {
    "white space": f" \t{KEY}\r\n",
    "an invisible character": f"\u200b{KEY}",
    "a byte order mark": f"\ufeff{KEY}\u200b\n",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_the_official_client_gets_a_token_without_what_was_pasted_along(
    emulator: Emulator, spawn: Callable[..., Process], kind: str
) -> None:
    """`kgtts kaggle` works with every token that kgtts itself works with."""
    environment = {"KAGGLE_API_TOKEN": TOKENS[kind], "KAGGLE_USERNAME": "", "KAGGLE_KEY": " "}
    result = spawn("kaggle", "kernels", "list", "--mine", **environment).result()
    assert (result.code, "Not found" in result.out) == (0, True), result.out


@pytest.mark.parametrize("text", ['["x"]', '{"refresh_token": ["%s"]}', '{"refresh_token": "%s\\nx"}', "{"])
def test_the_official_client_does_not_crash_on_a_damaged_login(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """`kgtts kaggle` ends with kgtts's own error, in which no secret is."""
    written(Path.home(), "credentials.json", text.replace("%s", KEY))
    monkeypatch.setenv("KGTTS_KAGGLE_URL", "http://127.0.0.1:9")
    result = cli("kaggle", "kernels", "list", "--mine")
    assert (result.code, "kgtts kaggle auth login" in result.err) == (3, True), result.said
    assert KEY not in result.said


def test_the_official_client_does_not_get_a_malformed_token(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kgtts kaggle` ends with kgtts's own error, in which no part of the token is."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", ODD["a line break"])
    result = cli("kaggle", "quota")
    assert (result.code, "access token in KAGGLE_API_TOKEN cannot be right" in result.err) == (3, True)
    assert KEY[:MIDDLE] not in result.said


def test_the_official_client_does_not_crash_on_a_damaged_key_file(
    cli: Cli, emulator: Emulator, workplace: Path
) -> None:
    """It reads the file in any case, so kgtts's own error names it."""
    written(Path.home(), "kaggle.json", f'["{KEY}"]')
    result = cli("kaggle", "quota")
    assert (result.code, "~/.kaggle/kaggle.json is damaged" in result.err) == (3, True), result.said
    assert KEY not in result.said


def test_the_official_client_without_a_connection(emulator: Emulator, spawn: Callable[..., Process]) -> None:
    """That its login fails is no fault of kgtts, and no secret is said."""
    result = spawn("kaggle", "quota", KAGGLE_API_TOKEN=KEY, KGTTS_KAGGLE_URL="http://127.0.0.1:9").result()
    assert (result.code, "The official client could not log in" in result.out) == (7, True), result.out
    assert "kgtts itself failed" not in result.out
    assert KEY not in result.out


def test_a_login_can_be_made_again_and_is_written_as_the_official_client_reads_it(tmp_path: Path) -> None:
    """A damaged file is no obstacle for `auth login`; a usable one gets a form that the client reads."""
    written(tmp_path, "credentials.json", '["x"]')
    prepare_stock_client(["auth", "login"], {}, tmp_path)
    path = tmp_path / ".kaggle/credentials.json"
    assert json.loads(path.read_text())["refresh_token"] == ""
    good = {"refresh_token": "r", "access_token": "a", "access_token_expiration": "2027-01-01T00:00:00+00:00"}
    odd = {"refresh_token": " r\n", "access_token": "\u200ba", "access_token_expiration": "soon"}
    written(tmp_path, "credentials.json", "\ufeff" + json.dumps(odd))
    prepare_stock_client(["quota"], {}, tmp_path)
    assert json.loads(path.read_text()) == {**good, "access_token_expiration": ""}
    written(tmp_path, "credentials.json", json.dumps(good))
    before = path.stat().st_mtime_ns
    prepare_stock_client(["quota"], {}, tmp_path)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("is_in_file", [False, True])
def test_the_official_client_gets_a_long_token(
    workplace: Path, spawn: Callable[..., Process], *, is_in_file: bool
) -> None:
    """It would take the token for a file's name that is too long; no copy of it stays."""
    token, temporary = "long-token-" + "t" * 300, workplace.parent / "temporary"
    temporary.mkdir()
    options = EmulatorOptions(sandbox="relocate", standins=False)
    with Emulator(workplace.parent / "kaggle", options=options, credentials=(USER, token)) as server:
        environment = {"KGTTS_KAGGLE_URL": server.url, "TMPDIR": str(temporary), "KAGGLE_API_TOKEN": token}
        if is_in_file:
            written(Path.home(), "access_token", "\ufeff" + environment.pop("KAGGLE_API_TOKEN"))
        result = spawn("kaggle", "kernels", "list", "--mine", **environment).result()
    assert (result.code, "Not found" in result.out) == (0, True), result.out
    assert [*temporary.rglob("*")] == []


def test_the_official_client_with_a_home_that_cannot_be_written(
    emulator: Emulator, workplace: Path, spawn: Callable[..., Process]
) -> None:
    """It insists on a folder for its settings, and gets one that does not stay."""
    home, temporary = workplace / "a file", workplace / "temporary"
    home.touch()
    temporary.mkdir()
    result = spawn("kaggle", "kernels", "list", "--mine", HOME=str(home), TMPDIR=str(temporary)).result()
    assert (result.code, "Not found" in result.out) == (0, True), result.out
    assert [*temporary.rglob("*")] == []


def test_every_secret_is_known_to_the_scrubber(tmp_path: Path) -> None:
    """Also in a file whose path has white space around it, and in a list."""
    written(tmp_path, "elsewhere", "token-of-the-file-elsewhere")
    written(tmp_path, "credentials.json", '{"refresh_token": ["first-of-the-list", "second-of-the-list"]}')
    learn_all({"KAGGLE_API_TOKEN": f" {tmp_path / '.kaggle/elsewhere'}\n"}, tmp_path)
    for secret in ("token-of-the-file-elsewhere", "first-of-the-list", "second-of-the-list"):
        assert scrub(f"<{secret}>") == "<***>"

"""Credentials are found as the official client finds them, used, and never shown."""

import json
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.errors import CredentialsError, ForbiddenError, UsageError
from orchestrator.kaggle import KAGGLE_URL, connect, service_url
from orchestrator.kaggle.auth import CredentialKind, find_credentials, known_username
from orchestrator.models import KernelRef
from tests.support import KEY, USER

LEGACY = {"KAGGLE_USERNAME": "asha", "KAGGLE_KEY": "k"}
FILE = json.dumps({"username": "omar", "key": "f"})


def home_with(tmp_path: Path, files: dict[str, str]) -> Path:
    """A home folder with these files."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


FOUND = [
    ({"KAGGLE_API_TOKEN": "t", **LEGACY}, {}, CredentialKind.ACCESS_TOKEN, "KAGGLE_API_TOKEN"),
    (LEGACY, {".kaggle/access_token": "t"}, CredentialKind.ACCESS_TOKEN, "~/.kaggle/access_token"),
    ({}, {".kaggle/access_token.txt": "t"}, CredentialKind.ACCESS_TOKEN, "~/.kaggle/access_token.txt"),
    (LEGACY, {".kaggle/kaggle.json": FILE}, CredentialKind.API_KEY, "KAGGLE_USERNAME and KAGGLE_KEY"),
    ({}, {".kaggle/kaggle.json": FILE}, CredentialKind.API_KEY, "~/.kaggle/kaggle.json"),
    ({}, {".config/kaggle/kaggle.json": FILE}, CredentialKind.API_KEY, "~/.config/kaggle/kaggle.json"),
    (
        {},
        {".kaggle/credentials.json": '{"refresh_token": "r"}'},
        CredentialKind.OAUTH,
        "~/.kaggle/credentials.json",
    ),
]


@pytest.mark.parametrize(("environ", "files", "kind", "place"), FOUND)
def test_credentials_are_found_in_the_official_order(
    tmp_path: Path, environ: dict[str, str], files: dict[str, str], kind: CredentialKind, place: str
) -> None:
    """Kind and place are known; the secret is not part of the text."""
    found = find_credentials(environ, home_with(tmp_path, files))
    assert (found.kind, found.place) == (kind, place)
    assert "secret" not in repr(found)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_editors_are_read(tmp_path: Path, encoding: str) -> None:
    """They may begin with a byte order mark, and PowerShell's `>` writes UTF-16."""
    folder = tmp_path / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text(FILE, encoding=encoding)
    found = find_credentials({}, tmp_path)
    assert (found.username, found.secret) == ("omar", "f")
    (folder / "access_token").write_text("token\n", encoding=encoding)
    assert find_credentials({}, tmp_path).secret == "token"


def test_the_folder_of_the_key_file_can_be_moved(tmp_path: Path) -> None:
    """KAGGLE_CONFIG_DIR is respected."""
    home_with(tmp_path / "there", {"kaggle.json": FILE})
    environ = {"KAGGLE_CONFIG_DIR": str(tmp_path / "there")}
    assert find_credentials(environ, tmp_path / "home").username == "omar"
    assert known_username(environ, tmp_path / "home") == "omar"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {".kaggle/kaggle.json": "{torn"},
        {".kaggle/kaggle.json": "[]"},
        {".kaggle/kaggle.json": '{"username": "omar"}'},
        {".kaggle/access_token": "  \n"},
        {".kaggle/credentials.json": "{}"},
    ],
)
@pytest.mark.parametrize("environ", [{}, {"KAGGLE_USERNAME": "asha"}, {"KAGGLE_KEY": "k"}])
def test_no_credentials_is_a_sentence(tmp_path: Path, environ: dict[str, str], files: dict[str, str]) -> None:
    """If they are missing, incomplete or damaged, the error says where to get them."""
    with pytest.raises(CredentialsError, match="No Kaggle credentials were found") as caught:
        find_credentials(environ, home_with(tmp_path, files))
    assert "https://www.kaggle.com/settings/api" in (caught.value.hint or "")
    assert caught.value.exit_code == 3


@pytest.mark.posix  # Windows has other rights than these.
def test_a_key_file_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    """The doctor warns of it."""
    home = home_with(tmp_path, {".kaggle/kaggle.json": FILE})
    (home / ".kaggle/kaggle.json").chmod(0o644)
    assert find_credentials({}, home).exposed
    (home / ".kaggle/kaggle.json").chmod(0o600)
    assert not find_credentials({}, home).exposed


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", KAGGLE_URL),
        ("  ", KAGGLE_URL),
        ("http://127.0.0.1:7788", "http://127.0.0.1:7788"),
        ("http://localhost:7788/", "http://localhost:7788"),
        ("http://[::1]:7788", "http://[::1]:7788"),
        ("https://kaggle.example", "https://kaggle.example"),
    ],
)
def test_the_service_is_kaggle_or_what_the_variable_says(text: str, url: str) -> None:
    """Https is allowed anywhere, plain http only on this machine."""
    assert service_url({"KGTTS_KAGGLE_URL": text}) == url


ELSEWHERE = [
    "http://kaggle.example",
    "ftp://127.0.0.1",
    "127.0.0.1:7788",
    "http://",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.1@evil.example",
    "x",
]


@pytest.mark.parametrize("text", ELSEWHERE)
def test_credentials_are_sent_nowhere_else(text: str) -> None:
    """Any other address is a usage error."""
    with pytest.raises(UsageError, match="not an address that kgtts sends credentials to"):
        service_url({"KGTTS_KAGGLE_URL": text})


def test_a_key_logs_in(emulator: Emulator) -> None:
    """Username and key from the environment work."""
    client = connect()
    assert (client.username, client.service) == (USER, emulator.url)
    assert list(client.my_kernels()) == []
    client.close()


@pytest.mark.parametrize("as_file", [False, True])
def test_a_token_logs_in_and_is_asked_whose_it_is(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, as_file: bool
) -> None:
    """The token may be in the variable, or in a file that it names."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text(f"{KEY}\n")
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(tmp_path / "token") if as_file else KEY)
    client = connect()
    assert client.username == USER
    assert list(client.my_kernels()) == []
    client.close()


def test_a_wrong_token_is_a_sentence(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kaggle does not know its owner, and the error says so."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", "wrong")
    client = connect()
    with pytest.raises(CredentialsError, match="does not accept the access token"):
        _ = client.username
    with pytest.raises(CredentialsError, match="401"):
        client.my_kernels()
    client.close()


def test_every_login_uses_its_own_credentials(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two logins in one process do not use each other's credentials."""
    good = connect()
    monkeypatch.setenv("KAGGLE_KEY", "another-made-up-key")
    bad = connect()
    with pytest.raises(CredentialsError):
        bad.my_kernels()
    assert list(good.my_kernels()) == []
    given = connect(login=(USER, KEY))
    assert list(given.my_kernels()) == []
    for client in (good, bad, given):
        client.close()


def test_a_given_login_is_used_although_the_environment_has_a_token(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo never sends a person's own token to its emulator."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", "a-real-token-of-the-person")
    client = connect(login=(USER, KEY))
    assert list(client.my_kernels()) == []
    client.close()


def test_a_netrc_file_is_not_used(emulator: Emulator, workplace: Path) -> None:
    """Requests would use it where nothing else is given; kgtts does not."""
    (Path.home() / ".netrc").write_text("machine 127.0.0.1 login asha password wrong\n")
    (Path.home() / ".netrc").chmod(0o600)
    client = connect()
    assert list(client.my_kernels()) == []
    client.close()


def test_variables_that_make_the_official_client_talk_are_harmless(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One makes the client print requests with credentials, another changes its address; both are ignored."""
    monkeypatch.setenv("VERBOSE", "true")
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    client = connect()
    assert list(client.my_kernels()) == []
    client.close()
    assert capsys.readouterr().out == ""


def store_oauth(monkeypatch: pytest.MonkeyPatch, stored: dict[str, object]) -> None:
    """Write only what `kaggle auth login` writes."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    home_with(Path.home(), {".kaggle/credentials.json": json.dumps(stored)})


def test_an_oauth_login_is_used_while_it_lasts(
    emulator: Emulator, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored access token logs in, with the account's name."""
    expires = "2999-01-01T00:00:00+00:00"
    stored = {"refresh_token": "r", "access_token": KEY, "access_token_expiration": expires, "username": USER}
    store_oauth(monkeypatch, {**stored, "scopes": ["*"]})
    client = connect()
    assert client.username == USER
    with pytest.raises(ForbiddenError):
        client.kernel(KernelRef(USER, "none-such"))
    client.close()


def test_a_torn_oauth_login_is_a_sentence(
    emulator: Emulator, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incomplete file is an error."""
    store_oauth(monkeypatch, {"refresh_token": "r"})
    client = connect()
    with pytest.raises(CredentialsError, match="renew the login") as caught:
        client.my_kernels()
    assert "kaggle auth login" in (caught.value.hint or "")
    client.close()

"""A whole run, and the ways in which it can fail: no secret is in anything that was printed or written."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestrator.emulator import Emulator
from tests.altered import altered
from tests.cli.conftest import wait_for_end
from tests.support import KEY, USER, Cli

FIRST = f"{USER}/bangla-tts-a"
MIDDLE = len(KEY) // 2
PIECES = (KEY[:MIDDLE], KEY[MIDDLE:])  # Of a token that is broken in the middle.
PROXY_PASSWORD = "made-up-password-of-a-proxy"
FORMS = (
    KEY,
    *PIECES,
    quote(KEY, safe="~"),
    base64.b64encode(f"{USER}:{KEY}".encode()).decode(),
    PROXY_PASSWORD,
    "X-Goog-Signature=",
    "X-Goog-Credential=",
)
ROUND = (
    ["-v", "doctor"],
    ["-v", "push"],
    ["-v", "status"],
    ["status", "--json"],
    ["-v", "sync"],
    ["-v", "watch"],
    ["logs"],
    ["-v", "pull", FIRST, "--all"],
    ["report", FIRST],
    ["metrics", FIRST],
    ["list"],
    ["list", "--all", "--json"],
    ["quota"],
    ["config", "show"],
    ["open", "--print"],
)


def searched(folder: Path) -> list[Path]:
    """Every file of the project, the home, the data folder and GitHub's files; not what the emulator keeps."""
    kept = folder / "kaggle"
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(kept)]


def assert_no_secret(said: str, folder: Path, *, where_it_is_stored: tuple[Path, ...] = ()) -> None:
    """Search what was printed and written."""
    for form in FORMS:
        assert form not in said, form
    for path in searched(folder):
        if path not in where_it_is_stored:
            content = path.read_bytes()
            for form in FORMS:
                assert form.encode() not in content, (form, path)


@pytest.fixture
def github(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make this a step of GitHub Actions."""

    def enter() -> None:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(workplace / "summary.md"))
        monkeypatch.setenv("GITHUB_OUTPUT", str(workplace / "output.txt"))

    return enter


def use_token(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Leave the token as the only credentials."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)


@pytest.mark.parametrize("around", ["{}", " {}\r\n", "\ufeff{}\n", "\u200b{}\u00a0"])
def test_a_whole_run(
    cli: Cli,
    account: Emulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    github: Callable[[], None],
    around: str,
) -> None:
    """With a token, whatever was pasted along with it, here and in an Action."""
    use_token(monkeypatch, around.format(KEY))
    monkeypatch.setenv("HTTPS_PROXY", f"http://asha:{PROXY_PASSWORD}@127.0.0.1:9")
    if around != "{}":
        github()
    said = ""
    for arguments in ROUND:
        result = cli(*arguments)
        said += result.said
        assert result.code == 0, (arguments, result.said)
        if arguments[-1] == "push":
            wait_for_end(account)
    assert "asha/bangla-tts-a/1" in said
    assert_no_secret(said, workplace.parent)


FAILING: tuple[tuple[int, bytes], ...] = (
    (401, b'{"code": 401, "message": "The token TOKEN is not valid"}'),
    (403, b'{"error": {"code": 403, "message": "TOKEN may not", "status": "PERMISSION_DENIED"}}'),
    (400, b'{"error": {"code": 400, "message": "Bearer TOKEN", "status": "INVALID_ARGUMENT"}}'),
    (500, b"<html>TOKEN</html>"),
    (200, b'{"error": "TOKEN", "status": "TOKEN", "kernels": "TOKEN", "datasetFiles": "TOKEN"}'),
    (
        200,
        b'{"metadata": {"ref": "TOKEN", "title": "TOKEN"}, "blob": {"source": "TOKEN"}, "status": "TOKEN"}',
    ),
    (200, b"TOKEN"),
)


@pytest.mark.parametrize("debug", [False, True])
def test_every_failure(
    cli: Cli,
    account: Emulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    github: Callable[[], None],
    *,
    debug: bool,
) -> None:
    """A server that sends the token back in each of its answers, with tracebacks, and in an Action."""
    use_token(monkeypatch, f"{KEY}\n")
    if debug:
        monkeypatch.setenv("KGTTS_DEBUG", "1")
    said = ""
    with altered(account.url) as plan:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", plan.url)
        for in_actions in (False, True):
            if in_actions:
                github()
            for status, body in FAILING:
                answer = (status, body.replace(b"TOKEN", KEY.encode()))
                for method in ("*", "SaveKernel", "GetKernel"):
                    plan.answers = {method: answer}
                    for arguments in (
                        ["-v", "push"],
                        ["-v", "sync"],
                        ["status"],
                        ["doctor"],
                        ["list", "--all"],
                    ):
                        if method == "*" or arguments[-1] in ("push", "sync"):
                            said += cli(*arguments).said
    assert "Error: " in said
    assert "::error title=kgtts::" in said
    assert ("Traceback (most recent call last)" in said) is debug
    assert_no_secret(said, workplace.parent)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("middle", ["\n", "\r\n", " ", "\t", "\u200b", "\x00"])
def test_a_token_that_is_broken_in_the_middle(
    cli: Cli,
    account: Emulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    github: Callable[[], None],
    middle: str,
    *,
    debug: bool,
) -> None:
    """In a file, as a variable cannot hold every character; here and in an Action."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    token = Path.home() / ".kaggle" / "access_token"
    token.parent.mkdir()
    token.write_bytes(middle.join(PIECES).encode())
    if debug:
        monkeypatch.setenv("KGTTS_DEBUG", "1")
    said = ""
    for in_actions in (False, True):
        if in_actions:
            github()
        for command in ("push", "sync", "status", "doctor", "quota"):
            result = cli("-v", command)
            assert result.code == 3, result.said
            said += result.said
    assert "cannot be right" in said
    assert_no_secret(said, workplace.parent, where_it_is_stored=(token,))


@pytest.mark.parametrize("what", ["storage", "redirect"])
def test_signed_urls_of_a_storage_that_fails(
    cli: Cli,
    account: Emulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    github: Callable[[], None],
    what: str,
) -> None:
    """Retries and failures of downloads name the file, never its address."""
    assert cli("push").code == 0
    wait_for_end(account)
    use_token(monkeypatch, KEY)
    monkeypatch.setenv("KGTTS_DEBUG", "1")
    github()
    signed = "http://127.0.0.1:9/x?X-Goog-Credential=a&X-Goog-Signature=5ec4e7"
    said = ""
    with altered(account.url) as plan:
        monkeypatch.setenv("KGTTS_KAGGLE_URL", plan.url)
        if what == "storage":
            files = [
                {"fileName": "state.json", "url": signed},
                {"fileName": "a", "url": signed.replace("9/", "x/")},
            ]
            plan.answers["ListKernelSessionOutput"] = (200, json.dumps({"files": files}).encode())
        else:
            plan.redirects["DownloadKernelOutput"] = signed
        for arguments in (["-v", "pull", FIRST, "--all"], ["-v", "sync"], ["-v", "status"]):
            said += cli(*arguments).said
    assert said
    assert "5ec4e7" not in said
    assert_no_secret(said, workplace.parent)

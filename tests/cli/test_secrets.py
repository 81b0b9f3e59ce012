"""A whole run, and the ways in which it can fail: nothing that is printed or written has a secret."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestrator.emulator import Emulator
from tests.altered import altered
from tests.cli.conftest import wait_for_end
from tests.kaggle.test_oauth import log_in
from tests.support import KEY, USER, Cli

FIRST = f"{USER}/bangla-tts-a"
PIECES = ("kgat-first-half-7Qm2", "second-half-Zx81-of-it")  # Of a token that is broken in the middle.
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
    """Return every file of the project, the home, the data folder and GitHub, without the emulator's."""
    kept = folder / "kaggle"
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(kept)]


def assert_no_secret(
    said: str, folder: Path, forms: Sequence[str] = FORMS, *, where_it_is_stored: tuple[Path, ...] = ()
) -> None:
    """Search what was printed and written."""
    for form in forms:
        assert form not in said, form
    for path in searched(folder):
        if path not in where_it_is_stored:
            content = path.read_bytes()
            for form in forms:
                assert form.encode() not in content, (form, path)


@dataclass(frozen=True)
class Scene:
    """An account, kgtts beside it, and the environment of both."""

    cli: Cli
    account: Emulator
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def enter_actions(self) -> None:
        """Continue as a step of GitHub Actions."""
        self.monkeypatch.setenv("GITHUB_ACTIONS", "true")
        self.monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(self.folder / "summary.md"))
        self.monkeypatch.setenv("GITHUB_OUTPUT", str(self.folder / "output.txt"))

    def use_token(self, token: str | None) -> None:
        """Use the token as the only credentials; with None, those of files."""
        for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
            self.monkeypatch.delenv(name, raising=False)
        if token is not None:
            self.monkeypatch.setenv("KAGGLE_API_TOKEN", token)


@pytest.fixture
def scene(cli: Cli, account: Emulator, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The account of the command line's tests."""
    return Scene(cli, account, workplace.parent, monkeypatch)


def token(scene: Scene) -> tuple[str, ...]:
    """Log in with a token, pasted with white space."""
    scene.use_token(f" {KEY}\r\n")
    return ()


def plain_token(scene: Scene) -> tuple[str, ...]:
    """Log in with a token, beside credentials that are not used."""
    folder = Path.home() / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text(
        '\ufeff{"username": "x", "key": " unused-key-of-x1\\n"}', encoding="utf-8"
    )
    scene.use_token(KEY)
    return ("unused-key-of-x1",)


def key(scene: Scene) -> tuple[str, ...]:
    """Log in with user name and key, pasted with invisible characters."""
    scene.monkeypatch.setenv("KAGGLE_KEY", f"\ufeff{KEY}\n\u200b")
    return ()


def login(scene: Scene) -> tuple[str, ...]:
    """Log in as `kaggle auth login` does; the access token has expired."""
    scene.use_token(None)
    access = log_in(scene.account, scene.monkeypatch, expires_in_s=-60)
    return (access, scene.account.server.authenticator.refresh_token)


@pytest.mark.parametrize("way", [plain_token, token, key, login], ids=lambda way: way.__name__)
def test_a_whole_run(scene: Scene, way: Callable[[Scene], tuple[str, ...]]) -> None:
    """The secrets of a login, with what was pasted along, appear nowhere, here and in an Action."""
    secrets = way(scene)
    scene.monkeypatch.setenv("HTTPS_PROXY", f"http://asha:{PROXY_PASSWORD}@127.0.0.1:9")
    if way is not plain_token:
        scene.enter_actions()
    said = ""
    for arguments in ROUND:
        result = scene.cli(*arguments)
        said += result.said
        assert result.code == 0, (arguments, result.said)
        if arguments[-1] == "push":
            wait_for_end(scene.account)
    assert "asha/bangla-tts-a/1" in said
    files = tuple((Path.home() / ".kaggle").glob("*"))
    if way is login:
        secrets = (*secrets, json.loads(files[0].read_text(encoding="utf-8"))["access_token"])
    assert_no_secret(said, scene.folder, (*FORMS, *secrets), where_it_is_stored=files)


FAILING: tuple[tuple[int, bytes], ...] = (
    (401, b'{"code": 401, "message": "The token TOKEN is not valid"}'),
    (403, b'{"error": {"code": 403, "message": "TOKEN may not", "status": "PERMISSION_DENIED"}}'),
    (400, b'{"error": {"code": 400, "message": "Bearer TOKEN", "status": "INVALID_ARGUMENT"}}'),
    (500, b"<html>TOKEN</html>"),
    (200, b'{"error": "TOKEN", "status": "TOKEN", "kernels": "TOKEN", "datasetFiles": "TOKEN"}'),
    (
        200,
        b'{"metadata": {"ref": "TOKEN", "title": "TOKEN"}, "blob": {"source": "TOKEN"}}',
    ),
    (200, b"TOKEN"),
)


@pytest.mark.parametrize("debug", [False, True])
def test_every_failure(
    scene: Scene,
    *,
    debug: bool,
) -> None:
    """A server that returns the token in each answer does not make it visible, also in an Action."""
    scene.use_token(f"{KEY}\n")
    if debug:
        scene.monkeypatch.setenv("KGTTS_DEBUG", "1")
    said = ""
    with altered(scene.account.url) as plan:
        scene.monkeypatch.setenv("KGTTS_KAGGLE_URL", plan.url)
        for in_actions in (False, True):
            if in_actions:
                scene.enter_actions()
            for status, body in FAILING:
                answer = (status, body.replace(b"TOKEN", KEY.encode()))
                for method in ("*", "SaveKernel", "GetKernel"):
                    plan.answers = {method: answer}
                    more = ("status", "doctor", "quota") if method == "*" else ()
                    for command in ("push", "sync", *more):
                        said += scene.cli("-v", command).said
    assert "Error: " in said
    assert "::error title=kgtts::" in said
    assert ("Traceback (most recent call last)" in said) is debug
    assert_no_secret(said, scene.folder)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("middle", ["\n", "\r\n", " ", "\t", "\u200b", "\x00"])
def test_a_token_that_is_broken_in_the_middle(
    scene: Scene,
    middle: str,
    *,
    debug: bool,
) -> None:
    """A token with a line break in a file appears nowhere, here and in an Action."""
    scene.use_token(None)
    token = Path.home() / ".kaggle" / "access_token"
    token.parent.mkdir()
    token.write_bytes(middle.join(PIECES).encode())
    if debug:
        scene.monkeypatch.setenv("KGTTS_DEBUG", "1")
    said = ""
    for in_actions in (False, True):
        if in_actions:
            scene.enter_actions()
        for command in ("push", "sync", "status", "doctor", "quota"):
            result = scene.cli("-v", command)
            assert result.code == 3, result.said
            said += result.said
    assert "cannot be right" in said
    assert_no_secret(said, scene.folder, where_it_is_stored=(token,))


@pytest.mark.parametrize("what", ["storage", "redirect"])
def test_signed_urls_of_a_storage_that_fails(
    trained: Emulator,
    scene: Scene,
    what: str,
) -> None:
    """Retries and failures of downloads name the file, never its URL."""
    scene.use_token(KEY)
    scene.monkeypatch.setenv("KGTTS_DEBUG", "1")
    scene.enter_actions()
    query = "?X-Goog-Credential=a&X-Goog-Signature=5ec4e7"
    signed, said = f"http://127.0.0.1:x/{query}", ""
    with altered(scene.account.url) as plan:
        scene.monkeypatch.setenv("KGTTS_KAGGLE_URL", plan.url)
        if what == "storage":
            plan.answers["gone"] = (404, b"")
            files = [{"fileName": "a", "url": signed}, {"fileName": "b", "url": f"{plan.url}/gone{query}"}]
            plan.answers["ListKernelSessionOutput"] = (200, json.dumps({"files": files}).encode())
        else:
            plan.redirects["DownloadKernelOutput"] = signed
        for arguments in (["-v", "pull", FIRST, "--all"], ["-v", "sync"], ["-v", "status"]):
            said += scene.cli(*arguments).said
    assert said
    assert "5ec4e7" not in said
    assert_no_secret(said, scene.folder)

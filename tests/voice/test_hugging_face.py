"""Publishing on Hugging Face, through its own client to a small hub."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    NotFoundError,
    RefusedError,
    ServiceError,
    UsageError,
)
from orchestrator.voice.hugging_face import HuggingFace
from orchestrator.voice.package import Package, open_package, write_package
from tests.fakes.hub import TOKEN, Hub, serving

pytest.importorskip("huggingface_hub")
# Version 2.4 of the client sends files in a way that its HTTP library would rather have otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "asha/bangla-voice"
HEADER = b'---\nlicense: "mit"\n---\n'
FILES = {
    "voice.json": b"{}",
    "voice.onnx": b"weights" * 2000,
    "README.md": HEADER + b"# Asha\n",
    "samples/01.wav": b"RIFF one",
    "samples/02.wav": b"RIFF two",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub; the client sends by Git LFS, as it does where hf-xet is not installed, and never waits."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)
    with serving() as found:
        yield found


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Package]:
    """A package."""
    write_package(tmp_path / "voice.zip", FILES)
    with open_package(tmp_path / "voice.zip") as found:
        yield found


def login(hub: Hub, token: str = TOKEN) -> HuggingFace:
    """Log in at the hub."""
    return HuggingFace({"HF_TOKEN": f"{token}\n", "HF_ENDPOINT": f"{hub.url}/"})


def publish(hub: Hub, package: Package, **options: Any) -> str:
    """Plan and publish."""
    service = login(hub)
    return service.publish(package, service.plan(package, REPO, **options))


def test_a_package_is_published_once(hub: Hub, package: Package) -> None:
    """A private repository has every file of it; the second time nothing is sent and nothing committed."""
    head = publish(hub, package)
    place = hub.repositories[REPO]
    assert place.private
    assert place.commits[-1] == head
    there = hub.content(REPO)
    assert {name: there[name] for name in package.paths} == {
        name: path.read_bytes() for name, path in package.paths.items()
    }
    sent, commits = list(hub.sent), list(place.commits)
    assert login(hub).plan(package, REPO).is_current
    assert publish(hub, package) == head
    assert (hub.sent, place.commits) == (sent, commits)


def test_a_new_version_sends_what_differs(hub: Hub, package: Package, tmp_path: Path) -> None:
    """What is gone from the package goes, what somebody added stays, and so does what people see."""
    publish(hub, package, public=True)
    hub.commit(REPO, **{"my notes.md": b"mine"})
    sent = len(hub.sent)
    files = {**FILES, "README.md": HEADER + b"# Asha 2\n", "bangla.fst": b"rules" * 300}
    del files["samples/02.wav"]
    write_package(tmp_path / "new.zip", files)
    with open_package(tmp_path / "new.zip") as new:
        plan = login(hub).plan(new, REPO)
        assert plan.upload == ("README.md", "SHA256SUMS", "bangla.fst")
        assert (plan.remove, plan.is_private) == (("samples/02.wav",), False)
        publish(hub, new)
    assert len(hub.sent) == sent + 1
    names = {".gitattributes", "my notes.md", *files, "SHA256SUMS"}
    assert set(hub.content(REPO)) == names


@pytest.mark.parametrize("parts", [None, 3000], ids=["whole", "in parts"])
def test_a_broken_upload_goes_on(hub: Hub, package: Package, parts: int | None) -> None:
    """What arrived before the break is not sent again, and there is one commit."""
    hub.multipart = parts
    hub.faults = [("POST", "/commit/", 400)]
    with pytest.raises(RefusedError):
        publish(hub, package)
    sent = sorted(hub.sent)
    assert len(sent) == 3
    assert len(hub.repositories[REPO].commits) == 1
    publish(hub, package)
    assert sorted(hub.sent) == sent
    assert len(hub.repositories[REPO].commits) == 2


def test_a_fault_that_passes_is_no_matter(hub: Hub, package: Package) -> None:
    """The client tries again by itself what may be repeated."""
    hub.faults = [("PUT", "/put/", 500), ("POST", "/objects/batch", 503), ("POST", "/preupload/", 429)]
    publish(hub, package)
    assert len(hub.sent) == 3


def test_a_lost_answer_is_looked_for(hub: Hub, package: Package) -> None:
    """If the commit was made, the publication is done."""

    def lose(call: str) -> None:
        if "/commit/" in call and not hub.repositories[REPO].files.get("README.md"):
            place = hub.repositories[REPO]
            for name, path in package.paths.items():
                place.files[name] = ("lfs", path.read_bytes())
            hub.commit(REPO)
            hub.faults = [("POST", "/commit/", 502)]

    hub.before = lose
    assert publish(hub, package) == hub.repositories[REPO].commits[-1]
    assert len(hub.repositories[REPO].commits) == 2


def test_of_two_at_once_one_is_refused(hub: Hub, package: Package) -> None:
    """Whoever comes second is told, and the same command then adds to what is there now."""
    publish(hub, package)
    hub.commit(REPO, **{"README.md": b"---\n---\nmine"})
    service = login(hub)
    stale = service.plan(package, REPO)
    hub.commit(REPO, **{"LICENSE.txt": b"another's"})
    with pytest.raises(RefusedError, match="changed meanwhile"):
        service.publish(package, stale)
    head = publish(hub, package)
    assert hub.repositories[REPO].commits[-1] == head


@pytest.mark.parametrize(
    ("where", "status", "kind"),
    [
        ("/api/models/", 401, NotFoundError),
        ("/api/models/", 403, ForbiddenError),
        ("/api/models/", 429, ServiceError),
        ("/api/models/", 500, ServiceError),
        ("/api/repos/create", 401, CredentialsError),
        ("/api/repos/create", 403, ForbiddenError),
        ("/api/repos/create", 500, ServiceError),
        ("/commit/", 403, ForbiddenError),
        ("/commit/", 409, RefusedError),
        ("/commit/", 429, ServiceError),
        ("/commit/", 500, ServiceError),
        ("/preupload/", 403, ForbiddenError),
        ("/objects/batch", 403, ForbiddenError),
        ("/put/", 403, ForbiddenError),
        ("/put/", 400, RefusedError),
    ],
)
def test_each_answer_is_an_error_of_its_kind(
    hub: Hub, package: Package, where: str, status: int, kind: type[KgttsError]
) -> None:
    """With a sentence, and without the token, even if the answer has it."""
    method = "PUT" if where == "/put/" else "GET" if where == "/api/models/" else "POST"
    hub.faults = [(method, where, status)] * 9
    if kind is NotFoundError:  # So the service says of what is not there; creating it is then refused.
        hub.faults += [("POST", "/api/repos/create", 401)]
        kind = CredentialsError
    with pytest.raises(kind) as caught:
        publish(hub, package)
    told = f"{caught.value.message} {caught.value.hint} {caught.value.__cause__}"
    assert TOKEN not in told
    assert caught.value.message.isprintable()
    assert REPO in told or "login" in told


def test_a_wrong_token_is_told(hub: Hub, package: Package) -> None:
    """With what to do; and without any, nothing is called."""
    with pytest.raises(CredentialsError, match="does not accept the token"):
        login(hub, "hf_another_token_of_the_same_length_x").plan(package, REPO)
    calls = len(hub.calls)
    with pytest.raises(CredentialsError, match="no login"):
        HuggingFace({"HF_ENDPOINT": hub.url})
    assert len(hub.calls) == calls


@pytest.mark.parametrize(
    "name", ["voice", "a/b/c", "../x", "asha/..", "asha/a--b", "asha/x?y", "https://x/y", ""]
)
def test_names_are_checked_first(hub: Hub, package: Package, name: str) -> None:
    """No call is made for what is no name."""
    with pytest.raises(UsageError, match="OWNER/NAME"):
        login(hub).plan(package, name)
    assert not hub.calls


def test_a_service_that_is_away(package: Package) -> None:
    """There is a sentence, and the address is not in it."""
    service = HuggingFace({"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"})
    with pytest.raises(ServiceError, match="could not be reached"):
        service.plan(package, REPO)


def test_secrets_are_nowhere(hub: Hub, package: Package, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither in the log, nor in what is printed, nor in what is published."""
    kept = io.StringIO()
    handler = logging.StreamHandler(kept)
    logging.getLogger().addHandler(handler)
    try:
        publish(hub, package)
    finally:
        logging.getLogger().removeHandler(handler)
    printed = capfd.readouterr()
    assert TOKEN not in kept.getvalue() + printed.out + printed.err
    assert not any(TOKEN.encode() in data for data in hub.content(REPO).values())

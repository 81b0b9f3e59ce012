"""Kaggle's own words reach the user in any form, with what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator import Emulator
from orchestrator.errors import (
    ForbiddenError,
    KgttsError,
    NotFoundError,
    OddAnswerError,
    RefusedError,
    ServiceError,
    UsageError,
)
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import KernelRef
from tests.kaggle.helpers import KERNEL, answering, small_push
from tests.support import KEY, USER

Start = Callable[..., Emulator]
CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "api-errors.jsonl").read_text(encoding="utf-8").splitlines()
]
KINDS: dict[int, type[KgttsError]] = {
    200: OddAnswerError,
    400: RefusedError,
    403: ForbiddenError,
    404: NotFoundError,
    502: ServiceError,
}


def client_of(url: str, monkeypatch: pytest.MonkeyPatch) -> KaggleClient:
    """Return a client of a server."""
    monkeypatch.setenv("KGTTS_KAGGLE_URL", url)
    return connect(login=(USER, KEY))


@pytest.mark.parametrize("case", CASES, ids=[f"{case['status']}-{n}" for n, case in enumerate(CASES)])
def test_answers_that_others_have_seen(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]
) -> None:
    """Nested, flat, JSON, HTML and `{}` answers give the right error with Kaggle's words."""
    body = case["body"]
    sent = body if isinstance(body, str) else json.dumps(body)
    words = "" if isinstance(body, str) else body.get("error", body).get("message", "")
    with answering(case["type"], sent.encode(), case["status"]) as url:
        client = client_of(url, monkeypatch)
        for call in (lambda: client.session_status(KERNEL), lambda: client.push(small_push())):
            with pytest.raises(KgttsError) as caught:
                call()
            assert type(caught.value) is KINDS[case["status"]]
            assert words in caught.value.message
            assert not words or "Kaggle says: " in caught.value.message
        client.close()


REFUSALS = [
    (403, "Phone verification is required to use internet.", "verify the phone number"),
    (403, "Permission 'kernels.save' was denied", "kernel.internet = false"),
    (403, "Internet access is not allowed", "kernel.internet = false"),
    (404, "Notebook not found", "another kernel.slug"),
    (400, "Notebook not found", "another kernel.slug"),
    (400, "'NvidiaTeslaX9' is not a valid machine shape", "kernel.accelerator"),
    (400, "The kernel source must be less than 1 megabytes in size.", "samples.sentences"),
    (400, "Maximum batch GPU session count of 2 reached.", "kgtts stop"),
    (400, "Maximum weekly GPU quota of 30.00 hours reached.", "kgtts quota"),
    (400, "You do not have permission to save a kernel for another user.", "kgtts doctor"),
    (400, "Title must be at least five characters", "kernel.title"),
    (400, "Something new.", "kgtts.toml"),
]
WAYS: dict[str, Callable[[int, str], tuple[int, dict[str, Any]]]] = {
    "nested": lambda code, words: (code, {"error": {"code": code, "message": words, "status": "X"}}),
    "flat": lambda code, words: (code, {"code": code, "message": words}),
    "nested in a 200": lambda code, words: (200, {"error": {"code": code, "message": words}}),
    "flat in a 200": lambda code, words: (200, {"code": code, "message": words}),
    "error of a 200": lambda _code, words: (200, {"error": words}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_push_tells_what_to_do(workplace: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Phone, internet, accelerator, a deleted kernel's name, size, sessions, quota and title have hints."""
    for code, words, hint in REFUSALS:
        if (code, way) == (403, "error of a 200") and "Permission" in words:
            continue  # Only the status 403 tells that the phone may be the reason.
        status, body = WAYS[way](code, words)
        with answering("application/json", json.dumps(body).encode(), status) as url:
            client = client_of(url, monkeypatch)
            with pytest.raises(RefusedError) as caught:
                client.push(small_push())
            assert words in caught.value.message
            assert hint in (caught.value.hint or "")
            client.close()


def test_a_conflict_of_a_push_may_pass(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends no watch: an editor of the kernel that is open somewhere has been the reason."""
    body = {"error": {"code": 409, "message": "Conflict", "status": "ALREADY_EXISTS"}}
    with answering("application/json", json.dumps(body).encode(), 409) as url:
        client = client_of(url, monkeypatch)
        with pytest.raises(ServiceError, match=r"open editor.* Kaggle says: Conflict") as caught:
            client.push(small_push())
        assert "kernel.slug" in (caught.value.hint or "")
        with pytest.raises(RefusedError, match=r"refused \(409\)"):
            client.session_status(KERNEL)
        client.close()


@pytest.mark.parametrize("nested", [False, True])
def test_an_account_without_a_verified_phone(
    start_emulator: Start, monkeypatch: pytest.MonkeyPatch, *, nested: bool
) -> None:
    """The message repeats what the service's 403 says."""
    started = start_emulator(phone_verified=False, nested_errors=nested)
    client = client_of(started.url, monkeypatch)
    with pytest.raises(ForbiddenError, match=r"Kaggle says: .*hone verification") as caught:
        client.push(small_push())
    assert "https://www.kaggle.com/settings" in (caught.value.hint or "")
    assert "kernel.internet = false" in (caught.value.hint or "")
    client.push(small_push(internet=False))
    client.close()


@pytest.mark.parametrize("words", ["", "null", "[]", "[1]", '{"error": null}', '{"code": "x"}', "<html>"])
def test_a_failure_without_words_keeps_its_status(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Whatever the body is, a 403 stays a 403."""
    with answering("application/json", words.encode(), 403) as url:
        client = client_of(url, monkeypatch)
        with pytest.raises(ForbiddenError, match=r"\(403\)\.$"):
            client.session_status(KERNEL)
        client.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"title": "abcd"}, "title 'abcd'.*4 characters, and must have 5 to 50"),
        ({"title": "x" * 51}, "51 characters"),
        ({"ref": KernelRef(USER, "abcd"), "title": "abcde"}, "slug 'abcd'"),
        ({"ref": KernelRef(USER, "x" * 51), "title": "abcde"}, "51 characters"),
        ({"source": "#" * 1_000_000}, "1,000,000 bytes, and must have fewer"),
        ({"source": "আ" * 333_334}, "bytes, and must have fewer"),
    ],
)
def test_what_kaggle_would_not_take_is_not_sent(
    kaggle: KaggleClient, fields: dict[str, Any], words: str
) -> None:
    """Names outside 5 to 50 characters and sources of a megabyte are refused here."""
    with pytest.raises(UsageError, match=words) as caught:
        kaggle.push(small_push(**fields))
    assert "kgtts.toml" in (caught.value.hint or "")
    assert kaggle.calls == 0


def test_the_largest_and_longest_are_taken(kaggle: KaggleClient) -> None:
    """50 characters and one byte less than a megabyte are accepted."""
    source = "#" * (1_000_000 - len("\nprint(1)")) + "\nprint(1)"
    name = "x" * 50
    pushed = kaggle.push(small_push(source[1:], ref=KernelRef(USER, name), title=name))
    assert pushed.ref == KernelRef(USER, name, 1)

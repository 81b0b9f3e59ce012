"""Secrets are removed from texts in every form."""

import base64
import json
from urllib.parse import quote

import pytest

from orchestrator.scrubbing import Scrubber

SECRET = "kgat_0123456789-abcdef+/="


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"Invalid leading whitespace in header value: 'Bearer  {SECRET}'",
        repr({"Authorization": f"Bearer {SECRET}\n"}),
        json.dumps({"key": SECRET}),
        quote(SECRET, safe=""),
        f"https://asha:{SECRET}@proxy.example:8080/",
        "Authorization: Basic " + base64.b64encode(f"asha:{SECRET}".encode()).decode(),
        base64.b64encode(f"asha:{SECRET}".encode()).decode(),
    ],
)
def test_a_secret_is_found_in_every_form(text: str) -> None:
    """It is found plain, quoted, escaped, percent-encoded, and as HTTP sends it."""
    scrubber = Scrubber()
    scrubber.learn(SECRET, "asha")
    clean = scrubber.scrub(f"before {text} after")
    assert "***" in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")
    for form in (SECRET, quote(SECRET, safe=""), base64.b64encode(f"asha:{SECRET}".encode()).decode()):
        assert form not in clean


@pytest.mark.parametrize("odd", ["\n", "\r\n", "\t", " ", "\ufeff", "\u200b", "\x00"])
def test_white_space_in_a_secret_does_not_hide_it(odd: str) -> None:
    """The pieces around white space are removed, however it is written."""
    scrubber = Scrubber()
    first, second = "0123456789abcdef", "fedcba9876543210"
    scrubber.learn(f"{odd}{first}{odd}{second}{odd}")
    for text in (
        f"{first}{odd}{second}",
        repr(f"{first}{odd}{second}"),
        f"{first}{second}",
        f"{first}%0A{second}",
    ):
        clean = scrubber.scrub(text)
        assert first not in clean
        assert second not in clean


@pytest.mark.parametrize(
    "text",
    [
        "https://storage.googleapis.com/b/o?X-Goog-Algorithm=GOOG4&X-Goog-Signature=5ec4e7",
        "/storage/asha/x/1/f.pth?X-Goog-Expires=900&X-Goog-Signature=5ec4e7 (Caused by …)",
        "'https://s3.example/x?a=1&X-Amz-Signature=5ec4e7'",
        "https://storage.example/x?GoogleAccessId=a&Signature=5ec4e7",
        "https://storage.example/upload?name=x&upload_id=5ec4e7",
        "Bearer 5ec4e75ec4e7",
        "http://asha:5ec4e7@proxy.example:8080",
    ],
)
def test_what_is_secret_by_its_form_needs_no_learning(text: str) -> None:
    """Signed URLs, headers and proxies' passwords are known by their form."""
    assert "5ec4e7" not in Scrubber().scrub(text)
    assert "***" in Scrubber().scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://www.kaggle.com/code/asha/bangla-tts-a?scriptVersionId=5",
        "asha@example.com",
        "k",
        "",
        "Basic: an",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    """Unsigned URLs stay, and very short secrets do not remove ordinary text."""
    scrubber = Scrubber()
    scrubber.learn("k", "a")
    scrubber.learn("")
    assert scrubber.scrub(text) == text


def test_a_signed_url_is_found_in_pieces() -> None:
    """Its query and its signature are removed alone as well; dates and names are not."""
    scrubber = Scrubber()
    signature, token = "5ec4e7" * 11, "ya29." + "a1B2" * 10
    query = f"X-Goog-Date=20261127T070000Z&X-Goog-Expires=900&X-Goog-Signature={signature}&t={token}"
    scrubber.learn_url(f"https://storage.example/b/checkpoint_14.pth?{query}")
    for text in (query, f"signature {signature}", token, f"GET /b/checkpoint_14.pth?{query} HTTP/1.1"):
        clean = scrubber.scrub(text)
        assert "***" in clean
        assert signature not in clean
        assert token not in clean
    assert scrubber.scrub("checkpoint_14.pth at 20261127T070000Z") == "checkpoint_14.pth at 20261127T070000Z"


@pytest.mark.parametrize("url", ["", "https://storage.example/b", "https://storage.example/b?", "?a=b"])
def test_a_url_without_a_signature_teaches_nothing(url: str) -> None:
    """Otherwise ordinary text would be removed."""
    scrubber = Scrubber()
    scrubber.learn_url(url)
    assert scrubber.scrub("a=b and a long text about storage.example") == (
        "a=b and a long text about storage.example"
    )

"""Check Kaggle's answers when they come in: the SDK turns a missing field into a valid default.

`{}` would be a queued session, a push without a version, a dataset without files. What an answer must have
stands in `_NEEDED`; one that lacks it raises `AnswerError`, so that whatever it was about stays unknown.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus

from orchestrator import untrusted
from orchestrator.connections import HttpSession
from orchestrator.models import SessionState

_FAILED = 400
_MADE_OF_BYTES = (
    "DownloadKernelOutput",
    "DownloadDataset",
    "DownloadModelInstanceVersion",
    "",
)  # "": the live log, whose address has no method.
_STATES = {state.name for state in SessionState}
_DATASET_STATES = {state.name for state in DatabundleVersionStatus}
_LARGEST_ERROR = 1 << 20
_MOST_PAGES = 1000


class AnswerError(ValueError):
    """An answer that is not one of Kaggle's; the message completes "Kaggle's answer …"."""


class NoStateError(AnswerError):
    """An answer about a state that names none.

    The JSON of the protocol leaves out an enum's first word, which is QUEUED for a session: other tools take
    such an answer for it. But a broken server's `{}` looks the same, so another answer has to agree.
    """


class ApiSession(HttpSession):
    """A session whose answers are checked before the SDK reads them."""

    def send(self, request: Any, **kwargs: Any) -> requests.Response:
        """Send a request and check its answer.

        Raises:
            requests.HTTPError: Kaggle says that it failed, by its status or in the body.
            AnswerError: the answer is not one of Kaggle's.
            requests.RequestException: there is no answer.
        """
        answer: Any = super().send(request, **kwargs)
        if kwargs.get("allow_redirects", True):  # Else it is one step on the way to the answer.
            answer.body = check(_method(str(request.url)), answer)
        found: requests.Response = answer
        return found


def read_answer(kind: Any, answer: Any) -> Any:
    """Make the SDK's object of an answer that `ApiSession` checked.

    Replaces `_prepare_response` of the SDK, which would parse the JSON twice more: 1 MB for a kernel.
    """
    if kind is None:
        return None
    return kind.prepare_from(answer) if answer.body is None else kind.from_dict(answer.body)


def _method(url: str) -> str:
    """The API's method that a URL is about; "" for the live log."""
    path = urlsplit(url).path
    return "" if "/logs/stream/" in path else path.rpartition("/")[2]


def check(method: str, answer: requests.Response) -> Mapping[str, Any] | None:
    """Check an answer to `method`; return its JSON object, or None if it is made of bytes.

    Raises:
        requests.HTTPError: it says that the call failed.
        AnswerError: a field that it needs is missing or odd, or it is no JSON object.
    """
    if answer.status_code >= _FAILED:
        _ = answer.content  # Read it all: the connection is free again, and Kaggle's words are kept.
        raise requests.HTTPError(f"status {answer.status_code}", response=answer)
    if answer.status_code != requests.codes.ok:
        raise AnswerError(f"has the status {answer.status_code}, which kgtts does not expect here")
    if method in _MADE_OF_BYTES:
        return None
    if "html" in answer.headers.get("Content-Type", "").lower():
        raise AnswerError("is a web page: a login page of this network, or of a proxy")
    body = untrusted.json_object(answer.content, 1 << 30)
    if body is None:
        raise AnswerError("is not a JSON object")
    if failure_in(body)[0] >= _FAILED:
        raise requests.HTTPError("a failure in an answer", response=answer)
    needed = _NEEDED.get(method)
    if needed is not None:
        needed(body)
    return body


def failure_in(body: Mapping[str, Any]) -> tuple[int, str]:
    """Return the status and the words of an error's body, nested (api.kaggle.com) or flat (www.kaggle.com).

    The status is 0 if the body has none, the words are "".
    """
    nested = body.get("error")
    error = nested if isinstance(nested, dict) else body
    words = untrusted.text(error.get("message"), 300) or ""
    return untrusted.count(error.get("code"), 999) or 0, words


def failure_of(answer: requests.Response | None) -> tuple[int, str]:
    """Return the status of a failed call, and Kaggle's words about it as one line, or ""."""
    if answer is None:
        return 0, ""
    body = untrusted.json_object(answer.content, _LARGEST_ERROR) or {}
    code, words = failure_in(body)
    return (answer.status_code if answer.status_code >= _FAILED else code), words


def _status_of(words: set[str]) -> Callable[[Mapping[str, Any]], None]:
    """A check of an answer whose `status` is one of these words."""

    def check_status(body: Mapping[str, Any]) -> None:
        if "status" not in body:
            raise NoStateError("has no status")
        _known_word(body, "status", words)

    return check_status


def _kernel(body: Mapping[str, Any]) -> None:
    _filled(_object(body, "metadata"), "ref")
    _filled(_object(body, "blob"), "source")


def _saved(body: Mapping[str, Any]) -> None:
    if body.get("error"):
        return  # It was refused, which is an answer.
    if not untrusted.count(body.get("versionNumber"), 10**9):
        raise AnswerError("does not say which version the push became")


def _made(body: Mapping[str, Any]) -> None:
    if not body.get("error") and not untrusted.count(body.get("id"), 1 << 53):
        raise AnswerError("does not say what was made")


def _metadata(body: Mapping[str, Any]) -> None:
    if not body.get("errorMessage"):
        _filled(_object(body, "info"), "title")


def _quota(body: Mapping[str, Any]) -> None:
    if not body:
        raise AnswerError("says nothing")
    if body.get("gpuQuota") is not None:
        _object(body, "gpuQuota")


def _token(body: Mapping[str, Any]) -> None:
    _filled(body, "token")
    if not untrusted.count(body.get("expiresIn"), 10**9):
        raise AnswerError("does not say when the token expires")


def _listing(items: str, *fields: str, empty: bool) -> Callable[[Mapping[str, Any]], None]:
    """A check of a list whose items have these texts; `empty` if there may be none."""

    def check_items(body: Mapping[str, Any]) -> None:
        found = body.get(items, [])
        if not isinstance(found, list) or not (found or empty):
            raise AnswerError(f"has no {items}")
        for item in found:
            if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in fields):
                raise AnswerError(f"has {items} without {' and '.join(fields)}")
        if not isinstance(body.get("nextPageToken") or "", str):
            raise AnswerError("has an odd nextPageToken")

    return check_items


def _kernels(body: Mapping[str, Any]) -> None:
    """Check the list of kernels; one whose first push was refused has neither name nor version there."""
    found = body.get("kernels", [])
    if isinstance(found, list):
        body = {**body, "kernels": [item for item in found if not _is_half_made(item)]}
    _listing("kernels", "ref", empty=True)(body)


def _is_half_made(item: Any) -> bool:
    return isinstance(item, dict) and not item.get("ref") and not item.get("currentVersionNumber")


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise AnswerError(f"has no {name}")
    return value


def _filled(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise AnswerError(f"has no {name}")
    return value


def next_token(answer: Any, used: set[str]) -> str | None:
    """Return the token of a listing's next page, None after the last; `used` holds those of the pages so far.

    Raises:
        AnswerError: the token came before, or there are more pages than any listing has.
    """
    token = answer.next_page_token
    if not token:
        return None
    if token in used or len(used) >= _MOST_PAGES:
        raise AnswerError("has no end: its pages repeat")
    used.add(token)
    return str(token)


def _known_word(body: Mapping[str, Any], name: str, words: set[str]) -> None:
    # The SDK takes the end of a word, and an empty one, for the whole (`EnumSerializer`, 0.1.37).
    word = _filled(body, name)
    if word.upper() not in words:
        raise AnswerError(f"has the {name} {untrusted.one_line(word, 40)}, which kgtts does not know")


_NEEDED: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "CreateModel": _made,
    "CreateModelInstance": _made,
    "CreateModelInstanceVersion": _made,
    "GenerateAccessToken": _token,
    "GetAcceleratorQuotaStatistics": _quota,
    "GetDatasetMetadata": _metadata,
    "GetDatasetStatus": _status_of(_DATASET_STATES),
    "GetKernel": _kernel,
    "GetKernelSessionStatus": _status_of(_STATES),
    "ListDatasetFiles": _listing("datasetFiles", "name", empty=False),
    "ListDatasets": _listing("datasets", "ref", empty=True),
    "ListKernelSessionOutput": _listing("files", "fileName", "url", empty=True),
    "ListKernels": _kernels,
    "ListModelInstances": _listing("instances", "slug", empty=True),
    "ListModels": _listing("models", "ref", empty=True),
    "ListModelInstanceVersionFiles": _listing("files", "name", empty=False),
    "SaveKernel": _saved,
    "UpdateModel": _made,
}

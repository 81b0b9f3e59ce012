"""Methods of the API: HTTP bodies to SDK requests, SDK responses to HTTP bodies, errors and pages.

To add a method: a handler in the module of its service and a line in that module's `METHODS`; what it looks
up or changes belongs to `service`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from orchestrator.emulator.faults.plan import RequestFaults
from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.exceptions import ApiError

_LARGEST_PAGE = 500  # Whatever size the request asks for.
_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a method.

    Attributes:
        backend: the service that answers.
        request: the SDK's request object.
        base_url: the address of this server.
        sign: makes the path and query of a signed URL of a stored file.
        faults: the faults that hit this request.
        legacy_key: whether the request carries username and key instead of a token.
    """

    backend: Backend
    request: Any
    base_url: str
    sign: Callable[[str], str]
    faults: RequestFaults
    legacy_key: bool

    def signed_url(self, name: str) -> str:
        """The URL under which a stored file can be fetched for a while."""
        return self.base_url + self.sign(name)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the API: the SDK's request type, and the handler.

    The handler returns a response of the SDK, a dict, or an HTTP response; it raises ApiError to refuse.
    """

    request_type: Any
    handler: Callable[[Call], Any]


Methods = Mapping[tuple[str, str], Method]  # By service and method, as they stand in the address.


def read_request(request_type: Any, body: Any) -> Any:
    """A request object from a JSON body, through the SDK's `from_dict`, which checks no types.

    Raises:
        ApiError: 400, the body is not an object, or a field has another type than the SDK gives it.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    try:
        request = request_type.from_dict(body)
    except Exception as error:
        # The SDK raises whatever its parsing stumbles over.
        raise ApiError(400, "The request body has a field that cannot be read.") from error
    for field in request_type._fields:  # The SDK's only description of its fields.
        value = getattr(request, field.private_field_name)
        values = value if isinstance(field.default_value, list) and isinstance(value, list) else [value]
        if value is not None and not all(_fits(item, field.field_type) for item in values):
            raise ApiError(400, f"Invalid value for the field {field.json_name}.")
    return request


def _fits(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def write_response(result: Any) -> Response:
    """The HTTP response for what a handler returned."""
    if isinstance(result, Response):
        return result
    body = result if isinstance(result, dict) else result.to_dict()
    # In ASCII, unlike JSONResponse: of a kernel's source, Python writes and reads that in half the time.
    return Response(json.dumps(body), media_type="application/json")


def json_error(
    status: int, message: str, headers: dict[str, str] | None = None, *, nested: bool = False
) -> Response:
    """An error as Kaggle writes it: www.kaggle.com flat, api.kaggle.com nested.

    The official client (kagglesdk 0.1.37) shows only the message of a flat one.
    """
    error: dict[str, Any] = {"code": status, "message": message}
    if nested:
        error = {"error": {**error, "status": _STATUS_NAMES.get(status, "UNKNOWN")}}
    return JSONResponse(error, status, headers)


def naive_utc(moment: datetime | None) -> datetime | None:
    """A time as the SDK writes it: it appends `Z` to whatever it is given."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def duration(span: timedelta) -> str:
    """A duration as the real service writes it, `108000s`.

    The SDK's own writer (kagglesdk 0.1.37) uses `timedelta.seconds`, which forgets whole days, and doubles
    the decimal point of fractions; its reader understands this form.
    """
    whole, fraction = divmod(span, timedelta(seconds=1))
    thousandths = fraction // timedelta(milliseconds=1)
    return f"{whole}.{thousandths:03}s" if thousandths else f"{whole}s"


def page_of(items: Sequence[Any], call: Call) -> tuple[Sequence[Any], str | None]:
    """The page of `items` that a request asks for, and the token of the next page; None after the last.

    Raises:
        ApiError: 400, the token or the size is not valid.
    """
    size, token = call.request.page_size, call.request.page_token
    return cut_page(items, size, token, default=call.backend.options.page_size)


def cut_page(
    items: Sequence[Any], size: int | None, token: str | None, *, default: int
) -> tuple[Sequence[Any], str | None]:
    """A page of `items` by its size and token; see `page_of`."""
    if token and not (token.isascii() and token.isdigit()):
        raise ApiError(400, "Invalid page token.")
    if size is not None and size < 0:
        raise ApiError(400, "Invalid page size.")
    start = int(token) if token else 0
    end = start + min(size or default, _LARGEST_PAGE)
    return items[start:end], str(end) if end < len(items) else None

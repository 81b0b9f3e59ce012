"""Between HTTP bodies and kagglesdk's types: the SDK's own code reads requests and writes answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from orchestrator.emulator.faults.switch import Struck
from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.refusals import FaultError
from orchestrator.emulator.wire.signing import Signer

_MOST_ITEMS = 500  # No page is larger, whatever the request asks.


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a method: what it carries, what answers it, and the faults that befall it."""

    backend: Backend
    signer: Signer
    base_url: str
    request: Any
    struck: Struck

    def signed_url(self, name: str) -> str:
        """An address on this server under which a stored file can be fetched for a while."""
        return self.base_url + self.signer.sign(name)


Handler = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service: the SDK's request type, and what answers it (SDK object, dict or response)."""

    request_type: Any
    handler: Handler


def read_request(request_type: Any, body: Any) -> Any:
    """A request object from a JSON body, through the SDK's `from_dict`, which checks no types.

    Raises:
        FaultError: 400, the body is no object or a field has another type than the SDK gives it.
    """
    if not isinstance(body, dict):
        raise FaultError(400, "The request body must be a JSON object.")
    try:
        request = request_type.from_dict(body)
    except Exception as error:
        # The SDK raises whatever its parsing stumbled over.
        raise FaultError(400, "The request body has a field that cannot be read.") from error
    for field in request_type._fields:  # The SDK's only description of its fields.
        value = getattr(request, field.private_field_name)
        values = value if isinstance(field.default_value, list) and isinstance(value, list) else [value]
        if value is not None and not all(_fits(item, field.field_type) for item in values):
            raise FaultError(400, f"Invalid value for the field {field.json_name}.")
    return request


def _fits(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def write_answer(answer: Any) -> Response | dict[str, Any]:
    """An answer for the wire: SDK objects become dicts, everything else stays what it is."""
    if isinstance(answer, Response | dict):
        return answer
    written: dict[str, Any] = answer.to_dict()
    return written


def naive_utc(moment: datetime | None) -> datetime | None:
    """A moment as the SDK writes it: it appends `Z` to whatever it is given."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def duration(span: timedelta) -> str:
    """A duration as the real service writes it, `108000s`.

    The SDK's own writer (kagglesdk 0.1.37) takes `timedelta.seconds`, which forgets whole days, and doubles
    the decimal point of fractions; its reader understands this form.
    """
    whole, fraction = divmod(span, timedelta(seconds=1))
    thousandths = fraction // timedelta(milliseconds=1)
    return f"{whole}.{thousandths:03}s" if thousandths else f"{whole}s"


def page_of(
    items: Sequence[Any], size: int | None, token: str | None, *, default: int
) -> tuple[Sequence[Any], str | None]:
    """A page of `items` and the token of the next one; None after the last.

    Raises:
        FaultError: 400, the token or the size is not one of ours.
    """
    if token and not (token.isascii() and token.isdigit()):
        raise FaultError(400, "Invalid page token.")
    if size is not None and size < 0:
        raise FaultError(400, "Invalid page size.")
    start = int(token) if token else 0
    end = start + min(size or default, _MOST_ITEMS)
    return items[start:end], str(end) if end < len(items) else None


Methods = Mapping[tuple[str, str], Method]

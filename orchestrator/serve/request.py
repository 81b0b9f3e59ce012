"""What a client may ask for, and the errors that it gets, both in the shape of OpenAI's interface."""

from difflib import get_close_matches
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
_Name = Annotated[str, Field(max_length=200)]
_BYTES_PER_CHARACTER = 12  # As JSON writes characters beyond the basic plane: two escapes of six bytes.
_REST_BYTES = 16_384  # All fields but the text.
_LONGEST_SHOWN = 100


class ApiError(Exception):
    """A request that cannot be served.

    Args:
        status: the HTTP status.
        message: what failed, why, and what to do.
        code: a word for programs; the page has a sentence in Bangla for each.
        param: the field of the request that is wrong.
        retry_after_s: when to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        is_client = self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        kind = "invalid_request_error" if is_client else "server_error"
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }

    def response(self) -> JSONResponse:
        """The error as a response."""
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            headers["Connection"] = "close"  # The rest of the body would be read for ever.
        return JSONResponse(self.body, self.status, headers)


class _Request(BaseModel):
    # A misspelt field would be ignored silently otherwise.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VoiceId(_Request):
    """A voice as newer clients name it."""

    id: _Name


class TextRequest(_Request):
    """Ask what a text becomes when it is spoken.

    Attributes:
        input: the text.
        model: the name of a voice, or one of OpenAI's models, which leaves the choice to `voice`.
        voice: the name of a voice, of a speaker, or `VOICE/SPEAKER`.
    """

    input: str
    model: _Name = "kgtts"
    voice: _Name | VoiceId = "default"

    @property
    def voice_name(self) -> str:
        """The voice's name, however it is written."""
        return self.voice if isinstance(self.voice, str) else self.voice.id


class SpeechRequest(TextRequest):
    """Ask for speech, with OpenAI's fields and two of our own.

    Attributes:
        response_format: the format of the sound.
        speed: a factor on the voice's own speed.
        stream_format: `audio` for the file's bytes; `sse` for events with sound and text.
        instructions: OpenAI's description of a manner of speaking, which these voices cannot follow.
        stream: our own: if false, the whole file comes at once, with its length in its header.
        noise: our own: a factor on the voice's variation; 0 sounds the same each time.
    """

    response_format: Format = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: str | None = None
    stream: bool = True
    noise: float | None = Field(None, ge=0.0, le=3.0)


R = TypeVar("R", bound=TextRequest)


def largest_body(longest_text: int) -> int:
    """The bytes that a request with a text of so many characters may have."""
    return longest_text * _BYTES_PER_CHARACTER + _REST_BYTES


def parse_speech(body: bytes, longest_text: int) -> SpeechRequest:
    """Read and check a request for speech.

    Raises:
        ApiError: 400, it is not such a request, or its text is empty or too long.
    """
    request = _parse(SpeechRequest, body, longest_text)
    if request.instructions:
        raise ApiError(
            400,
            "These voices cannot follow `instructions`; leave them out.",
            "unsupported_instructions",
            param="instructions",
        )
    return request


def parse_text(body: bytes, longest_text: int) -> TextRequest:
    """Read and check a request about a text.

    Raises:
        ApiError: as `parse_speech`.
    """
    return _parse(TextRequest, body, longest_text)


def _parse(kind: type[R], body: bytes, longest_text: int) -> R:
    try:
        request = kind.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        param = ".".join(str(part) for part in first["loc"])[:_LONGEST_SHOWN]
        if first["type"] == "json_invalid":
            raise ApiError(400, f"The body is not JSON: {first['msg']}.", "invalid_json") from error
        if first["type"] == "extra_forbidden":
            close = get_close_matches(param, kind.model_fields, n=1)
            meant = f"; did you mean `{close[0]}`?" if close else "."
            raise ApiError(
                400, f"There is no field `{param}`{meant}", "unknown_field", param=param
            ) from error
        where = f"`{param}`" if param else "The body"
        raise ApiError(400, f"{where}: {first['msg']}.", "invalid_value", param=param or None) from error
    if not request.input.strip():
        raise ApiError(400, "There is nothing to say: the text is empty.", "empty_text", param="input")
    if len(request.input) > longest_text:
        raise ApiError(
            400,
            f"The text has {len(request.input):,} characters, and this server takes {longest_text:,} at "
            "most. Send it in parts.",
            "text_too_long",
            param="input",
        )
    return request

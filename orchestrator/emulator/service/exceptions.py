"""Every way in which the emulated service says no. The wire turns each into what Kaggle would answer.

ApiError                   an HTTP error with this status: unknown, forbidden, malformed
RejectedError              HTTP 200 with `error` in the body, as the official client expects it
└── PushRejectedError      of a kernel version
UploadBusyError            another request is sending the same file
UploadTooLongError         more bytes arrived than were declared
"""

_NOT_FOUND = 404


class ApiError(Exception):
    """A refusal with an HTTP status and a message as Kaggle words it.

    Args:
        status: the HTTP status that the client sees.
        message: the sentence in the body of the response.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RejectedError(Exception):
    """The request is understood and refused; the text becomes the response's `error`.

    Args:
        message: Kaggle's words.
        code: the status that goes with them, where a response has room for it.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class PushRejectedError(RejectedError):
    """The push is refused."""


class UploadBusyError(Exception):
    """Another request is sending this file."""


class UploadTooLongError(Exception):
    """More bytes arrived than the upload was declared to have."""


def permission_denied(permission: str) -> ApiError:
    """The 403 for what belongs to another account, in words that Kaggle's client explains."""
    return ApiError(403, f"Permission '{permission}' was denied")


def absent(status: int, permission: str, what: str) -> ApiError:
    """The answer for something that does not exist: 403, as if it were another account's, or 404."""
    return not_found(what) if status == _NOT_FOUND else permission_denied(permission)


def not_found(what: str) -> ApiError:
    """The 404 for something that does not exist."""
    return ApiError(404, f"{what} was not found")

"""How the two sides of Kaggle say no: the API in JSON, Google's storage in XML."""

from xml.sax.saxutils import escape

from starlette.responses import JSONResponse, Response


def json_error(code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as Kaggle writes it; the official client reads `code` and `message`."""
    return JSONResponse({"code": code, "message": message}, code, headers)


def storage_error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as Google's storage writes it."""
    error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return Response(
        f"<?xml version='1.0' encoding='UTF-8'?>{error}",
        status,
        headers,
        media_type="application/xml; charset=UTF-8",
    )

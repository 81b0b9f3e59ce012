"""The page of a kernel for a browser, at the address that Kaggle's website has for it: plain HTML."""

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from orchestrator.emulator.service.kernels import Kernel, Kernels, Version

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif; max-width: 50em; margin: 2em auto">
<h1>{title}</h1>
{body}
<p>This is kgtts's emulator of Kaggle. Its sessions run on this machine.</p>
</body></html>
"""


class PageEndpoint:
    """Answers `GET /code/OWNER/SLUG`; a browser carries no credentials, so it tells names and states only.

    Args:
        kernels: all kernels.
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def get(self, request: Request) -> Response:
        """Return the page; `scriptVersionNumber` marks one version."""
        owner, slug = request.path_params["owner"], request.path_params["slug"]
        kernel = self._kernels.find(owner, slug)
        if kernel is None:
            name = escape(f"{owner}/{slug}")
            body = f"<p>There is no kernel {name} in this emulator.</p>"
            return HTMLResponse(_PAGE.format(title=name, body=body), status_code=404)
        body = _table(kernel, request.query_params.get("scriptVersionNumber"))
        return HTMLResponse(_PAGE.format(title=escape(kernel.ref), body=body))


def _table(kernel: Kernel, marked: str | None) -> str:
    rows = "".join(_row(item, marked=str(item.number) == marked) for item in reversed(kernel.versions))
    return f"<p>{escape(kernel.title)}</p>\n<ul>\n{rows}</ul>"


def _row(version: Version, *, marked: bool) -> str:
    text = f"Version {version.number}: {version.state}, pushed {version.pushed_at:%Y-%m-%d %H:%M} UTC"
    if version.failure_message:
        text += f": {version.failure_message}"
    return f"<li>{f'<b>{escape(text)}</b>' if marked else escape(text)}</li>\n"

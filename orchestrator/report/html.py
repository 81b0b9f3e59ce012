"""What the pages have in common: the templates, and how text, data and sound get into them."""

import base64
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from orchestrator.report.sounds import Clip

_CODE = re.compile(r"`([^`]*)`")
_FOLDER = "page"


@cache
def environment() -> Environment:
    """The templates of this package, compiled once: everything that is put into them is escaped."""
    made = Environment(
        loader=PackageLoader("orchestrator.report", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["sound"] = sound_uri
    made.filters["language"] = _language
    made.filters["code"] = _code
    return made


def page_sources(names: Sequence[str]) -> dict[str, str]:
    """Our own scripts and style sheets, which stand within a page."""
    folder = files("orchestrator.report") / _FOLDER
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


def script_json(value: Any) -> str:
    """JSON for a script element, without characters that mean something to HTML."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # In ASCII: U+2028 is escaped too.
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def sound_uri(clip: Clip) -> str:
    """A sound as an address that holds it."""
    return f"data:audio/wav;base64,{base64.b64encode(clip.wav).decode('ascii')}"


def _language(text: str) -> str:
    """The language of a sentence, for screen readers."""
    return "bn" if any("\u0980" <= letter <= "\u09ff" for letter in text) else ""


def _code(text: str) -> Markup:
    """A sentence of ours, with what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  # It is escaped.

"""What signs between words say: dashes, quotes, brackets, slashes and those that have a name."""

import re

from kernel_template.text.grammar import BANGLA
from kernel_template.text.tables import SIGNS

Found = re.Match[str]
NEAR = 8  # Characters; how far a sign's neighbour may be.


def bracket(found: Found) -> str:
    """Brackets are heard as the pauses of commas."""
    return ", " if found[0][0] in "([{" else ","


def dash(found: Found) -> str:
    """A hyphen within a word; থেকে between amounts; a dash between words; else nothing."""
    text, start, end = found.string, found.start(), found.end()
    before, after = text[start - 1 : start], text[end : end + 1]
    if before.isspace() and after.isspace():
        return "—"
    counted = re.search(rf"[0-9][{BANGLA}]{{1,4}}\Z", text[max(0, start - NEAR) : start])
    if (before in ("%", "°") or counted) and after.isdecimal():
        return " থেকে "
    if re.match(rf"[{BANGLA}A-Za-z]", before) and after.isdecimal():
        return " "
    if re.match(rf"[{BANGLA}A-Za-z0-9]", before) and re.match(rf"[{BANGLA}A-Za-z]", after):
        return "-" if found[0] not in ("—", "―", "--") else "—"
    return "—" if found[0] in ("—", "―", "--") and before else " "


def quote(found: Found) -> str:
    """The apostrophe within a Bangla word stays; other quotes have no sound."""
    text, start, end = found.string, found.start(), found.end()
    within = (
        start and re.match(f"[{BANGLA}]", text[start - 1]) and re.match(f"[{BANGLA}]", text[end : end + 1])
    )
    return "’" if within and found[0] in "'‘’ʼ" else ""


def slash(found: Found) -> str:
    """বা between Bangla words, its name between others."""
    sides = _sides(found)
    return "বা" if all(re.match(f"[{BANGLA}]", side) for side in sides) else "স্ল্যাশ" if all(sides) else ""


def between_digits(found: Found) -> bool:
    """Whether there are digits on both sides."""
    return all(side.isdecimal() for side in _sides(found))


def _sides(found: Found) -> tuple[str, str]:
    """Return the nearest characters on both sides that are no space."""
    text, start, end = found.string, found.start(), found.end()
    return text[max(0, start - NEAR) : start].rstrip()[-1:], text[end : end + NEAR].lstrip()[:1]


def sign(found: Found) -> str:
    """Read a sign by its name; + between numbers adds."""
    return "যোগ" if found[0] == "+" and between_digits(found) else SIGNS[found[0]]

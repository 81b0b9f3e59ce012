"""The name that somebody most likely meant."""

from collections.abc import Iterable


def closest(word: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name most like `word`, unless even that is less alike than `cutoff` (0 to 1)."""
    # Only a mistake needs it, and it costs every start of a command some milliseconds.
    import difflib  # noqa: PLC0415 - see above

    return next(iter(difflib.get_close_matches(word, list(names), n=1, cutoff=cutoff)), None)

"""How times and sizes are written for people."""


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `12 min 5 s` or `3 h 7 min`."""
    total = max(0, round(seconds))
    hours, minutes = divmod(total // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {total % 60} s" if minutes else f"{total} s"


def size(count: int) -> str:
    """Bytes as `512 B`, `3.4 kB`, `71.0 MB` or `1.02 GB` (powers of 1000, as storage is sold)."""
    if count < 1000:  # noqa: PLR2004  # A kilobyte.
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":  # noqa: PLR2004  # What would round to 1000.
            return f"{value:.1f} {unit}"
    raise AssertionError

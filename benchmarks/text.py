"""How fast texts are turned into spoken words: MB of UTF-8 a second, on one core.

    python -m benchmarks.text [MB]

Four kinds of text: prose with nothing to change; prose of which every tenth line has numbers and signs; prose
of which every line has; and the rows of the tests' table alone, mostly shorter than a sentence. The second
has a bound: 5 MB a second.
"""

import sys
import time
from pathlib import Path

from kernel_template.text.speaking import spoken
from kernel_template.text.spelling import canonical

_PROSE = (
    "আমাদের দেশের মানুষ খুব ভালো, তারা সবাই একসাথে কাজ করে এবং সুখে শান্তিতে বসবাস করে।",
    "সে বলল, তুমি কি আজ বিকেলে নদীর ধারে বেড়াতে যাবে?",
    "সকালের রোদ যখন জানালা দিয়ে ঘরে ঢুকল, তখন বাড়ির সবাই ঘুম থেকে উঠে পড়েছে; কেবল ছোট ছেলেটি ঘুমিয়ে আছে।",
)
_TABLE = Path(__file__).parents[1] / "tests" / "text" / "spoken_forms.tsv"
BOUND_MB_S = 5.0


def speed(lines: list[str], size: int) -> float:
    """MB a second of `spoken`, line by line."""
    lines = lines * (size // sum(len(line.encode()) for line in lines) + 1)
    began = time.process_time()
    for line in lines:
        spoken(line)
    return sum(len(line.encode()) for line in lines) / 1e6 / (time.process_time() - began)


def _put(row: str, prose: list[str], at: int) -> str:
    """Put a row of the table between the words of a sentence."""
    words = prose[at % len(prose)].split()
    place = at % len(words)
    return " ".join([*words[:place], row, *words[place:]])


def main() -> int:
    """Measure and print. Returns 1 if the bound is missed."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else 5) * 1e6)
    rows = _TABLE.read_text(encoding="utf-8").splitlines()
    table = [row.partition("\t")[0] for row in rows if row and not row.startswith("#")]
    prose = [canonical(line) for line in _PROSE]
    mixed = [prose[at % len(prose)] if at % 10 else table[at // 10 % len(table)] for at in range(3000)]
    found = {
        "prose": speed(prose, size),
        "prose with numbers": speed(mixed, size),
        "numbers in each line": speed([_put(row, prose, at) for at, row in enumerate(table)], size),
        "numbers alone": speed(table, size // 5),
    }
    for kind, mb_s in found.items():
        print(f"{kind:<20} {mb_s:6.1f} MB/s")
    print(f"bound for prose with numbers: {BOUND_MB_S} MB/s")
    return int(found["prose with numbers"] < BOUND_MB_S)


if __name__ == "__main__":
    raise SystemExit(main())

"""Build the text rules that sherpa-onnx applies before it speaks: a weighted transducer from bytes to bytes.

sherpa-onnx has no reader for Bangla. It takes rules as a file of OpenFst (`--tts-rule-fsts`), and the
cheapest way through them is what is spoken. These rules say numbers, the commonest signs and abbreviations in
words, write letters as the voice knows them, and put `BREAK` behind each sentence, since sherpa-onnx does not
know the danda. They are a part of what kgtts itself reads (`kernel_template/text`), whose words they say.

The file is written here, as OpenFst's `VectorFst<StdArc>` (fst/vector-fst.h, format version 2): no package
that builds such files is needed, and the same voice gives the same bytes on every machine.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from kernel_template.text.front_ends import BREAK, plain_sign
from kernel_template.text.speaking import spoken
from kernel_template.text.spelling import SPELLINGS, canonical
from kernel_template.text.tables import ABBREVIATIONS, SIGNS
from kernel_template.text.tokens import clean
from kernel_template.text.vocabulary import Vocabulary

_MAGIC, _VERSION = 2_125_659_606, 2
_EXPANDED, _MUTABLE, _INPUT_SORTED = 0x1, 0x2, 0x1000_0000  # fst/properties.h
# The cost of what is copied is that of each character; that of rules is theirs as a whole. So as much as can
# be is read by rules, and by as few as can be. What is no UTF-8 is copied if there is no other way.
_COPIED, _RULE, _DIGITS, _BROKEN = 10.0, 1.0, 1.5, 1000.0
_BANGLA = range(0x980, 0xA00)
_CONTINUED = range(0x80, 0xC0)  # In UTF-8, the bytes of a character behind its first.
_DIGIT_BLOCK, _DIGIT_ENDS = 0xA7, range(0xA6, 0xB0)  # Bangla's digits are E0 A7 A6 to E0 A7 AF.
_SPACES = (" ", "\t", "\n", "\r", "\u00a0", "\u200b")
_ENDS = "।॥|?!"
_CLOSING = "”’\"')]»"
_BETWEEN_NUMBERS = "/:-–—"
_SPACED = "/+=*#&@_~\\"  # Signs that become a space if the voice lacks them, so that words stay apart.
_DROPPED = "\"'()[]{}<>«»“”‘’`^…;\u200c\u200d\ufeff"
_ORDINALS = ("১ম", "২য়", "৩য়", "৪র্থ", "৫ম", "৬ষ্ঠ", "৭ম", "৮ম", "৯ম", "১০ম", "১লা", "২রা", "৩রা", "২টি")
_CENTURIES = (17, 18, 19)  # Of years, as kgtts reads four digits.


@dataclass(slots=True)
class _Rules:
    """A transducer in the making: for each state its arcs (input, output, cost, next state)."""

    arcs: list[list[tuple[int, int, float, int]]] = field(default_factory=list)
    ends: set[int] = field(default_factory=set)
    known: dict[tuple[int, int], int] = field(default_factory=dict)
    rests: dict[tuple[bytes, int], int] = field(default_factory=dict)

    def state(self) -> int:
        self.arcs.append([])
        return len(self.arcs) - 1

    def arc(self, start: int, read: int, write: int, end: int, cost: float = 0.0) -> None:
        self.arcs[start].append((read, write, cost, end))

    def read(self, start: int, text: str) -> int:
        """Read a text from a state; texts that begin alike share their way. Nothing is written."""
        for byte in text.encode():
            if (start, byte) not in self.known:
                self.known[start, byte] = self.state()
                self.arc(start, byte, 0, self.known[start, byte])
            start = self.known[start, byte]
        return start

    def write(self, start: int, text: str, end: int, cost: float = 0.0) -> None:
        """Write a text on the way between two states; texts that end alike share their way."""
        data = text.encode()
        self.arc(start, 0, data[0] if data else 0, self._rest(data[1:], end), cost)

    def _rest(self, data: bytes, end: int) -> int:
        """The state that writes `data` and then goes to `end`."""
        for place in range(len(data) - 1, -1, -1):
            key = (data[place:], end)
            if key not in self.rests:
                self.rests[key] = self.state()
                following = self.rests.get((data[place + 1 :], end), end)
                self.arc(self.rests[key], 0, data[place], following)
        return self.rests.get((data, end), end)

    def rule(self, start: int, old: str, new: str, end: int, cost: float = _RULE) -> None:
        self.write(self.read(start, old), new, end, cost)

    def data(self) -> bytes:
        """The file's content."""
        count = sum(map(len, self.arcs))
        kinds = b"".join(struct.pack("<i", len(name)) + name for name in (b"vector", b"standard"))
        properties = _EXPANDED | _MUTABLE | _INPUT_SORTED
        parts = [
            struct.pack("<i", _MAGIC), kinds,
            struct.pack("<iiQqqq", _VERSION, 0, properties, 0, len(self.arcs), count),
        ]  # fmt: skip
        for number, arcs in enumerate(self.arcs):
            parts.append(struct.pack("<fq", 0.0 if number in self.ends else float("inf"), len(arcs)))
            parts += [struct.pack("<iifi", read, write, cost, end) for read, write, cost, end in sorted(arcs)]
        return b"".join(parts)


def rule_fst(voice: Vocabulary) -> bytes | None:
    """Build the rules for a voice; None for one that does not speak Bangla."""
    return _Builder(voice).build() if voice.is_bangla else None


class _Builder:
    def __init__(self, voice: Vocabulary) -> None:
        self._voice = voice
        self._rules = _Rules()
        self._begin = self._rules.state()
        self._start = self._rules.state()
        self._behind = self._rules.state()  # Behind a sentence: white space is dropped.
        # Behind a number: as at the start, but without numbers, so that one is never read as two.
        self._apart = self._rules.state()
        self._roots = (self._start, self._apart)
        self._spaced = self._start  # Behind white space that is not written yet.

    def build(self) -> bytes:
        rules = self._rules
        rules.ends.update(self._roots)
        self._copies()
        for state in (self._begin, self._behind):
            rules.arc(state, 0, 0, self._start)
            for space in _SPACES:
                rules.write(rules.read(state, space), "", state)
        self._letters()
        self._spaces()
        self._sentences()
        self._numbers()
        self._words()
        return rules.data()

    def _copies(self) -> None:
        """Copy any character but a digit, since a rule reads each of those."""
        rules = self._rules
        last, two, three, bangla, signs = (rules.state() for _ in range(5))
        for byte in _CONTINUED:
            rules.arc(last, byte, byte, self._start)
            rules.arc(two, byte, byte, last)
            rules.arc(three, byte, byte, two)
            rules.arc(bangla, byte, byte, signs if byte == _DIGIT_BLOCK else last)
            if byte not in _DIGIT_ENDS:
                rules.arc(signs, byte, byte, self._start)
        for state in (last, two, three, bangla, signs):
            rules.arc(state, 0, 0, self._start, _BROKEN)
        following = {0xE0: bangla} | dict.fromkeys(range(0xC0, 0xE0), last)
        following |= dict.fromkeys(range(0xE1, 0xF0), two) | dict.fromkeys(range(0xF0, 0xF8), three)
        for root in self._roots:
            for byte in (*range(1, 0x30), *range(0x3A, 0x100)):
                rules.arc(root, byte, byte, following.get(byte, self._start), _COPIED)

    def _rule(self, old: str, new: str, end: int, cost: float = _RULE) -> None:
        """Add a rule for what is no number."""
        for root in self._roots:
            self._rules.rule(root, old, new, end, cost)

    def _form(self, text: str) -> str:
        """A text as this voice knows it, with signs at which sherpa-onnx does not begin a sentence."""
        chosen = "".join(self._letter(letter) for letter in text)
        return "".join(map(plain_sign, clean(f"ক{chosen}ক", self._voice.steps)[1:-1]))

    def _letter(self, letter: str) -> str:
        form = letter if letter == " " else self._voice.choose(letter)[0]
        return form if form is not None else " " if letter in _SPACED else ""

    def _letters(self) -> None:
        found = {chr(code): canonical(chr(code)) for code in _BANGLA if chr(code).isprintable()}
        found |= {apart: letter for letter, apart in SPELLINGS.items()}
        found |= {letter: letter for letter in (*_SPACED, *_DROPPED, *".,:-—%৳")}
        found |= dict.fromkeys("–‐‑−", "-") | {sign: f" {SIGNS[sign]} " for sign in "&+="}
        found |= {" (": ", ", ") ": ", "} | {f" {sign} ": f" {SIGNS[sign]} " for sign in "&+="}
        for lower, upper in zip("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=True):
            found |= {lower: lower, upper: lower}
        for old, new in found.items():
            if old not in (*_ENDS, *"০১২৩৪৫৬৭৮৯") and self._form(new) != old:
                self._rule(old, self._form(new), self._start)

    def _spaces(self) -> None:
        rules, more = self._rules, self._rules.state()
        for space in _SPACES:
            self._rule(space, "", more)
            rules.write(rules.read(more, space), "", more)
        rules.write(more, " ", self._start)
        self._spaced = more
        self._rule("\n\n", BREAK, self._behind, _RULE / 2)

    def _sentences(self) -> None:
        """Let one sign end a sentence, however many there are, and with the quotes behind it."""
        rules = self._rules
        seen = {sign: rules.state() for sign in _ENDS}
        closed = rules.state()
        for sign, state in seen.items():
            self._rule(sign, "", state)
            rules.write(rules.read(self._spaced, sign), "", state)
            end = self._letter(sign if sign in "?!" else "।")
            plain = self._form(end)
            rules.write(state, end if end in "?!" else f"{plain}{BREAK}", self._behind)
            for other, following in seen.items():
                # Of several dandas one remains.
                again = "" if sign not in "?!" and other not in "?!" else plain
                rules.write(rules.read(state, other), again, following)
            for quote in _CLOSING:
                rules.write(rules.read(state, quote), plain + self._form(quote), closed)
        for dots in ("...", "…"):
            self._rule(dots, "", seen["।"], _RULE / 2)
        for quote in _CLOSING:
            rules.write(rules.read(closed, quote), self._form(quote), closed)
        rules.write(closed, BREAK, self._behind)

    def _digits(self, start: int, found: Iterable[int] = range(10)) -> dict[int, int]:
        """Read a digit of either script; gives the state behind each."""
        ends = {}
        for digit in found:
            ends[digit] = self._rules.read(start, chr(0x9E6 + digit))
            self._rules.arc(start, 0x30 + digit, 0, ends[digit])
        return ends

    def _say(self, start: int, words: str, end: int, *, is_first: bool, cost: float = 0.0) -> None:
        self._rules.write(start, self._form(words if is_first or not words else f" {words}"), end, cost)

    def _part(self, end: int, digits: int, unit: str, *, is_first: bool, comma: bool = False) -> int:
        """Read a part of a number, such as the two digits of its thousands; gives where it begins.

        A first part is not zero. One that is not first may be, and then nothing is said of it.
        """
        rules, start = self._rules, self._rules.state()
        least = 10 ** (digits - 1) if is_first else 0
        for first, middle in self._digits(start).items():
            if digits == 1 and first >= least:
                self._say(middle, _amount(first, unit), end, is_first=is_first)
            elif digits > 1 and first * 10 >= least:
                if comma:
                    rules.arc(middle, ord(","), 0, middle)
                for second, last in self._digits(middle).items():
                    self._say(last, _amount(first * 10 + second, unit), end, is_first=is_first)
        return start

    def _numbers(self) -> None:
        rules = self._rules
        behind = rules.state()
        self._single(self._start, behind)
        self._years(self._start, self._whole(self._start, behind))
        money, taka = rules.read(self._start, "৳"), rules.state()
        rules.arc(money, ord(" "), 0, money)
        self._single(money, taka)
        self._whole(money, taka)
        rules.write(taka, self._form(" টাকা"), self._apart)
        rules.arc(behind, 0, 0, self._apart)
        self._behind_number(behind)
        self._one_by_one()

    def _single(self, start: int, end: int) -> None:
        for digit, state in self._digits(start).items():
            self._say(state, _word(digit), end, is_first=True, cost=_RULE)

    def _whole(self, start: int, end: int) -> int:
        """Read a whole number of 2 to 9 digits, with or without commas; gives where its last two begin."""
        rules = self._rules
        tens = self._part(end, 2, "", is_first=False)
        hundreds = self._part(tens, 1, "শো", is_first=False)
        thousands = self._part(self._comma(hundreds), 2, " হাজার", is_first=False)
        lakhs = self._part(self._comma(thousands), 2, " লাখ", is_first=False, comma=True)
        begins = [
            self._part(end, 2, "", is_first=True),
            self._part(tens, 1, "শো", is_first=True),
            self._part(self._comma(hundreds), 1, " হাজার", is_first=True),
            self._part(self._comma(hundreds), 2, " হাজার", is_first=True),
            self._part(self._comma(thousands), 1, " লাখ", is_first=True),
            self._part(self._comma(thousands), 2, " লাখ", is_first=True, comma=True),
            self._part(self._comma(lakhs), 1, " কোটি", is_first=True),
            self._part(self._comma(lakhs), 2, " কোটি", is_first=True),
        ]
        for begin in begins:
            rules.arc(start, 0, 0, begin, _RULE)
        return tens

    def _years(self, start: int, tens: int) -> None:
        for century in _CENTURIES:
            year = self._digits(self._digits(start, [century // 10])[century // 10], [century % 10])
            self._rules.write(year[century % 10], self._form(f"{_word(century)}শো"), tens, _RULE / 2)

    def _comma(self, end: int) -> int:
        state = self._rules.state()
        self._rules.arc(state, 0, 0, end)
        self._rules.arc(state, ord(","), 0, end)
        return state

    def _behind_number(self, start: int) -> None:
        rules, point, more = self._rules, self._rules.state(), self._rules.state()
        rules.write(rules.read(start, "."), self._form(" দশমিক"), point)
        for state in (point, more):
            for digit, end in self._digits(state).items():
                rules.write(end, self._form(f" {_word(digit)}"), more)
        rules.arc(more, 0, 0, start)
        for sign in ("%", " %"):
            rules.rule(start, sign, self._form(" শতাংশ"), self._start, 0.0)
        for sign in _BETWEEN_NUMBERS:
            rules.rule(start, sign, " ", self._start, _RULE / 2)

    def _one_by_one(self) -> None:
        """Read what begins with zero or has ten digits and more, such as a telephone number."""
        rules, more = self._rules, self._rules.state()
        for first, state in self._digits(self._start).items():
            begin = rules.state()
            rules.write(state, self._form(_word(first)), begin, _DIGITS)
            for second, end in self._digits(begin).items():
                rules.write(end, self._form(f" {_word(second)}"), more)
        for digit, end in self._digits(more).items():
            rules.write(end, self._form(f" {_word(digit)}"), more)
        rules.arc(more, 0, 0, self._apart)
        rules.rule(more, "-", " ", self._start, 0.0)

    def _words(self) -> None:
        rules = self._rules
        for written in _ORDINALS:
            for digits in (written, written.translate(_ASCII_DIGITS)):
                rules.rule(self._start, digits, self._form(spoken(written).text), self._start, _RULE / 2)
        for word, written in ABBREVIATIONS.items():
            for short in written.split():
                if short.startswith("("):
                    self._rule(short, self._form(word), self._start, _RULE / 2)
                elif short.endswith((".", "ঃ")):
                    rules.rule(self._begin, short, self._form(word), self._start)
                    self._rule(f" {short}", self._form(f" {word}"), self._start, _RULE / 2)
        if not self._voice.says_latin:
            self._initials()

    def _initials(self) -> None:
        """Spell capital letters that stand together, such as SMS."""
        rules, one, more = self._rules, self._rules.state(), self._rules.state()
        for capital in map(chr, range(ord("A"), ord("Z") + 1)):
            name = self._form(spoken(capital).text)
            rules.write(rules.read(self._start, capital), name, one, _RULE / 2)
            for state in (one, more):
                rules.write(rules.read(state, capital), name, more)
        rules.arc(more, 0, 0, self._start)


_ASCII_DIGITS = {0x9E6 + digit: str(digit) for digit in range(10)}


def _word(number: int) -> str:
    return spoken(str(number)).text


def _amount(number: int, unit: str) -> str:
    return f"{_word(number)}{unit}" if number else ""

"""Latin and Greek letters, English words, addresses of mail and pages, in Bangla words."""

import re
import unicodedata

from kernel_template.text.numbers import digits, inflected, quantity
from kernel_template.text.spelling import LETTER, SIGN

_LETTERS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        "এ বি সি ডি ই এফ জি এইচ আই জে কে এল এম এন ও পি কিউ আর এস টি ইউ ভি ডব্লিউ এক্স ওয়াই জেড".split(),
        strict=True,
    )
)
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        (
            "আলফা বিটা গামা ডেল্টা এপসাইলন জিটা ইটা থিটা আয়োটা কাপা ল্যামডা মিউ নিউ জাই ওমিক্রন পাই রো সিগমা সিগমা টাউ "
            "আপসাইলন ফাই কাই সাই ওমেগা"
        ).split(),
        strict=True,
    )
)
# English words that Bangla speakers say as words; all others are spelt by their letters.
_WORDS = {
    "android": "অ্যান্ড্রয়েড",
    "app": "অ্যাপ",
    "bangladesh": "বাংলাদেশ",
    "bangla": "বাংলা",
    "bkash": "বিকাশ",
    "bluetooth": "ব্লুটুথ",
    "call": "কল",
    "chrome": "ক্রোম",
    "com": "কম",
    "computer": "কম্পিউটার",
    "covid": "কোভিড",
    "dhaka": "ঢাকা",
    "download": "ডাউনলোড",
    "email": "ইমেইল",
    "facebook": "ফেসবুক",
    "file": "ফাইল",
    "gmail": "জিমেইল",
    "google": "গুগল",
    "hello": "হ্যালো",
    "imo": "ইমো",
    "info": "ইনফো",
    "instagram": "ইনস্টাগ্রাম",
    "internet": "ইন্টারনেট",
    "iphone": "আইফোন",
    "link": "লিংক",
    "linkedin": "লিংকডইন",
    "linux": "লিনাক্স",
    "login": "লগইন",
    "mail": "মেইল",
    "messenger": "মেসেঞ্জার",
    "microsoft": "মাইক্রোসফট",
    "mobile": "মোবাইল",
    "nagad": "নগদ",
    "nasa": "নাসা",
    "net": "নেট",
    "netflix": "নেটফ্লিক্স",
    "no": "নো",
    "ok": "ওকে",
    "okay": "ওকে",
    "online": "অনলাইন",
    "org": "অর্গ",
    "password": "পাসওয়ার্ড",
    "phone": "ফোন",
    "python": "পাইথন",
    "samsung": "স্যামসাং",
    "skype": "স্কাইপ",
    "sim": "সিম",
    "sms": "এসএমএস",
    "software": "সফটওয়্যার",
    "telegram": "টেলিগ্রাম",
    "taka": "টাকা",
    "tk": "টাকা",
    "tiktok": "টিকটক",
    "twitter": "টুইটার",
    "uber": "উবার",
    "unicef": "ইউনিসেফ",
    "unesco": "ইউনেস্কো",
    "update": "আপডেট",
    "upload": "আপলোড",
    "usb": "ইউএসবি",
    "video": "ভিডিও",
    "web": "ওয়েব",
    "website": "ওয়েবসাইট",
    "whatsapp": "হোয়াটসঅ্যাপ",
    "wifi": "ওয়াইফাই",
    "wikipedia": "উইকিপিডিয়া",
    "windows": "উইন্ডোজ",
    "yes": "ইয়েস",
    "youtube": "ইউটিউব",
    "zoom": "জুম",
}
# Letters that do not come apart into a basic letter and an accent.
_BASIC = {
    "ß": "ss",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "ł": "l",
    "ı": "i",
    "æ": "ae",
    "œ": "oe",
    "ŋ": "n",
}
_PARTS = re.compile(r"[0-9]+|[a-z]+|\S")
_LATIN = re.compile("[A-Za-z]")
_BANGLA = re.compile(f"([{LETTER}{SIGN}]+)")
_SIGNS = {".": "ডট", "@": "অ্যাট", "/": "স্ল্যাশ", "-": "ড্যাশ", "_": "আন্ডারস্কোর", ":": "কোলন", "?": "প্রশ্নবোধক"}
_SIGNS |= {"=": "সমান", "&": "অ্যান্ড", "%": "শতাংশ", "#": "হ্যাশ", "+": "প্লাস", "~": "টিল্ড"}
_LONGEST_ACRONYM = 6
_HUNDRED = 100
_FEW_LETTERS = 8
_V, _V_AND_W = 0.08, 0.18  # Shares of letters in text typed for a Bijoy font, where v is া and w is ি.


def plain(text: str) -> str:
    """Return Latin letters without accents and in lower case; Greek letters keep theirs."""
    apart = unicodedata.normalize("NFKD", text.lower())
    kept = "".join(_BASIC.get(letter, letter) for letter in apart if not unicodedata.combining(letter))
    return kept.lower()


def letters(word: str) -> str:
    """Spell a word by the names of its letters, with spaces between them."""
    return " ".join(_LETTERS.get(letter) or _GREEK.get(letter, "") for letter in plain(word)).strip()


def word(written: str, ending: str = "") -> str:
    """Read a Latin word: as a word if Bangla speakers do, an acronym in one word, others letter by letter.

    Args:
        written: the word.
        ending: a Bangla ending behind it.
    """
    basic = plain(written).replace("-", "")
    if basic in _WORDS:
        said = _WORDS[basic]
    else:
        said = letters(basic)
        if written.isupper() and len(basic) <= _LONGEST_ACRONYM:
            said = said.replace(" ", "")
    return inflected(said, ending) if ending else said


def address(written: str) -> str:
    """Read the address of a page or mailbox: words and letters, with ডট, অ্যাট and স্ল্যাশ."""
    short = re.sub(r"^[a-z]+://", "", written, flags=re.IGNORECASE).removesuffix("/")
    said = []
    for number, segment in enumerate(_BANGLA.split(short)):
        if number % 2:  # Bangla words stay as they are.
            said.append(segment)
            continue
        for part in _PARTS.findall(plain(segment)):
            if part in _SIGNS:
                said.append(_SIGNS[part])
            elif part.isdecimal():
                said.append(quantity(part) if int(part) < _HUNDRED else digits(part))
            elif part[0] in _LETTERS or part in _GREEK:
                said.append(_WORDS.get(part) or letters(part))
    return " ".join(said)


def looks_like_bijoy(text: str) -> bool:
    """Whether Latin letters in a text were typed for a Bangla font of the Bijoy (ANSI) kind."""
    found = _LATIN.findall(text)
    if not found:
        return False
    v = sum(letter in "vV" for letter in found)
    w = sum(letter == "w" for letter in found)
    if len(found) < _FEW_LETTERS or "www." in text:
        return False
    return v > 1 and v / len(found) >= _V and (v + w) / len(found) >= _V_AND_W

"""Texts whose Bangla a program has mangled are read back, or named."""

from collections.abc import Callable

import pytest

from kernel_template.text.encodings import decode, is_mangled, unmangled
from kernel_template.text.metadata import Recordings, read_ljspeech
from kernel_template.text.speaking import spoken

TEXT = "আমি আজ ঠিক বাড়ি যাব, তুমি কোথায়? ৳২৫০।"


def as_windows(text: str) -> str:
    """What Windows shows of UTF-8 that it takes for its own encoding."""
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode())


def as_latin(text: str) -> str:
    """What other programs show of it."""
    return text.encode().decode("latin-1")


def as_windows_twice(text: str) -> str:
    """What Windows shows of a file that was saved so."""
    return as_windows(as_windows(text))


def as_mac(text: str) -> str:
    """What Excel on a Mac shows of it."""
    return text.encode().decode("mac_roman")


@pytest.mark.parametrize("mangle", [as_windows, as_latin, as_windows_twice, as_mac])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_mangled_lines_are_read_back(mangle: Callable[[str], str], encoding: str) -> None:
    """Each line by itself, so that whole ones stay; the encoding says how many."""
    lines = f"file,text\nr1,{mangle(TEXT)}\nr2,{TEXT}\nr3,café à ¦\n"
    found, form = decode(lines.encode(encoding))
    assert found == f"file,text\nr1,{TEXT}\nr2,{TEXT}\nr3,café à ¦\n"
    assert ("Mac OS Roman" if mangle is as_mac else "Windows-1252") in form
    assert "(1 line" in form


def test_what_lost_bytes_is_named() -> None:
    """Windows-1252 lacks five bytes, and some programs drop them: which letter it was cannot be known."""
    lossy = TEXT.encode().decode("cp1252", "ignore")
    assert unmangled(lossy) == lossy
    assert is_mangled(lossy)
    assert "are mangled" in spoken(lossy).remarks[0]
    assert not is_mangled(TEXT)
    assert spoken(TEXT).remarks == ()


def test_a_session_reads_mangled_metadata_back() -> None:
    """A voice would be trained on the letters' names."""
    found = read_ljspeech(f"r1|{as_windows(TEXT)}|{as_windows(TEXT)}\n".encode(), Recordings(["r1.wav"]))
    assert found.text == f"r1|{TEXT}|{TEXT}|\n"
    assert "Windows-1252" in found.remarks[0]

"""Which names a server may have written here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.transfer import INDEX_NAME, UnsafeNameError, safe_name

HOSTILE = [
    "",
    ".",
    "/",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "/etc/passwd",
    "//server/share",
    "a\\b",
    "..\\x",
    "C:/x",
    "c:x",
    "a\x00b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x7f",
    "a\x9b2Jb",
    "a\ud800b",
    "x" * 256,
    "ক" * 86,
    "d/" + "x" * 256,
    INDEX_NAME,
    f"sub/{INDEX_NAME}",
    ".kgtts-complete",
    ".KGTTS-x/y",
    "...",
    "a./b",
    "a ",
    "a /b",
    "CON",
    "nul.txt",
    "d/Com1.log/x",
    "LPT¹",
    "conin$",
    "a\u202eb",
    "a\u2028b",
    "d/" * 512 + "x",
]
FINE = [
    "a",
    "a/b/c.pth",
    ".hidden",
    "a b",
    'it\'s "quoted" $HOME `x` %s',
    "বাংলা/নমুনা ১.wav",
    "x" * 255,
    "ক" * 85,
    "...a",
    "a..b",
    "-rf",
    "console",
    "com10",
    "null",
    "ক\u200dখ",
    "~",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused(name: str) -> None:
    """Names that leave the folder, drive terminals or break file systems are refused."""
    with pytest.raises(UnsafeNameError):
        safe_name(name)


@pytest.mark.parametrize("name", FINE)
def test_an_ordinary_name_is_taken_as_it_is(name: str) -> None:
    """Spaces, quotes, Bangla, dots and long names are names like any other."""
    assert safe_name(name).as_posix() == name


@given(st.text())
def test_no_text_at_all_leads_out_of_the_folder(name: str) -> None:
    """Whatever a server says, the result is refused or relative and without `..`."""
    try:
        path = safe_name(name)
    except UnsafeNameError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert path.parts

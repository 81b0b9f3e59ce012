"""Which file names from a server may be written here."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.download import UnsafeNameError, safe_name
from orchestrator.download.names import sort_out
from orchestrator.models import OutputFile

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
    ".kgtts-parts",
    "sub/.kgtts-parts",
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
    """Names that leave the folder, control terminals or break file systems are refused."""
    with pytest.raises(UnsafeNameError):
        safe_name(name)


@pytest.mark.parametrize("name", FINE)
def test_an_ordinary_name_is_taken_as_it_is(name: str) -> None:
    """Spaces, quotes, Bangla, dots and long names are accepted."""
    assert safe_name(name, on_windows=False).as_posix() == name


@given(st.text())
def test_no_text_at_all_leads_out_of_the_folder(name: str) -> None:
    """Any name is refused, or relative and without `..`."""
    try:
        path = safe_name(name)
    except UnsafeNameError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert path.parts
    assert not any(part.endswith((".", " ")) or part.casefold().startswith(".kgtts-") for part in path.parts)
    assert all(len(part.encode()) <= 255 for part in path.parts)
    assert not any(unicodedata.category(mark) in {"Cc", "Cs"} for mark in name)


# Names near the edge: pieces that alone are fine and together are not, or the other way round.
PIECES = st.sampled_from(
    [
        "a",
        "A",
        ".",
        "..",
        "/",
        "//",
        "\\",
        ":",
        " ",
        "nul",
        "CON",
        "\x00",
        "\x1b",
        "é",
        "e\u0301",
        "ক",
        "ß",
        "SS",
        "~",
    ]
)
NAMES = st.lists(PIECES, max_size=8).map("".join)


@given(st.lists(NAMES, max_size=12))
def test_of_any_listing_no_two_files_share_a_place(names: list[str]) -> None:
    """Accepted names are inside the folder and differ without case and Unicode form."""
    wanted, refused = sort_out([OutputFile(name, "") for name in names], Path("/nowhere"))
    assert sorted([*(file.name for file in wanted.values()), *(item.name for item in refused)]) == sorted(
        names
    )
    keys = [_plain(path.as_posix()) for path in wanted]
    assert len(set(keys)) == len(keys)
    assert not any(other.startswith(f"{key}/") for key in keys for other in keys)
    top = Path("/nowhere").resolve()
    assert all((top / path).resolve().is_relative_to(top) for path in wanted)
    assert all(item.reason for item in refused)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Model.pth", "model.PTH"),
        ("caf\u00e9", "cafe\u0301"),
        ("Straße", "STRASSE"),
        ("a", "A/b"),
        ("a/b", "A"),
        ("same", "same"),
        ("a/b", "a//b"),
    ],
)
def test_the_second_of_two_names_for_one_place_is_refused(first: str, second: str) -> None:
    """Names collide by case, by Unicode form, or as file and folder; the reason names the other."""
    wanted, refused = sort_out([OutputFile(first, ""), OutputFile(second, "")], Path("/nowhere"))
    assert [file.name for file in wanted.values()] == [first]
    assert [(item.name, item.reason) for item in refused] == [(second, f"collides with {first!r}")]


def test_folders_may_hold_many_files() -> None:
    """Only whole paths collide."""
    names = ["a/b", "a/c", "a/d/e", "ab"]
    wanted, refused = sort_out([OutputFile(name, "") for name in names], Path("/nowhere"))
    assert ([file.name for file in wanted.values()], refused) == (names, [])


@pytest.mark.parametrize("name", ['a"b', "a?", "a*", "a<b", "a>b", "d/a|b"])
def test_quotes_and_wildcards_are_refused_on_windows_alone(name: str) -> None:
    """Only Windows cannot have such a file."""
    assert safe_name(name, on_windows=False).as_posix() == name
    with pytest.raises(UnsafeNameError, match="which Windows does not allow"):
        safe_name(name, on_windows=True)

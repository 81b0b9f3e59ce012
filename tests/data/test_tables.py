"""Transcripts as people save them are read, and what cannot be read is named with its line."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.recordings import Folder, Names, Recording
from orchestrator.data.tables import Transcript, TranscriptError, read_table
from orchestrator.data.transcripts import find_transcripts

A, B = "আমি ভাত খাই।", "তুমি কোথায় যাও?"


def names(*files: str) -> Names:
    """The recordings of a folder."""
    return Names(Recording(name, Path(name)) for name in files)


def read(tmp_path: Path, content: str | bytes, *files: str, name: str = "t.csv") -> Transcript:
    """Read a transcript with this content, for recordings r1 to r6 by default."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, names(*(files or [f"r{number}.wav" for number in range(1, 7)])))


def pairs(found: Transcript) -> list[tuple[str, str]]:
    """What each row says."""
    return [(row.name, row.text) for row in found.rows]


@pytest.mark.parametrize("delimiter", ["|", "\t", ",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_encodings_and_line_ends_are_read(
    tmp_path: Path, delimiter: str, encoding: str, end: str
) -> None:
    """Any of them gives the same rows, blank lines apart."""
    lines = [f"r1{delimiter}{A}", "", f"r2.wav{delimiter}{B}", "", ""]
    found = read(tmp_path, end.join(lines).encode(encoding))
    assert pairs(found) == [("r1", A), ("r2.wav", B)]
    assert [row.line for row in found.rows] == [1, 3]
    assert found.bad == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("txt.done.data", f'( r1 " {A} " )\n\n(r2 "{B}")\n'),
        (
            "m.jsonl",
            f'{{"audio_filepath": "a/r1.wav", "text": "{A}"}}\n{{"text": "{B}", "audio_filepath": "/r2"}}',
        ),
        ("m.json", f'[{{"id": "r1", "sentence": "{A}", "more": {{}}}}, {{"id": "r2", "sentence": "{B}"}}]'),
        (
            "m.json",
            f'{{"version": 1, "data": [{{"wav": "r1", "text": "{A}"}}, {{"wav": "r2", "text": "{B}"}}]}}',
        ),
        ("m.json", f'{{"r1.wav": "{A}", "r2.wav": "{B}"}}'),
    ],
)
def test_festivals_form_and_json_are_read(tmp_path: Path, name: str, content: str) -> None:
    """As Indic TTS, NeMo and many a script write them."""
    found = read(tmp_path, content, name=name)
    assert [(Path(row.name).stem, row.text) for row in found.rows] == [("r1", A), ("r2", B)]
    assert found.bad == []
    assert found.form[0] in ("Festival's form", "JSON")


def test_lines_that_are_not_festivals_are_named(tmp_path: Path) -> None:
    """No line vanishes among those that are read."""
    found = read(tmp_path, f'( r1 " {A} " )\n( r2 {B} )\n( r3 " {B} " )\n', name="txt.done.data")
    assert [row.name for row in found.rows] == ["r1", "r3"]
    assert [line for line, _, _ in found.bad] == [2]


def test_a_configuration_is_no_transcript(tmp_path: Path) -> None:
    """JSON that names no recording is passed over without a word."""
    (tmp_path / "config.json").write_text('{"audio": {"rate": 22050}, "datasets": []}', encoding="utf-8")
    (tmp_path / "odd.json").write_text("{", encoding="utf-8")
    recording = Recording("r1.wav", tmp_path / "r1.wav")
    folder = Folder(tmp_path, (recording,), ("config.json", "odd.json"), ())
    assert find_transcripts(folder, names("r1.wav")) == ([], [])


def test_a_workbook_is_read(tmp_path: Path) -> None:
    """The first sheet that has rows counts; numbers are names, and leading zeros come back."""
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Texts")
    for row in (("File", "Sentence"), ("r1", A), (None, None), (2, B)):
        sheet.append(row)
    book.save(tmp_path / "t.xlsx")
    known = names("r1.wav", "002.wav")
    found = read_table(tmp_path / "t.xlsx", known)
    assert [(row.line, row.name, row.text) for row in found.rows] == [(2, "r1", A), (4, "2", B)]
    assert "leading zeros" in known.find("2").why
    assert found.form == ["sheet 'Texts'", "a line of headings"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.xlsx", b"no workbook", "is not an Excel workbook"),
        ("t.xls", b"", "is in Excel's old format"),
        ("t.ods", b"", "is in LibreOffice's format"),
        ("t.csv", b"\x81\xfe\xff", "is neither UTF-8 nor UTF-16"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """The error says how to save it instead."""
    with pytest.raises(TranscriptError, match=says):
        read(tmp_path, content, name=name)


def rebuilt(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the first sheet of a workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, change(content) if name == sheet else content)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda sheet: sheet[: len(sheet) // 2], "is not an Excel workbook"),
        (lambda sheet: sheet.replace(b"<v>", b"<v>x"), None),
        (lambda sheet: sheet.replace(b"A1:B2", b"A1:XFD1048576"), None),
        (lambda sheet: sheet.replace(b'r="2"', b'r="99999"').replace(b"A2", b"A99999"), None),
    ],
    ids=["cut", "no number", "false size", "many empty rows"],
)
def test_odd_workbooks_are_read_or_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], says: str | None
) -> None:
    """Whatever is in it, there is a sentence for it, and neither memory nor time grow with what it claims."""
    path = tmp_path / "t.xlsx"
    book = openpyxl.Workbook()
    for row in (("r1", A), ("r2", B)):
        book.active.append(row)
    book.save(path)
    rebuilt(path, change)
    if says is None:
        assert len(read_table(path, names("r1.wav", "r2.wav")).rows) > 0
    else:
        with pytest.raises(TranscriptError, match=says):
            read_table(path, names("r1.wav", "r2.wav"))


def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """By the size that its directory tells, before anything is unpacked."""
    path = tmp_path / "t.xlsx"
    openpyxl.Workbook().save(path)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # The last one of the directory; its size stands 24 bytes behind.
    content[entry + 24 : entry + 28] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(TranscriptError, match=r"1\.1 GB unpacked"):
        read_table(path, names("r1.wav"))


def test_headings_that_are_also_names_of_recordings(tmp_path: Path) -> None:
    """A recording called text.wav makes no row of the headings."""
    assert pairs(read(tmp_path, f"file|text\ntext|{A}\n", "text.wav")) == [("text", A)]


@pytest.mark.parametrize("heading", ["file|text", "ফাইল|বাক্য", '"Audio File"|"Sentence"'])
def test_a_line_of_headings_is_no_row(tmp_path: Path, heading: str) -> None:
    """Columns are known by their headings, in Bangla too."""
    found = read(tmp_path, f"{heading}\nr1|{A}\n")
    assert pairs(found) == [("r1", A)]
    assert "a line of headings" in found.form


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
def test_a_title_above_the_headings_is_said(tmp_path: Path, name: str) -> None:
    """As exports have it; a remark in some rows is no part of their texts."""
    table = [
        ["Class 4", "", "", ""],
        ["", "", "", ""],
        ["ক্রমিক", "ফাইলের নাম", "বাক্য", "মন্তব্য"],
        ["১", "r1", A, "ভালো"],
        ["২", "r2", B, ""],
        ["৩", "r3", A, ""],
    ]
    if name == "t.csv":
        content: str | bytes = "".join(";".join(row) + "\n" for row in table)
    else:
        book = openpyxl.Workbook()
        for row in table:
            book.active.append([cell or None for cell in row])
        book.save(tmp_path / "saved.xlsx")
        content = (tmp_path / "saved.xlsx").read_bytes()
    found = read(tmp_path, content, name=name)
    assert pairs(found) == [("r1", A), ("r2", B), ("r3", A)]
    assert found.bad == []
    assert found.form[1:] == [
        "a line of headings",
        "line 1, above the headings, is not used: 'Class 4'",
        "columns 1, 4 are not used",
    ]


def test_columns_are_found_by_their_headings(tmp_path: Path) -> None:
    """Common Voice's order: the speaker first, then the file, then the sentence; others are named."""
    found = read(tmp_path, f"client_id\tpath\tsentence\tup_votes\nx9\tr1.mp3\t{A}\t2\n", "r1.mp3")
    assert [(row.name, row.text, row.speaker) for row in found.rows] == [("r1.mp3", A, "x9")]
    assert "column 4 is not used" in found.form


@pytest.mark.parametrize(
    "row",
    ["r{0}\tgoogle\tbn_internal_{0}\t {1} \n", "r{0}\tdff{0}c\t{1}\n", "r{0}\t{1}\t{0}.5\tbn_internal_{0}\n"],
)
def test_ids_without_headings_are_no_texts(tmp_path: Path, row: str) -> None:
    """OpenSLR has those of sentences and of people beside its texts."""
    texts = [A, B, "সে আসে।", "আমরা গান গাই।"]
    found = read(tmp_path, "".join(row.format(number, text) for number, text in enumerate(texts, 1)))
    assert [row.text for row in found.rows] == texts
    assert {row.spoken for row in found.rows} == {None}


def test_columns_are_found_without_headings(tmp_path: Path) -> None:
    """A column of few values that come again and again is the speaker; the longest is the text."""
    lines = [f"{speaker},r{number}.wav,{A}" for number, speaker in enumerate("ababab", 1)]
    found = read(tmp_path, "\n".join(lines))
    assert [(row.name, row.text, row.speaker) for row in found.rows][:2] == [
        ("r1.wav", A, "a"),
        ("r2.wav", A, "b"),
    ]


def test_ljspeechs_third_column_is_the_spoken_text(tmp_path: Path) -> None:
    """It is kept where it differs."""
    found = read(tmp_path, f"r1|১ম।|প্রথম।\nr2|{A}|{A}\nr3|{B}\n")
    assert [(row.text, row.spoken) for row in found.rows] == [("১ম।", "প্রথম।"), (A, None), (B, None)]


def test_a_bar_and_a_line_break_within_a_text_are_kept_apart(tmp_path: Path) -> None:
    """People type | for a danda; a quoted text may have a line break. Both are said."""
    found = read(tmp_path, 'r1|আমি | তুমি|আমি | তুমি\n"r2"|"দুই\nলাইন।"|"দুই\nলাইন।"\nr3|ক খ|ক খ\n')
    assert [(row.line, row.text) for row in found.rows] == [(1, "আমি। তুমি"), (2, "দুই লাইন।"), (5, "ক খ")]
    assert found.rows[0].changes == ("a | in the text is read as ।",)
    assert found.rows[1].changes == ("a line break in the text is read as a space",)


def test_a_delimiter_in_the_last_column_belongs_to_the_text(tmp_path: Path) -> None:
    """A comma without quotes, in a file of two columns."""
    assert pairs(read(tmp_path, f"r1,{A}\nr2,হ্যাঁ, যাব।\nr3,{B}\n"))[1] == ("r2", "হ্যাঁ, যাব।")


def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path: Path) -> None:
    """The next line that begins with a recording's name is a row."""
    found = read(tmp_path, f'r1\t"কাল আসব\nr2\t{B}\nr3\t"কাল" সে বলল।\n')
    assert pairs(found) == [("r1", '"কাল আসব'), ("r2", B), ("r3", '"কাল" সে বলল।')]


@pytest.mark.parametrize("closes", ['"তারা গায়।', 'তারা "গায়"', "তারা গায়।"])
def test_a_quote_that_is_never_closed_in_common_voice(tmp_path: Path, closes: str) -> None:
    """There the recording stands in the second column, and later rows may close the quote."""
    head = "client_id\tpath\tsentence_id\tsentence\tup_votes\tlocale\tsegment\n"
    texts = [A, '"কাল আসব', B, closes, A]
    rows = [f"{'f' * 32}\tr{number}.mp3\tab12\t{text}\t2\tbn\t\n" for number, text in enumerate(texts, 1)]
    found = read(tmp_path, head + "".join(rows), *(f"r{number}.mp3" for number in range(1, 6)))
    assert pairs(found) == [(f"r{number}.mp3", text) for number, text in enumerate(texts, 1)]
    assert found.bad == []


def test_a_workbook_that_read_bangla_wrong_is_read_back(tmp_path: Path) -> None:
    """Excel takes a CSV without a byte order mark for Windows' encoding, and saves what it shows."""
    book = openpyxl.Workbook()
    for row in (("file", "text"), ("r1.wav", A.encode().decode("latin-1")), ("r2.wav", B)):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    found = read_table(tmp_path / "t.xlsx", names("r1.wav", "r2.wav"))
    assert pairs(found) == [("r1.wav", A), ("r2.wav", B)]


def test_lines_that_are_no_rows_are_named(tmp_path: Path) -> None:
    """With number, content and reason."""
    found = read(tmp_path, f"r1|{A}|{A}\nhello\n|{A}|{A}\nr2|ক|খ|গ\nr3|{B}|{B}\n")
    assert [(line, why.split(",")[0]) for line, _, why in found.bad] == [
        (2, "it has no column with a text"),
        (3, "it names no recording"),
        (4, "it has more columns than the other lines"),
    ]


@pytest.mark.parametrize(
    ("written", "recording"),
    [
        ("Rec 01", "Rec 01.wav"),
        ("Rec 01.wav", "Rec 01.wav"),
        ("wavs/Rec 01.wav", "Rec 01.wav"),
        ("C:\\data\\wavs\\Rec 01.WAV", "Rec 01.wav"),
        ("/home/somebody/Rec 01", "Rec 01.wav"),
        (" rec  01 ", "Rec 01.wav"),
        ("REC_01.mp3", "Rec 01.wav"),
        ('"Rec 01"', "Rec 01.wav"),
        ("Rec 1", "Rec 01.wav"),
        ("পড\u09bc", "sub/প\u09a1\u09bc.flac"),
        ("প\u09dc", "sub/প\u09a1\u09bc.flac"),
    ],
)
def test_a_name_may_be_written_otherwise(written: str, recording: str) -> None:
    """Extension, folder, slashes, case, white space, quotes, zeros and Unicode form do not count."""
    known = names("Rec 01.wav", "Rec 02.wav", "sub/প\u09a1\u09bc.flac")
    assert [item.name for item in known.find(written).found] == [recording]


def test_a_name_that_fits_several_recordings_fits_none() -> None:
    """The exact one is preferred; without one, all are named."""
    known = names("a/x.wav", "b/x.wav", "c/x.flac", "x1.wav", "X1.wav")
    assert len(known.find("x").found) == 3
    assert [item.name for item in known.find("b/x").found] == ["b/x.wav"]
    assert [item.name for item in known.find("c/x.flac").found] == ["c/x.flac"]
    assert [item.name for item in known.find("X1").found] == ["X1.wav"]


def test_texts_beside_the_recordings_are_read(tmp_path: Path) -> None:
    """A `.txt` of the same name, also in a folder of its own, whatever its encoding."""
    (tmp_path / "txt").mkdir()
    (tmp_path / "r1.txt").write_text(f"{A}\n", encoding="utf-8-sig")
    (tmp_path / "txt" / "R2.txt").write_bytes(B.encode("utf-16"))
    (tmp_path / "r3.txt").write_bytes(b"\x81\xfe\xff")
    (tmp_path / "readme.txt").write_text("hello", encoding="utf-8")
    recordings = tuple(Recording(f"r{number}.wav", tmp_path) for number in (1, 2, 3))
    files = ("r1.txt", "r3.txt", "readme.txt", "txt/R2.txt")
    found, unread = find_transcripts(Folder(tmp_path, recordings, files, ()), Names(recordings))
    assert [(row.file, row.name, row.text) for row in found[0].rows] == [
        ("r1.txt", "r1.wav", A),
        ("txt/R2.txt", "r2.wav", B),
    ]
    assert found[0].bad == [(1, "r3.txt", "is neither UTF-8 nor UTF-16: save it as UTF-8")]
    assert unread == []


def test_the_best_transcript_is_chosen_and_the_others_are_named(tmp_path: Path) -> None:
    """Of two with the same recordings the one of the usual name counts."""
    for name, text in (("metadata.csv", f"r1|{A}\nr2|{B}\n"), ("copy.csv", f"r1|{A}\n"), ("x.csv", "1,2\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    recordings = tuple(Recording(f"r{number}.wav", tmp_path) for number in (1, 2))
    files = ("copy.csv", "metadata.csv", "x.csv")
    found, unread = find_transcripts(Folder(tmp_path, recordings, files, ()), Names(recordings))
    assert [item.file for item in found] == ["metadata.csv"]
    assert dict(unread) == {
        "copy.csv": "names only recordings that another transcript names",
        "x.csv": "names none of the recordings",
    }


LINES = st.lists(
    st.text(st.sampled_from('r12|,\t;"\n\r ।কা'), max_size=12) | st.sampled_from(["r1|ক", "r2|খ", '"r1","ক"']),
    max_size=8,
)


@given(LINES)
def test_no_line_vanishes(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """Whatever a file holds, its letters are in a row, in a line that is named, or in the headings."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    found = read_table(path, names("r1.wav", "r2.wav"))
    kept = "".join(
        [row.name + row.text + (row.spoken or row.text) + row.speaker for row in found.rows]
        + [whole for _, whole, _ in found.bad]
    )
    unused = any("not used" in form for form in found.form)
    assert unused or all(letter in kept for letter in "কখ" if letter in "".join(lines))

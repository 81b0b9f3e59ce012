"""Metadata as people write it is read as they mean it."""

import pytest

from kernel_template.text.metadata import Recordings, read_lines, read_ljspeech
from kernel_template.text.rows import split_rows

WAVS = Recordings(f"{name}.wav" for name in ("a1", "a2", "a3", "Rec 04", "sub/a5", "কথা", "B6"))
GOOD = "a1|আমি|আমি\na2|তুমি|তুমি\n"
READ = "a1|আমি|আমি|\na2|তুমি|তুমি|\n"


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("\n", "\r\n"), GOOD.rstrip("\n"), "a1|x|y|speaker\n"])
def test_what_the_formatter_reads_stays(text: str) -> None:
    """A correct file is not copied, whatever its line ends."""
    found = read_ljspeech(text.encode(), WAVS)
    assert (found.text, found.remarks, found.left_out) == (None, [], [])


@pytest.mark.parametrize(
    ("data", "remark"),
    [
        (b"\xef\xbb\xbf" + GOOD.encode(), "UTF-8 with a byte order mark"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), "UTF-16"),
        (GOOD.encode("utf-16-le"), "UTF-16"),
        (GOOD.replace("\n", "\n\n").encode(), "blank lines are skipped (lines 2, 4)"),
        (GOOD.replace("a2|", "a2.wav|").encode(), "names are written otherwise"),
        (GOOD.replace("a2|", "wavs/a2.wav|").encode(), "names are written otherwise"),
        (GOOD.replace("a2|", "C:\\data\\wavs\\a2.WAV|").encode(), "names are written otherwise"),
        (GOOD.replace("a2|", '"a2"|').encode(), "names are written otherwise"),
        (GOOD.replace("a2|", " A2 |").encode(), "names are written otherwise"),
        (GOOD.replace("|তুমি|তুমি", "|তুমি").encode(), "rows have two columns"),
        (GOOD.replace("|তুমি|তুমি", "|তুমি|").encode(), "rows have no third column"),
        (GOOD.replace("|", "\t").encode(), "separated by TAB"),
        (GOOD.replace("|", ",").encode(), "separated by commas"),
        (GOOD.replace("|", ";").encode(), "separated by semicolons"),
        (("file|text|text\n" + GOOD).encode(), "a line of headings is skipped"),
        ("ফাইল,বাক্য\na1,আমি\na2,তুমি\n".encode(), "separated by commas"),
        ('a1|"আমি"|"আমি"\na2|তুমি|তুমি\n'.encode(), "quotes around texts are removed"),
    ],
)
def test_what_is_only_written_otherwise(data: bytes, remark: str) -> None:
    """The formatter gets its three columns, and a fourth that keeps the line end out of the text."""
    found = read_ljspeech(data, WAVS)
    assert found.text == READ
    assert any(remark in each for each in found.remarks), found.remarks
    assert (found.left_out, found.rows) == ([], 2)


def test_a_spreadsheet_with_everything() -> None:
    """Quoted cells may have commas, quotes, line breaks and |; empty rows are ignored."""
    text = (
        '"file","text"\n"a1","আমি, তুমি"\n"","" \n"a2.flac","তিনি বললেন, ""আসব""।"\n'
        '" Rec 04 ","দাম ৳২৫০ | ধন্যবাদ"\n"wavs/a5.wav","দুই\nলাইন"\n'
    )
    found = read_ljspeech(text.encode("utf-8-sig"), WAVS)
    assert found.text == (
        "a1|আমি, তুমি|আমি, তুমি|\n"
        'a2|তিনি বললেন, "আসব"।|তিনি বললেন, "আসব"।|\n'
        "Rec 04|দাম ৳২৫০। ধন্যবাদ|দাম ৳২৫০। ধন্যবাদ|\n"
        "sub/a5|দুই লাইন|দুই লাইন|\n"
    )


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("recordings", [Recordings(f"r{n}.wav" for n in range(6)), Recordings([])])
def test_a_quote_that_is_never_closed_takes_no_other_rows(delimiter: str, recordings: Recordings) -> None:
    """Nor does one that a later row closes: a recording would be trained with the texts of three."""
    texts = ["আমি যাই।", '"তুমি যাও।', "সে আসে।", '"আমরা গাই।', 'তারা "নাচে"', "এটা কী?"]
    lines = [f"r{number}{delimiter}{text}" for number, text in enumerate(texts)]
    found = read_ljspeech("\n".join(lines).encode(), recordings)
    assert found.text == "".join(f"r{number}|{text}|{text}|\n" for number, text in enumerate(texts))
    assert (found.rows, found.left_out) == (6, [])


def test_a_long_file_with_a_quote_that_is_never_closed() -> None:
    """What Python's csv module takes for one column of 131,072 characters is no failure."""
    lines = ["r\tআমি যাই।\n"] * 9000
    lines[2] = 'r\t"আমি যাই।\n'
    assert read_ljspeech("".join(lines).encode(), Recordings([])).rows == 9000


@pytest.mark.parametrize(("lines", "rows"), [(3, 1), (30, 32)])
def test_a_quoted_text_has_few_lines(lines: int, rows: int) -> None:
    """One that seems to be closed thirty lines later was left open, so its line is the whole row."""
    text = ['a1|"আমি যাই।', *["শেষ।"] * lines, 'শেষ"']
    assert len(list(split_rows(text, "|", lambda name: name == "a1"))) == rows


def test_a_bar_within_a_text() -> None:
    """A repeated text shows where the columns end, where Coqui would use only a part of it."""
    found = read_ljspeech("a1|লম্বা | দাগ|লম্বা | দাগ\n".encode(), WAVS)
    assert found.text == "a1|লম্বা। দাগ|লম্বা। দাগ|\n"
    assert found.remarks == ["a | within a text is read as । (line 1)"]


def test_names_in_another_unicode_form() -> None:
    """A Mac decomposes letters in file names, and they are still found."""
    recordings = Recordings(["ক\u09c7\u09be.wav"])
    assert recordings.find("কো") == "ক\u09c7\u09be"
    assert Recordings(["a/x.wav", "b/x.wav"]).find("X") is None  # Which of them is meant?


def test_rows_that_cannot_be_read_are_left_out() -> None:
    """A name without a text is reported with its line number."""
    found = read_ljspeech("a1|আমি|আমি\nonly a text\na3||\n".encode(), WAVS)
    assert (found.rows, found.left_out) == (1, [(2, "only a text"), (3, "a3||")])
    assert found.left_out_words == "line 2: 'only a text'; line 3: 'a3||'"


def test_a_missing_recording_stays_in_the_list() -> None:
    """The sample check reports it; the metadata itself is right."""
    assert read_ljspeech("a1|আমি|আমি\nnone|x|x\n".encode(), WAVS).text is None


def test_another_encoding_is_no_text() -> None:
    """The encoding of Latin-1 and ZIP files is not guessed."""
    with pytest.raises(UnicodeDecodeError):
        read_ljspeech(b"a1|caf\xe9|x\n", WAVS)


def test_other_formatters_get_clean_lines() -> None:
    """If the columns are unknown, only encoding and blank lines are corrected."""
    found = read_lines(b"\xef\xbb\xbf" + "x,y\n\n z\u2028,1\n".encode())
    assert found.text == "x,y\n z\u2028,1\n"
    assert found.remarks == ["it is UTF-8 with a byte order mark", "blank lines are skipped (line 2)"]
    assert read_lines(b"x\ny\n").text is None

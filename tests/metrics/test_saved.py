"""A log that somebody saved gives every value, however it was saved."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.metrics import FindingKind, continuous, find_warnings, read_metrics
from orchestrator.metrics.documents import document_text
from tests.metrics.saving import WAYS
from tests.metrics.writing import Style, Writing
from tests.support import Cli

GENERATIONS = {
    "2021": Style(less_one=False, coloured=True, mixed=True, averages_rates=False, dated=False),
    "0.0.36": Style(less_one=False, coloured=True, mixed=True, averages_rates=False),
    "0.4.0": Style(less_one=True, coloured=True, mixed=True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_value_of_a_saved_log_is_read(generation: str, way: str) -> None:
    """Each generation of the trainer, saved in each way, gives every value and loses no line."""
    style = GENERATIONS[generation]
    if (
        way == "Markdown, shown"
    ):  # Where lines are joined, a stranger's line cannot be told from a value's end.
        style = replace(style, mixed=False)
    writing = Writing(style, epochs=3, steps=40, first=1_000, print_every=10)
    table = continuous(read_metrics([WAYS[way](writing.text())]))
    later = 200.0 if "JSON" in way else 0.0  # Kaggle says when each line was printed.
    assert [row._replace(time=(row.time or 0.0) - later) for row in table] == writing.rows
    assert table.counters.lost_lines == 0
    assert table.best_steps() == [1_040]
    assert find_warnings(table) == []


@pytest.mark.parametrize("way", WAYS)
def test_where_a_saved_log_is_cut_makes_no_difference(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file read in pieces gives the same values, also after the part that shows how it was saved."""
    monkeypatch.setattr("orchestrator.metrics.saved.SAMPLE_BYTES", 20_000)
    writing = Writing(GENERATIONS["0.0.36"], epochs=3, steps=60, print_every=10)
    data = WAYS[way](writing.text())
    cut = read_metrics([data[place : place + 1013] for place in range(0, len(data), 1013)])
    assert [row.value for row in cut] == [row.value for row in writing.rows]


def test_epochs_without_a_printed_step_have_their_own_evaluations() -> None:
    """Epochs shorter than the distance of printed steps do not overwrite each other's evaluations."""
    for less_one in (True, False):
        writing = Writing(Style(less_one=less_one, coloured=True), epochs=9, steps=8, first=0, print_every=25)
        table = continuous(read_metrics([writing.text().encode()]))
        assert [row[1:] for row in table] == [row[1:] for row in writing.rows]
        assert list(table.of("avg_loss_mel", "eval").steps) == list(range(8, 73, 8))


def test_two_evaluations_at_one_step_are_both_kept() -> None:
    """If a log's counts contradict each other, an evaluation's step is unknown, but its values are kept."""
    text = "".join(
        f"> EPOCH: {epoch}/9\n"
        f"--> TIME: 2025-02-03 10:3{epoch}:00 -- STEP: {epoch}/140 -- GLOBAL_STEP: {100 + epoch}\n"
        f"| > loss: 1.5 (2.5)\n[1m--> EVAL PERFORMANCE[0m\n| > avg_loss:[92m {epoch}.5 [0m(-0.1)\n"
        for epoch in (1, 2)
    )
    table = continuous(read_metrics([text.encode()]))
    assert [(row.step, row.value) for row in table if row.split == "eval"] == [(240, 1.5), (None, 2.5)]


def test_many_lines_that_are_not_understood_are_a_finding() -> None:
    """The finding says how many lines were lost and shows the first three."""
    lines = [f"| > loss_mel = {number}.25 (mean {number}.5)" for number in range(40)]
    finding, *rest = find_warnings(read_metrics(["\n".join([*lines, ""]).encode()]))
    assert (finding.kind, rest) == (FindingKind.NOT_UNDERSTOOD, [])
    assert "40 of 40 lines could not be read" in finding.message
    assert ", ".join(f'"{line}"' for line in lines[:3]) in finding.message
    assert lines[3] not in finding.message


def test_a_few_torn_lines_are_no_finding() -> None:
    """Two programs that print at once tear a line now and then; the count alone is shown."""
    writing = Writing(GENERATIONS["0.4.0"], epochs=3, steps=40, print_every=10)
    lines = writing.text().split("\n")
    table = read_metrics(["\n".join(["| > loss_mel: 1 (", *lines, "| > loss_mel: 2 ("]).encode() + b"\n"])
    assert table.counters.lost_lines == 2
    assert find_warnings(table) == []


def test_a_log_of_which_nothing_is_understood_shows_its_lines(cli: Cli, workplace: Path) -> None:
    """`metrics` quotes what it could not read, so that a person sees what kind of file it is."""
    (workplace / "log.txt").write_text("| > loss_mel = 3.5\n| > loss_mel = 3.25\n")
    result = cli("metrics", "log.txt")
    assert result.code == 2
    assert 'could not be read: "| > loss_mel = 3.5", "| > loss_mel = 3.25"' in result.err


@pytest.mark.parametrize("name", ["word/document.xml", "content.xml", "other.xml"])
def test_an_archive_that_is_no_log_is_refused_in_a_sentence(cli: Cli, workplace: Path, name: str) -> None:
    """A Word document without measurements, and any other archive, are not understood."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr(name, "<w:p>Dear diary</w:p>")
    for data in (memory.getvalue(), memory.getvalue()[:40]):
        (workplace / "diary.docx").write_bytes(data)
        result = cli("metrics", "diary.docx")
        assert (result.code, "contains no measurements" in result.err) == (2, True)


@pytest.mark.parametrize(
    "text", [r"\uc0\u2453 s", r"\uc1\u2453?s", r"\u2453\'3fs", r"{\b\u2453 ?}{\*\x y}s", r"{\i \u2453?}\'73"]
)
def test_letters_by_number_in_rtf(text: str) -> None:
    """A letter by number is one letter, with or without one that stands in for it."""
    assert document_text(b"{\\rtf1{\\fonttbl A;}" + text.encode() + b"\\par}") == "কs\n".encode()


def test_the_summary_counts_what_could_not_be_read(cli: Cli, workplace: Path) -> None:
    """`metrics` warns of many lines that were not understood, and counts a few."""
    good = Writing(GENERATIONS["0.0.36"], epochs=1, steps=40, print_every=10).text()
    (workplace / "few.txt").write_text(good + "| > loss_mel: 1 (\n", encoding="utf-8")
    few = cli("metrics", "few.txt")
    assert "1 of " in few.out
    assert "could not be read" not in few.err
    (workplace / "many.txt").write_text(good + "| > loss_mel = 1\n" * 50, encoding="utf-8")
    assert 'could not be read, and their values are missing here. The first are: "| > loss_mel = 1"' in (
        cli("metrics", "many.txt").out
    )

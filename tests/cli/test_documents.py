"""README.md and docs/: commands can be typed, links resolve, and nothing is missing."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import kgtts
from orchestrator.emulator import Emulator
from orchestrator.errors import ExitCode
from tests.cli.voice import TRAIN
from tests.data.making import TEXTS, said, write, write_csv
from tests.report.making import Made, write_data_set
from tests.report.test_blind import answer
from tests.support import REPOSITORY, Cli
from tests.voice.making import graph, put_voice

README = REPOSITORY / "README.md"
DOCUMENTS = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = re.compile(r"`((?:orchestrator|kernel_template|tests|docs|benchmarks)/[\w/.]+)`")
# What a test cannot type, and what shows it instead.
ELSEWHERE = {
    "make demo": "tests/cli/test_demo.py runs what it calls",
    "make test": "is how this test is run",
    "make lint": "is run by .ci/run",
    "bash .ci/run": "runs this test",
    "pip install": "needs a package index; tests/render/test_installed.py installs the wheel",
    "python -m venv": "makes what this test runs in",
    "source .venv": "is the shell's own",
    "cd FOLDER": "is the shell's own",
    "pip wheel": "needs a package index",
    "pip download": "needs a package index",
    "kgtts kaggle auth login": "needs a browser and an account",
    "kgtts base add bangla-female": "needs the internet; tests/cli/test_base.py adds others",
    "kgtts train": "trains for hours; tests/cli/test_train.py",
    "kgtts render --for skypilot": "needs a dataset and a voice; tests/places/test_skypilot.py",
    "sky jobs launch": "needs a cloud; tests/places/test_skypilot_steps.py runs the task's steps",
    "kgtts status --from s3": "needs a bucket; tests/places/test_reading.py",
    "kgtts pull --from s3": "as above",
    "kgtts kaggle datasets": "tests/emulator/test_stock_inputs.py runs all of them",
    "kgtts kaggle models": "tests/emulator/test_stock_inputs.py runs all of them",
    "kgtts emulator": "ends with Ctrl-C; tests/cli/test_emulator_command.py",
    "python -c": "tests/serve/test_command.py takes such a token",
    "kgtts serve": "ends with Ctrl-C; tests/serve/test_command.py",
    "kgtts publish hf": "needs an account there; tests/cli/test_publish.py",
    "curl": "tests/cli/test_emulator_faults.py sends the same requests",
    "python -m benchmarks.": "benchmarks measure; they are not tests",
    "python -m tests.corpus": "the corpus takes half an hour; test_corpus.py plays a part of it",
    "python docs/": "needs Chromium and a demo",
}


def commands(document: Path) -> Iterator[list[str]]:
    """Return the commands in the document's shell blocks, each as its words."""
    for language, text in BLOCK.findall(document.read_text(encoding="utf-8")):
        if language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield words


def elsewhere(words: list[str]) -> bool:
    """Return whether another test shows that the command works."""
    return any(" ".join(words).startswith(start) for start in ELSEWHERE)


@pytest.fixture
def project(account: Emulator, cli: Cli, workplace: Path) -> Path:
    """A project with what the documents mention: a dataset, texts, two older runs, and a voice."""
    del account
    (workplace / "wheels").mkdir()
    for name in ("rima.json", "karim.txt"):
        (workplace / name).write_text(answer(name, "ABB"), encoding="utf-8")
    (workplace / "story.txt").write_text("আমি তুমি।\n", encoding="utf-8")
    write_data_set(workplace / "MyTTSDataset", ("আমি তুমি।",))
    for number in (1, 2):
        write(workplace / "My recordings" / f"Rec {number}.wav", said(TEXTS[number], 22_050), 22_050)
    rows = [(f"Rec {number}", TEXTS[number]) for number in (1, 2)]
    write_csv(workplace / "My recordings" / "transcript.csv", rows)
    return workplace


def make_fit(words: list[str], project: Path, settings: str) -> None:
    """After a command, make what it wrote fit for sessions here, whose Coqui is made up."""
    if words[1:2] == ["init"]:
        (project / "kgtts.toml").write_text(settings, encoding="utf-8")
    if words[1:3] == ["data", "prepare"]:
        place = project / words[words.index("--to") + 1] / "MyTTSDataset" / "train_tts.py"
        place.write_text(TRAIN, encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_the_commands_shown_work(document: Path, project: Path, cli: Cli) -> None:
    """They are typed one after the other, as a reader would do."""
    settings = (project / "kgtts.toml").read_text(encoding="utf-8")
    if document != README:  # The README makes a run of its own.
        for seed, name, run in ((7, "bangla-tts", "3f9c1a7be204"), (9, "second-voice", "81d2c0ffee42")):
            made = Made(run=run, sessions=2, epochs=6, seed=seed, held_out=("আমি তুমি।",))
            made.write(project / "runs" / name)
            for voice in ("base", "voice"):
                put_voice(project / "runs" / name / "session-02" / "voice", graph(), voice)
    for words in commands(document):
        if elsewhere(words):
            continue
        if words[0] == "echo":
            text, target = words[1], words[-1]
            (project / target).write_text(text.replace("YOU", "asha"), encoding="utf-8")
            continue
        assert words[0] == "kgtts", f"{document.name}: nothing runs `{' '.join(words)}`"
        if words[1:2] == ["init"]:
            (project / "kgtts.toml").unlink()
        if words[1:2] == ["say"]:
            put_voice(next((project / "runs" / "bangla-tts").glob("session-*")) / "voice", graph())
        aside = ["--out", "said.wav"] if words[1:2] == ["say"] and "--out" not in words else []
        # A test opens no browser.
        result = cli(*(word for word in words[1:] if word != "--open"), *aside)
        assert result.code == 0, f"{' '.join(words)}: {result.said}"
        make_fit(words, project, settings)


def test_nothing_is_excused_in_vain() -> None:
    """Each exception is for a command that a document shows."""
    shown = [" ".join(words) for document in DOCUMENTS for words in commands(document)]
    assert [start for start in ELSEWHERE if not any(line.startswith(start) for line in shown)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_links_resolve(document: Path) -> None:
    """Every relative link leads to a file in the repository."""
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (document.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_paths_of_the_repository_exist(document: Path) -> None:
    """Every path that a document names exists."""
    for path in SOURCE.findall(document.read_text(encoding="utf-8")):
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_json_and_toml_examples_parse(document: Path) -> None:
    """Every example that a reader may copy is valid."""
    for language, text in BLOCK.findall(document.read_text(encoding="utf-8")):
        if language == "toml":
            tomllib.loads(text)
        if language == "json":
            json.loads(text)


def test_the_readme_is_short() -> None:
    """The README has at most 150 lines."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", kgtts.list_commands(click.Context(kgtts)))
def test_the_readme_has_a_line_on_every_command(name: str) -> None:
    """Every command has its line in the README."""
    assert re.search(rf"`kgtts {name}\b", README.read_text(encoding="utf-8"))


def test_the_readme_names_every_exit_code() -> None:
    """The README's table is that of `orchestrator.errors`."""
    text = README.read_text(encoding="utf-8")
    for code in ExitCode:
        assert f"\n| {code.value} |" in text


def test_every_document_is_linked_from_the_readme() -> None:
    """Every page in docs/ is linked from the README."""
    text = README.read_text(encoding="utf-8")
    assert [page.name for page in DOCUMENTS[1:] if f"(docs/{page.name})" not in text] == []

"""Bad samples in real trainings: Coqui's tokenizer and Trainer, several ranks, a whole session."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernel_template.host.protocol import Control
from tests.kernel.hosting import CONFIG, REAL_TRAINER, ForkServer, same_training, step_of
from tests.kernel.kit import Log, put
from tests.kernel.sessions import HEAD, Played
from tests.kernel.spoiled import RULES, mixed, recording

LISTED = Path(__file__).parent / "listed_training.py"

_TOKENIZER = """
import json, sys
from TTS.tts.utils.text import cleaners
from TTS.tts.utils.text.characters import Graphemes
from TTS.tts.utils.text.tokenizer import TTSTokenizer
from kernel_template.host.sample_checks import Expected, check_samples
characters = Graphemes(characters="abcdef", punctuations=" ,", pad="_", blank="#", bos="<", eos=">")
tokenizer = TTSTokenizer(characters=characters, text_cleaner=cleaners.basic_cleaners, add_blank=True)
tokenizer.not_found_characters = ["kept"]
expected = Expected(tokenizer=tokenizer, longest_text=30)
samples = [{"audio_file": sys.argv[1], "text": text, "language": "bn"} for text in sys.argv[2:]]
found = check_samples(samples, expected)
print(json.dumps([[[problem.kind, problem.detail] for problem in problems] for problems in found]))
print(json.dumps(tokenizer.not_found_characters))
"""


@pytest.mark.xdist_group("training")
@REAL_TRAINER
def test_coquis_own_tokenizer(vits_fork_server: ForkServer, tmp_path: Path) -> None:
    """Coqui's tokenizer is used with its cleaner and blanks, and without its line for each character."""
    path = recording(tmp_path / "a.wav")
    texts = ["ABC,  def", "abz", "abz", "abc?", "???", "abcdef" * 3]
    code, printed = vits_fork_server.python(["-c", _TOKENIZER, str(path), *texts], tmp_path)
    assert code == 0, printed[-3000:]
    found, kept = (json.loads(line) for line in printed.splitlines()[-2:])
    assert [[kind for kind, _ in problems] for problems in found] == [
        [],
        ["unknown_letters"],
        ["unknown_letters"],
        ["unknown_signs"],
        ["empty_text"],
        ["long_text"],
    ]
    assert found[1][0][1] == "U+007A LATIN SMALL LETTER Z"
    assert "not found in the vocabulary" not in printed
    assert kept == ["kept"]


def train(
    fork_server: ForkServer, folder: Path, *, ranks: int = 1, mode: str = "skip", held_out: str | None = None
) -> tuple[int, dict[str, Any], str]:
    """Train on the `mixed` samples; returns exit code, report and log."""
    given = mixed(folder)
    rows = [{**item, "number": number} for number, item in enumerate(given["train_samples"])]
    evals = [
        {**item, "number": number, "text": item["text"] and "ভাত আমি"}  # Nothing is trained on it.
        for number, item in enumerate(given["eval_samples"])
    ]
    put(folder / "listed.json", json.dumps({"train": rows, "eval": evals}))
    report = folder / "HOST_REPORT.json"
    config = put(
        folder / "config.json",
        json.dumps(
            {**CONFIG, "epochs": 1, "batch_size": 1, "output_path": str(folder / "out"), "plain": True}
        ),
    )
    rules = replace(RULES, bad_samples=mode, table=str(folder / "bad_samples.csv"), held_out=held_out)
    control = put(folder / "control.json", json.dumps(Control(report, data=rules).values()))
    arguments = [str(control), str(LISTED), "--config_path", str(config)]
    code = fork_server.run(arguments, folder / "log.txt", ranks=ranks)
    return code, json.loads(report.read_text()), (folder / "log.txt").read_text()


def test_a_training_without_its_bad_samples(fork_server: ForkServer, tmp_path: Path) -> None:
    """The Trainer gets only the good samples, and the report says so."""
    code, report, log = train(fork_server, tmp_path)
    assert (code, report["finished"], report["global_step"]) == (0, True, 5)
    (order,) = re.findall(r"ORDER train (\[.*\])", log)
    assert sorted(json.loads(order)) == [0, 1, 2, 3, 7]
    assert report["bad_samples"]["left_out"] == 4
    assert any("4 of 11 samples cannot be used" in text for text in report["warnings"])
    assert (tmp_path / "bad_samples.csv").is_file()


def test_two_ranks_train_on_the_same_samples(fork_server: ForkServer, tmp_path: Path) -> None:
    """Rank 1 excludes the samples that rank 0 found bad."""
    code, report, log = train(fork_server, tmp_path, ranks=2)
    assert (code, report["finished"], report["global_step"]) == (0, True, 3)
    other = (tmp_path / "log.txt.rank1").read_text()
    assert re.findall(r"ORDER train (\[.*\])", log) == re.findall(r"ORDER train (\[.*\])", other)
    assert "samples were checked" not in other


@pytest.mark.parametrize("ranks", [1, 2])
def test_holding_sentences_out_changes_no_bit(fork_server: ForkServer, tmp_path: Path, ranks: int) -> None:
    """Random numbers, split and weights are those of a training that lists nothing for its scores."""
    listed = tmp_path / "held_out.json"
    newest = []
    for name, held_out in (("without", None), ("with", str(listed))):
        (tmp_path / name).mkdir()
        code, report, _ = train(fork_server, tmp_path / name, ranks=ranks, held_out=held_out)
        assert (code, report["finished"]) == (0, True)
        newest.append(max((tmp_path / name / "out").rglob("*_[0-9].pth"), key=step_of))
    assert same_training(*newest) is None
    assert [item["name"] for item in json.loads(listed.read_text())] == ["wavs/4.wav", "wavs/5.wav"]


def test_a_refused_training_does_not_begin(fork_server: ForkServer, tmp_path: Path) -> None:
    """The training ends with the reason before its first step."""
    code, report, log = train(fork_server, tmp_path, mode="refuse")
    assert (code, report["global_step"]) == (1, None)
    assert report["refused"] in log
    assert "SCRIPT WENT ON" not in log


_TELLS = """
import pathlib
temp = pathlib.Path(args.config_path).parents[1] / "temp"
control = json.loads((temp / "CONTROL.json").read_text())
say("ASKED " + json.dumps([control["data"], control["disk"]]))
told = {"bad_samples": {"checked": 3, "left_out": 0, "by_kind": {"missing": 3}}}
told |= {"refused": "3 of 3 samples cannot be used."}
report = json.loads((temp / "HOST_REPORT.json").read_text())
(temp / "HOST_REPORT.json").write_text(json.dumps(report | told))
sys.exit(1)
"""


def test_a_session_with_bad_data(root: Path, log: Log) -> None:
    """The host gets the settings; the session ends with `bad_data`, and state.json has the counts."""
    data, disk = {"bad_samples": "refuse", "shortest_s": 0.4, "longest_s": 60.0}, {"limit_bytes": 10**9}
    played = Played(
        root, log, HEAD + _TELLS, data=data, disk=disk, training={"coqui": {"save_n_checkpoints": 7}}
    )
    (asked,) = [json.loads(line[6:]) for line in log.lines if line.startswith("ASKED ")]
    working = root / "working"
    wanted = {**data, "table": str(working / "bad_samples.csv")}
    assert asked[0] | wanted == asked[0]
    assert asked[1] == {**disk, "folder": str(working), "keep_checkpoints": 7}
    assert (played.code, played.end["reason"], played.state["reason"]) == (1, "bad_data", "bad_data")
    assert played.end["message"] == "3 of 3 samples cannot be used."
    assert played.state["bad_samples"] == {"checked": 3, "left_out": 0, "by_kind": {"missing": 3}}

"""From a folder as people have it to a training: five commands, nothing edited, and a session trains."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.emulator.demo import inputs
from orchestrator.emulator.demo.speech import SAMPLE_RATE, speak
from tests.cli.conftest import wait_for_words
from tests.support import KEY, USER, Cli

pytestmark = [pytest.mark.posix, pytest.mark.training]

SLUG = "ashas-voice-a"
# What a rehearsal on a laptop sets: no GPU, no package index, and the end after a step.
REHEARSAL = {
    "kernel.accelerator": "none",
    "kernel.internet": "false",
    "training.batch_size": "2",
    "run.until_step": "1",
    "voice.onnx": "false",
    "samples.enabled": "false",
}
KINDS = ("wav", "flac", "mp3", "ogg")


def make_recordings(folder: Path) -> None:
    """Twelve recordings of 44.1 kHz in stereo, of four kinds, with spaces in their names, and Excel's CSV."""
    import numpy as np  # noqa: PLC0415 - the extra `data` has it.
    import soundfile  # noqa: PLC0415 - as above.
    import soxr  # noqa: PLC0415 - as above.

    folder.mkdir()
    spoken = folder.parent / "spoken"
    spoken.mkdir()
    sentences = dict(zip((f"Rec {number:02}" for number in range(1, 13)), inputs.SENTENCES, strict=False))
    rows = [["ফাইল", "বাক্য"]]
    for number, (name, path) in enumerate(zip(sentences, speak(sentences, spoken), strict=True)):
        samples, _ = soundfile.read(path)
        silence = np.zeros(SAMPLE_RATE // 2)
        wide = soxr.resample(np.concatenate([silence, samples * 0.5, silence]), SAMPLE_RATE, 44_100)
        kind = KINDS[number % len(KINDS)]
        soundfile.write(folder / f"{name}.{kind}", np.stack([wide, wide], axis=1), 44_100)
        rows.append([f"{name}.{kind}" if number % 3 else name.lower(), sentences[name]])
    table = io.StringIO()
    csv.writer(table, quoting=csv.QUOTE_ALL).writerows([*rows, ["", ""]])
    (folder / "transcript.csv").write_bytes(b"\xef\xbb\xbf" + table.getvalue().encode())


@pytest.mark.timeout(240)
def test_five_commands(
    cli: Cli,
    workplace: Path,
    voice_cache: Path,
    start_emulator: Callable[..., Emulator],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`init`, `data prepare`, `data upload`, `base add`, `push`; the session trains on what was uploaded."""
    make_recordings(workplace / "My recordings")
    demo = inputs.provide_demo_inputs(workplace / "made", USER, cache=voice_cache, speaking=True)
    emulator = start_emulator(standins=True, cache=voice_cache)
    monkeypatch.setenv("KGTTS_KAGGLE_URL", emulator.url)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    voice = demo.model / "model"
    rehearsal = [word for key, value in REHEARSAL.items() for word in ("--set", f"{key}={value}")]
    commands: list[list[str | Path]] = [
        ["init", "--name", "Ashas voice", "--recordings", "My recordings", "--base", voice],
        ["data", "prepare", "My recordings", "--to", "data"],
        ["data", "upload", "data", "--license", "other"],
        ["base", "add", voice, "--license", "Other"],
        ["push", *rehearsal],
    ]
    said = {}
    for command in commands:
        result = cli(*command)
        assert result.code == 0, result.said
        said[" ".join(map(str, command[:2]))] = result.out
    assert 'kgtts data prepare "My recordings" --to data' in said["init --name"]
    assert "12 utterances" in said["data prepare"]
    assert "Changed: test_sentences were plain sentences" in said["base add"]
    wait_for_words(emulator, "GLOBAL_STEP: 0", SLUG)
    log = cli("logs").out
    assert "Training script: the one that kgtts brings along" in log
    assert "10 samples to train on, 2 to evaluate on" in log

"""The base voice is exported once in a run, beside the session's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.kit import Log
from tests.kernel.sessions import HEAD, PROGRAMS, TRAINS, Played, stamp
from tests.kernel.test_export import _EXPORT, _VOICE_ON
from tests.kernel.test_session_chain import second

_PLAYED: dict[str, Any] = {"programs": {**PROGRAMS, "finish/export_program.py": _EXPORT}, "voice": _VOICE_ON}


def test_the_first_session_leaves_the_base_voice_too(root: Path, log: Log) -> None:
    """The mounted checkpoint becomes base.onnx; one `export` event reports the session's own voice."""
    played = Played(root, log, HEAD + TRAINS, **_PLAYED)
    assert played.code == 0
    base = played.state["export"]["base"]
    assert (base["state"], base["global_step"], base["session"]) == ("made", 0, 1)
    assert (base["file"], base["best"]) == ("voice/base.onnx", False)
    written = json.loads((root / "working" / "voice" / "base.json").read_text())
    assert written["onnx"]["file"] == "base.onnx"
    assert written["checkpoint"].endswith("model_file.pth")
    assert len(log.events("export")) == 1


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A session that has trained, and exported nothing."""
    return Played(tmp_path_factory.mktemp("one"), Log(), HEAD + TRAINS, run=stamp(1))


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ({"state": "skipped", "base": {"state": "made", "session": 1, "file": "voice/base.onnx"}}, True),
        ({"state": "made", "base": {"state": "unsupported", "why": "its speakers are vectors"}}, True),
        ({"state": "made", "base": {"state": "failed"}}, False),
        ({"state": "made", "base": 7}, False),
        ({"state": "made"}, False),
        ("rubbish", False),
        (None, False),
    ],
)
def test_the_base_voice_is_made_once_in_a_run(
    first: Played, root: Path, log: Log, before: Any, *, kept: bool
) -> None:
    """An earlier session's export, or its failure, is kept; otherwise this session exports it."""
    state = {**first.state, "export": before}
    (first.root / "working" / "state.json").write_text(json.dumps(state))
    played = second(first, root, log, **_PLAYED)
    assert played.code == 0, log.text
    base = played.state["export"]["base"]
    assert base == before["base"] if kept else base["state"] == "made"
    assert (root / "working" / "voice" / "base.onnx").exists() != kept

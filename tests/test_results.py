"""One layout of result folders, for everything that writes or reads them."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.models import KernelRef
from orchestrator.results import Results, newest_number, pulled_sessions

FIRST = KernelRef("asha", "voice-a", 3)


def brought(folder: Path, run: str, session: int) -> None:
    """Make a downloaded session with its state.json."""
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"run": {"id": run, "session": session}}), encoding="utf-8")


def test_a_session_has_one_folder_whichever_name_is_given(tmp_path: Path) -> None:
    """The slug in kgtts.toml and those of both kernels give the same folder."""
    results = Results(tmp_path)
    folders = {results.of_session(slug, "r1", 2).path for slug in ("voice", "voice-a", "voice-b")}
    assert folders == {tmp_path / "voice" / "session-02"}


def test_a_further_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    """It does, even if the first one's download was interrupted."""
    results = Results(tmp_path)
    brought(results.of_session("voice", "r1", 1).path, "r1", 1)
    assert results.of_session("voice", "r1", 2).path == tmp_path / "voice" / "session-02"
    assert results.of_session("voice", "r2", 1).path == tmp_path / "voice" / "r2" / "session-01"
    brought(results.of_session("voice", "r2", 1).path, "r2", 1)
    assert results.of_session("voice", "r1", 3).path == tmp_path / "voice" / "session-03"
    assert [item.run for item in pulled_sessions(tmp_path / "voice")] == ["r1", "r2"]


@pytest.mark.parametrize("name", ["session-٣", "session-০১", "session-", "session-1 ", "v٣"])
def test_only_sessions_of_kgtts_are_sessions(tmp_path: Path, name: str) -> None:
    """Digits of another script are no number of a session or version."""
    folder = tmp_path / "voice" / name
    folder.mkdir(parents=True)
    (folder / ".kgtts-complete").write_text("owner/voice-a/3 7 abc\n")
    assert (pulled_sessions(tmp_path / "voice"), newest_number(tmp_path / "voice")) == ([], 0)


def test_a_kernel_that_is_no_session_lies_below_its_owner(tmp_path: Path) -> None:
    """Two owners may have the same slug; the version finds it again."""
    results = Results(tmp_path)
    place = results.of_version(KernelRef("omar", "voice", 4)).path
    assert place == tmp_path / "omar" / "voice" / "v4"
    brought(place, "r1", 1)
    assert [item.folder for item in results.find("omar/voice/4", "other")] == [place]


def test_folders_of_earlier_versions_of_kgtts_are_found(tmp_path: Path) -> None:
    """The older names, after kernel and version, are still found."""
    results = Results(tmp_path)
    brought(tmp_path / "voice-a" / "v1", "r1", 1)
    brought(tmp_path / "voice-b" / "v1", "r1", 2)
    for text in (None, "r1", "asha/voice", "asha/voice-a"):
        assert [item.number for item in results.find(text, "voice")] == [1, 2]
    assert [item.number for item in results.find("asha/voice-b/1", "voice")] != []


def test_a_complete_session_is_known_by_version_step_and_run(tmp_path: Path) -> None:
    """A deleted kernel's version numbers are used again, so more than the number is compared."""
    folder = Results(tmp_path).of_session("voice", "r1", 1)
    assert not folder.is_complete(FIRST, "r1", 100)
    folder.mark_complete(FIRST, "r1", 100)
    assert folder.is_complete(FIRST, "r1", 100)
    assert not folder.is_complete(FIRST, "r1", 200)
    assert not folder.is_complete(FIRST, "r2", 100)
    assert folder.contents == (str(FIRST), "r1")


def test_nothing_pulled_is_a_sentence(tmp_path: Path) -> None:
    """The hint names the command that downloads it."""
    with pytest.raises(UsageError, match=r"No run has been downloaded to .* yet\.") as caught:
        Results(tmp_path).find(None, "voice")
    assert caught.value.hint == "bring it with `kgtts pull`"
    brought(tmp_path / "other" / "session-01", "r1", 1)
    with pytest.raises(UsageError, match="Nothing of voice has been downloaded"):
        Results(tmp_path).find(None, "voice")


def test_a_slug_names_the_newest_of_its_runs(tmp_path: Path) -> None:
    """The slug may be that of the settings or of a kernel, and comes before an id."""
    brought(tmp_path / "voice-one" / "session-01", "r1", 1)
    brought(tmp_path / "other" / "session-01", "voice-one-too", 1)
    results = Results(tmp_path)
    for text in ("voice-one", "voice-one-b", "r1"):
        assert [item.run for item in results.find(text, "other")] == ["r1"]
    assert [item.run for item in results.find("voice-one-t", "other")] == ["voice-one-too"]


def test_without_settings_the_newest_of_all_runs_is_meant(tmp_path: Path) -> None:
    """The newest run is meant, whatever its name."""
    brought(tmp_path / "older" / "session-01", "r1", 1)
    brought(tmp_path / "newer" / "session-01", "r2", 1)
    for place in (tmp_path / "older/session-01").iterdir():
        os.utime(place, (1, 1))
    assert [item.run for item in Results(tmp_path).find(None, None)] == ["r2"]

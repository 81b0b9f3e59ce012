"""Playing through the system's programs; none is really started here."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import LocalError
from orchestrator.voice.sound import find_players, play


class Programs:
    """Stands in for the system's programs; each ends as it is told to."""

    def __init__(self, ends: Mapping[str, int | OSError]) -> None:
        self.ends = ends
        self.started: list[list[str]] = []
        self.env: dict[str, str] = {}

    def __call__(
        self, command: Sequence[str], *, env: dict[str, str], **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run one."""
        self.started.append(list(command))
        self.env = env
        end = self.ends[Path(command[0]).name]
        if isinstance(end, OSError):
            raise end
        return subprocess.CompletedProcess(command, end, "", "open failed:\nno sound\x1b[1m card\n")


@pytest.mark.parametrize(
    ("platform", "there", "found"),
    [
        ("linux", {"aplay", "ffplay"}, ["aplay", "ffplay"]),
        ("linux", {"paplay", "pw-play", "afplay"}, ["pw-play", "paplay"]),
        ("darwin", {"afplay", "aplay"}, ["afplay"]),
        ("win32", {"powershell"}, ["powershell"]),
        ("win32", {"pwsh", "aplay"}, ["pwsh"]),
        ("freebsd14", set(), []),
    ],
)
def test_players_are_the_platforms(platform: str, there: set[str], found: list[str]) -> None:
    """Each platform has its players, its own first."""
    players = find_players(
        platform=platform, which=lambda name: f"/usr/bin/{name}" if name in there else None
    )
    assert [Path(command[0]).name for command in players] == found


def test_the_next_player_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a player fails or cannot be started, the next is tried; none gets credentials."""
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    programs = Programs({"pw-play": 1, "paplay": OSError(13, "Permission denied"), "aplay": 0, "ffplay": 0})
    play(tmp_path / "x.wav", find_players(platform="linux", which=lambda name: name), 0.5, run=programs)
    assert [command[0] for command in programs.started] == ["pw-play", "paplay", "aplay"]
    assert programs.started[-1] == ["aplay", "-q", str(tmp_path / "x.wav")]
    assert not any(name.startswith("KAGGLE_") for name in programs.env)


@pytest.mark.parametrize("player", ["powershell", "pwsh"])
@pytest.mark.parametrize("name", ["x'); calc ('.wav", "আমার গান.wav", 'two words & $env:PATH `x` "q".wav'])
def test_powershell_gets_the_path_by_a_variable(tmp_path: Path, player: str, name: str) -> None:
    """A file's name cannot become a command, and needs no quoting."""
    file = tmp_path / name
    programs = Programs({player: 0})
    players = find_players(platform="win32", which=lambda known: known if known == player else None)
    play(file, players, 0.5, run=programs)
    (started,) = programs.started
    assert started[-2:] == ["-Command", "(New-Object Media.SoundPlayer $env:KGTTS_SOUND).PlaySync()"]
    assert programs.env["KGTTS_SOUND"] == str(file)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("name", ["-q.wav", "আমার গান.wav", "two words; `x` \"q\" 'r'.wav"])
def test_a_player_gets_the_path_as_one_argument(tmp_path: Path, platform: str, name: str) -> None:
    """The path is absolute, so that no name is taken for an option."""
    programs = Programs({"pw-play": 0, "afplay": 0})
    play(tmp_path / name, find_players(platform=platform, which=lambda known: known), 0.5, run=programs)
    assert [command[-1] for command in programs.started] == [str(tmp_path / name)]


def test_a_player_that_ends_at_once_has_played_nothing(tmp_path: Path) -> None:
    """A player without a sound card may end without an error: the next is tried, and the error says so."""
    times = iter([0.0, 0.2, 1.0, 1.3])
    with pytest.raises(
        LocalError, match=r"Nothing was played.*aplay ended after 0\.3 of 5\.0 s: no sound card"
    ):
        play(
            tmp_path / "x.wav",
            [["pw-play"], ["aplay"]],
            5.0,
            run=Programs({"pw-play": 0, "aplay": 0}),
            clock=lambda: next(times),
        )
    times = iter([0.0, 4.9])
    play(tmp_path / "x.wav", [["aplay"]], 5.0, run=Programs({"aplay": 0}), clock=lambda: next(times))


def test_a_machine_without_sound_is_a_sentence(tmp_path: Path) -> None:
    """If no player works, the error has the last one's message and how to write a file."""
    with pytest.raises(LocalError, match="aplay failed: no sound card") as caught:
        play(tmp_path / "x.wav", [["aplay"]], 0.5, run=Programs({"aplay": 1}))
    assert "--out" in (caught.value.hint or "")
    with pytest.raises(LocalError, match="no program"):
        play(tmp_path / "x.wav", [], 0.5, run=Programs({}))

"""`kgtts emulator` as its own process: started, left with Ctrl-C, and started again."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.cli.voice import HANG, SETTINGS, TRAIN, provide_inputs
from tests.support import REPOSITORY, Cli, Process, eventually

Spawn = Callable[..., Process]


def serve(spawn: Spawn, monkeypatch: pytest.MonkeyPatch, root: Path, *options: str) -> Process:
    """Start the emulator, and read its address and credentials from its output."""
    process = spawn("emulator", "--port", "0", "--root", str(root), "--sandbox", "relocate", *options)
    for name in ("KGTTS_KAGGLE_URL", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.setenv(name, process.wait_for(f"export {name}=").strip().rpartition("=")[2])
    return process


def below(process: int) -> set[int]:
    """Return every descendant of a process."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found: set[int] = set()
    wave = {process}
    while wave := {child for child, parent in parents.items() if parent in wave}:
        found |= wave
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_the_emulator_ends_with_all_its_sessions_and_comes_back_with_its_state(
    spawn: Spawn, cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """No process is left; a restart knows kernels and credentials, and that the session was lost."""
    root = workplace / "kaggle root"
    first = serve(spawn, monkeypatch, root, "--queue-delay", "0s")
    user = os.environ["KAGGLE_USERNAME"]
    ours = root / "datasets" / user
    provide_inputs(root, TRAIN + HANG, user)
    assert ours.is_dir()
    (workplace / "kgtts.toml").write_text(SETTINGS, encoding="utf-8")
    pushed = cli("push")
    assert pushed.code == 0, pushed.said
    assert "bangla-tts" in spawn("kaggle", "kernels", "list", "--mine").result().out
    with eventually("the session has processes") as again:
        while len(processes := below(first.pid)) < 2:
            again()
    ended = first.interrupt(how)
    assert ended.code == (130 if how is signal.SIGINT else 0), ended.said
    assert "Stopped; running sessions" in ended.said
    with eventually("no process stays behind") as again:
        while any(Path(f"/proc/{process}").exists() for process in processes):
            again()
    key = os.environ["KAGGLE_KEY"]
    for name in ("KGTTS_KAGGLE_URL", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    second = serve(spawn, monkeypatch, root)
    assert (os.environ["KAGGLE_USERNAME"], os.environ["KAGGLE_KEY"]) == (user, key)
    listed = cli("list", "--all", "--json").json
    assert [row["kernel"] for row in listed] == [f"{user}/bangla-tts-a"]
    status = cli("status", f"{user}/bangla-tts", "--json").json
    assert (status["version"], status["state"]) == (1, "error")
    assert second.interrupt().code == 130


ANCESTORS = """
import os, pathlib
process = os.getpid()
while process > 1:
    folder = pathlib.Path("/proc", str(process))
    print(folder.joinpath("environ").read_bytes(), flush=True)
    process = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="environments are read in /proc")
def test_a_session_reads_no_key_of_the_process_that_serves_it(spawn: Spawn, workplace: Path) -> None:
    """No process above a session shows the key: its environment was overwritten."""
    secrets = {"KAGGLE_KEY": "a-key-of-mine", "SOME_TOKEN": "a-token-of-mine", "PLAIN": "seen-by-all"}
    process = spawn("emulator", "--port", "0", "--root", "root", KAGGLE_USERNAME="omar", **secrets)
    service = process.wait_for("export KGTTS_KAGGLE_URL=").strip().rpartition("=")[2]
    login = ("omar", secrets["KAGGLE_KEY"])
    push = {"slug": "omar/look-around", "text": ANCESTORS, "language": "python", "kernelType": "script"}
    address = f"{service}/v1/kernels.KernelsApiService/SaveKernel"
    assert not requests.post(address, json=push, auth=login, timeout=60).json().get("error")
    log = requests.get(f"{service}/v1/kernels/logs/stream/omar/look-around", auth=login, timeout=60).text
    assert "seen-by-all" in log
    assert "of-mine" not in log
    process.interrupt()


def test_a_key_of_the_persons_own_is_not_printed(
    spawn: Spawn, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that were set are used and not printed."""
    process = spawn(
        "emulator", "--port", "0", "--root", "root", KAGGLE_USERNAME="omar", KAGGLE_KEY="a-key-of-mine"
    )
    process.wait_for("export KAGGLE_USERNAME=omar")
    process.wait_for("as it is set here")
    ended = process.interrupt()
    assert "a-key-of-mine" not in ended.said
    assert "kgtts emulator --root root" in ended.said


def test_a_port_or_a_folder_that_is_taken_is_a_sentence(
    spawn: Spawn, cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two emulators cannot share a port or a folder."""
    serve(spawn, monkeypatch, workplace / "one")
    port = os.environ["KGTTS_KAGGLE_URL"].rpartition(":")[2]
    taken = cli("emulator", "--port", port, "--root", "two")
    assert taken.code == 8
    assert "give another --port" in taken.err
    shared = cli("emulator", "--port", "0", "--root", "one")
    assert shared.code == 8
    assert "one" in shared.err


def test_every_switch_has_a_flag(
    spawn: Spawn, cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags reach the emulator: no phone is refused, in the flat form; an absent kernel is a 404."""
    switches = ("--flat-errors", "--absent=404", "--never-run-is-new-script", "--legacy-key-may-cancel")
    serve(spawn, monkeypatch, workplace / "root", *switches, "--no-phone", "--saving", "1s")
    user = os.environ["KAGGLE_USERNAME"]
    provide_inputs(workplace / "root", TRAIN, user)
    (workplace / "kgtts.toml").write_text(SETTINGS, encoding="utf-8")
    unknown = requests.post(
        f"{os.environ['KGTTS_KAGGLE_URL']}/v1/kernels.KernelsApiService/GetKernel",
        json={"userName": user, "kernelSlug": "no-such-kernel"},
        auth=(user, os.environ["KAGGLE_KEY"]),
        timeout=60,
    )
    assert (unknown.status_code, unknown.json()["code"]) == (404, 404)
    refused = cli("push", "--set", "kernel.internet=true")
    assert refused.code == 4
    assert "Phone verification" in refused.err


def test_the_switches_are_documented(cli: Cli) -> None:
    """Each flag of the table in docs/emulator.md exists."""
    text = (REPOSITORY / "docs" / "emulator.md").read_text(encoding="utf-8")
    flags = [flag.split()[0] for flag in re.findall(r"^\| `\w+` \| `(--[^`]+)` \|", text, re.MULTILINE)]
    assert len(flags) == 13
    shown = cli("emulator", "--help").out
    assert [flag for flag in flags if flag not in shown] == []

"""A run that starts from another run's voice: pushed, checked in the session, and kept by the run."""

from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from orchestrator.render.stamp import read_stamp
from tests.support import USER, Cli

OLD, NEW = "bangla-tts", "bangla-second"


@pytest.fixture
def second(trained: Emulator, workplace: Path) -> Emulator:
    """A finished run, and settings that name another kernel."""
    settings = workplace / "kgtts.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("[kernel]", f'[kernel]\nslug = "{NEW}"'), encoding="utf-8")
    return trained


def test_a_run_begins_with_the_voice_of_another(cli: Cli, second: Emulator) -> None:
    """Its first session mounts the other's kernel, checks run, session and hash, and restores its model."""
    pushed = cli("push", "--new", "--from", OLD, "--wait")
    assert pushed.code == 0, pushed.said
    assert f"Pushed {USER}/{NEW}-a/1" in pushed.out
    log = cli("logs").out
    assert "(the voice of run " in log
    assert "Restoring from checkpoint_4.pth" in log
    kernels = second.backend.kernels
    kernel = kernels.find(USER, f"{NEW}-a")
    assert kernel is not None
    stamp = read_stamp(kernels.source(kernel, 1))
    assert stamp is not None
    assert any(item.startswith(f'inputs.voice_of="{USER}/{OLD}-a/') for item in stamp.overrides)
    assert cli("sync", "--json").json["state"] == "done"  # Nothing has changed: it belongs to the run.


def test_what_cannot_be_begun_with_is_told(cli: Cli, second: Emulator, workplace: Path) -> None:
    """A kernel's own output and an older version are errors; --from alone starts nothing."""
    alone = cli("push", "--from", OLD)
    assert (alone.code, "--new" in alone.err) == (2, True)
    unknown = cli("push", "--new", "--from", f"{USER}/no-such-run")
    assert unknown.code == 4
    settings = workplace / "kgtts.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(NEW, OLD), encoding="utf-8")
    own = cli("push", "--new", "--from", OLD)
    assert (own.code, "another kernel.slug" in own.err) == (2, True)
    assert [len(kernel.versions) for kernel in second.backend.kernels.all()] == [1]

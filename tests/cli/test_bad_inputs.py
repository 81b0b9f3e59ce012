"""Everything that can be wrong: each ends with a message and the right exit code."""

import os
import shutil
import socket
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from tests.cli.conftest import wait_for_end
from tests.cli.test_round import set_script
from tests.cli.voice import CUT, TRAIN, make_python
from tests.fakes.clock import HastyClock
from tests.support import KEY, USER, Cli, Result

REF = f"{USER}/bangla-tts-a"
ON_KAGGLE = [
    "doctor",
    "push",
    "status",
    "logs",
    "pull",
    "list --all",
    "quota",
    "open",
    "stop",
    "delete asha/bangla-tts-a --yes",
    "sync",
]


def fails(result: Result, code: int, *words: str) -> None:
    """Check that it ended with this code and these words, and without a traceback or a secret."""
    assert result.code == code, result.said
    for word in words:
        assert word in result.said
    assert "Traceback" not in result.said
    assert "kgtts itself failed" not in result.said
    assert KEY not in result.said


def test_no_credentials(cli: Cli, workplace: Path) -> None:
    """Every command that needs Kaggle says where to get credentials."""
    (workplace / "kgtts.toml").touch()
    for command in ON_KAGGLE:
        result = cli(*command.split())
        fails(result, 3, "No Kaggle credentials were found", "https://www.kaggle.com/settings/api")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[kernel\n", "line 1"),
        ("[training]\nepochz = 3\n", "epochs"),
        ('[kernel]\naccelerator = "NvidiaTeslaX9"\n', "NvidiaTeslaT4"),
        ('[kernel]\naccelerator = "NvidiaTeslaP100"\n', "NvidiaTeslaT4"),
        ("[training]\nepochs = 0\n", "training.epochs"),
    ],
    ids=["bad TOML", "unknown key", "unknown accelerator", "retired accelerator", "bad value"],
)
def test_bad_settings(cli: Cli, account: Emulator, workplace: Path, text: str, words: str) -> None:
    """Every command that reads them names file and key and what would be right; nothing is sent."""
    (workplace / "kgtts.toml").write_text(text, encoding="utf-8")
    for command in ("push", "render", "doctor", "pull", "config show", "sync", "watch"):
        fails(cli(*command.split()), 2, "kgtts.toml", words)
    assert account.backend.kernels.all() == []


@pytest.mark.parametrize("override", ["training.epochz=3", "epochs", "training.epochs=many", "=3"])
def test_bad_overrides(cli: Cli, account: Emulator, override: str) -> None:
    """`--set` is checked like the file."""
    fails(cli("push", "--set", override), 2, "Error")
    assert account.backend.kernels.all() == []


@pytest.mark.parametrize("status", [403, 404])
def test_an_unknown_dataset(
    cli: Cli, open_account: Callable[..., Emulator], python: str, status: int
) -> None:
    """Kaggle answers 403 or 404; the account's list confirms that it is absent."""
    account = open_account(python=python, absent=status)
    wanted = (
        f"There is no dataset {USER}/datahrbn",
        f"the nearest name there is {USER}/datahrbnn",
        "kgtts data upload",
    )
    fails(cli("push", "--set", "inputs.dataset=datahrbn"), 4, *wanted)
    fails(cli("doctor", "--set", "inputs.dataset=datahrbn"), 4, f"dataset {USER}/datahrbn", wanted[1])
    theirs = cli("doctor", "--set", "kernel.owner=somebody")
    fails(theirs, 4, "kernel.owner is somebody", "dataset somebody/datahrbnn")
    assert "is not known" not in theirs.said  # Once is enough.
    assert account.backend.kernels.all() == []


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(
    "name", ["ttsbnng/onnx/default/1", "ttsbnng/transformers/default/2", "ttsbnn/onnx/x/1"]
)
def test_an_unknown_model(
    cli: Cli, open_account: Callable[..., Emulator], python: str, name: str, status: int
) -> None:
    """The same for the base voice: its framework, version and name."""
    account = open_account(python=python, absent=status)
    fails(cli("push", "--set", f"inputs.model={name}"), 4, "There is no model", f"{USER}/ttsbnn")
    assert account.backend.kernels.all() == []


def run_badly(cli: Cli, *words: str, arguments: tuple[str, ...] = ()) -> Result:
    """Push, wait, and expect a failed run with these words, which `status` repeats."""
    result = cli("push", "--wait", *arguments)
    fails(result, 5, *words, "Next: kgtts logs")
    assert words[0] in cli("status").out
    return result


def test_a_checkpoint_that_is_not_on_the_mount(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The kernel names the file and ends within seconds; `pull` downloads what it found."""
    model = workplace.parent / "kaggle/models" / USER / "ttsbnng/transformers/default/1/model"
    (model / "model_file.pth").rename(model / "model_fil.pth")
    run_badly(cli, "has no model/model_file.pth")
    pulled = cli("pull")
    assert pulled.code == 0
    assert "ended with error" in pulled.out
    assert (workplace / "runs/bangla-tts/session-01/state.json").is_file()
    assert "✗ Missing" in (workplace / "runs/bangla-tts/session-01/session.log").read_text()


@pytest.mark.parametrize("as_complete", [False, True])
def test_a_config_that_is_corrupt(
    cli: Cli, open_account: Callable[..., Emulator], python: str, workplace: Path, *, as_complete: bool
) -> None:
    """It is reported as damaged JSON with advice, whether the session is ERROR or COMPLETE."""
    open_account(python=python, crash_is_complete=as_complete)
    model = workplace.parent / "kaggle/models" / USER / "ttsbnng/transformers/default/1/model"
    (model / "config.json").write_text('{"model": "vits",', encoding="utf-8")
    run_badly(cli, "config.json is damaged", "Upload the base voice's config.json again")


def test_recordings_that_cannot_be_read(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The trainer's own error becomes a cause with advice."""
    set_script(workplace, "raise RuntimeError(\"Error opening 'wavs/a.wav': Format not recognised.\")\n")
    run_badly(cli, "A recording cannot be read")


def test_a_gpu_that_is_not_there(cli: Cli, account: Emulator) -> None:
    """A session that needs a GPU ends at once without one."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    run_badly(cli, "GPU", arguments=("--set", "kernel.accelerator=NvidiaTeslaT4"))


@pytest.mark.parametrize(
    ("internet", "words"), [("true", "could not be installed"), ("false", "no internet")]
)
def test_tts_that_cannot_be_installed(
    cli: Cli, workplace: Path, open_account: Callable[..., Emulator], internet: str, words: str
) -> None:
    """The error has pip's reason, or says that there is no internet."""
    folder = workplace.parent / "bare-python"
    folder.mkdir()
    open_account(python=make_python(folder, coqui=False))
    packages = 'install.packages=["no-such-package-of-kgtts==1"]'
    run_badly(cli, words, arguments=("--set", f"kernel.internet={internet}", "--set", packages))


def test_a_training_that_raises(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The exception is the cause, and the log's end is shown."""
    set_script(workplace, "raise ValueError('the speaker is shy')\n")
    result = run_badly(cli, "the speaker is shy")
    assert "  | " in result.err


def test_a_training_over_its_time_limit_is_a_result(cli: Cli, account: Emulator, workplace: Path) -> None:
    """It saves when told to, and the session is complete; the guide's message is in the log."""
    set_script(workplace, CUT)
    assert cli("push", "--set", "training.time_limit=1s").code == 0
    assert cli("status", "--watch").code == 0
    status = cli("status", "--json").json
    assert (status["state"], status["progress"]["end_reason"]) == ("complete", "time_limit")
    assert status["progress"]["checkpoint"].endswith("checkpoint_2.pth")
    assert "Training timeout" in cli("logs").out


def test_a_disk_that_fills_during_training(cli: Cli, account: Emulator, workplace: Path) -> None:
    """The error names the disk, and the settings that save less."""
    set_script(workplace, "import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n")
    run_badly(cli, "The disk is full", "session.keep_checkpoints")


def test_a_place_that_cannot_be_written(cli: Cli, trained: Emulator, workplace: Path) -> None:
    """A pull into something that is not a folder is an error of this machine."""
    (workplace / "taken").touch()
    fails(cli("pull", "--to", "taken/below"), 8, "taken")
    fails(cli("pull", "--to", "taken"), 2, "is a file")
    fails(cli("render", "--to", "taken/below"), 8, "taken")


def test_a_ledger_that_is_damaged(cli: Cli, trained: Emulator, workplace: Path) -> None:
    """It is only a cache: commands that read work without it; others say how to continue."""
    ledger = workplace.parent / "data/ledger.db"
    ledger.write_text("x" * 4096)
    for command in ("status", "logs", "pull", "open --print", "list --all", "quota", f"status {REF}"):
        result = cli(*command.split())
        assert result.code == 0, result.said
        assert "ledger.db cannot be used" in result.err
        assert "It is only a cache" in result.err
    for command in ("push", "sync", "watch", "list"):
        fails(cli(*command.split()), 8, "ledger.db cannot be used", "kgtts list --repair")
    repaired = cli("list", "--repair")
    assert (repaired.code, "0 sessions from the old one, 1 more from Kaggle" in repaired.err) == (0, True)
    assert "bangla-tts" in repaired.out
    (aside,) = ledger.parent.glob("ledger-damaged-*.db")
    assert aside.read_text() == "x" * 4096
    assert "is in order" in cli("list", "--repair").err
    assert cli("sync").code == 0
    assert [kernel.latest.number for kernel in trained.backend.kernels.all()] == [1]


@pytest.mark.parametrize("kind", ["folder", "empty", "no table"])
def test_a_ledger_that_is_no_ledger(cli: Cli, trained: Emulator, workplace: Path, kind: str) -> None:
    """What lost its memory starts nothing, until it is made anew of what Kaggle shows; what reads goes on."""
    ledger = workplace.parent / "data/ledger.db"
    if kind == "no table":
        with closing(sqlite3.connect(ledger)) as database:
            database.execute("DROP TABLE summaries")
    else:
        ledger.unlink()
        ledger.mkdir() if kind == "folder" else ledger.touch()
    for command in ("push", "push --new", "sync", "watch", "list"):
        fails(cli(*command.split()), 8, "ledger.db cannot be used", "kgtts list --repair")
    for command in ("status", "logs"):
        result = cli(command)
        assert (result.code, "It is only a cache" in result.err) == (0, True), result.said
    assert "Made a new" in cli("list", "--repair").err
    assert cli("sync").code == 0
    assert [kernel.latest.number for kernel in trained.backend.kernels.all()] == [1]


def test_a_ledger_that_cannot_be_read(cli: Cli, trained: Emulator, workplace: Path) -> None:
    """Neither written nor read whole, it stops what starts sessions, and is left as it is."""
    ledger = workplace.parent / "data/ledger.db"
    with ledger.open("r+b") as file:
        file.seek(18)  # A version for writing that this SQLite does not know makes the file read-only.
        file.write(b"\x03")
        file.seek(-4096, 2)
        file.write(b"x" * 4096)
    before = ledger.read_bytes()
    for command in ("push", "sync", "watch", "list"):
        fails(cli(command), 8, "ledger.db cannot be used", "it cannot be read", "right to read and write")
    result = cli("status", REF)
    assert (result.code, "It is only a cache" in result.err) == (0, True), result.said
    assert ledger.read_bytes() == before
    assert [kernel.latest.number for kernel in trained.backend.kernels.all()] == [1]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_ledger_that_cannot_be_written(
    cli: Cli, account: Emulator, workplace: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In a read-only home every command works, reads the ledger, and says so."""
    ledger = workplace.parent / "data/ledger.db"
    if kind == "file":
        assert cli("push").code == 0
        with ledger.open("r+b") as file:
            file.seek(18)  # A version for writing that this SQLite does not know makes the file read-only.
            file.write(b"\x03")
    else:
        monkeypatch.setenv("KGTTS_HOME", "kgtts.toml/below")
        assert cli("push").code == 0
    wait_for_end(account)
    for command in ("sync", "watch", "status", "pull", "logs", "list"):
        result = cli(*command.split())
        assert result.code == 0, result.said
        assert command == "list" or "ledger.db cannot be used" in result.err, result.said
    assert ("bangla-tts" in cli("list").out) is (kind == "file")
    assert [kernel.latest.number for kernel in account.backend.kernels.all()] == [1]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 3, "does not accept the credentials"),
        (403, 4, "not yours to see"),
        (404, 4, "does not exist"),
        (429, 7, "asks for fewer calls"),
        (500, 7, "Kaggle failed (500)"),
    ],
)
def test_a_bad_day_at_kaggle(cli: Cli, account: Emulator, status: int, code: int, words: str) -> None:
    """Every reading command reports each refusal and fault, with its exit code."""
    account.server.faults.fail_next(status, times=500)
    for command in ("doctor", "list --all", "quota"):
        fails(cli(*command.split()), code, words, "Next: ")
    if status == 404:  # That a kernel is absent, the account's list has to confirm.
        code, words = (
            7,
            f"does not show {REF}, and the account's list, which could confirm it, cannot be read",
        )
    for command in (f"status {REF}", f"logs {REF}", f"pull {REF}"):
        fails(cli(*command.split()), code, words, "Next: ")


def test_a_kernel_that_was_deleted_on_the_website(cli: Cli, trained: Emulator) -> None:
    """Whatever reads a run that was pushed from here says what to do if it was deleted."""
    (kernel,) = trained.backend.kernels.all()
    trained.backend.kernels.delete(kernel)
    for command in ("status", "logs", "pull"):
        result = cli(command)
        assert result.code in (4, 7), result.said
        assert "if you deleted it on Kaggle, `kgtts push --new` begins another run" in result.err
        assert "check owner and name" not in result.err


@pytest.mark.parametrize(("status", "code"), [(401, 3), (403, 4), (404, 4), (429, 7), (500, 7)])
def test_a_push_on_a_bad_day(cli: Cli, account: Emulator, status: int, code: int) -> None:
    """Refused or failed, it is in the history, nothing was started, and nothing is sent twice."""
    account.server.faults.fail_next(status, method="SaveKernel")
    fails(cli("push", clock=HastyClock()), code, "push")
    assert account.backend.kernels.all() == []
    assert cli("list", "--json").json[0]["state"] == "refused"
    assert cli("push").code == 0


def test_a_server_that_is_down(cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the host; commands that work offline say what is missing."""
    with socket.socket() as taken:  # Bound and not listening.
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("KGTTS_KAGGLE_URL", f"http://{host}")
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv("KAGGLE_KEY", KEY)
        for command in ("status", "logs", "pull", "open", "stop"):
            fails(cli(*command.split()), 2, "No run is known on this machine")
        (workplace / "kgtts.toml").touch()
        for command in (
            "doctor",
            "list --all",
            "quota",
            "sync",
            f"status {REF}",
            f"logs {REF} --follow",
            "push",
        ):
            fails(cli(*command.split()), 7, f"no connection to {host}")


def test_an_address_that_is_not_for_credentials(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials go only to https, or to this machine."""
    monkeypatch.setenv("KGTTS_KAGGLE_URL", "http://kaggle.example")
    fails(cli("quota"), 2, "not an address that kgtts sends credentials to")


def test_runs_that_nobody_knows(cli: Cli, account: Emulator) -> None:
    """A wrong id, kernel or version is an error."""
    fails(cli("status"), 4, f"{USER}/bangla-tts")
    fails(cli("status", "abc"), 2, "is no run that this machine knows")
    fails(cli("status", "a/b/c/d"), 2, "is not a kernel")
    fails(cli("status", f"{USER}/never-was"), 4, "never-was")
    cli("push")
    wait_for_end(account)
    fails(cli("status", f"{REF}/9"), 4, f"{REF}/9")
    fails(cli("pull", f"{REF}/9"), 4, f"{REF}/9")


def test_refusals_of_limits(cli: Cli, open_account: Callable[..., Emulator]) -> None:
    """Spent quota is seen before a push, with the time of its refresh; the doctor warns of it."""
    started = open_account(weekly_quota_s=0)
    gpu = ("--set", "kernel.accelerator=NvidiaTeslaT4")
    assert "⚠ quota" in cli("doctor", *gpu).out
    fails(cli("push", *gpu), 4, "quota has 0s left", "waiting until", "kgtts quota", "kgtts watch")
    assert (started.backend.kernels.all(), cli("list", "--json").json) == ([], [])


def test_a_refusal_for_now_is_told_in_kaggles_words(cli: Cli, open_account: Callable[..., Emulator]) -> None:
    """`push` ends with it and the history keeps it; a pass waits."""
    open_account(max_cpu_sessions=0, refused_leaves_shell=False)
    words = "Maximum batch CPU session count of 0 reached."
    fails(cli("push"), 4, words, "kgtts watch")
    row = cli("list", "--json").json[0]
    assert row["state"] == "refused"
    assert words in row["message"]
    assert cli("sync", "--json").json["state"] == "waiting"
    watched = cli("watch", "--timeout", "0s")
    fails(watched, 6, words, "The time to wait is over", "kgtts watch")


def test_hostile_output_names_are_left_out_and_said(cli: Cli, account: Emulator, workplace: Path) -> None:
    """Files whose names are not safe to write here stay on Kaggle."""
    set_script(
        workplace, TRAIN + '\nopen("odd\\x1b[31m.txt", "w").write("x")\nopen("বাংলা.txt", "w").write("x")\n'
    )
    cli("push")
    wait_for_end(account)
    result = cli("pull", "--all", "--to", "out")
    fails(result, 8, "left out", r"odd\x1b[31m.txt")
    assert "\x1b[31m" not in result.said
    assert list((workplace / "out").rglob("বাংলা.txt"))
    assert not list((workplace / "out").rglob("odd*"))


def test_a_base_voice_that_is_cut_off(cli: Cli, account: Emulator, workplace: Path) -> None:
    """A partly uploaded checkpoint is found before anything is trained."""
    path = workplace.parent / "kaggle/models" / USER / "ttsbnng/transformers/default/1/model/model_file.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x" * 1000)
    path.write_bytes(path.read_bytes()[:-30])
    run_badly(cli, "truncated")


@pytest.mark.parametrize(
    "command",
    [
        *("doctor", "status", "quota", "kaggle kernels list"),
        pytest.param("list", marks=pytest.mark.posix),  # Windows itself knows the place of programs' data.
    ],
)
def test_a_user_without_a_home(
    cli: Cli, workplace: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who is only a number in a container has none; the error names the variable to set."""
    monkeypatch.delenv("KGTTS_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    fails(cli(*command.split()), 8, "This user has no home folder.", "Next: set HOME")


def test_the_home_of_nobody(cli: Cli, workplace: Path) -> None:
    """A name with `~` that nobody has is that of a file which is not there."""
    fails(cli("pull", "--from", "~nobody-of-this-name/runs"), 2, "is not a folder of this machine")


@pytest.mark.posix  # Windows says that there is no such file.
def test_a_name_that_no_file_can_have(cli: Cli, workplace: Path) -> None:
    """The system's error is shown, and is not a fault in kgtts."""
    result = cli("metrics", "x" * 300)
    fails(result, 8, f"{'x' * 200}…: File name too long.")

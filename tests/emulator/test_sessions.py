"""The life of a session: what a script sees, how it ends, and that no process survives it."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from requests import HTTPError

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.models import SessionState
from tests.emulator.support import HANG, KEY, USER, Account
from tests.fakes.clock import FakeClock
from tests.support import eventually

SOURCES: dict[str, Any] = {
    "dataset_data_sources": ["alice/some-data"],
    "model_data_sources": ["alice/some-model/transformers/default/1"],
}
LOOK = """
import json, os, pathlib
root = pathlib.Path(os.environ.get("KGTTS_KAGGLE_ROOT", "/kaggle"))
files = (path for path in sorted((root / "input").rglob("*")) if path.is_file())
found = [str(path.relative_to(root / "input")) for path in files]
(root / "working" / "look.json").write_text(json.dumps({
    "root": str(root), "cwd": os.getcwd(), "found": found, "environment": dict(os.environ),
}))
"""
# A child in a session and group of its own, whose parent is gone: nothing but the launcher finds it.
ESCAPE = """
import os, time
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(f"escaped {os.getpid()}.")
        os.write(tell, b"!")
        while True: time.sleep(1000)
    os._exit(0)
os.read(told, 1)
"""


def is_alive(process: int) -> bool:
    """Return whether a process exists and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def escaped(payload: str) -> int:
    """Return the process id in what ESCAPE prints."""
    return int(payload.partition("escaped ")[2].partition(".")[0])


def look(account: Account, **fields: Any) -> dict[str, object]:
    """Run LOOK and return what it saw."""
    assert account.run(LOOK, **fields) == "COMPLETE", account.text()
    kernel, version = account.emulator.backend.kernels.get_run(USER, "my-kernel")
    path = account.emulator.backend.kernels.paths(kernel, version.number).output / "look.json"
    seen: dict[str, object] = json.loads(path.read_text())
    return seen


@pytest.mark.parametrize("sandbox", ["auto", "relocate"])
def test_what_a_script_sees(
    start: Callable[..., Account], root: Path, monkeypatch: pytest.MonkeyPatch, sandbox: str
) -> None:
    """Inputs are in Kaggle's layout, the working folder is the current one, and no credential is visible."""
    account = start(sandbox=sandbox)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KGTTS_KAGGLE_URL", "OTHER_SECRET"):
        monkeypatch.setenv(name, "leaked-secret")
    seen = look(account, **SOURCES)
    environment = seen["environment"]
    assert isinstance(environment, dict)
    assert seen["found"] == [
        "datasets/alice/some-data/a.txt",
        "datasets/alice/some-data/deep/b ক.txt",
        "models/alice/some-model/transformers/default/1/config.json",
    ]
    assert seen["cwd"] == f"{seen['root']}/working"
    assert "leaked-secret" not in environment.values()
    assert environment["KAGGLE_KERNEL_RUN_TYPE"] == "Batch"
    assert environment["HOME"].startswith(f"{seen['root']}/temp/")
    assert ("KGTTS_KAGGLE_ROOT" in environment) == (seen["root"] != "/kaggle")


def test_the_classic_layout(start: Callable[..., Account], root: Path) -> None:
    """Older accounts mount inputs without their owners."""
    assert look(start(layout="classic"), **SOURCES)["found"] == [
        "some-data/a.txt",
        "some-data/deep/b ক.txt",
        "some-model/transformers/default/1/config.json",
    ]


def test_a_namespace_shows_kaggle_itself(start: Callable[..., Account], root: Path) -> None:
    """If the system allows it, a script finds /kaggle, and cannot write to its inputs even as root."""
    account = start(sandbox="auto")
    if account.emulator.runner.relocated_because is not None:
        pytest.skip("this system does not allow a mount namespace")
    code = """
    for path in ("/kaggle/input/datasets/alice/some-data/new", "/kaggle/input/new",
                 "/kaggle/input/models/alice/some-model/transformers/default/1/config.json"):
        try:
            open(path, "w")
        except OSError as error:
            print(error.strerror)
    open("/kaggle/temp/fine", "w").close()
    """
    assert account.run(textwrap.dedent(code), **SOURCES) == "COMPLETE"
    assert account.text() == "Read-only file system\n" * 3
    config = root / "models" / USER / "some-model" / "transformers" / "default" / "1" / "config.json"
    assert config.read_text() == "{}"
    assert not Path("/kaggle").exists() or Path("/kaggle/input").exists()


def test_relocation_is_said_and_harms_no_input(start: Callable[..., Account], root: Path) -> None:
    """A relocated session says so in its log, and cannot change the original inputs."""
    code = """
    import os, pathlib
    path = pathlib.Path(os.environ["KGTTS_KAGGLE_ROOT"], "input/datasets/alice/some-data/a.txt")
    print(oct(path.stat().st_mode & 0o777))
    path.chmod(0o600)
    path.write_text("changed")
    """
    account = start(sandbox="relocate")
    assert account.run(textwrap.dedent(code), **SOURCES) == "COMPLETE"
    assert "relocated to" in account.text()
    assert "0o444" in account.text()
    assert (root / "datasets" / USER / "some-data" / "a.txt").read_text() == "data\n"
    assert list((root / "sessions").iterdir()) == []


def test_a_failing_script_fails_its_session(account: Account) -> None:
    """An exit code other than 0 is ERROR with a message; log and outputs are kept."""
    code = "open('half.txt', 'w').write('1')\nraise ValueError('oops')"
    assert account.run(code) == "ERROR"
    assert "exit code 1" in account.status().failure_message
    assert "ValueError: oops" in account.text()
    assert list(account.files()) == ["half.txt"]


def test_failed_outputs_can_be_lost(start: Callable[..., Account]) -> None:
    """An option drops the outputs of a failed session, as Kaggle may."""
    account = start(keep_failed_outputs=False)
    assert account.run("open('half.txt', 'w').write('1')\nraise SystemExit(1)") == "ERROR"
    assert account.files() == {}


@pytest.mark.parametrize("sandbox", ["auto", "relocate"])
def test_the_time_limit_kills_everything(
    start: Callable[..., Account], clock: FakeClock, sandbox: str
) -> None:
    """At the push's time limit a session is killed with every process that it started."""
    account = start(clock=clock, sandbox=sandbox)
    account.push(ESCAPE + HANG, session_timeout_seconds=600)
    process = escaped(account.wait_for("escaped"))
    account.wait_for("ready")
    assert is_alive(process)
    clock.advance(599)
    assert account.status().status.name == "RUNNING"
    clock.advance(2)
    account.wait()
    assert not is_alive(process)
    status = account.status()
    assert status.status.name == "CANCEL_ACKNOWLEDGED"
    assert "time limit" in status.failure_message
    assert "ready" in account.text()


def test_the_service_has_a_limit_of_its_own(start: Callable[..., Account], clock: FakeClock) -> None:
    """A push cannot exceed the session limit."""
    account = start(clock=clock, session_limit_s=100)
    account.push(HANG, session_timeout_seconds=10_000)
    account.wait_for("ready")
    clock.advance(100)
    account.wait()
    assert account.status().status.name == "CANCEL_ACKNOWLEDGED"


def test_a_finished_script_leaves_no_process(account: Account) -> None:
    """Background processes of a script end with its session."""
    code = ESCAPE + "print('done')"
    assert account.run(code) == "COMPLETE"
    assert not is_alive(escaped(account.text()))


def test_deleting_a_kernel_ends_its_session(start: Callable[..., Account], clock: FakeClock) -> None:
    """Its processes end, the time is billed, and the kernel is gone."""
    account = start(clock=clock)
    account.push(ESCAPE + HANG, machine_shape="NvidiaTeslaT4")
    process = escaped(account.wait_for("escaped"))
    clock.advance(1800)
    account.delete()
    assert not is_alive(process)
    assert account.quota().time_used.total_seconds() == 1800
    with pytest.raises(HTTPError) as caught:
        account.status()
    assert caught.value.response.status_code == 403
    assert account.push("print(1)").version_number == 1


def test_a_session_waits_in_the_queue(start: Callable[..., Account], clock: FakeClock) -> None:
    """A session is QUEUED for the queue's delay, and can be deleted there."""
    account = start(clock=clock, queue_delay_s=30)
    account.push("print(1)")
    assert account.status().status.name == "QUEUED"
    clock.advance(30)
    account.wait()
    assert account.status().status.name == "COMPLETE"
    account.push("print(2)", "Other Kernel")
    account.delete("other-kernel")


def test_a_kernel_mounts_the_last_completed_version(account: Account, root: Path) -> None:
    """A mount has the last COMPLETE version, while the API answers for the last run."""
    assert account.run("open('state.txt', 'w').write('good')") == "COMPLETE"
    assert account.run("open('state.txt', 'w').write('bad')\nraise SystemExit(1)") == "ERROR"
    code = """
    import os
    root = os.environ.get("KGTTS_KAGGLE_ROOT", "/kaggle")
    print(open(root + "/input/notebooks/alice/my-kernel/state.txt").read())
    """
    answer = account.push(textwrap.dedent(code), "Next Kernel", kernel_data_sources=["alice/my-kernel"])
    assert answer.invalid_kernel_sources == []
    account.wait("next-kernel")
    assert "good\n" in account.text("next-kernel")
    assert account.status().status.name == "ERROR"


def test_inputs_are_those_of_the_start(start: Callable[..., Account], root: Path, clock: FakeClock) -> None:
    """Mounted versions are chosen when the session starts, not at the push."""
    account = start(clock=clock, queue_delay_s=30)
    account.push("import os; print(sorted(os.listdir('../input/datasets/alice/some-data')))", **SOURCES)
    (root / "datasets" / USER / "some-data" / "late.txt").write_text("late")
    clock.advance(30)
    account.wait()
    assert "late.txt" in account.text()


def test_stopping_the_emulator_ends_its_sessions(tmp_path: Path) -> None:
    """Stopping kills what runs; after a restart the session is an ERROR with the reason and its log."""
    options = EmulatorOptions(sandbox="relocate", standins=False)
    with (
        Emulator(tmp_path, options=options, credentials=(USER, KEY)) as emulator,
        Account(emulator) as account,
    ):
        account.push(ESCAPE + HANG)
        process = escaped(account.wait_for("escaped"))
    assert not is_alive(process)
    with (
        Emulator(tmp_path, options=options, credentials=(USER, KEY)) as emulator,
        Account(emulator) as account,
    ):
        status = account.status()
        assert status.status.name == "ERROR"
        assert "emulator was stopped" in status.failure_message
        assert "escaped" in account.text()


def test_a_killed_emulator_leaves_no_process(tmp_path: Path) -> None:
    """If the emulator is killed its sessions die too, and the next one says what happened."""
    program = f"""
    import sys, pathlib
    from orchestrator.emulator import Emulator, EmulatorOptions
    from tests.emulator.support import Account
    options = EmulatorOptions(sandbox="relocate", standins=False)
    emulator = Emulator(pathlib.Path(sys.argv[1]), options=options, credentials=({USER!r}, {KEY!r})).start()
    account = Account(emulator)
    account.push(sys.argv[2], enable_gpu=True)
    print(account.wait_for("escaped"), flush=True)
    sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), ESCAPE + HANG]
    repository = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=repository) as process:
        assert process.stdout is not None
        child = escaped(process.stdout.readline().decode())
        # A file descriptor of the child tells its end without polling.
        watch = os.pidfd_open(child)
        process.send_signal(signal.SIGKILL)
    assert select.select([watch], [], [], 20)[0], "the session outlived its emulator"
    os.close(watch)
    with Emulator(tmp_path, credentials=(USER, KEY)) as emulator, Account(emulator) as account:
        status = account.status()
        assert status.status.name == "ERROR"
        assert "emulator ended" in status.failure_message
        assert "escaped" in account.text()
        kernel, version = emulator.backend.kernels.get_run(USER, "my-kernel")
        assert version.state is SessionState.ERROR
        assert version.ended_at is not None
        assert 0 < account.quota().time_used.total_seconds() < 60  # Up to the last line of its log.
        assert list((tmp_path / "sessions").iterdir()) == []
        assert emulator.backend.live_log(version) is None
        assert kernel.latest_complete is None


def test_a_python_that_cannot_start_fails_the_session(start: Callable[..., Account]) -> None:
    """A wrong interpreter fails the session with a reason, and not the emulator."""
    account = start(python="/no/such/python")
    assert account.run("print(1)") == "ERROR"
    assert "cannot be started" in account.text()


def test_a_session_cannot_read_the_key_from_its_parent(
    start: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process between emulator and script has no credentials in its environment."""
    monkeypatch.setenv("KAGGLE_KEY", "leaked-secret")
    account = start()
    code = "import os, pathlib\nprint(pathlib.Path('/proc', str(os.getppid()), 'environ').read_bytes())\n"
    assert account.run(code) == "COMPLETE", account.text()
    assert "leaked-secret" not in account.text()


def test_a_session_whose_launcher_is_killed_is_over(account: Account) -> None:
    """It fails with the reason, and its processes end with it."""
    account.push("import os\nprint(f'pids {os.getppid()} {os.getpid()}.')\n" + HANG)
    numbers = json.loads(account.wait_for("pids"))["data"].partition("pids ")[2].partition(".")[0].split()
    launcher, script = map(int, numbers)
    os.kill(launcher, signal.SIGKILL)
    account.wait()
    assert account.status().status.name == "ERROR"
    assert "killed by signal 9" in account.status().failure_message
    with eventually("the script is gone") as again:
        while Path(f"/proc/{script}").exists():
            again()

"""A fault of the kernel itself: its traceback names the files and lines of the source tree."""

import re
import shutil
from pathlib import Path

from orchestrator.render.kernel import render_kernel
from orchestrator.render.package import Templates
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import Settings, fingerprint
from tests.emulator.support import USER, Account

FAULT = "def describe_environment("


def faulty(folder: Path) -> Templates:
    """The real package with a fault in start/environment.py, raised after the session has started."""
    real = Templates.installed()
    package = folder / "kernel_template"
    shutil.copytree(real.package, package, ignore=shutil.ignore_patterns("__pycache__"))
    file = package / "start" / "environment.py"
    text = file.read_text(encoding="utf-8")
    body = text.index('    """', text.index(FAULT))  # The function's docstring; the fault comes on its line.
    file.write_text(f"{text[:body]}    raise ZeroDivisionError('forced');{text[body:]}", encoding="utf-8")
    return Templates(package, real.metadata)


def line_of(file: Path, text: str) -> int:
    """Return the number of the first line that contains `text`."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_a_traceback_names_the_files_of_the_source_tree(account: Account, tmp_path: Path) -> None:
    """Each frame has the path below kernel_template and the line number that it has in the repository."""
    settings = Settings.model_validate({"kernel": {"accelerator": "none"}}).with_owner(USER)
    stamp = RunStamp("3f9c0d", 1, None, fingerprint(settings), f"{USER}/bangla-tts", "0.1.0")
    push = render_kernel(settings, stamp, templates=faulty(tmp_path / "faulty")).push
    assert account.run(push.source, "Bangla TTS") == "ERROR"
    log = account.text("bangla-tts")
    assert "❌ kgtts has a fault: ZeroDivisionError: forced. The traceback above says where." in log
    frames = re.findall(r'File "[^"]*/temp/kgtts/(kernel_template/[\w/]+\.py)", line (\d+), in (\w+)', log)
    package = Templates.installed().package
    start, environment = package / "start" / "stage.py", package / "start" / "environment.py"
    assert frames[-2:] == [
        ("kernel_template/start/stage.py", str(line_of(start, "= describe_environment(")), "run"),
        (
            "kernel_template/start/environment.py",
            str(line_of(environment, '"""Print what the session runs on.')),
            "describe_environment",
        ),
    ]
    assert ("kernel_template/main.py", "_guarded") in [(file, function) for file, _, function in frames]

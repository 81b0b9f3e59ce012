"""A script in the host sees what it would see under Python alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from kernel_template.tools.package import PackagePrograms
from tests.kernel.hosting import PACKAGE, with_package
from tests.kernel.kit import put

LOOK = """
'''A docstring.'''
import json, os, sys
import __main__
names = ("__name__", "__file__", "__package__", "__spec__", "__cached__", "__doc__")
seen = {name: str(globals().get(name)) for name in names}
seen["loader"] = type(globals()["__loader__"]).__name__
seen["argv"], seen["path"], seen["flags"] = sys.argv, sys.path, sys.dont_write_bytecode
seen["environment"] = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
seen["main"] = __main__.__dict__ is globals()
seen["modules"] = sorted(name for name in sys.modules if name in ("torch", "trainer", "host"))
seen["meta"] = "__mp_main__" in sys.modules
print(json.dumps(seen))
"""

# The module as it is from Python 3.14 on: processes are started by a fork server.
LATER = """
import pathlib, sysconfig
place = pathlib.Path(sysconfig.get_path("stdlib"), "multiprocessing")
__path__ = [str(place)]
exec((place / "__init__.py").read_text())
context._default_context._default_context = get_context("forkserver")
"""


def python(folder: Path, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder`."""
    return subprocess.run(
        [sys.executable, "-B", "-u", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def plain(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python without the host."""
    return python(folder, *arguments, env={**os.environ, **variables})


def hosted(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the host, whose package is in its own folder."""
    package = folder / "the package" / "kernel_template"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    put(folder / "CONTROL.json", json.dumps({"report": str(folder / "HOST_REPORT.json")}))
    control = str(folder / "CONTROL.json")
    env = with_package({**os.environ, **variables}, package)
    return python(folder, *PackagePrograms().command("host", control, *arguments)[1:], env=env)


def test_a_script_sees_no_difference(tmp_path: Path) -> None:
    """Arguments, search path, environment and `__main__` are the same, and torch is not imported."""
    script = put(tmp_path / "a folder" / "train আ.py", LOOK)
    lib = str(tmp_path / "lib")
    paths = [{}, {"PYTHONPATH": lib}, {"PYTHONPATH": f"{lib}{os.pathsep}x"}, {"PYTHONSAFEPATH": "1"}]
    for path in paths:
        alone, under = (run(tmp_path, str(script), "--x", "1 2", **path) for run in (plain, hosted))
        assert alone.stdout
        assert under.stdout == alone.stdout
    assert json.loads((tmp_path / "HOST_REPORT.json").read_text())["hooks"] is False


def test_a_scripts_processes_are_forked(tmp_path: Path) -> None:
    """Without a main guard they work from Python 3.14 on, too; and a script may choose another way."""
    put(tmp_path / "later" / "multiprocessing" / "__init__.py", LATER)
    begin = "import multiprocessing as mp, os\nbegun = os.getpid()\n"
    fork = "child = mp.Process(target=lambda: print(begun != os.getpid()))\nchild.start()\nchild.join()\n"
    forking = put(tmp_path / "forking.py", begin + fork)
    choose = "mp.set_start_method('spawn')\nprint(mp.get_start_method())\n"
    choosing = put(tmp_path / "choosing.py", begin + choose)
    path = {"PYTHONPATH": str(tmp_path / "later")}
    assert "True" not in plain(tmp_path, str(forking), **path).stdout
    assert hosted(tmp_path, str(forking), **path).stdout == "True\n"
    assert hosted(tmp_path, str(choosing), **path).stdout == "spawn\n"


def test_a_module_sees_no_difference(tmp_path: Path) -> None:
    """`-m` works as in Python."""
    put(tmp_path / "pack" / "__init__.py", "")
    put(tmp_path / "pack" / "train.py", LOOK)
    alone, under = (run(tmp_path, "-m", "pack.train", "--x") for run in (plain, hosted))
    first, second = json.loads(alone.stdout), json.loads(under.stdout)
    for seen in (first, second):
        # Python's own entry names the module in more words.
        seen.pop("__spec__")
    assert second == first


def test_outputs_that_are_named_like_modules(tmp_path: Path) -> None:
    """A file in the current folder hides no standard module; one beside the script does, as in Python."""
    (tmp_path / "outputs").mkdir()
    for name in ("json.py", "types.py", "torch.py"):
        put(tmp_path / "outputs" / name, f"raise SystemExit('{name} of the outputs was imported')")
    put(tmp_path / "script" / "neighbour.py", "print('found')")
    script = put(tmp_path / "script" / "train.py", "import json, types, neighbour")
    done = hosted(tmp_path / "outputs", str(script))
    assert (done.returncode, done.stdout, done.stderr) == (0, "found\n", "")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("import sys; sys.exit(7)", 7),
        ("raise ValueError('x')", 1),
        ("import sys; sys.exit('bad')", 1),
        ("", 0),
    ],
)
def test_exit_codes_pass_through(tmp_path: Path, script: str, code: int) -> None:
    """The process ends with the exit code of the script."""
    path = put(tmp_path / "s.py", script)
    assert hosted(tmp_path, str(path)).returncode == plain(tmp_path, str(path)).returncode == code


def test_another_module_named_trainer(tmp_path: Path) -> None:
    """A script's own trainer.py beside it is imported unchanged."""
    put(tmp_path / "trainer.py", "class Trainer: pass")
    path = put(tmp_path / "s.py", "import trainer; print(trainer.Trainer, trainer.__file__)")
    assert hosted(tmp_path, str(path)).stdout == plain(tmp_path, str(path)).stdout != ""


def test_another_release_of_the_trainer_runs_unhosted(tmp_path: Path) -> None:
    """A trainer without the methods that are patched is left alone, with a warning."""
    put(tmp_path / "trainer" / "__init__.py", "from trainer.trainer import Trainer")
    put(tmp_path / "trainer" / "trainer.py", "class Trainer:\n    def fit(self): print('FIT')")
    put(tmp_path / "trainer" / "io.py", "")
    path = put(tmp_path / "s.py", "from trainer import Trainer; Trainer().fit()")
    assert "FIT" in hosted(tmp_path, str(path)).stdout
    report = json.loads((tmp_path / "HOST_REPORT.json").read_text())
    (warning,) = report["warnings"]
    for lost in ("runs without hooks. It uses one GPU", "repeats the checkpoint's epoch", "run.until_step"):
        assert lost in warning
    assert report["hooks"] is False


def test_arguments_that_name_nothing(tmp_path: Path) -> None:
    """Without a script, usage is printed and nothing runs."""
    assert hosted(tmp_path, "-m").returncode == 2
    assert plain(tmp_path, "-m", "kernel_template.host").returncode == 2


def test_a_script_in_utf_16(tmp_path: Path) -> None:
    """Windows' editors save it so, and Python cannot read it."""
    script = put(tmp_path / "train.py", "print('আমি')".encode("utf-16"))
    assert hosted(tmp_path, str(script), PYTHONIOENCODING="utf-8").stdout == "আমি\n"


def test_what_is_left_of_a_clone_hides_nothing(tmp_path: Path) -> None:
    """An incomplete TTS beside the script is passed over; a whole one is used, and said."""
    put(tmp_path / "installed" / "TTS" / "__init__.py", "name = 'installed'")
    script = put(tmp_path / "script" / "train.py", "import TTS, beside; print(TTS.name)")
    put(tmp_path / "script" / "beside.py", "")
    clone = tmp_path / "script" / "TTS"
    put(clone / "__init__.py", "name = 'clone'")
    installed = str(tmp_path / "installed")
    lines = hosted(tmp_path, str(script), PYTHONPATH=installed).stdout.splitlines()
    assert lines == [
        f" > kgtts: {clone} is no whole copy of Coqui TTS: the installed one is used",
        "installed",
    ]
    put(clone / "tts" / "models" / "vits.py", "")
    lines = hosted(tmp_path, str(script), PYTHONPATH=installed).stdout.splitlines()
    assert lines[-1] == "clone"
    assert "is a copy of Coqui TTS: the script uses it" in lines[0]


def test_a_training_that_a_script_starts_runs_in_the_host(tmp_path: Path) -> None:
    """Its report says so; another program of the script runs as it is."""
    train = put(tmp_path / "train.py", f"def never():\n    import trainer\n{LOOK}")
    other = put(tmp_path / "other.py", LOOK)
    script = put(
        tmp_path / "script.py",
        "import subprocess, sys\n"
        f"for name in ({str(train)!r}, {str(other)!r}):\n"
        "    subprocess.run([sys.executable, name, '--x'], check=True)\n",
    )
    done = hosted(tmp_path, str(script))
    said, in_host, alone = done.stdout.splitlines()
    assert "the script starts a training as a program of its own" in said
    first, second = json.loads(in_host), json.loads(alone)
    assert first["argv"][1:] == second["argv"][1:] == ["--x"]

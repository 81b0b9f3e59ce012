"""The real kernel renders from the repository, from an unpacked sdist and from an installed wheel."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from orchestrator.render import MAX_SOURCE_BYTES, RunStamp, render_kernel, templates_root
from orchestrator.render.parts import part_names
from orchestrator.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
RENDER = """
import sys
from pathlib import Path
import orchestrator
from orchestrator.settings import Settings, fingerprint
from orchestrator.render import RunStamp, render_kernel, write_rendered
assert Path(orchestrator.__file__).is_relative_to(sys.argv[1]), orchestrator.__file__
settings = Settings().with_owner("someone")
stamp = RunStamp("3f9c0d", 1, None, fingerprint(settings), "someone/bangla-tts", "0.1.0")
write_rendered(render_kernel(settings, stamp), Path(sys.argv[2]))
"""


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> None:
    """Run a command without network and without this checkout on the path; a failure shows its output."""
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("KAGGLE_", "PYTHONPATH"))
    }
    environ |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if path is not None:
        environ["PYTHONPATH"] = str(path)
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def kernel(resolved: Settings, stamp: RunStamp) -> str:
    """The kernel rendered from the repository's own parts."""
    return render_kernel(resolved, stamp).source


def test_every_part_is_listed_once() -> None:
    """PARTS names each module of the package that is no test and no template, and nothing else."""
    folder = templates_root() / "kernel_template"
    assert sorted(part_names(folder)) == sorted(
        file.stem for file in folder.glob("*.py") if file.name != "__init__.py"
    )


def test_the_real_kernel_is_whole_and_small(kernel: str) -> None:
    """The repository's parts join to Python that ends in the run, at less than half of the size limit."""
    assert kernel.endswith("_code = run(SETTINGS, PROGRAMS)\nif _code:\n    raise SystemExit(_code)\n")
    assert "kernel_template." not in kernel
    assert len(kernel.encode()) < MAX_SOURCE_BYTES / 2


@pytest.mark.skipif(
    shutil.which("ruff", path=Path(sys.executable).parent) is None, reason="ruff comes with dev"
)
def test_the_real_kernel_uses_no_name_that_is_missing(kernel: str, tmp_path: Path) -> None:
    """Joined, no part uses an undefined name, redefines one or imports what nobody needs."""
    (tmp_path / "kernel.py").write_text(kernel, encoding="utf-8")
    ruff = Path(sys.executable).parent / "ruff"
    run(ruff, "check", "--isolated", "--no-cache", "--select", "F,E9", "kernel.py", cwd=tmp_path)


def test_wheel_and_sdist_render_elsewhere(kernel: str, tmp_path: Path) -> None:
    """A wheel built from the sdist renders where it is installed, and the sdist where it is unpacked."""
    pytest.importorskip("hatchling", reason="the wheel is built without network")
    pytest.importorskip("build", reason="the wheel is built without network")
    built, unpacked, installed = (tmp_path / name for name in ("built", "unpacked", "installed"))
    # Without arguments for one of them, `build` makes the sdist and then the wheel from it.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", built, REPOSITORY, cwd=tmp_path)
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", installed, wheel, cwd=tmp_path)
    assert (installed / "orchestrator/_templates/kernel_template/kernel.py.j2").is_file()
    for place in (installed, *unpacked.iterdir()):
        run(sys.executable, "-c", RENDER, place, tmp_path / "out", cwd=tmp_path, path=place)
        assert (tmp_path / "out/kaggle_tts_training.py").read_text("utf-8") == kernel
        shutil.rmtree(tmp_path / "out")

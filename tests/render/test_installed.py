"""The real kernel renders the same from a checkout, an sdist, a wheel and an editable install."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from orchestrator.models import MAX_SOURCE_BYTES
from orchestrator.render.kernel import render_kernel
from orchestrator.render.package import Templates
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
RENDER = """
import site, sys
from pathlib import Path
if sys.argv[3:]:
    known = list(sys.path)
    site.addsitedir(sys.argv[3])  # Before that of the environment, which may have kgtts too.
    sys.path.sort(key=lambda place: place in known)
import orchestrator
from orchestrator.settings import Settings, fingerprint
from orchestrator.render.kernel import render_kernel, write_rendered
from orchestrator.render.stamp import RunStamp
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
    """The kernel rendered from the repository's own files."""
    return render_kernel(resolved, stamp).source


def test_every_file_of_the_package_is_sent_as_it_is(kernel: str) -> None:
    """FILES holds each Python file byte for byte, as text that people can read; Kaggle lends one machine."""
    package = Templates.installed().package
    files = {file.relative_to(package.parent).as_posix(): file.read_bytes() for file in package.rglob("*.py")}
    assert files.pop("kernel_template/mirror.py")
    assert [files.pop(name) for name in [*files] if "/nodes/" in name]
    (assigned,) = [
        node.value
        for node in ast.parse(kernel).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FILES"
    ]
    sent: dict[str, str] = ast.literal_eval(assigned)
    assert {name: text.encode() for name, text in sent.items()} == files
    for name, text in sent.items():
        assert text in kernel, f"{name} is not sent as readable text: it contains '''"
    assert len(kernel.encode()) < MAX_SOURCE_BYTES * 0.9  # Signed URLs may take 80 kB more.


def test_wheel_sdist_and_editable_install_render_the_same(kernel: str, tmp_path: Path) -> None:
    """The wheel of the sdist, the unpacked sdist, and an editable install render the same kernel."""
    pytest.importorskip("hatchling", reason="the wheel is built without network")
    pytest.importorskip("build", reason="the wheel is built without network")
    built, unpacked, installed = (tmp_path / name for name in ("built", "unpacked", "installed"))
    # Without arguments for one of them, `build` makes the sdist and then the wheel from it.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", built, REPOSITORY, cwd=tmp_path)
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", installed, wheel, cwd=tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        assert {
            f"orchestrator/places/skypilot/{name}" for name in ("task.yaml.j2", "setup.sh", "run.sh")
        } <= {*archive.namelist()}
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"orchestrator", "kernel_template"}
    editable = tmp_path / "editable"
    build = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    run(sys.executable, "-c", build, editable, cwd=source)
    (link,) = editable.glob("*.whl")
    with zipfile.ZipFile(link) as archive:
        archive.extractall(editable / "site")  # noqa: S202 - built by this test.
    for place, path, site in (
        (installed, installed, []),
        (source, source, []),
        (source, None, [editable / "site"]),
    ):
        run(sys.executable, "-c", RENDER, place, tmp_path / "out", *site, cwd=tmp_path, path=path)
        assert (tmp_path / "out/kaggle_tts_training.py").read_text("utf-8") == kernel
        shutil.rmtree(tmp_path / "out")

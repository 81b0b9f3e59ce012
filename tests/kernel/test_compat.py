"""Scripts of Coqui TTS 0.22 and earlier: every call that changed, with the installed release."""

import json
import os
import subprocess
import sys
from pathlib import Path

from kernel_template.host import compat
from orchestrator.emulator.runner.standins import standin_path
from tests.kernel.hosting import PACKAGE, VITS_TRAINING

pytestmark = VITS_TRAINING


def test_every_call_that_changed(voice_cache: Path) -> None:
    """Each is translated and reported once; today's calls pass unchanged."""
    folders = [str(PACKAGE.parent), str(standin_path(sys.executable) or ""), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("old_scripts.py"))],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
            "NUMBA_CACHE_DIR": str(voice_cache / "numba"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    old = [line for line in said if "for an older Coqui" in line]
    assert len(old) == len(set(old)) == 17, "\n".join(old)
    assert any("1 of its" in line or "0 of its" in line for line in said)


def test_the_documentation_lists_them() -> None:
    """The table at the top of the layer has the release of each."""
    rows = [line for line in (compat.__doc__ or "").splitlines() if line.startswith("| `")]
    assert len(rows) >= 9

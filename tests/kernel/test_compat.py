"""Scripts of Coqui TTS 0.22 and earlier: every call that changed, with the installed release."""

import json
from pathlib import Path

from kernel_template.host import compat
from tests.kernel.hosting import VITS_TRAINING, ForkServer

pytestmark = VITS_TRAINING


def test_every_call_that_changed(vits_fork_server: ForkServer, tmp_path: Path) -> None:
    """Each is translated and reported once; today's calls pass unchanged."""
    code, printed = vits_fork_server.python(["-m", "tests.kernel.old_scripts"], tmp_path)
    assert code == 0, printed[-3000:]
    said = json.loads(printed.splitlines()[-1])
    old = [line for line in said if "for an older Coqui" in line]
    assert len(old) == len(set(old)) == 17, "\n".join(old)
    assert any("1 of its" in line or "0 of its" in line for line in said)


def test_the_documentation_lists_them() -> None:
    """The table at the top of the layer has the release of each."""
    rows = [line for line in (compat.__doc__ or "").splitlines() if line.startswith("| `")]
    assert len(rows) >= 9

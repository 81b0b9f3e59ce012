"""A pinned release of Coqui that kgtts's hooks do not fit."""

from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import WITHOUT_HOOKS
from orchestrator.errors import ServiceError
from orchestrator.run.checked import Level
from orchestrator.run.checks import check_all
from orchestrator.run.packages import lost_by_release
from orchestrator.settings import Settings, load_settings
from tests.fakes.clock import START


@pytest.mark.parametrize(
    ("package", "fits"),
    [
        (package, True)
        for package in (
            *Settings().install.packages,
            "coqui-tts",
            "Coqui_TTS[bn]==0.28.2",
            "coqui-tts>=0.27,!=0.28.0",
            "coqui-tts-trainer>=0.3",
            "coqui-tts @ git+https://example.com/tts.git",
            "git+https://example.com/tts.git",
            "ttstokenizer==1",
        )
    ]
    + [
        (package, False)
        for package in (
            "TTS",
            "tts==0.22.0",
            "coqui-tts==0.27.1",
            "coqui-tts<0.28",
            "coqui-tts>=0.29",
            "coqui-tts-trainer<0.4",
            "trainer==0.0.36",
        )
    ],
)
def test_releases_that_fit(package: str, fits: bool) -> None:  # noqa: FBT001
    """Another release is named with all that the training then lacks; what cannot be told is not judged."""
    found = lost_by_release(["six>=1.16", package])
    assert (found is None) is fits
    if found is not None:
        assert package in found
        assert WITHOUT_HOOKS in found


def test_the_doctor_says_so(tmp_path: Path) -> None:
    """Both cards and exact resuming are named before a session is spent."""

    def log_in() -> Any:
        raise ServiceError("Kaggle cannot be reached.")

    found = check_all(
        lambda: load_settings(None, ['install.packages=["TTS==0.22.0"]'], environ={}, cwd=tmp_path),
        log_in,
        {"KAGGLE_API_TOKEN": "KGAT_x"},
        tmp_path,
        now=START,
    )
    (packages,) = [item for item in found if item.subject == "packages"]
    assert packages.level is Level.WARNING
    assert "TTS==0.22.0" in packages.text
    assert "It uses one GPU" in packages.text

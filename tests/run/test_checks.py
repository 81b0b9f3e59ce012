"""What `kgtts doctor` checks at Kaggle."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.models import Quota
from orchestrator.run.checked import Level
from orchestrator.run.checks import check_service
from orchestrator.settings import load_settings
from tests.fakes.kaggle import FakeKaggle

SUNDAY = datetime(2026, 11, 22, tzinfo=UTC)


def lines(kaggle: FakeKaggle, tmp_path: Path, *overrides: str) -> dict[str, tuple[Level, str, str]]:
    """Return level, text and hint of each subject."""
    settings = load_settings(None, overrides, environ={}, cwd=tmp_path).settings
    return {
        item.subject: (item.level, item.text, item.hint or "") for item in check_service(settings, kaggle)
    }


@pytest.mark.parametrize(
    ("hours", "level", "left"),
    [
        ((5, 0), Level.OK, "25h"),
        ((5, 12), Level.OK, "13h"),
        ((10, 12), Level.WARNING, "8h"),
        ((29, 12), Level.WARNING, "0s"),
    ],
)
def test_reserved_hours_count(
    kaggle: FakeKaggle, tmp_path: Path, hours: tuple[int, int], level: Level, left: str
) -> None:
    """Hours that running sessions reserve are not left; less than a session's budget is a warning."""
    used, reserved = (timedelta(hours=count) for count in hours)
    kaggle.week = Quota(used, reserved, timedelta(hours=30), SUNDAY)
    found, text, _ = lines(kaggle, tmp_path)["quota"]
    assert (found, text.split(" of ")[0]) == (level, left)


def test_a_cpu_session_needs_no_quota(kaggle: FakeKaggle, tmp_path: Path) -> None:
    """Without a GPU the quota is not read, and there is no warning."""
    assert lines(kaggle, tmp_path, "kernel.accelerator=none")["quota"][0] is Level.OK


def test_no_quota_told_is_a_warning(kaggle: FakeKaggle, tmp_path: Path) -> None:
    """A missing quota is a warning, since Kaggle need not report one."""
    assert lines(kaggle, tmp_path)["quota"][0] is Level.WARNING


def test_files_are_looked_for_and_the_nearest_is_named(kaggle: FakeKaggle, tmp_path: Path) -> None:
    """The error for a missing checkpoint names the file most like it."""
    kaggle.models = {name: {"model/model_flie.pth": b"", "model/config.json": b""} for name in kaggle.models}
    found = lines(kaggle, tmp_path)
    assert found["dataset"][0] is Level.OK
    level, text, hint = found["model"]
    assert level is Level.WARNING
    assert "model/model_file.pth is not among its 2 files; the nearest is model/model_flie.pth" in text
    assert "inputs.checkpoint" in hint


def test_somebody_elses_name_in_the_settings_is_said(kaggle: FakeKaggle, tmp_path: Path) -> None:
    """A mistyped kernel.owner is named with who is logged in, before what it makes invisible."""
    assert "owner" not in lines(kaggle, tmp_path, f"kernel.owner={kaggle.username}")
    found = lines(kaggle, tmp_path, "kernel.owner=somebody")
    assert next(iter(found)) == "owner"
    assert found["owner"][:2] == (
        Level.WARNING,
        f"kernel.owner is somebody, but {kaggle.username} is logged in",
    )
    assert found["dataset"][0] is found["model"][0] is Level.FAILED

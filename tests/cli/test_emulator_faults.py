"""`kgtts emulator --faults`, as the documentation shows it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cli.test_emulator_command import serve
from tests.emulator.support import documented_faults
from tests.support import Cli, Process

TIMEOUT_S = 60


def control(method: str, **body: Any) -> Any:
    """Send the request of the documentation's curl."""
    url = f"{os.environ['KGTTS_KAGGLE_URL']}/_emulator/faults"
    auth = (os.environ["KAGGLE_USERNAME"], os.environ["KAGGLE_KEY"])
    response = requests.request(method, url, auth=auth, timeout=TIMEOUT_S, **body)
    response.raise_for_status()
    return response.json()


def test_the_readmes_plan_is_served(
    spawn: Callable[..., Process], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is in force from the start, announced, shown, and replaced as documented."""
    section = documented_faults()
    example = section.partition("```toml\n")[2].partition("```")[0]
    (workplace / "faults.toml").write_text(example, encoding="utf-8")
    process = serve(spawn, monkeypatch, workplace / "root", "--faults", "faults.toml")
    process.wait_for("Faults in force: latency, bandwidth, reset, error, log_dropped.")
    shown = control("GET")
    assert [fault["what"] for fault in shown["plan"]["faults"]] == [
        "latency",
        "bandwidth",
        "reset",
        "error",
        "log_dropped",
    ]
    body = section.partition("-X PUT -d '")[2].partition("'")[0]
    assert control("PUT", data=body)["plan"]["faults"][0]["what"] == json.loads(body)["faults"][0]["what"]
    assert control("DELETE")["counts"] == []
    assert process.interrupt().code == 130


def test_a_plan_that_is_none_serves_nothing(cli: Cli, workplace: Path) -> None:
    """A wrong plan is an error before anything is started."""
    (workplace / "faults.toml").write_text('[[faults]]\nwhat = "rain"\n', encoding="utf-8")
    for name, sentence in (("faults.toml", "`what` must be one of"), ("none.toml", "No such file")):
        result = cli("emulator", "--port", "0", "--root", "root", "--faults", name)
        assert (result.code, result.out) == (2, "")
        assert name in result.err
        assert sentence in result.err
    assert not (workplace / "root").exists()

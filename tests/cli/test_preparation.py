"""Before the first push: init, config, render and doctor."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from orchestrator.emulator import Emulator
from orchestrator.kaggle import connect
from orchestrator.models import InputDetails
from tests.fakes.clock import HastyClock
from tests.support import USER, Cli

FIRST = f"{USER}/bangla-tts-a"  # Where the first session goes.


def test_init_writes_settings_that_are_valid(cli: Cli, workplace: Path) -> None:
    """The file has the defaults, and is overwritten only with --force."""
    assert "Wrote kgtts.toml" in cli("init").out
    assert cli("config", "show").code == 0
    again = cli("init")
    assert again.code == 2
    assert "exists already" in again.err
    assert cli("init", "--force").code == 0
    assert cli("init", "--dir", "deeper/still").code == 0
    assert (workplace / "deeper/still/kgtts.toml").is_file()


def test_config_show_is_toml_of_what_is_in_force(cli: Cli, account: Emulator) -> None:
    """It includes the file and `--set`."""
    import tomllib  # noqa: PLC0415 - only here

    result = cli("config", "show", "--set", "training.batch_size=3")
    shown = tomllib.loads(result.out)
    assert (shown["training"]["epochs"], shown["training"]["batch_size"]) == (2, 3)
    assert "kgtts.toml" in result.out


def test_config_schema_is_a_json_schema(cli: Cli) -> None:
    """Editors can complete the file with it."""
    schema = cli("config", "schema").json
    assert "training" in schema["properties"]


def test_render_writes_what_push_sends_and_twice_the_same(
    cli: Cli, account: Emulator, workplace: Path
) -> None:
    """It writes two files for the stock client; a second rendering is identical."""
    result = cli("render", "--to", "out dir")
    files = {path.name: path.read_bytes() for path in (workplace / "out dir").iterdir()}
    assert sorted(files) == ["kaggle_tts_training.py", "kernel-metadata.json"]
    assert len(result.out.splitlines()) == 2
    assert json.loads(files["kernel-metadata.json"])["id"] == FIRST
    cli("render", "--to", "out dir")
    assert {path.name: path.read_bytes() for path in (workplace / "out dir").iterdir()} == files
    assert account.backend.kernels.all() == []


def test_render_needs_no_account(cli: Cli, workplace: Path) -> None:
    """Without credentials a placeholder stands for the owner, and a message says so."""
    result = cli("render", "--to", "out")
    assert result.code == 0
    assert "written as your-name" in result.err
    assert cli("render", "--to", "out", "--owner", "omar").err == ""


def test_doctor_gives_a_verdict_a_line(cli: Cli, account: Emulator) -> None:
    """Settings, client, credentials, login, quota, both inputs, then what is in the dataset."""
    result = cli("doctor")
    assert result.code == 0, result.said
    subjects = [line.split()[1] for line in result.out.splitlines() if not line.startswith("  ")]
    assert subjects[:7] == ["settings", "client", "credentials", "login", "quota", "dataset", "model"]
    assert subjects[7:] == ["texts", "recordings", "batch", "outlook"]
    assert "KAGGLE_USERNAME and KAGGLE_KEY" in result.out
    verdicts = cli("doctor", "--json").json
    assert [set(verdict) for verdict in verdicts] == [{"subject", "level", "text", "hint"}] * len(subjects)


def test_inputs_in_preparation_are_told_and_waited_for(
    cli: Cli, open_account: Callable[..., Emulator], python: str, workplace: Path
) -> None:
    """`doctor`, `push` and a pass name dataset and model, and nothing is pushed before they are ready."""
    account = open_account(python=python, dataset_processing_s=3600.0)
    more = workplace / "metadata.csv"
    more.write_text("b|আবার|আবার\n", encoding="utf-8")
    with contextlib.closing(connect()) as client:
        source, model = f"{USER}/datahrbnn", f"{USER}/ttsbnng/transformers/default"
        client.upload_dataset(source, InputDetails("datahrbnn"), {more.name: more}, notes="more recordings")
        second = client.upload_model(model, {more.name: more}, notes="another", license_name="Apache 2.0")
    preparing = f"still preparing the newest version of the dataset {source}"
    doctor = cli("doctor")
    assert (doctor.code, preparing in doctor.out) == (0, True), doctor.said
    assert "`kgtts push` and `kgtts watch` wait for it" in doctor.out
    listed = {
        item["text"]: item["level"]
        for item in cli("doctor", "--set", f"inputs.model={second}", "--json").json
    }
    waiting = [text for text, level in listed.items() if level == "warning" and "still preparing" in text]
    assert [text.split(";")[0].rpartition(" ")[2] for text in waiting] == [source, second]
    push = cli("push", clock=HastyClock())
    assert preparing in push.said, push.said
    sync = cli("sync", "--json", clock=HastyClock())
    assert (sync.json["state"], preparing in sync.json["reason"]) == ("waiting", True)
    assert account.backend.kernels.all() == []

"""eSpeak NG as a Python package, instead of its program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.tts import TtsHooks
from kernel_template.text import espeak as espeak_program
from kernel_template.tools.espeak import with_espeak
from tests.kernel.kit import Log, base_config, mount_inputs, put
from tests.kernel.sessions import HEAD, TRAINS, Played

loader = pytest.importorskip("espeakng_loader")
PACKAGES = Path(loader.__file__).parents[1]


def espeak(*arguments: str) -> str:
    """Run the program as Coqui's phonemizer runs it."""
    command = [sys.executable, "-I", "-S", str(espeak_program.__file__), str(PACKAGES), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout


def test_it_speaks_as_the_program_does(tmp_path: Path) -> None:
    """Clauses are on their own lines and phonemes separated, like the output of eSpeak NG 1.51."""
    text = put(tmp_path / "text.txt", "আমি ভাত খাই। কেমন আছ?\n")
    asked = ("-q", "-b", "1", "-v", "bn", "--ipa=1", "-f", str(text))
    assert espeak(*asked).split("\n") == ["ˌa_m_i bʰ_ˈa_t_o kʰ_ˈa_i", "k_ˈe_m_ɔ_n ˈa_tʃʰ", ""]
    assert espeak("--version").split()[3].startswith("1.")
    assert ["bn", "Bengali"] in [line.split()[1:4:2] for line in espeak("--voices").splitlines()[1:]]


def test_a_package_in_a_deep_folder(tmp_path: Path) -> None:
    """It speaks although eSpeak NG silently ignores a data path above 160 bytes."""
    deep = tmp_path / "/".join(["a-folder-of-a-virtual-environment"] * 6)
    deep.mkdir(parents=True)
    (deep / "espeakng_loader").symlink_to(PACKAGES / "espeakng_loader", target_is_directory=True)
    text = put(tmp_path / "text.txt", "আমি")
    command = [
        sys.executable,
        "-I",
        "-S",
        str(espeak_program.__file__),
        str(deep),
        "-v",
        "bn",
        "-f",
        str(text),
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert "a_m_i" in done.stdout, done.stderr


def test_it_is_there_for_scripts_that_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If neither espeak-ng nor espeak is installed, the script finds a program of that name."""
    monkeypatch.setenv("PATH", "/nowhere")
    said: list[str] = []
    report = tmp_path / "report.json"
    TtsHooks(Control(report), Reporter(report, said.append), Rendezvous()).provide_espeak()
    assert said == ["phonemes come from eSpeak NG by way of espeakng-loader"]
    program = Path(os.environ["PATH"].split(os.pathsep)[0], "espeak-ng")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert "text-to-speech" in done.stdout


def test_a_session_names_what_phonemes_need(root: Path, log: Log) -> None:
    """Without internet the missing packages of the phonemizer are a warning: the script may need none."""
    config = base_config(use_phonemes=True, phonemizer="bn_phonemizer")
    mount_inputs(root / "input", script=HEAD + TRAINS, config=config)
    played = Played(root, log, "", internet=False)
    assert played.code == 0
    assert any(
        "trained on phonemes" in item["message"] and "bnunicodenormalizer" in item["message"]
        for item in log.events("warning")
    )


def test_a_program_that_is_there_is_used(tmp_path: Path) -> None:
    """With eSpeak NG's own program in the path, none is made; without either, nothing changes."""
    program = put(tmp_path / "bin" / "espeak-ng", "")
    program.chmod(0o755)
    env = {"PATH": str(tmp_path / "bin")}
    assert with_espeak(env, tmp_path / "made") == env
    found = with_espeak({"PATH": "/nowhere"}, tmp_path / "made")
    assert found["PATH"] == f"{tmp_path / 'made'}{os.pathsep}/nowhere"
    assert os.access(tmp_path / "made" / "espeak-ng", os.X_OK)

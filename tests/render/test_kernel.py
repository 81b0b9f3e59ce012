"""The rendered kernel has all settings, runs as one file, and is the same each time."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernel_template.contract import STATE_FILE, EndReason, Status
from orchestrator.errors import LocalError, SettingsError, UsageError
from orchestrator.models import MAX_SOURCE_BYTES, KernelRef, OutputFile, Resume, SessionSummary
from orchestrator.render.kernel import (
    OwnMachine,
    kernel_settings,
    render_kernel,
    write_rendered,
)
from orchestrator.render.package import TemplateError, Templates
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.run.progress import read_progress
from orchestrator.run.state import parse_state
from orchestrator.settings import Settings, fingerprint
from tests.render.conftest import MAIN

HOSTILE = "'\"\\ \"\"\" ''' {{ 7*7 }} {% raw %} {# #} a\nb\r\nc\x00\t আমি \u2028 \udc80 🚀"


def assigned(source: str, name: str) -> Any:
    """Return the literal that the source assigns to `name`."""
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == name
        ):
            return ast.literal_eval(node.value)
    raise AssertionError(name)


def test_settings_enter_as_the_kernel_expects_them(
    templates: Templates, resolved: Settings, stamp: RunStamp
) -> None:
    """SETTINGS has every value under its name, with times in seconds."""
    rendered = render_kernel(resolved, stamp, templates=templates)
    assert assigned(rendered.source, "SETTINGS") == {
        "schema": 1,
        "run": stamp.to_dict(),
        "accelerator": "NvidiaTeslaT4",
        "gpu_name": "T4",
        "gpus": 2,
        "internet": True,
        "dataset": {"source": "someone/datahrbnn", "script": "auto"},
        "model": {
            "source": "someone/ttsbnng/transformers/default/1",
            "config": "model/config.json",
            "checkpoint": "model/model_file.pth",
            "voice_of": None,
        },
        "training": {
            "model": "vits",
            "sample_rate": 22050,
            "language": "bn-Bangladesh",
            "batch_size": 16,
            "epochs": 1000,
            "until_step": None,
            "coqui": {},
            "time_limit_s": 21600,
            "grace_s": 300,
        },
        "session_budget_s": 39600,
        "stop": {"patience": None},
        "resume": None,
        "before": [],
        "speed": {
            "gpus": "all",
            "mixed_precision": True,
            "cudnn_benchmark": False,
            "round_lengths": True,
            "deterministic": False,
            "loader_workers": 4,
            "length_buckets": 8,
        },
        "data": {"bad_samples": "skip", "shortest_s": 0.4, "longest_s": 60.0},
        "disk": {"limit_bytes": 19_000_000_000, "keep_checkpoints": 2},
        "install": {"packages": ["coqui-tts>=0.28,<0.29", "six>=1.16"], "wheelhouse": None},
        "voice": {"onnx": True, "packages": ["onnx>=1.16", "onnxruntime>=1.18"]},
        "samples": {"sentences": [], "enabled": True},
        "scores": {
            "enabled": True,
            "share": 0.02,
            "sentences": 8,
            "packages": ["Resemblyzer==0.1.4", "distillmos==0.9.1", "xls-r-sqa==0.1.0"],
            "recogniser": None,
            "best_by": "trainer",
        },
    }


def test_what_to_continue_from_enters_exactly(resolved: Settings, stamp: RunStamp) -> None:
    """The kernel knows the session, step and hash that it may continue from, and mounts nothing else."""
    resume = Resume("someone/bangla-tts-a", 3, stamp.id, 2, 1234, "ab" * 32)
    assert kernel_settings(resolved, stamp, resume)["resume"] == {
        "kernel": "someone/bangla-tts-a",
        "version": 3,
        "run": stamp.id,
        "session": 2,
        "global_step": 1234,
        "sha256": "ab" * 32,
        "dataset": None,
        "downloads": None,
    }


def test_a_dataset_is_mounted_in_the_place_of_the_kernel(resolved: Settings, stamp: RunStamp) -> None:
    """It is mounted beside the dataset; the sibling is not, as it has another session."""
    resume = Resume("someone/bangla-tts-a", 3, stamp.id, 2, 1234, None, "someone/bangla-tts-kept")
    push = render_kernel(resolved, stamp, resume=resume).push
    assert push.dataset_sources == ("someone/datahrbnn", "someone/bangla-tts-kept")
    assert push.kernel_sources == ()
    assert '"someone/bangla-tts-kept"' in push.source.replace("'", '"')


def test_what_is_downloaded_is_mounted_from_nowhere(resolved: Settings, stamp: RunStamp) -> None:
    """Only SETTINGS has the URLs; stamp, metadata and repr do not."""
    url = "https://storage.example/b/checkpoint_14.pth?X-Goog-Signature=5ec4e7"
    downloads = (OutputFile("training/run/checkpoint_14.pth", url),)
    resume = Resume("someone/bangla-tts-a", 3, stamp.id, 2, 14, None, downloads=downloads)
    rendered = render_kernel(resolved, stamp, resume=resume)
    assert (rendered.push.kernel_sources, rendered.push.dataset_sources) == ((), ("someone/datahrbnn",))
    told = assigned(rendered.source, "SETTINGS")["resume"]
    assert told["downloads"] == {"training/run/checkpoint_14.pth": url}
    assert rendered.source.count("5ec4e7") == 1
    for text in (rendered.metadata, repr(rendered), repr(resume), stamp.comment):
        assert "5ec4e7" not in text


def test_no_gpu_is_none_in_all_three_keys(stamp: RunStamp) -> None:
    """A CPU session has no machine shape, GPU name or GPU count."""
    plain = Settings.model_validate({"kernel": {"accelerator": "none"}}).with_owner("someone")
    values = kernel_settings(plain, stamp)
    assert [values[key] for key in ("accelerator", "gpu_name", "gpus")] == [None, None, None]


def test_what_is_for_gpus_is_left_out_without_one(stamp: RunStamp) -> None:
    """On the CPU one process trains in full precision, in the order and with the workers of Coqui's file."""
    plain = Settings.model_validate({"kernel": {"accelerator": "none"}}).with_owner("someone")
    assert kernel_settings(plain, stamp)["speed"] == {
        "gpus": 1,
        "mixed_precision": False,
        "cudnn_benchmark": False,
        "round_lengths": False,
        "deterministic": False,
        "loader_workers": None,
        "length_buckets": 0,
    }


def test_a_wheelhouse_is_mounted_with_its_owner(stamp: RunStamp) -> None:
    """The dataset of wheels is mounted, and is not part of a run's fingerprint."""
    plain = Settings().with_owner("someone")
    wheels = Settings.model_validate({"install": {"wheelhouse": "tts-wheels"}}).with_owner("someone")
    push = render_kernel(wheels, stamp).push
    assert push.dataset_sources == ("someone/datahrbnn", "someone/tts-wheels")
    assert fingerprint(wheels) == fingerprint(plain)


def test_the_stamp_is_the_first_line(templates: Templates, resolved: Settings, stamp: RunStamp) -> None:
    """The stamp can be read from the source, and the docstring follows it."""
    source = render_kernel(resolved, stamp, templates=templates).source
    assert read_stamp(source) == stamp
    assert source.splitlines()[1].startswith('"""')
    assert ast.get_docstring(ast.parse(source))


def test_the_same_arguments_give_the_same_bytes(
    templates: Templates, resolved: Settings, stamp: RunStamp
) -> None:
    """Rendering twice gives the same kernel, byte for byte."""
    assert render_kernel(resolved, stamp, templates=templates) == render_kernel(
        resolved, stamp, templates=templates
    )


@pytest.mark.posix  # Kernels run on Linux.
@pytest.mark.parametrize("code", [0, 3])
def test_hostile_settings_arrive_in_the_running_kernel(
    code: int, templates: Templates, stamp: RunStamp, tmp_path: Path
) -> None:
    """Quotes, braces, line breaks, NUL and Bangla reach `run` unchanged; its code is the exit code."""
    hostile = Settings.model_validate(
        {
            "training": {"language": HOSTILE, "coqui": {"key '\"{{": [HOSTILE, {HOSTILE: None}, 1e-9, True]}},
            "samples": {"sentences": [HOSTILE, "আমার সোনার বাংলা"]},
            "install": {"packages": [HOSTILE]},
        }
    ).with_owner("someone")
    file, _ = write_rendered(render_kernel(hostile, stamp, templates=templates), tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", file],
        env={**os.environ, "WANTED_CODE": str(code), "KGTTS_KAGGLE_ROOT": str(tmp_path / "ka'ggle আ")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    greeting, said = done.stdout.splitlines()
    assert greeting.startswith("hello you")
    values = json.loads(said)
    assert values["settings"] == kernel_settings(hostile, stamp)
    written = tmp_path / "ka'ggle আ" / "temp" / "kgtts" / "kernel_template"
    assert values["file"] == str(written / "main.py")
    for file in templates.package.rglob("*.py"):
        assert (written / file.relative_to(templates.package)).read_bytes() == file.read_bytes()


# Plays a machine whose disk is full: /kaggle/temp, or all of it.
FULL = """
import errno, os, pathlib, sys
write = pathlib.Path.write_bytes
def full(path, *data, **more):
    if sys.argv[2] in str(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return write(path, data[0].encode())
pathlib.Path.write_bytes = pathlib.Path.write_text = full
exec(compile(open(sys.argv[1], encoding="utf-8").read(), "script.py", "exec"))
"""


@pytest.mark.posix  # Kernels run on Linux.
@pytest.mark.parametrize("where", ["/temp/", "/"])
def test_a_disk_that_is_full_at_the_start_is_told(
    where: str, resolved: Settings, stamp: RunStamp, templates: Templates, tmp_path: Path
) -> None:
    """The log has an end event, and there is a state.json if it fits."""
    resume = Resume("someone/bangla-tts-b", 2, stamp.id, 1, 50, None)
    before = SessionSummary(1, "someone/bangla-tts-b", 0, 50, 0, 1, "killed", 60.0)
    rendered = render_kernel(resolved, stamp, resume=resume, before=[before], templates=templates)
    file, _ = write_rendered(rendered, tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", FULL, file, where],
        env={**os.environ, "KGTTS_KAGGLE_ROOT": str(tmp_path / "kaggle")},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    progress = read_progress(done.stdout.splitlines())
    assert (progress.end_status, progress.end_reason) == (Status.FAILED, EndReason.DISK_FULL)
    message = "The session cannot begin, since its program could not be written: [Errno 28] No space left"
    assert str(progress.end_message).startswith(message)
    assert done.stdout.splitlines()[-1] == f"❌ {progress.end_message}"
    state = tmp_path / "kaggle" / "working" / STATE_FILE
    assert state.is_file() is (where == "/temp/")
    if state.is_file():
        result = parse_state(state.read_bytes())
        assert (result.run, result.session, result.status) == (stamp.id, stamp.session, Status.FAILED)
        assert (result.reason, result.message) == (EndReason.DISK_FULL, progress.end_message)
        assert [(item.from_step, item.to_step, item.reason) for item in result.history] == [
            (0, 50, "killed"),
            (50, 50, "disk_full"),
        ]
    else:
        assert "state.json could not be written either: [Errno 28]" in done.stdout


@pytest.mark.posix  # Kernels run on Linux.
def test_a_notebook_can_run_it(resolved: Settings, stamp: RunStamp, tmp_path: Path) -> None:
    """Kaggle runs a script as a cell: without `__file__`, and in an event loop."""
    source = render_kernel(resolved, stamp).source
    (tmp_path / "script.py").write_text(source, encoding="utf-8")
    cell = """
import asyncio, sys
async def run():
    source = open(sys.argv[1], encoding="utf-8").read()
    exec(compile(source, "<ipython-input-1-0123456789ab>", "exec"), {"__name__": "__main__"})
asyncio.run(run())
"""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", cell, tmp_path / "script.py"],
        env={"PATH": os.defpath, "KGTTS_KAGGLE_ROOT": str(tmp_path / "kaggle")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "❌ Inputs are missing or damaged." in done.stdout
    state = parse_state((tmp_path / "kaggle" / "working" / STATE_FILE).read_bytes())
    assert (state.run, state.reason) == (stamp.id, EndReason.MISSING_INPUT)


def test_it_reads_well(templates: Templates, resolved: Settings, stamp: RunStamp) -> None:
    """Contents, settings, bootstrap and files follow each other, and our lines are not too long."""
    source = render_kernel(resolved, stamp, templates=templates).source
    lines = source.splitlines()
    assert "        main.py      Runs the session." in lines
    assert "        words/       Words for people." in lines
    words = ("\nSETTINGS = {", "\ndef start():", "\ndef fail(", "\nFILES = {", "greeting.py\": r'''")
    places = [source.index(word) for word in words]
    assert places == sorted(places)
    assert "".join(MAIN.splitlines(keepends=True)[1:]) in source
    assert max(len(line) for line in lines[1:]) <= 115
    assert lines[-2:] == ["if exit_code := start():", "    raise SystemExit(exit_code)"]


def test_the_push_says_what_the_settings_say(templates: Templates, stamp: RunStamp) -> None:
    """The push has the machine, privacy, inputs, image, and the budget as its time limit."""
    custom = Settings.model_validate(
        {
            "kernel": {
                "private": False,
                "internet": False,
                "docker_image": "gcr.io/kaggle-images/python@sha256:0",
                "docker_image_pinning": "original",
            },
            "session": {"budget": "10h"},
        }
    ).with_owner("someone")
    push = render_kernel(
        custom, stamp, resume=Resume("someone/bangla-tts-b", 2, "r", 1, 5, None), templates=templates
    ).push
    assert (push.ref, push.title) == (KernelRef("someone", "bangla-tts"), "Bangla tts")
    assert (push.private, push.internet, push.accelerator) == (False, False, "NvidiaTeslaT4")
    assert push.dataset_sources == ("someone/datahrbnn",)
    assert push.model_sources == ("someone/ttsbnng/transformers/default/1",)
    assert push.kernel_sources == ("someone/bangla-tts-b",)
    assert (push.docker_image, push.docker_image_pinning) == (
        "gcr.io/kaggle-images/python@sha256:0",
        "original",
    )
    assert push.session_timeout_s == 36000


def test_a_sibling_kernel_gets_a_title_of_its_own(
    templates: Templates, resolved: Settings, stamp: RunStamp
) -> None:
    """If the stamp names another kernel, its title follows its own slug."""
    sibling = replace(stamp, kernel="someone/bangla-tts-b")
    push = render_kernel(resolved, sibling, templates=templates).push
    assert (str(push.ref), push.title) == ("someone/bangla-tts-b", "Bangla tts b")


def test_settings_without_an_owner_are_not_rendered(templates: Templates, stamp: RunStamp) -> None:
    """Sources without an owner cannot be pushed."""
    with pytest.raises(SettingsError, match=r"kernel\.owner"):
        render_kernel(Settings(), stamp, templates=templates)


def test_an_oversized_source_is_refused(templates: Templates, stamp: RunStamp) -> None:
    """A megabyte of sentences is an error before the push."""
    large = Settings.model_validate({"samples": {"sentences": ["আ" * MAX_SOURCE_BYTES]}}).with_owner(
        "someone"
    )
    with pytest.raises(
        UsageError, match=r"would be [\d,]+ bytes; Kaggle takes less than 1,000,000: the settings"
    ):
        render_kernel(large, stamp, templates=templates)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("settings | pyliteral", "{} | pyliteral", "does not assign SETTINGS and FILES"),
        ("import os", "import = os", "does not give valid Python"),
        ("files.items()", "flies.items()", "'flies' is undefined"),
        ("{% endfor %}", "", "endfor"),
    ],
)
def test_a_faulty_template_is_an_error(
    old: str, new: str, problem: str, templates: Templates, stamp: RunStamp
) -> None:
    """Templates that lose settings, name unknown values or are invalid Python are different errors."""
    file = templates.package / "kernel.py.j2"
    file.write_text(file.read_text("utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(TemplateError, match=problem):
        render_kernel(Settings().with_owner("someone"), stamp, templates=templates)


def test_files_are_written_whole_and_alone(
    templates: Templates, resolved: Settings, stamp: RunStamp, tmp_path: Path
) -> None:
    """Exactly two files are written, the same each time, and others stay."""
    folder = tmp_path / "বাংলা 'out'" / "deep"
    rendered = render_kernel(resolved, stamp, templates=templates)
    code, metadata = write_rendered(rendered, folder)
    (folder / "mine.txt").write_text("kept", encoding="utf-8")
    assert write_rendered(rendered, folder) == (code, metadata)
    assert sorted(each.name for each in folder.iterdir()) == [
        "kaggle_tts_training.py",
        "kernel-metadata.json",
        "mine.txt",
    ]
    assert code.read_bytes() == rendered.source.encode()
    assert metadata.read_bytes() == rendered.metadata.encode()


def test_a_folder_that_cannot_be_made_is_a_local_error(
    templates: Templates, resolved: Settings, stamp: RunStamp, tmp_path: Path
) -> None:
    """A file in its place is an error of this machine, and stays as it was."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(LocalError, match="Could not write"):
        write_rendered(render_kernel(resolved, stamp, templates=templates), tmp_path / "file")
    assert (tmp_path / "file").read_text("utf-8") == "mine"


def test_a_run_begins_with_the_voice_of_another(resolved: Settings, stamp: RunStamp) -> None:
    """The other session's kernel is mounted by a session without a parent, and by no other."""
    inputs = resolved.inputs.model_copy(update={"voice_of": "asha/other-a/run1/3"})
    settings = resolved.model_copy(update={"inputs": inputs})
    first = render_kernel(settings, stamp)
    assert first.push.kernel_sources == ("asha/other-a",)
    told = assigned(first.source, "SETTINGS")["model"]["voice_of"]
    assert told == {"kernel": "asha/other-a", "run": "run1", "session": 3}
    resume = Resume("someone/bangla-tts-a", 1, "run2", 1, 100, None)
    later = render_kernel(settings, stamp, resume=resume)
    assert later.push.kernel_sources == ("someone/bangla-tts-a",)
    assert assigned(later.source, "SETTINGS")["model"]["voice_of"] is None


@pytest.mark.parametrize("gpus", [0, 3])
def test_own_machine(resolved: Settings, stamp: RunStamp, gpus: int) -> None:
    """Another machine has GPUs of any name and no Kaggle that ends it, and gets nothing installed."""
    machine = OwnMachine(gpus, None, 10**12)
    values = kernel_settings(resolved, stamp, machine=machine)
    assert (values["gpus"], values["gpu_name"]) == (gpus or None, None)
    assert (values["accelerator"] is None) == (not gpus)
    assert values["speed"]["mixed_precision"] == (gpus > 0)
    assert (values["session_budget_s"], values["internet"]) == (None, False)
    assert values["disk"]["limit_bytes"] == 10**12
    assert render_kernel(resolved, stamp, machine=machine).source != render_kernel(resolved, stamp).source

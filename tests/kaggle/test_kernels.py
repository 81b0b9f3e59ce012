"""The client over HTTP against the emulator; `tests/contract` has what every Kaggle does."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.emulator import Emulator
from orchestrator.errors import RefusedError, SilentLogError, UsageError
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.models import KernelRef, LogEvent, SessionState
from tests.kaggle.helpers import HANG, KERNEL, run_to_end, small_push
from tests.support import USER

Start = Callable[..., Emulator]


def test_signed_addresses_are_not_part_of_a_text(kaggle: KaggleClient) -> None:
    """A listing can be logged without its signed URLs."""
    ref = run_to_end(kaggle, "open('f', 'w').write('x')")
    file = kaggle.outputs(ref)[0]
    assert "?" in file.url
    assert file.url not in repr(file)


def test_a_live_log_comes_while_the_session_runs(kaggle: KaggleClient) -> None:
    """The first lines arrive before the end, from both streams, with Bangla and odd characters intact."""
    odd = "বাংলা \u2028 \x85 \x0b end"
    code = f"import sys\nprint({odd!r}, flush=True)\nprint('bad', file=sys.stderr)\n{HANG}"
    ref = kaggle.push(small_push(code)).ref
    heard: dict[str, str] = {"stdout": "", "stderr": ""}
    for event in kaggle.log_stream(ref, idle_s=30):
        heard[event.stream] += event.text
        if "ready\n" in heard["stdout"] and "bad\n" in heard["stderr"]:
            break
    assert heard["stdout"] == f"{odd}\nready\n"
    assert kaggle.session_status(ref).state is SessionState.RUNNING


def stdout(events: list[LogEvent]) -> str:
    """Return what the script itself printed."""
    return "".join(event.text for event in events if event.stream == "stdout")


def wait_until_ready(kaggle: KaggleClient, ref: KernelRef) -> None:
    """Read the live log until the script hangs."""
    for event in kaggle.log_stream(ref, idle_s=60):
        if "ready" in event.text:
            return
    raise AssertionError(ref)


def heard_until_silence(kaggle: KaggleClient, ref: KernelRef, idle_s: float) -> str:
    """Return what the script prints until it is silent."""
    heard: list[LogEvent] = []
    with pytest.raises(SilentLogError, match=f"said nothing for {idle_s} s"):
        heard.extend(kaggle.log_stream(ref, idle_s=idle_s))
    return stdout(heard)


def test_a_silent_live_log_ends_by_itself(kaggle: KaggleClient) -> None:
    """After this many seconds of silence the reading ends, which is not the log's end."""
    ref = kaggle.push(small_push(HANG)).ref
    wait_until_ready(kaggle, ref)
    assert heard_until_silence(kaggle, ref, 0.2) == "ready\n"


def test_what_keeps_a_connection_open_is_no_news(
    start_emulator: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's comments do not count as output."""
    started = start_emulator(keepalive_s=0.05)
    monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
    client = connect(login=started.credentials)
    ref = client.push(small_push(HANG)).ref
    wait_until_ready(client, ref)
    assert heard_until_silence(client, ref, 0.3) == "ready\n"
    client.close()


def test_a_large_log_is_replayed_whole(kaggle: KaggleClient) -> None:
    """Two megabytes of a live log are read in blocks."""
    line = "x" * 99
    ref = kaggle.push(small_push(f"for n in range(20000): print('{line}')\n{HANG}")).ref
    wait_until_ready(kaggle, ref)
    text = heard_until_silence(kaggle, ref, 0.5)
    assert len(text) == 20000 * 100 + len("ready\n")


@pytest.mark.parametrize(
    ("fields", "words", "hint"),
    [
        ({"title": "-----"}, "no letter or digit", "kernel.title"),
        ({"accelerator": "NvidiaTeslaX9"}, "not a valid machine shape", "kgtts.toml"),
        ({"ref": KernelRef("omar", "small-kernel")}, "permission", "kgtts.toml"),
    ],
)
def test_a_rejected_push_is_an_error_in_kaggles_words(
    kaggle: KaggleClient, fields: dict[str, Any], words: str, hint: str
) -> None:
    """The answer is a 200 with an error; nothing was saved."""
    with pytest.raises(RefusedError, match=words) as caught:
        kaggle.push(small_push(**fields))
    assert hint in (caught.value.hint or "")
    assert list(kaggle.my_kernels()) == []


def test_the_third_gpu_session_is_refused_with_the_next_step(kaggle: KaggleClient) -> None:
    """Two at once are allowed; the hint says how to list and stop them."""
    for number in (1, 2):
        ref = KernelRef(USER, f"gpu-kernel-{number}")
        kaggle.push(small_push(HANG, ref=ref, title=f"GPU kernel {number}", accelerator="NvidiaTeslaT4"))
    with pytest.raises(RefusedError, match="Maximum batch GPU session count of 2 reached") as caught:
        kaggle.push(small_push(HANG, accelerator="NvidiaTeslaT4"))
    assert "kgtts stop" in (caught.value.hint or "")
    quota = kaggle.quota()
    assert quota is not None
    assert quota.reserved > timedelta(hours=23)
    assert quota.left == quota.allowed - quota.used - quota.reserved


def test_a_spent_quota_is_refused_with_the_next_step(
    start_emulator: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has Kaggle's words, and the command that shows when it refreshes."""
    started = start_emulator(weekly_quota_s=0)
    monkeypatch.setenv("KGTTS_KAGGLE_URL", started.url)
    client = connect(login=started.credentials)
    with pytest.raises(RefusedError, match=r"Maximum weekly GPU quota of 0\.00 hours") as caught:
        client.push(small_push(accelerator="NvidiaTeslaT4"))
    assert "kgtts quota" in (caught.value.hint or "")
    client.close()


def test_unknown_sources_are_an_error_although_kaggle_takes_the_push(kaggle: KaggleClient) -> None:
    """The error names each source with its kind, and the version that cannot train."""
    push = small_push(
        dataset_sources=("asha/none",),
        model_sources=("asha/none/onnx/x/1",),
        kernel_sources=("asha/nobody",),
    )
    named = "dataset asha/none; model asha/none/onnx/x/1; kernel asha/nobody"
    with pytest.raises(RefusedError, match=named) as caught:
        kaggle.push(push)
    assert f"kgtts stop {KERNEL}" in (caught.value.hint or "")


def test_a_retired_machine_shows_as_the_one_that_came_instead(kaggle: KaggleClient) -> None:
    """A P100 is silently replaced by another machine, which reading the kernel shows."""
    ref = kaggle.push(small_push(HANG, accelerator="NvidiaTeslaP100")).ref
    assert kaggle.kernel(ref).accelerator == "NvidiaTeslaT4"


def test_a_model_of_an_unknown_framework_is_refused(kaggle: KaggleClient) -> None:
    """It is refused before anything is sent, since the client's types lack it."""
    with pytest.raises(UsageError, match="'nonsense' is not a model framework"):
        list(kaggle.model_files("asha/none/nonsense/x/1"))

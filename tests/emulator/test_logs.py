"""The log: live as events, stored as JSON, whatever a script prints."""

import json
from collections.abc import Callable

import pytest
from kagglesdk.kernels.types import kernels_api_service as sdk
from requests import HTTPError

from tests.emulator.support import HANG, USER, Account
from tests.fakes.clock import FakeClock


def test_events_while_it_runs_and_json_after(account: Account) -> None:
    """The stream gives every piece and END_OF_LOG; later the same address gives the stored array."""
    account.push("import sys\nprint('one')\nprint('two', file=sys.stderr)\ninput_less = 1\n")
    *events, end = account.wait()
    assert end == "END_OF_LOG"
    pieces = [json.loads(event) for event in events if not event.startswith(":")]
    said = {(piece["stream_name"], piece["data"]) for piece in pieces}
    assert {("stdout", "one\n"), ("stderr", "two\n")} <= said
    assert list(account.stream()) == []
    stored = json.loads(account.output().log)
    assert stored == pieces
    assert all(set(piece) == {"stream_name", "time", "data"} for piece in stored)


def test_every_stream_replays_from_the_start(account: Account) -> None:
    """A client that reconnects gets the log from its beginning."""
    account.push(HANG)
    first = account.wait_for("ready")
    assert account.wait_for("ready") == first


def test_an_idle_stream_says_comments(start: Callable[..., Account]) -> None:
    """Comments keep an idle stream alive."""
    account = start(keepalive_s=0.05)
    account.push(HANG)
    account.wait_for("ready")
    assert account.wait_for(": keep-alive")


def test_the_log_is_empty_while_the_session_runs(account: Account) -> None:
    """Outputs and the stored log appear when the session ends."""
    account.push("open('early.txt', 'w').write('1')\n" + HANG)
    account.wait_for("ready")
    page = account.output()
    assert page.files == []
    assert not page.log


def test_bytes_that_are_no_text_are_replaced(account: Account) -> None:
    """Undecodable bytes become U+FFFD; a character split between writes is joined."""
    code = (
        "import os, time\nos.write(1, b'bad \\xff byte\\n')\n"
        "os.write(1, b'\\xe0\\xa6')\ntime.sleep(0.05)\nos.write(1, b'\\x95 whole\\n')\n"
    )
    assert account.run(code) == "COMPLETE"
    assert "bad � byte\nক whole\n" in account.text()


def test_a_line_without_its_end_is_shown(account: Account) -> None:
    """A prompt or a progress bar is sent before its line ends."""
    account.push("import sys, time\nsys.stdout.write('50%')\nsys.stdout.flush()\n" + "time.sleep(1000)")
    assert json.loads(account.wait_for("50%"))["data"] == "50%"


def test_the_log_of_a_version(account: Account) -> None:
    """`versionLabel` selects the version; a bare number and a kernel that never ran are 404s."""
    account.run("print('first')")
    account.push("print('second')\n" + HANG)
    account.wait_for("second")
    assert list(account.stream(label="v1")) == []
    for label, slug, status in (("1", "my-kernel", 404), (None, "no-kernel", 403)):
        with pytest.raises(HTTPError) as caught:
            list(account.stream(slug, label))
        assert caught.value.response.status_code == status
    assert "first" in account.text(label="v1")


def test_the_stream_as_a_call(account: Account) -> None:
    """GetKernelSessionLogsStream answers by kernel and by session id."""
    account.run("print('hello')")
    request = sdk.ApiGetKernelSessionLogsStreamRequest()
    request.user_name, request.kernel_slug = USER, "my-kernel"
    with account.kernels.get_kernel_session_logs_stream(request) as response:
        by_name = response.json()
    _, version = account.emulator.backend.kernels.get_run(USER, "my-kernel")
    request = sdk.ApiGetKernelSessionLogsStreamRequest()
    request.kernel_session_id = version.session
    with account.kernels.get_kernel_session_logs_stream(request) as response:
        assert response.json() == by_name
    assert by_name[-1]["data"] == "hello\n"


def test_times_count_from_the_start_of_the_session(start: Callable[..., Account], clock: FakeClock) -> None:
    """A piece's time is the seconds since the session left the queue."""
    account = start(clock=clock, queue_delay_s=30)
    account.push("print('now')\n" + HANG)
    clock.advance(30)
    assert json.loads(account.wait_for("now"))["time"] == 0

"""`kgtts notify`, and what `kgtts sync` tells."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.emulator import Emulator
from tests.notify.listener import Listener, listening
from tests.support import Cli


@pytest.fixture
def service(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A service that is up and in the environment."""
    assert workplace.is_dir()  # It clears the environment.
    with listening() as listener:
        monkeypatch.setenv("KGTTS_NOTIFY", listener.address)
        yield listener


def test_a_test_reaches_each_address(service: Listener, workplace: Path, cli: Cli) -> None:
    """Those of the file and of the environment; one that takes nothing is an error without its secret."""
    (workplace / "kgtts.toml").write_text(f'[notify]\nto = ["{service.address}/second"]\n')
    result = cli("notify", "test")
    assert (result.code, service.titles) == (0, ["bangla-tts: a test"] * 2)
    service.status = 401
    result = cli("notify", "test")
    assert result.code == 7
    assert "2 of 2 addresses took no message" in result.err
    assert "a-secret-token" not in result.out + result.err


def test_an_address_that_is_none_is_a_mistake_of_whoever_typed_it(
    service: Listener, workplace: Path, cli: Cli
) -> None:
    """Then nothing is sent to the others either, and neither kgtts nor apprise shows it."""
    (workplace / "kgtts.toml").write_text('[notify]\nto = ["tgram://a-secret-token"]\n')
    result = cli("notify", "test")
    assert (result.code, service.titles) == (2, [])
    assert "tgram: apprise does not understand the address" in result.err
    assert "a-secret-token" not in result.out + result.err


def test_without_an_address_it_says_how_to_set_one(workplace: Path, cli: Cli) -> None:
    """There is nothing to test."""
    result = cli("notify", "test")
    assert result.code == 2
    assert "KGTTS_NOTIFY" in result.err


def test_addresses_are_not_shown_and_not_stamped(workplace: Path, cli: Cli) -> None:
    """`config show` hides them; `--set` would put them into the kernel."""
    (workplace / "kgtts.toml").write_text('[notify]\nto = ["tgram://123456:a-secret-token/7"]\n')
    result = cli("config", "show")
    assert "a-secret-token" not in result.out
    assert 'to = ["***"]' in result.out
    result = cli("push", "--set", 'notify.to=["tgram://a-secret-token/1"]')
    assert result.code == 2
    assert "KGTTS_NOTIFY" in result.err
    assert "a-secret-token" not in result.err


def test_sync_tells_once_and_a_dead_service_changes_no_exit_code(
    trained: Emulator, service: Listener, cli: Cli
) -> None:
    """A pass that finds the run over tells it; if nobody listens, it warns, and the next pass tells."""
    assert trained.url
    service.status = 503
    result = cli("sync", "--no-pull")
    assert (result.code, service.heard) == (0, [])
    assert "could not be sent: json:" in result.err
    service.status = 200
    assert [cli("sync", "--no-pull").code for _ in range(2)] == [0, 0]
    assert service.titles == ["bangla-tts: the voice is done"]

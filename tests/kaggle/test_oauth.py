"""A login of `kaggle auth login` is renewed in time, and after a 401."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emulator import Emulator, EmulatorOptions
from orchestrator.errors import CredentialsError, ServiceError
from orchestrator.kaggle import connect
from orchestrator.kaggle.client import KaggleClient
from orchestrator.scrubbing import scrub
from tests.fakes.clock import FakeClock
from tests.kaggle.helpers import run_to_end, small_push
from tests.support import KEY, USER

FILE = ".kaggle/credentials.json"


def stored() -> dict[str, Any]:
    """Return what the login's file contains."""
    found: dict[str, Any] = json.loads((Path.home() / FILE).read_text(encoding="utf-8-sig"))
    return found


def log_in(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, *, expires_in_s: float, **more: str) -> str:
    """Store a login whose access token expires after this many seconds; returns that token."""
    monkeypatch.setenv("KGTTS_KAGGLE_URL", emulator.url)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    token = emulator.server.authenticator.issue()
    login = {
        "refresh_token": emulator.server.authenticator.refresh_token,
        "access_token": token,
        "access_token_expiration": (datetime.now(UTC) + timedelta(seconds=expires_in_s)).isoformat(),
        "username": USER,
        "scopes": ["*"],
        **more,
    }
    path = Path.home() / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text("\ufeff" + json.dumps(login), encoding="utf-8")
    return token


def used(client: KaggleClient) -> str:
    """Return the token that the client sends."""
    return str(client._http._session.auth.token)


def test_a_token_that_lasts_is_used_as_it_is(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid token is not renewed."""
    token = log_in(emulator, monkeypatch, expires_in_s=7200)
    client = connect()
    assert (client.username, list(client.my_kernels())) == (USER, [])
    assert (used(client), stored()["access_token"]) == (token, token)
    client.close()


@pytest.mark.parametrize("expires_in_s", [300, -60, -1800, -86400])
def test_a_token_is_renewed_before_its_expiry(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, expires_in_s: float
) -> None:
    """It is renewed in its last minutes, and in the half hour after, in which the SDK takes it for valid."""
    token = log_in(emulator, monkeypatch, expires_in_s=expires_in_s)
    client = connect()
    assert list(client.my_kernels()) == []
    assert client.calls == 1  # No 401 came first.
    assert used(client) == stored()["access_token"] != token
    kept = stored()
    assert datetime.fromisoformat(kept["access_token_expiration"]) > datetime.now(UTC) + timedelta(hours=11)
    assert (kept["username"], kept["scopes"]) == (USER, ["*"])
    assert (Path.home() / FILE).stat().st_mode & 0o777 == 0o600
    client.close()


@pytest.mark.posix
def test_a_token_that_kaggle_refuses_is_renewed_once(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service says that it has expired it is renewed, whatever the file says."""
    clock = FakeClock()
    options = EmulatorOptions(sandbox="relocate", standins=False)
    with Emulator(tmp_path / "kaggle", options=options, credentials=(USER, KEY), clock=clock) as started:
        token = log_in(started, monkeypatch, expires_in_s=7200)
        client = connect()
        for _day in range(3):
            assert list(client.my_kernels()) == []
            clock.advance(13 * 3600)
        client.push(small_push())  # Refused with a 401, it did nothing, so that it is sent again.
        assert len(started.backend.kernels.all()) == 1
        assert used(client) != token
        client.close()


def test_a_log_is_read_with_a_renewed_token(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live log, which is not a call of the SDK, uses the same login."""
    log_in(emulator, monkeypatch, expires_in_s=-60, access_token="long-gone-access-token")
    client = connect()
    run_to_end(client, "print('hello')")
    client.close()


def test_a_login_that_has_ended_is_said(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error names the command that logs in again, and no secret."""
    log_in(emulator, monkeypatch, expires_in_s=-60, refresh_token="revoked-refresh-token")
    client = connect()
    with pytest.raises(CredentialsError, match="renew the login") as caught:
        client.my_kernels()
    assert "kaggle auth login" in (caught.value.hint or "")
    assert scrub("revoked-refresh-token") == "***"
    client.close()


def test_a_401_that_stays_is_not_renewed_for_ever(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one new token and one more call."""
    log_in(emulator, monkeypatch, expires_in_s=7200)
    emulator.server.faults.fail_next(401, method="ListKernels", times=9)
    client = connect()
    with pytest.raises(CredentialsError, match="401"):
        client.my_kernels()
    assert client.calls == 2
    client.close()


def test_a_renewal_survives_a_short_bad_spell(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 503 it is retried; if Kaggle stays away, the login is not blamed."""
    log_in(emulator, monkeypatch, expires_in_s=-60)
    emulator.server.faults.fail_next(503, method="GenerateAccessToken")
    client = connect()
    assert list(client.my_kernels()) == []
    client.close()
    log_in(emulator, monkeypatch, expires_in_s=-60)
    emulator.server.faults.fail_next(503, method="GenerateAccessToken", times=99)
    client = connect()
    with pytest.raises(ServiceError, match="renew the login"):
        client.my_kernels()
    client.close()


def test_another_process_may_have_renewed_it(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read again before a token is renewed."""
    log_in(emulator, monkeypatch, expires_in_s=-60)
    client = connect()
    token = log_in(emulator, monkeypatch, expires_in_s=7200)
    assert list(client.my_kernels()) == []
    assert used(client) == token
    assert KEY not in (Path.home() / FILE).read_text(encoding="utf-8-sig")
    client.close()

"""The emulator as one object: start it, point a client at its URL, stop it."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.emulator.service.backend import Backend
from orchestrator.emulator.service.clock import Clock, SystemClock
from orchestrator.emulator.service.options import EmulatorOptions
from orchestrator.emulator.service.store import Store, is_safe_name
from orchestrator.emulator.wire.server import Server
from orchestrator.errors import LocalError, UsageError


class Emulator:
    """Kaggle for one account, on this machine.

    What is pushed to it runs as the user who started it and sees the user's files: a script is shown the
    paths of Kaggle; nobody is protected from a script. A push without internet is recorded as such and gets
    no proxy settings, but the network is not taken from it.

    Args:
        root: the folder with inputs, kernels and outputs (see `store`); made when missing, kept after.
        options: limits and ways.
        credentials: username and key that clients must present. Without them KAGGLE_USERNAME and KAGGLE_KEY
            are taken when both are set, else a pair that is made once and kept in `root`.
        port: the port on 127.0.0.1; 0 takes a free one.
        clock: the time that limits, quota and URLs go by.

    Raises:
        UsageError: the username cannot be one.
    """

    def __init__(
        self,
        root: Path,
        *,
        options: EmulatorOptions | None = None,
        credentials: tuple[str, str] | None = None,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._root = root
        self._options = options or EmulatorOptions()
        self._given = credentials or _credentials_of_environment()
        self._port = port
        self._clock = clock or SystemClock()
        self._running: tuple[Backend, Server, tuple[str, str]] | None = None
        if self._given is not None and not (is_safe_name(self._given[0]) and self._given[1]):
            raise UsageError(f"{self._given[0]!r} cannot be a Kaggle username, or its key is empty.")

    def start(self) -> Self:
        """Load the state and serve it.

        Raises:
            LocalError: the folder or the port is in use, or the demanded sandbox is not to be had.
        """
        if self._running is not None:
            return self
        store = Store(self._root, self._options.cache)
        try:
            credentials = self._given or store.credentials()
            backend = Backend(store, self._options, credentials[0], self._clock)
            _ = backend.relocation  # Tried now, so that a sandbox that cannot be had is said at the start.
            server = Server(backend, credentials, self._port)
        except BaseException:
            store.close()
            raise
        server.start()
        self._running = (backend, server, credentials)
        return self

    def stop(self) -> None:
        """Kill the running sessions, keep what they left, free folder and port; harmless when not started."""
        if self._running is not None:
            backend, server, _ = self._running
            self._running = None
            try:
                backend.close()
            finally:
                server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens: `http://127.0.0.1:PORT`, to be used as KGTTS_KAGGLE_URL."""
        return self._started()[1].url

    @property
    def credentials(self) -> tuple[str, str]:
        """Username and key; the key alone also serves as KAGGLE_API_TOKEN."""
        return self._started()[2]

    @property
    def backend(self) -> Backend:
        """The state behind the wire."""
        return self._started()[0]

    @property
    def server(self) -> Server:
        """The HTTP side; its `fail_next` rehearses a bad day."""
        return self._started()[1]

    def _started(self) -> tuple[Backend, Server, tuple[str, str]]:
        if self._running is None:
            raise LocalError("The emulator is not started.")
        return self._running


def _credentials_of_environment() -> tuple[str, str] | None:
    username, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    return (username, key) if username and key else None

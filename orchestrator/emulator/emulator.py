"""The emulator as one object: start it, point a client at its URL, stop it."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.emulator.options import INSTALL_HINT, EmulatorOptions, MachineClock, WaitableClock
from orchestrator.emulator.service.files import is_safe_name
from orchestrator.errors import LocalError, UsageError

if TYPE_CHECKING:
    from orchestrator.emulator.runner.processes import ProcessRunner
    from orchestrator.emulator.service.backend import Backend
    from orchestrator.emulator.wire.server import Server

_WINDOWS = "win32"


class Emulator:
    """Kaggle for one account, on this machine.

    What is pushed to it runs as the user who started it, with access to the user's files: a script sees
    Kaggle's paths, but nobody is protected from a script. A push without internet is recorded as such and
    gets no proxy settings, but can still use the network.

    Args:
        root: the folder of inputs, kernels and outputs (see `service.state`); created if missing, kept.
        options: limits and behaviour.
        credentials: the username and key that clients must present. By default KAGGLE_USERNAME and KAGGLE_KEY
            if both are set, else a pair that is created once and kept in `root`.
        port: the port on 127.0.0.1; 0 takes a free one.
        clock: the clock for limits, quota and URLs.

    Raises:
        UsageError: the username is not valid.
    """

    def __init__(
        self,
        root: Path,
        *,
        options: EmulatorOptions | None = None,
        credentials: tuple[str, str] | None = None,
        port: int = 0,
        clock: WaitableClock | None = None,
    ) -> None:
        self._root = root
        self._options = options or EmulatorOptions()
        self._given = credentials or _credentials_of_environment()
        self._port = port
        self._clock = clock or MachineClock()
        self._running: _Running | None = None
        if self._given is not None and not (is_safe_name(self._given[0]) and self._given[1]):
            raise UsageError(f"{self._given[0]!r} cannot be a Kaggle username, or its key is empty.")

    def start(self, *, platform: str = sys.platform) -> Self:
        """Load the state and serve it.

        Args:
            platform: the system, as `sys.platform` names it.

        Raises:
            LocalError: this is Windows, a package is missing, the folder or the port is in use, or a mount
                namespace was demanded and this system does not give one.
        """
        if self._running is None:
            if platform == _WINDOWS:
                raise LocalError("The emulator needs Linux or macOS; on Windows use WSL.")
            self._running = _Running(self._root, self._options, self._given, self._port, self._clock)
        return self

    def stop(self) -> None:
        """Kill active sessions, keep what they left, free folder and port; does nothing if not started."""
        if self._running is not None:
            running, self._running = self._running, None
            running.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens: `http://127.0.0.1:PORT`, for KGTTS_KAGGLE_URL."""
        return self._started().server.url

    @property
    def credentials(self) -> tuple[str, str]:
        """Username and key; the key alone also serves as KAGGLE_API_TOKEN."""
        return self._started().credentials

    @property
    def backend(self) -> "Backend":
        """The service behind the wire."""
        return self._started().backend

    @property
    def runner(self) -> "ProcessRunner":
        """What runs the sessions."""
        return self._started().runner

    @property
    def server(self) -> "Server":
        """The HTTP side; its `faults` make things go wrong."""
        return self._started().server

    def _started(self) -> "_Running":
        if self._running is None:
            raise LocalError("The emulator is not started.")
        return self._running


class _Running:
    """The parts of a started emulator."""

    def __init__(
        self,
        root: Path,
        options: EmulatorOptions,
        credentials: tuple[str, str] | None,
        port: int,
        clock: WaitableClock,
    ) -> None:
        try:
            # Only here: these need POSIX, starlette, uvicorn and the SDK.
            from orchestrator.emulator.runner.processes import ProcessRunner  # noqa: PLC0415
            from orchestrator.emulator.service.backend import Backend  # noqa: PLC0415
            from orchestrator.emulator.service.state import StateFolder  # noqa: PLC0415
            from orchestrator.emulator.wire.server import Server  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise LocalError(
                f"The emulator needs the package {error.name}, which is not installed.",
                hint=INSTALL_HINT,
            ) from error
        state = StateFolder(root, options.cache)
        try:
            self.credentials = credentials or state.credentials()
            self.runner = ProcessRunner(state, options, clock)
            self.backend = Backend(state, options, self.credentials[0], clock, self.runner)
            self.server = Server(self.backend, self.credentials, port)
        except BaseException:
            state.close()
            raise
        self.server.start()

    def stop(self) -> None:
        """End the sessions, then the server."""
        try:
            self.backend.close()
        finally:
            self.server.stop()


def _credentials_of_environment() -> tuple[str, str] | None:
    username, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    return (username, key) if username and key else None

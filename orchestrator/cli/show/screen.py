"""The live page on a terminal: an alternate screen, redrawn on news, each second, and on a resize.

It needs a POSIX terminal. Elsewhere (on Windows) `can_show` says no, and the caller prints plain lines.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any, Self

from rich.console import Console
from rich.live import Live

from orchestrator.cli.show.page import Page, Scene
from orchestrator.ports import Clock
from orchestrator.run.follow import FollowEvent
from orchestrator.run.live import Feed
from orchestrator.run.plan import Background, BackgroundSource

try:
    import termios
except ImportError:  # Windows.
    termios = None  # type: ignore[assignment]  # Each use is behind `can_show`.

_TICK_S = 1.0  # Times keep counting while there is no news.
_FASTEST_S = 0.1  # Between two drawings: a log that is replayed comes in thousands of lines.
_QUOTA_S = 1800.0  # It changes by the hour, and each look is a call.
# Rows that a terminal believes to be longer than the page does are cut, not wrapped (DECAWM).
_CUT_ROWS, _WRAP_ROWS = "\x1b[?7l", "\x1b[?7h"


def can_show(console: Console, *, is_posix: bool = termios is not None) -> bool:
    """Whether the page can be shown: a POSIX terminal that can move its cursor, and we are in front."""
    return (
        is_posix
        and console.is_terminal
        and not console.is_dumb_terminal
        and sys.stdout.isatty()
        and _in_front()
    )


def _in_front() -> bool:
    """Whether the shell has us in the foreground; a background process may not change the terminal."""
    try:
        return os.tcgetpgrp(sys.stdout.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True  # A terminal of another session has no background.


class LivePage:
    """Shows a session on an alternate screen while it is followed; the old screen returns at the end.

    Args:
        name: the session.
        clock: time.
        reader: reads the run around it; None shows the session alone.
        console: where it is drawn.
    """

    def __init__(
        self, name: str, clock: Clock, reader: BackgroundSource | None, console: Console | None = None
    ) -> None:
        self._name, self._clock, self._reader = name, clock, reader
        self._console = console or Console(highlight=False, soft_wrap=False)
        self._feed, self._background = Feed(), Background()
        self._lock = threading.Lock()
        self._quota_at = clock.monotonic()
        self._live = Live(
            get_renderable=self._page,
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._painter = _Painter(self._live.refresh)
        self._shown = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_quiet_keys())
            stack.enter_context(self._live)
            stack.callback(self._write, _WRAP_ROWS)
            self._write(_CUT_ROWS)
            stack.enter_context(self._painter)
            stack.enter_context(_signals(self._painter.wake, self._suspend))
            self._shown = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def read_background(self) -> None:
        """Read the run around the session; the page is shown meanwhile."""
        if self._reader is None:
            return
        background = self._reader.read()
        with self._lock:
            self._background = background
            self._feed.precede(background.earlier.get("train", {}), background.earlier.get("eval", {}))
        self._painter.wake()

    def take(self, event: FollowEvent) -> None:
        """Show a log line or a change of state.

        Raises:
            Exception: the page could not be drawn: nobody should follow a session unseen.
        """
        self._painter.check()
        with self._lock:
            self._feed.take(event, self._clock.monotonic())
        self._painter.wake()
        self._renew_quota()

    def _renew_quota(self) -> None:
        now = self._clock.monotonic()
        if self._reader is None or self._background.quota is None or now - self._quota_at < _QUOTA_S:
            return
        self._quota_at = now
        quota = self._reader.quota()
        if quota is not None:
            with self._lock:
                self._background = replace(self._background, quota=quota)

    def _page(self) -> "_Frozen":
        return _Frozen(self._lock, self._scene)

    def _scene(self) -> Scene:
        return Scene(self._name, self._feed, self._background, self._clock.monotonic(), self._clock.now())

    def _write(self, sequence: str) -> None:
        self._console.file.write(sequence)
        self._console.file.flush()

    def _suspend(self) -> None:
        """On Ctrl-Z: give the terminal back, stop, and take it again when the shell resumes us."""
        self._write(_WRAP_ROWS)
        self._console.show_cursor(True)
        self._console.set_alt_screen(False)
        with _loud_keys():
            os.kill(os.getpid(), signal.SIGSTOP)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)
        self._write(_CUT_ROWS)
        self._painter.wake()


class _Frozen:
    """The page, drawn while no news is taken in."""

    def __init__(self, lock: threading.Lock, scene: Callable[[], Scene]) -> None:
        self._lock, self._scene = lock, scene

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        with self._lock:
            drawn = list(console.render(Page(self._scene()), options))
        yield from drawn


class _Painter:
    """Draws in a thread of its own, as the main thread waits for the next line of the log."""

    def __init__(self, draw: Callable[[], None]) -> None:
        self._draw = draw
        self._error: Exception | None = None
        self._wanted, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="kgtts-page", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._wanted.set()
        self._thread.join()

    def wake(self) -> None:
        """Draw soon."""
        self._wanted.set()

    def check(self) -> None:
        """Raise the error of a drawing that failed."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._draw()
            except Exception as error:  # noqa: BLE001  # `check` raises it in the main thread.
                self._error = error
                return
            if self._over.wait(_FASTEST_S):
                return
            self._wanted.wait(_TICK_S)
            self._wanted.clear()


@contextmanager
def _signals(resized: Callable[[], None], suspend: Callable[[], None]) -> Iterator[None]:
    """While the page is shown: a resize redraws it, Ctrl-Z suspends it, and a termination leaves it first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        signal.SIGWINCH: lambda _number, _frame: resized(),
        signal.SIGTSTP: lambda _number, _frame: suspend(),
        signal.SIGTERM: leave,
        signal.SIGHUP: leave,
    }
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            if before[number] is not signal.SIG_IGN:  # It is ignored under nohup.
                signal.signal(number, handler)
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former if former is not None else signal.SIG_DFL)


_LFLAGS = 3  # Where termios keeps echo and line editing.


@contextmanager
def _quiet_keys() -> Iterator[None]:
    """Keep typed keys from being printed over the page."""
    before = _attributes()
    _set(before, echo=False)
    try:
        yield
    finally:
        _set(before, echo=True)


@contextmanager
def _loud_keys() -> Iterator[None]:
    """Restore the terminal for the shell."""
    before = _attributes()
    if before is not None:
        changed = [*before]
        changed[_LFLAGS] |= termios.ECHO | termios.ICANON
        _set(changed, echo=True)
    try:
        yield
    finally:
        _set(before, echo=True)


def _attributes() -> list[Any] | None:
    try:
        return termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):
        return None  # No terminal to type on.


def _set(attributes: list[Any] | None, *, echo: bool) -> None:
    if attributes is None:
        return
    changed = [*attributes]
    if not echo:
        changed[_LFLAGS] &= ~(termios.ECHO | termios.ICANON)
    with suppress(OSError, ValueError, termios.error):
        # Discard what was typed meanwhile: it was not meant for the shell.
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, changed)

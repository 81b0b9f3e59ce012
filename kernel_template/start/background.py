"""Work in a thread, whose messages and result wait until the main thread asks for them."""

import contextlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from kernel_template.contract import EndReason
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.process import StopSign
from kernel_template.tools.report import MessageSink

_JOIN_S = 30.0
Result = TypeVar("Result")


class MessageBuffer:
    """Holds a thread's messages until the main thread prints them: in a notebook only that one may print."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[tuple[str, bool] | None] = queue.SimpleQueue()

    def say(self, text: str) -> None:
        """Hold a line."""
        self._messages.put((text, False))

    def warn(self, message: str) -> None:
        """Hold a warning."""
        self._messages.put((message, True))

    def close(self) -> None:
        """Mark the end of the messages."""
        self._messages.put(None)

    def print_all(self, report: MessageSink) -> None:
        """Print what is held, then each further message as it comes, until the end."""
        while (item := self._messages.get()) is not None:
            text, is_warning = item
            (report.warn if is_warning else report.say)(text)


class Cancellation:
    """Tells a thread's children to end: the session was told to stop, or does not need them any more."""

    def __init__(self, session: StopSign) -> None:
        self._session = session
        self._cancelled: str | None = None

    @property
    def received(self) -> str | None:
        """Why the children must end; None while they may run."""
        return self._cancelled or self._session.received

    @received.setter
    def received(self, word: str | None) -> None:
        self._cancelled = word

    def cancel(self) -> None:
        """End the children."""
        self._cancelled = "cancelled"


class BackgroundWork(Generic[Result]):
    """Runs `work` in a thread. Leaving the context cancels it.

    Args:
        work: what to do; it is given this object, for its messages and `wait_until_allowed`.
        afterwards: what to do in the thread while nobody has asked for the result; None for nothing.
        cancellation: ends the children of both.
        clock: seconds, monotonic.

    Attributes:
        messages: what the work says.
        seconds: how long the work took, once it is done.
    """

    def __init__(
        self,
        work: Callable[["BackgroundWork[Result]"], Result],
        afterwards: Callable[[], None] | None,
        cancellation: Cancellation,
        clock: Callable[[], float],
    ) -> None:
        self.messages = MessageBuffer()
        self.seconds = 0.0
        self._work = work
        self._afterwards = afterwards
        self._cancellation = cancellation
        self._clock = clock
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._allowed = threading.Event()
        self._awaited = False
        self._thread = threading.Thread(target=self._run, name="kgtts-start", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancellation.cancel()
        self._allowed.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def allow(self) -> None:
        """Let `wait_until_allowed` return."""
        self._allowed.set()

    def wait_until_allowed(self) -> None:
        """Block the thread until `allow` is called.

        Raises:
            KernelFailure: the work was cancelled.
        """
        self._allowed.wait()
        if self._cancellation.received is not None:
            raise KernelFailure(
                EndReason.INTERRUPTED, "The session was stopped before anything was installed."
            )

    def result(self, report: MessageSink) -> Result:
        """Print the messages until the work is done. Returns its result, or raises what it raised."""
        self._awaited = True
        self.messages.print_all(report)
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        began = self._clock()
        try:
            self._results.append(self._work(self))
        except BaseException as error:  # noqa: BLE001 - raised again by `result`.
            self._error = error
        self.seconds = self._clock() - began
        self.messages.close()
        if self._afterwards is not None and self._error is None and not self._awaited:
            with contextlib.suppress(Exception):  # Only a speed-up.
                self._afterwards()

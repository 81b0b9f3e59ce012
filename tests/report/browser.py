"""A headless Chromium, driven over its DevTools protocol through a pipe: no port, and no other package."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_S = 60.0
_KEYS = {
    "Backspace": 8,
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "End": 35,
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "1": 49,
    "2": 50,
}
_FIRST_FREE = 10  # Descriptors 3 and 4 are the browser's ends.
# The browser reads commands from descriptor 3 and answers on 4, each message ended by a zero byte.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    """The system's Chromium or Chrome."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a browser.

    Attributes:
        said: warnings and errors on its console, including exceptions and violations of its policy.
        asked: the addresses that it asked for, `data:` and `blob:` aside.
        shows: for tests that share a page: which one it is.
    """

    def __init__(self, program: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.shows: Path | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="kgtts-browser-", ignore_cleanup_errors=True)
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        flags = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--no-first-run",
        )
        more = ("--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required", "--mute-audio")
        launch = (sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), program)
        self._process = subprocess.Popen(
            [*launch, *flags, *more, f"--user-data-dir={self._folder.name}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None

    def __enter__(self) -> Self:
        pages = self._call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            self._call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)  # Its helpers, if any are left.
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def open(self, page: Path, *, width: int = 1366, height: int = 768, dark: bool = False) -> None:
        """Load a file and wait until its charts are drawn."""
        drawn = "document.documentElement?.dataset.charts === 'drawn'"
        self.visit(page.resolve().as_uri(), drawn, width=width, height=height, dark=dark)

    def visit(
        self, address: str, ready: str, *, width: int = 1366, height: int = 768, dark: bool = False
    ) -> None:
        """Load an address and wait until an expression of its page is true."""
        self.said.clear()
        self.asked.clear()
        self.shows = None
        phone = width < 500
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self._call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.prefer(dark=dark)
        self._call("Page.navigate", url=address)
        self.wait(ready)

    def prefer(self, *, dark: bool) -> None:
        """Change the system's colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def wait(self, condition: str) -> None:
        """Wait until an expression of the page is true."""
        end = time.monotonic() + _PATIENCE_S
        while not self(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition}; the page said {self.said}")
            select.select([self._in], [], [], 0.05)

    def __call__(self, expression: str) -> Any:
        """The value of an expression in the page, promises awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, *, control: bool = False) -> None:
        """Press a key, such as `Tab` or `ArrowRight`, perhaps with Ctrl."""
        code = _KEYS[key]
        for kind in ("rawKeyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=2 if control else 0,
            )

    def write(self, text: str) -> None:
        """Type a text where the focus is."""
        self._call("Input.insertText", text=text)

    def screenshot(self, place: Path, *, full: bool = False) -> None:
        """Write the visible part of the page, or all of it, as PNG."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        place.write_bytes(b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        for answer in self._messages():
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
        raise EOFError("the browser has ended")

    def _messages(self) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + _PATIENCE_S
        while True:
            line, found, rest = self._buffer.partition(b"\0")
            if found:
                self._buffer = rest
                message = json.loads(line)
                self._hear(message)
                yield message
                continue
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                return
            self._buffer += piece

    def _hear(self, message: dict[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.said.append(
                " ".join(str(part.get("value", part.get("description"))) for part in told["args"])
            )
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            self.said.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if not url.startswith(("data:", "blob:")):
                self.asked.append(url)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    ends = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for end in (read, write))
    os.close(read)
    os.close(write)
    return ends[0], ends[1]

"""HTTP connections that keep secrets to their own host and have time limits.

Everything that goes to Kaggle or to its storage goes through a `HttpSession`.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from orchestrator.untrusted import is_loopback

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
_KEEPS_BODY = (307, 308)
_active = threading.local()


class RedirectError(requests.RequestException):
    """A redirect that is not followed; the message leaves out its address, which may be signed."""


class HttpSession(requests.Session):
    """A session of requests that adds no credentials by itself.

    `~/.netrc` is not read. Loopback addresses are reached without a proxy. A redirect takes no body to
    another host, no credentials either, and does not lead from https to http. Every call has time-outs.

    Args:
        connect_s: seconds to wait for a connection.
        read_s: seconds to wait for the next byte of an answer.
        connections: how many are kept for each host.
    """

    def __init__(
        self, *, connect_s: float = CONNECT_TIMEOUT_S, read_s: float = READ_TIMEOUT_S, connections: int = 10
    ) -> None:
        super().__init__()
        self.auth = _no_credentials  # Without any, requests looks into ~/.netrc.
        self.adapter = _Adapter((connect_s, read_s), connections)
        self.mount("https://", self.adapter)
        self.mount("http://", self.adapter)
        self._prepared: dict[str, requests.PreparedRequest] = {}
        self._environment: dict[tuple[Any, ...], dict[str, Any]] = {}

    def stream_from(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Return the answer for `url` before its body has come.

        `get` takes the address apart for each request; here that is done once, until a request fails.

        Raises: as `send`.
        """
        try:
            if url not in self._prepared:
                self._prepared[url] = self.prepare_request(requests.Request("GET", url))
            request = self._prepared[url].copy()
            request.headers.update(headers)
            return self.send(request, **self.merge_environment_settings(url, {}, True, None, None))
        except requests.RequestException:
            self._prepared.clear()
            raise

    def send(self, request: Any, **kwargs: Any) -> requests.Response:
        """Send a request and follow its redirects.

        Raises:
            RedirectError: a redirect is refused, or leads nowhere.
            requests.RequestException: there is no answer.
        """
        watchdog: _Watchdog | None = getattr(_active, "watchdog", None)
        if watchdog is not None and watchdog.is_over:  # It ended while a redirect was read: do not follow.
            raise requests.Timeout("the time for this answer is over")
        try:
            return super().send(request, **kwargs)
        except requests.RequestException:
            self._environment.clear()  # The proxies may have changed.
            raise
        except (ValueError, urllib3.exceptions.HTTPError) as error:
            # Without its cause, which holds the address.
            raise RedirectError(
                f"the address cannot be used ({type(error).__name__})", request=request
            ) from None

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return the settings of the environment; no proxy for a loopback address.

        The environment is read once for each host, until a request fails: reading it for each costs the
        client a tenth of its time.
        """
        parts = urlsplit(url)
        asked = (parts.scheme, parts.netloc, stream, verify, cert, *proxies.items())
        settings: Any = self._environment.get(asked)
        if settings is None:
            settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
            if _is_here(url):
                settings["proxies"] = {}
            self._environment[asked] = settings
        return dict(settings)

    def rebuild_proxies(self, prepared_request: Any, proxies: Any) -> Any:
        """Return the proxies for the target of a redirect; none for a loopback address."""
        if _is_here(prepared_request.url):
            prepared_request.headers.pop("Proxy-Authorization", None)
            return {}
        return super().rebuild_proxies(prepared_request, proxies)  # type: ignore[no-untyped-call]

    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        """Remove the credentials from a redirect to another host, and add none."""
        here, there = response.request.url, prepared_request.url
        if self.should_strip_auth(here, there):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)

    def get_redirect_target(self, resp: Any) -> str | None:
        """Return where a redirect leads; None if the answer is none.

        Raises:
            RedirectError: that address must not get what the request carries, or is none.
        """
        try:
            return self._checked_target(resp)
        except RedirectError:
            resp.close()
            raise

    def _checked_target(self, resp: Any) -> str | None:
        try:
            target = super().get_redirect_target(resp)
            if target is None:
                return None
            here, there = urlsplit(resp.url), urlsplit(urljoin(resp.url, target))
            same = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
        except ValueError:
            raise RedirectError("a redirect leads to an invalid address", response=resp) from None
        if there.scheme not in ("http", "https") or not there.hostname:
            raise RedirectError("a redirect leads to an invalid address", response=resp)
        if here.scheme == "https" and there.scheme == "http":
            raise RedirectError(f"a redirect leads to {there.hostname} without encryption", response=resp)
        if resp.status_code in _KEEPS_BODY and resp.request.body and not same:
            raise RedirectError(
                f"a redirect ({resp.status_code}) would send the request on to {there.hostname}",
                response=resp,
            )
        return str(target)


def _no_credentials(request: Any) -> Any:
    return request


def _is_here(url: Any) -> bool:
    try:
        return is_loopback(urlsplit(str(url)).hostname)
    except ValueError:
        return False


class _Watchdog:
    """Shuts down a connection that has not answered within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._is_watching = False
        self._lock = threading.Lock()
        self.is_over = False

    def watch(self, sock: socket.socket | None) -> None:
        """Watch the connection of the awaited answer; the time starts with the first one."""
        with self._lock:
            self._socket = sock
            if self.is_over:
                raise requests.Timeout("the time for this answer is over")
            if not self._is_watching:
                self._is_watching = True
                _alarm.set(self, time.monotonic() + self._seconds)

    def end(self) -> None:
        """Shut the connection down: its time is over."""
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Stop watching."""
        with self._lock:
            self._socket = None
        _alarm.cancel(self)


class _Alarm:
    """Ends watchdogs when they are due, in one thread: one for each request would cost much of its time."""

    def __init__(self) -> None:
        self._due: dict[_Watchdog, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    def set(self, watchdog: _Watchdog, due: float) -> None:
        """End a watchdog at a time of the monotonic clock."""
        with self._changed:
            self._due[watchdog] = due
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watchdogs", daemon=True)
                self._thread.start()
            elif due < self._wakes_at:
                self._changed.notify()

    def cancel(self, watchdog: _Watchdog) -> None:
        """Forget a watchdog; the thread is not woken for it."""
        with self._changed:
            self._due.pop(watchdog, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                over = [watchdog for watchdog, due in self._due.items() if due <= now]
                for watchdog in over:
                    del self._due[watchdog]
                if not over:
                    if not self._due:
                        self._thread = None
                        return
                    self._wakes_at = min(self._due.values())
                    self._changed.wait(self._wakes_at - now)
            for watchdog in over:
                watchdog.end()


_alarm = _Alarm()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the whole time that this thread waits for answers in the block, however slowly they arrive.

    Raises:
        requests.Timeout: the time is over.
    """
    watchdog, outer = _Watchdog(seconds), getattr(_active, "watchdog", None)
    _active.watchdog = watchdog
    try:
        yield
    except Exception as error:
        if watchdog.is_over:
            raise requests.Timeout(f"the answer was not complete after {seconds:g} s") from error
        raise
    finally:
        watchdog.stop()
        _active.watchdog = outer
    if watchdog.is_over:
        raise requests.Timeout(f"the answer was not complete after {seconds:g} s")


class _Connection(urllib3.connection.HTTPConnection):
    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class _SecureConnection(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


def _watch(sock: Any) -> None:
    watchdog = getattr(_active, "watchdog", None)
    if watchdog is not None:
        watchdog.watch(sock)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """An adapter with time-outs for calls that set none, whose connections can be watched."""

    def __init__(self, timeout: tuple[float, float], connections: int) -> None:
        self._timeout = timeout
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager: Any = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        sender: Any = super().send
        return sender(request, *args, **kwargs)

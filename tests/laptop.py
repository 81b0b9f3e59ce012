"""A pytest plugin: the tests of the laptop's side, on a system like Windows.

    python -m pytest -p tests.laptop

What only POSIX has disappears before anything of kgtts is imported. The tests that need the emulator or run a
session are left out, since those need Linux or macOS. On Windows nothing has to disappear.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

# They pick their way by the system's name, so they are loaded before anything disappears.
LIBRARIES = ("asyncio", "filelock", "platformdirs", "pydantic", "requests", "rich.console", "stamina", "uuid")
# None of these modules exists on Windows.
MODULES = (
    "crypt",
    "fcntl",
    "grp",
    "posix_ipc",
    "pty",
    "pwd",
    "readline",
    "resource",
    "spwd",
    "syslog",
    "termios",
    "tty",
)
# Nor do these functions of `os`; those that the standard library itself calls on POSIX have to stay.
FUNCTIONS = (
    *("chown", "fchmod", "fchown", "fork", "getegid", "geteuid", "getgid", "getpgid", "killpg"),
    *("lchown", "mkfifo", "nice", "openpty", "pread", "pwrite", "sched_getaffinity", "setpgid"),
    *("setsid", "sysconf", "wait3", "wait4"),
)
SIGNALS = (
    "SIGHUP",
    "SIGQUIT",
    "SIGTSTP",
    "SIGCONT",
    "SIGWINCH",
    "SIGUSR1",
    "SIGUSR2",
    "SIGPIPE",
    "pthread_kill",
)
# Fixtures that need the emulator, and folders whose tests do.
NEEDS_EMULATOR = {"emulator", "start_emulator", "account", "open_account", "trained", "start", "spawn"}
LEFT_OUT = (
    "tests/emulator/",
    "tests/kernel/",
    "tests/action/",
    "tests/report/test_page.py/",
    "tests/report/test_blind_page.py/",
    "tests/serve/test_page.py/",
    "tests/cli/test_live_terminal.py/",
)


class Absent(importlib.abc.MetaPathFinder):
    """Makes the modules of POSIX impossible to import."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Raise for a module that Windows does not have."""
        if fullname in MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r} (hidden, as on Windows)", name=fullname)
        return None


def hide_posix() -> None:
    """Remove what Windows does not have."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    whole = ModuleType("os")
    vars(whole).update(vars(os))
    for module in list(sys.modules.values()):  # Old releases call `os.fchmod` when they lock.
        if module.__name__.startswith("filelock.") and vars(module).get("os") is os:
            vars(module)["os"] = whole
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Absent())
    for name in FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    if sys.version_info >= (3, 13):
        os.process_cpu_count = os.cpu_count  # It would call `sched_getaffinity`; on Windows it is this alias.
    for name in SIGNALS:
        if hasattr(signal, name):
            delattr(signal, name)


if os.name != "nt":
    hide_posix()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the tests of what runs only on POSIX."""
    below = f"{collection_path.relative_to(config.rootpath).as_posix()}/"
    return True if below.startswith(LEFT_OUT) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs the emulator."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        needs = fixtures & NEEDS_EMULATOR or item.get_closest_marker("posix") is not None
        (left_out if needs else kept).append(item)
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)

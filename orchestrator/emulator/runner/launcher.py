"""The first process of a session: prepares its view of the files, runs the script, leaves nothing behind.

Run as a program of its own (`python -I launcher.py SPEC.json`) with the standard library alone. Its standard
input is the leash: when it closes, because the session is over its limit or because the emulator itself died,
every process below this one is killed. It is a subreaper, so a daemon that left its parent is found too.

The spec: {"command": […], "cwd": "…", "environment": {…}, "namespace": null | {"root": an empty folder,
"kaggle": the folder that becomes /kaggle, "binds": [[source, path below /kaggle/input], …]}}.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_NOSUID, _MS_BIND, _MS_MOVE, _MS_REC = 0x2, 0x1000, 0x2000, 0x4000
_MS_UNBINDABLE, _MS_PRIVATE = 1 << 17, 1 << 18
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SYS_MOUNT_SETATTR = 442  # The same number on every architecture; Linux 5.12.
_MOUNT_ATTR_RDONLY = 0x1
_PR_SET_CHILD_SUBREAPER = 36
_LEASH = 0
NOT_FOUND = 127
KILLED = 128 + signal.SIGKILL
NO_NAMESPACE = 125


class _Kernel:
    """The few calls that Python 3.11 does not offer."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    def become_subreaper(self) -> None:
        """Orphans below this process become its children."""
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def unshare(self, flags: int) -> None:
        """Leave the namespaces that `flags` names."""
        self._check(self._libc.unshare(flags), "unshare")

    def mount(
        self, source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
    ) -> None:
        """Mount something, as the system call of that name does."""
        texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
        result = self._libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
        self._check(result, f"mount on {target}")

    def make_read_only(self, target: str) -> None:
        """Everything mounted at and below `target` becomes read-only; no locked flag is touched."""
        attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        result = self._libc.syscall(
            _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, ctypes.byref(attributes), size
        )
        self._check(result, f"mount_setattr of {target}")


def _leave_namespaces(kernel: _Kernel) -> None:
    """Own mounts; as an ordinary user through a user namespace in which everyone keeps the same number."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        with suppress(OSError):  # Root without the right to mount, as in a container, goes the other way.
            kernel.unshare(_CLONE_NEWNS)
            return
    kernel.unshare(_CLONE_NEWUSER | _CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def enter_namespace(kernel: _Kernel, root: str, kaggle: str, binds: list[list[str]]) -> None:
    """Build a root that is the machine's own but for /kaggle, and go there.

    Raises:
        OSError: this system does not allow it.
    """
    _leave_namespaces(kernel)
    kernel.mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", _MS_NOSUID, "mode=755")
    # The folder that holds the new root is bound below as well; the root must not be bound into itself.
    kernel.mount(None, root, None, _MS_UNBINDABLE)
    for entry in os.scandir("/"):
        place = Path(root, entry.name)
        if entry.name == "kaggle":
            continue
        if entry.is_symlink():
            place.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            place.mkdir()
            kernel.mount(entry.path, str(place), None, _MS_BIND | _MS_REC)
        elif entry.is_file():
            place.touch()
            kernel.mount(entry.path, str(place), None, _MS_BIND)
    new = Path(root, "kaggle")
    new.mkdir()
    kernel.mount(kaggle, str(new), None, _MS_BIND)
    inputs = new / "input"
    kernel.mount(str(Path(kaggle, "input")), str(inputs), None, _MS_BIND)
    for source, below in binds:
        kernel.mount(source, str(inputs / below), None, _MS_BIND | _MS_REC)
    kernel.make_read_only(str(inputs))
    os.chdir(root)
    kernel.mount(".", "/", None, _MS_MOVE)
    os.chroot(".")


def _parents() -> dict[int, int]:
    """The parent of every process that can be seen."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(OSError):
                # The name, in parentheses, may hold anything: what follows the last one is regular.
                fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
                found[int(entry.name)] = int(fields[1])
    return found


def _below(process: int) -> list[int]:
    """Every descendant of `process`."""
    parents = _parents()
    found, wave = [], [process]
    while wave:
        wave = [child for child, parent in parents.items() if parent in wave and child != process]
        found += wave
    return found


def _end_all(session: int) -> None:
    """Kill what is left until no child remains, however often something forks meanwhile."""
    while True:
        with suppress(OSError):
            os.killpg(session, signal.SIGKILL)
        if Path("/proc/self").exists():
            for process in _below(os.getpid()):
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _wait(script: int) -> int:
    """Wait for the script or the leash; returns the script's exit code, 128 + signal where it was killed."""
    ready = select.poll()
    ready.register(_LEASH, select.POLLIN | select.POLLHUP)
    patience_ms: int | None = 50
    with suppress(AttributeError, OSError):  # Not Linux, or an old one: looking now and then does as well.
        ready.register(os.pidfd_open(script), select.POLLIN)
        patience_ms = None
    while True:
        happened = {descriptor for descriptor, _ in ready.poll(patience_ms)}
        if _LEASH in happened and not os.read(_LEASH, 1):
            return KILLED
        ended, status = os.waitpid(script, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main(spec_path: str) -> int:
    """Run one session as the spec says; returns its exit code."""
    spec: dict[str, Any] = json.loads(Path(spec_path).read_text(encoding="utf-8"))
    if sys.platform == "linux":
        kernel = _Kernel()
        kernel.become_subreaper()
        if spec["namespace"] is not None:
            try:
                enter_namespace(kernel, **spec["namespace"])
            except OSError as error:
                sys.stderr.write(f"{error.strerror}\n")
                return NO_NAMESPACE
    try:
        script = subprocess.Popen(
            spec["command"],
            cwd=spec["cwd"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        sys.stderr.write(f"The session's Python cannot be started: {error}\n")
        return NOT_FOUND
    code = _wait(script.pid)
    script.returncode = code  # Reaped above; Popen need not look for it.
    _end_all(script.pid)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))

"""The first process of a session on this machine: runs the script, stops it, kills what is left.

A program of its own (`python -I launcher.py SPEC.json`) that uses the standard library alone. When its
standard input closes, because the session is being stopped or whoever started it died, it kills every process
below it. On Linux it is a subreaper, so it also finds daemons that left their parents; on macOS it kills the
process group of the script.

SPEC.json: {"command": […], "cwd": "…", "environment": {…}, "namespace": null | {"root": an empty folder,
"kaggle": the folder that becomes /kaggle, "binds": [[source, path below /kaggle/input], …]}}.
Further keys for a script that saves when it is interrupted:
"grace_s": how long it may take to save after standard input has closed, before it is killed; a byte `i` on
standard input only interrupts it, a byte `k` kills it;
"output": a file for all that it prints, which outlives whoever reads it;
"lock": a file that is locked as long as anything of the session lives.
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
_STDIN = 0
_KILL = b"k"
_POLL_MS = 50
_LOCK_S = 5.0
NOT_FOUND = 127
KILLED = 128 + 9  # Windows, where this is imported and not used, has no `signal.SIGKILL`.
NO_NAMESPACE = 125


class _SystemCalls:
    """The few system calls of Linux that Python 3.11 does not offer."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    def become_subreaper(self) -> None:
        """Make orphans below this process its children."""
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def unshare(self, flags: int) -> None:
        """Leave the namespaces named by `flags`."""
        self._check(self._libc.unshare(flags), "unshare")

    def mount(
        self, source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
    ) -> None:
        """Attach a file system or a folder to a path."""
        texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
        result = self._libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
        self._check(result, f"mount on {target}")

    def make_read_only(self, target: str) -> None:
        """Make everything mounted at and below `target` read-only, without touching locked flags."""
        attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        result = self._libc.syscall(
            _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, ctypes.byref(attributes), size
        )
        self._check(result, f"mount_setattr of {target}")


def _leave_namespaces(system: _SystemCalls) -> None:
    """Get mounts of our own; ordinary users get them through a user namespace that keeps their ids."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        with suppress(OSError):  # Root that may not mount, as in a container, needs a user namespace as well.
            system.unshare(_CLONE_NEWNS)
            return
    system.unshare(_CLONE_NEWUSER | _CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def enter_namespace(system: _SystemCalls, root: str, kaggle: str, binds: list[list[str]]) -> None:
    """Build a root folder like the machine's own except for /kaggle, and enter it.

    Args:
        system: the system calls.
        root: an empty folder for the new root.
        kaggle: the folder that becomes /kaggle.
        binds: pairs of a folder and the path below /kaggle/input where it appears.

    Raises:
        OSError: this system does not allow it.
    """
    _leave_namespaces(system)
    system.mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    system.mount("tmpfs", root, "tmpfs", _MS_NOSUID, "mode=755")
    # The folder that holds the new root is bound below, too; the root must not be bound into itself.
    system.mount(None, root, None, _MS_UNBINDABLE)
    for entry in os.scandir("/"):
        place = Path(root, entry.name)
        if entry.name == "kaggle":
            continue
        if entry.is_symlink():
            place.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            place.mkdir()
            system.mount(entry.path, str(place), None, _MS_BIND | _MS_REC)
        elif entry.is_file():
            place.touch()
            system.mount(entry.path, str(place), None, _MS_BIND)
    new = Path(root, "kaggle")
    new.mkdir()
    system.mount(kaggle, str(new), None, _MS_BIND)
    inputs = new / "input"
    system.mount(str(Path(kaggle, "input")), str(inputs), None, _MS_BIND)
    for source, below in binds:
        system.mount(source, str(inputs / below), None, _MS_BIND | _MS_REC)
    system.make_read_only(str(inputs))
    os.chdir(root)
    system.mount(".", "/", None, _MS_MOVE)
    os.chroot(".")


def _parents() -> dict[int, int]:
    """The parent of every visible process."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(OSError):
                # The name, in parentheses, may contain anything; after the last parenthesis come numbers.
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
    """Kill every process below this one until none is left, even if they fork meanwhile."""
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


def _wait(script: int, grace_s: float) -> int:
    """Wait until the script ends or is to be killed; return the exit code, or 128 + the signal."""
    ready = select.poll()
    ready.register(_STDIN, select.POLLIN | select.POLLHUP)
    poll_ms: int | None = _POLL_MS
    with suppress(AttributeError, OSError):  # macOS, or an old Linux: poll instead.
        ready.register(os.pidfd_open(script), select.POLLIN)
        poll_ms = None
    until, interrupted = float("inf"), False
    while True:
        happened = {descriptor for descriptor, _ in ready.poll(poll_ms)}
        if _STDIN in happened:
            word = os.read(_STDIN, 1)
            if word == _KILL or (not word and not grace_s):
                return KILLED
            if not word:  # Nobody is there any more: it saves, and is not waited for longer than it needs.
                ready.unregister(_STDIN)
                until, poll_ms = time.monotonic() + grace_s, _POLL_MS
            if not interrupted:  # A second one could meet the save and break it.
                os.kill(script, signal.SIGINT)
                interrupted = True
        ended, status = os.waitpid(script, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if time.monotonic() >= until:
            return KILLED


def _hold(lock: str) -> None:
    """Lock a file until this process ends; whoever only looks whether it is locked holds it for a moment.

    Raises:
        OSError: another session holds it, or it cannot be opened.
    """
    import fcntl  # noqa: PLC0415 - what only reads this module, as tests do, may be on Windows.

    descriptor, until = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644), time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_POLL_MS / 1000)
        else:
            return


def main(spec_path: str) -> int:
    """Run the session that the spec describes; return its exit code."""
    spec: dict[str, Any] = json.loads(Path(spec_path).read_text(encoding="utf-8"))
    if sys.platform == "linux":
        system = _SystemCalls()
        system.become_subreaper()
        if spec["namespace"] is not None:
            try:
                enter_namespace(system, **spec["namespace"])
            except OSError as error:
                sys.stderr.write(f"{error.strerror}\n")
                return NO_NAMESPACE
    try:
        if spec.get("lock"):
            _hold(spec["lock"])
        output = Path(spec["output"]).open("ab") if spec.get("output") else None  # noqa: SIM115 - the script's.
        script = subprocess.Popen(
            spec["command"],
            cwd=spec["cwd"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        sys.stderr.write(f"The session's Python cannot be started: {error}\n")
        return NOT_FOUND
    code = _wait(script.pid, spec.get("grace_s", 0.0))
    script.returncode = code  # It has been reaped; Popen must not wait for it.
    _end_all(script.pid)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))

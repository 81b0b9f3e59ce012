"""Copies what a session saves to another folder as it comes, so that it survives the machine.

That folder may be a bucket, which takes whole files, written from beginning to end: nothing can be appended
there, and perhaps not renamed. A checkpoint counts once state.json lists it with its hash, so state.json is
copied after what it lists.
"""

import contextlib
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from kernel_template.contract import MANIFEST_FILE, OWN_PREFIX, STATE_FILE, State
from kernel_template.tools.files import is_disk_full, json_bytes, write_atomic

_LAST = (STATE_FILE, MANIFEST_FILE)
_WEIGHTS = ".pth"


@dataclass(slots=True)
class Mirror:
    """Copies a session's outputs in a thread of its own, so that the training does not wait.

    Args:
        source: where the session works.
        target: where the copies go.

    Attributes:
        problem: why the last copy failed; None if it did not.
    """

    source: Path
    target: Path
    problem: str | None = None
    _copied: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _due: State | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False
    _thread: threading.Thread | None = None

    def save(self, state: State) -> None:
        """Copy what there is now, with `state` behind it; return at once. The newest call counts."""
        with self._changed:
            self._due = state
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
                self._thread.start()

    def finish(self) -> str | None:
        """Copy all outputs, once the last of them is written. Returns why that failed; None if it did not."""
        with self._changed:
            self._closed, self._due = True, None
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._try(None)
        return self.problem

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._due is None and not self._closed:
                    self._changed.wait()
                state, self._due = self._due, None
            if state is None:
                return
            self._try(state)

    def _try(self, state: State | None) -> None:
        try:
            self._copy(state)
        except OSError as error:
            self.problem = f"{error.filename or self.target}: {error.strerror or error}"
        else:
            self.problem = None

    def _copy(self, state: State | None) -> None:
        """Copy what has changed: with a state the checkpoints that it lists, without one everything."""
        listed = None if state is None else {item["path"] for item in state["checkpoints"]}
        there = set()
        for path in self._files():
            there.add(path)
            name = path.as_posix()
            if name in _LAST or (listed is not None and path.suffix == _WEIGHTS and name not in listed):
                continue
            with contextlib.suppress(FileNotFoundError):  # The trainer has deleted it meanwhile.
                self._copy_file(path)
        if state is not None:
            newest = [
                item["path"] for item in state["checkpoints"] if item["global_step"] == state["global_step"]
            ]
            if newest and not any(Path(path) in self._copied for path in newest):
                return  # The trainer was faster: what the target has stays until the next one.
            self._write(STATE_FILE, json_bytes(state))
        else:
            for name in _LAST:
                if (self.source / name).is_file():
                    self._write(name, (self.source / name).read_bytes())
        for path in [path for path in self._copied if path.suffix == _WEIGHTS and path not in there]:
            with contextlib.suppress(FileNotFoundError):
                (self.target / path).unlink()
            del self._copied[path]

    def _files(self) -> list[Path]:
        """The outputs, relative to the working folder."""
        found = []
        for folder, subfolders, names in os.walk(self.source):
            subfolders.sort()
            places = [Path(folder, name) for name in sorted(names) if not name.startswith(OWN_PREFIX)]
            found += [path.relative_to(self.source) for path in places if not path.is_symlink()]
        return found

    def _copy_file(self, path: Path) -> None:
        status = (self.source / path).stat()
        signature = (status.st_size, status.st_mtime_ns)
        if self._copied.get(path) == signature:
            return
        target = self.target / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(self.source / path, target)
        except BaseException:
            self._copied.pop(path, None)
            with contextlib.suppress(OSError):
                target.unlink()  # A part of a gigabyte would fill the disk for good.
            raise
        self._copied[path] = signature

    def _write(self, name: str, data: bytes) -> None:
        """Replace a small file at once, by renaming; a bucket that cannot replaces it when it is closed."""
        try:
            write_atomic(self.target / name, data)
        except OSError as error:
            if is_disk_full(error):
                raise  # Writing over it would leave an empty file.
            (self.target / name).write_bytes(data)

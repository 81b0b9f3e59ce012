"""How a session sees its files: at /kaggle itself in a mount namespace, or relocated below its own folder."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrator.emulator.runner import launcher
from orchestrator.emulator.runner.standins import standin_path
from orchestrator.emulator.service.options import EmulatorOptions
from orchestrator.emulator.service.sources import Mount
from orchestrator.emulator.service.store import PRIVATE_MODE, Store, write_atomically
from orchestrator.emulator.service.trees import copy_read_only, remove_tree
from orchestrator.errors import LocalError

_SCRIPT = "src/script.py"
_TEMPORARY = ("temp/home", "temp/tmp")
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PATH", "TZ")
# What pip and requests need to reach the network from this machine; only where the push asked for internet.
_NETWORK = ("CURL_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_PROBE_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Room:
    """A session's folder, ready: what starts it, where its outputs appear, and a remark for its log."""

    command: tuple[str, ...]
    working: Path
    folder: Path
    remark: str | None


class Sandbox:
    """Prepares sessions' folders in the way that the options ask for and this machine allows.

    Args:
        store: the emulator's folder.
        options: which sandbox, which Python, whether stand-ins are wanted.
    """

    def __init__(self, store: Store, options: EmulatorOptions) -> None:
        self._store = store
        self._options = options
        self._once = threading.Lock()

    @cached_property
    def obstacle(self) -> str | None:
        """Why sessions are relocated; None where they see /kaggle itself. Tried once, with a real process.

        Raises:
            LocalError: a namespace was demanded and this system does not give one.
        """
        if self._options.sandbox == "relocate":
            return "the emulator was asked to"
        room = self._furnish(self._store.session_folder(0), (), None)
        (room.working.parent / _SCRIPT).write_text("import os; os.stat('/kaggle/input')\n", encoding="utf-8")
        leash, held = os.pipe()
        try:
            tried = subprocess.run(
                room.command, stdin=leash, capture_output=True, timeout=_PROBE_LIMIT_S, check=False
            )
            why = tried.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            if tried.returncode == 0:
                return None
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        finally:
            os.close(leash)
            os.close(held)
            self.clear(room.folder)
        if self._options.sandbox == "namespace":
            raise LocalError(
                f"Sessions cannot have their own /kaggle on this system: {why}.",
                hint="use the sandbox 'auto' or 'relocate'",
            )
        return f"this system does not allow a mount namespace ({why})"

    def prepare(self, session: int, source: str, mounts: tuple[Mount, ...], *, internet: bool) -> Room:
        """Lay out a session's folder.

        Raises:
            OSError: the disk is full, or an input cannot be read.
        """
        with self._once:  # Both are found out by running a process: once, not once a session.
            obstacle, _ = self.obstacle, self._standins
        folder = self._store.session_folder(session)
        self.clear(folder)
        room = self._furnish(folder, mounts, obstacle, internet=internet)
        (folder / "kaggle" / _SCRIPT).write_text(source, encoding="utf-8")
        return room

    def clear(self, folder: Path) -> None:
        """Remove a session's folder, read-only inputs included."""
        remove_tree(folder)

    def _furnish(
        self, folder: Path, mounts: tuple[Mount, ...], obstacle: str | None, *, internet: bool = False
    ) -> Room:
        kaggle = folder / "kaggle"
        (folder / "root").mkdir(parents=True)
        for name in ("input", "working", "src", *_TEMPORARY):
            (kaggle / name).mkdir(parents=True, exist_ok=True)
        for mount in mounts:
            place = kaggle / "input" / mount.below
            if obstacle is None:
                place.mkdir(parents=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                copy_read_only(mount.source, place)
        seen = Path("/kaggle") if obstacle is None else kaggle
        namespace = {
            "root": str(folder / "root"),
            "kaggle": str(kaggle),
            "binds": [[str(mount.source), mount.below] for mount in mounts],
        }
        spec = {
            "command": [self._options.python, str(seen / _SCRIPT)],
            "cwd": str(seen / "working"),
            "environment": self._environment(seen, internet=internet),
            "namespace": namespace if obstacle is None else None,
        }
        spec_file = folder / "spec.json"
        # The environment may carry the password of a proxy or a package index.
        write_atomically(spec_file, json.dumps(spec).encode(), mode=PRIVATE_MODE)
        remark = None
        if obstacle is not None:
            remark = (
                f"[emulator] /kaggle is relocated to {kaggle} (KGTTS_KAGGLE_ROOT), because {obstacle}; "
                "inputs are copies without write permission, which does not bind root.\n"
            )
        return Room(
            (sys.executable, "-I", "-S", launcher.__file__, str(spec_file)),
            kaggle / "working",
            folder,
            remark,
        )

    def _environment(self, kaggle: Path, *, internet: bool) -> dict[str, str]:
        """A session's environment, made from nothing: no credentials and no setting of ours leaks into it."""
        wanted = {*_KEPT, *(_NETWORK if internet else ())}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.upper() in wanted or (internet and name.startswith("PIP_"))
        }
        home, temporary = (str(kaggle / name) for name in _TEMPORARY)
        environment = {
            "LANG": "C.UTF-8",
            **kept,
            # The session's `pip` and `python` are those of its interpreter.
            "PATH": os.pathsep.join([str(Path(self._options.python).parent), kept.get("PATH", os.defpath)]),
            "HOME": home,
            "TMPDIR": temporary,
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            "PYTHONUNBUFFERED": "1",
            "NUMBA_CACHE_DIR": str(self._store.numba_cache),
        }
        if kaggle != Path("/kaggle"):
            environment["KGTTS_KAGGLE_ROOT"] = str(kaggle)
        standins = self._standins
        return environment if standins is None else {**environment, "PYTHONPATH": str(standins)}

    @cached_property
    def _standins(self) -> Path | None:
        return standin_path(self._options.python) if self._options.standins else None

"""How a session sees its files: at /kaggle itself in a mount namespace, or relocated below its own folder."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kernel_template.contract import ROOT_VARIABLE
from orchestrator import launcher
from orchestrator.emulator.options import EmulatorOptions
from orchestrator.emulator.runner.standins import standin_path
from orchestrator.emulator.service.files import (
    PRIVATE_MODE,
    copy_read_only,
    write_bytes_atomically,
)
from orchestrator.emulator.service.mounts import BindMount
from orchestrator.emulator.service.sessions import SessionOrder
from orchestrator.emulator.service.state import StateFolder
from orchestrator.errors import LocalError
from orchestrator.files import remove_tree

_SCRIPT = "src/script.py"
_TEMPORARY = ("temp/home", "temp/tmp")
_INHERITED = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PATH", "TZ")
# What pip and requests need to reach the network from this machine; only if the push asked for internet.
_NETWORK = ("CURL_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_PROBE_LIMIT_S = 60


def launcher_environment() -> dict[str, str]:
    """The environment of the launcher. A session can read it, so nothing of ours, such as a key, is in it."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "TZ") if name in os.environ}


@dataclass(frozen=True, slots=True)
class PreparedSession:
    """A prepared session: the command that starts it, the folder of its outputs, and a remark for its log."""

    command: tuple[str, ...]
    working: Path
    remark: str | None


class Sandbox:
    """Prepares the folders of sessions, in the way that the options ask for and this machine allows.

    Args:
        state: the emulator's folder.
        options: which sandbox, which Python, whether stand-ins are wanted.
        platform: the system, as `sys.platform` names it; only Linux has mount namespaces.
    """

    def __init__(self, state: StateFolder, options: EmulatorOptions, platform: str = sys.platform) -> None:
        self._state = state
        self._options = options
        self._platform = platform
        self._probing = threading.Lock()

    @cached_property
    def relocated_because(self) -> str | None:
        """Why sessions find /kaggle elsewhere; None if they see /kaggle itself. Tried once, with a process.

        Raises:
            LocalError: a mount namespace was demanded, and this system does not give one.
        """
        if self._options.sandbox == "relocate":
            return "the emulator was asked to"
        why = self._namespace_fault() if self._platform == "linux" else "only Linux has them"
        if why is None:
            return None
        if self._options.sandbox == "namespace":
            raise LocalError(
                f"Sessions cannot have their own /kaggle on this system: {why}.",
                hint="use the sandbox 'auto' or 'relocate'",
            )
        return f"this system does not allow a mount namespace ({why})"

    def prepare(self, order: SessionOrder) -> PreparedSession:
        """Create the folder of a session, with its script and inputs.

        Raises:
            OSError: the disk is full, or an input cannot be read.
            LocalError: see `standin_path`.
        """
        with self._probing:  # Both start a process to find out: once, not once per session.
            relocated, _ = self.relocated_because, self._standins
        folder = self._state.session_folder(order.number)
        remove_tree(folder)
        prepared = self._create(folder, order.mounts(), relocated, order)
        (folder / "kaggle" / _SCRIPT).write_text(order.source, encoding="utf-8")
        return prepared

    def _namespace_fault(self) -> str | None:
        """Try a mount namespace; return why it does not work, or None if it does."""
        folder = self._state.session_folder(0)
        prepared = self._create(folder, (), None)
        (folder / "kaggle" / _SCRIPT).write_text("import os; os.stat('/kaggle/input')\n", encoding="utf-8")
        stdin, writer = os.pipe()  # The launcher would end at once if its standard input were closed.
        try:
            tried = subprocess.run(
                prepared.command,
                stdin=stdin,
                capture_output=True,
                env=launcher_environment(),
                timeout=_PROBE_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        finally:
            os.close(stdin)
            os.close(writer)
            remove_tree(folder)
        if tried.returncode == 0:
            return None
        return tried.stderr.decode(errors="replace").strip().rpartition("\n")[2]

    def _create(
        self,
        folder: Path,
        mounts: tuple[BindMount, ...],
        relocated: str | None,
        order: SessionOrder | None = None,
    ) -> PreparedSession:
        kaggle = folder / "kaggle"
        (folder / "root").mkdir(parents=True)
        for name in ("input", "working", "src", *_TEMPORARY):
            (kaggle / name).mkdir(parents=True, exist_ok=True)
        for mount in mounts:
            target = kaggle / "input" / mount.below
            if relocated is None:
                target.mkdir(parents=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_read_only(mount.source, target)
        seen = Path("/kaggle") if relocated is None else kaggle
        namespace = {
            "root": str(folder / "root"),
            "kaggle": str(kaggle),
            "binds": [[str(mount.source), mount.below] for mount in mounts],
        }
        spec = {
            "command": [self._options.python, str(seen / _SCRIPT)],
            "cwd": str(seen / "working"),
            "environment": self._environment(seen, order),
            "namespace": namespace if relocated is None else None,
        }
        spec_file = folder / "spec.json"
        # The environment may carry the password of a proxy or a package index.
        write_bytes_atomically(spec_file, json.dumps(spec).encode(), mode=PRIVATE_MODE)
        remark = None
        if relocated is not None:
            remark = (
                f"[emulator] /kaggle is relocated to {kaggle} ({ROOT_VARIABLE}), because {relocated}; "
                "inputs are read-only copies, which root can write all the same.\n"
            )
        command = (sys.executable, "-I", "-S", launcher.__file__, str(spec_file))
        return PreparedSession(command, kaggle / "working", remark)

    def _environment(self, kaggle: Path, order: SessionOrder | None) -> dict[str, str]:
        """The environment of a session, built from nothing: no credentials and no settings of ours."""
        internet = order is not None and order.internet
        wanted = {*_INHERITED, *(_NETWORK if internet else ())}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.upper() in wanted or (internet and name.startswith("PIP_"))
        }
        home, temporary = (str(kaggle / name) for name in _TEMPORARY)
        environment = {
            "LANG": "C.UTF-8",
            **kept,
            # `pip` and `python` in the session are those of its interpreter.
            "PATH": os.pathsep.join([str(Path(self._options.python).parent), kept.get("PATH", os.defpath)]),
            "HOME": home,
            "TMPDIR": temporary,
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            # The session's id is what stands between the last two hyphens.
            "KAGGLE_CONTAINER_NAME": f"emulated-container-{order.number if order else 0}-session",
            "PYTHONUNBUFFERED": "1",
            "NUMBA_CACHE_DIR": str(self._state.numba_cache),
        }
        if kaggle != Path("/kaggle"):
            environment[ROOT_VARIABLE] = str(kaggle)
        standins = self._standins
        return environment if standins is None else {**environment, "PYTHONPATH": str(standins)}

    @cached_property
    def _standins(self) -> Path | None:
        return standin_path(self._options.python) if self._options.standins else None

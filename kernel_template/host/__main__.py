"""Run a training script as Python itself would, and make Coqui's Trainer stop in time and resume exactly.

    python -u -P -m kernel_template.host CONTROL.json SCRIPT [ARGUMENTS…]
    python -u -P -m kernel_template.host CONTROL.json -m MODULE [ARGUMENTS…]

PYTHONPATH must begin with the folder that holds `kernel_template`; that entry is removed again before the
script starts. The script sees the `sys.argv`, `sys.path`, `__main__` and environment of a plain run. The
Trainer is patched (trainer.py) only once the script imports the `trainer` package; a script that never does
runs unchanged, and SIGINT then acts as in any Python program. CONTROL.json is described in protocol.py.
"""

import codecs
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import runpy
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kernel_template.host.beside import writable_script
from kernel_template.host.hard_coded import compile_script
from kernel_template.host.preparation import AlreadyPrepared
from kernel_template.host.programs import TrainingPrograms, write_pid
from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import Rendezvous
from kernel_template.host.report import Reporter
from kernel_template.host.tts import ESPEAK, TtsHooks
from kernel_template.tools.packages import remember_packages

_ROOT = Path(__file__).resolve().parents[2]  # The folder that holds `kernel_template`.
_MIN_ARGUMENTS = 2


class ImportWatch:
    """Calls back when a package is imported for the first time.

    Importing it beforehand would be simpler, but the script may have to set variables before torch is
    imported, and a script that does not use Coqui's trainer should not pay for it.

    Args:
        name: the package.
        before: called before the import.
        after: called with the imported package.
    """

    def __init__(
        self, name: str, before: Callable[[], None], after: Callable[[types.ModuleType], None]
    ) -> None:
        self._name = name
        self._before = before
        self._after = after

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature of a finder.
        target: types.ModuleType | None = None,  # noqa: ARG002 - as above.
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the package's own spec; once it has been executed, `after` is called."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        self._before()
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            self._after(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # This one import only.
        return spec


def hide_package() -> None:
    """Remove our entry from PYTHONPATH and `sys.path`; submodules are still found through the package."""
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if not first or Path(first).resolve() != _ROOT:
        return
    if rest:
        os.environ["PYTHONPATH"] = rest
    else:
        del os.environ["PYTHONPATH"]
    start = 0 if sys.flags.safe_path else 1  # Without -P the first entry is the script's or module's own.
    if first not in rest.split(os.pathsep):
        sys.path[start:] = [folder for folder in sys.path[start:] if Path(folder).resolve() != _ROOT]


def put_first(folder: str) -> None:
    """Make `folder` the first of `sys.path`, as a plain run does.

    -P kept the current folder out of it while this program was imported; PYTHONSAFEPATH also keeps out the
    script's folder.
    """
    if not sys.flags.safe_path:
        sys.path[0] = folder
    elif not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, folder)


def _as_utf_8(source: bytes) -> bytes:
    """Return a script that Windows' editors saved as UTF-16 in the encoding that Python reads."""
    if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with contextlib.suppress(UnicodeDecodeError):
            return source.decode("utf-16").encode()
    return source


class InstalledFirst:
    """Finds a package as if a folder were not in `sys.path`.

    Args:
        name: the package.
        folder: the folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature of a finder.
        target: types.ModuleType | None = None,  # noqa: ARG002 - as above.
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the installed package's spec."""
        if fullname != self._name:
            return None
        others = [item for item in sys.path if Path(item).resolve() != self._folder]
        return importlib.machinery.PathFinder.find_spec(fullname, others)


def say_of_clone(folder: Path, say: Callable[[str], None]) -> None:
    """Handle a clone of Coqui's repository in a script's folder, which hides the installed package.

    What is left of one is passed over; a whole one is used, as the script would use it anywhere.
    """
    clone = folder / "TTS"
    if not (clone / "__init__.py").is_file():
        return
    if (clone / "tts" / "models" / "vits.py").is_file():
        say(f"{clone} is a copy of Coqui TTS: the script uses it, not the installed one")
        return
    say(f"{clone} is no whole copy of Coqui TTS: the installed one is used")
    sys.meta_path.insert(0, InstalledFirst("TTS", folder))


def start_by_fork(multiprocessing: Any) -> None:
    """Fork the script's processes unless it asks for others, as Linux did before Python 3.14.

    The workers of a DataLoader import the script anew if a fork server starts them: one without
    `if __name__ == "__main__"` fails, and what the host patches is missing there. `set_start_method` would
    leave the script no choice of its own, so the default is changed.
    """
    if sys.platform == "linux":
        default = multiprocessing.context._default_context  # noqa: SLF001 - as the docstring says.
        default._default_context = multiprocessing.get_context("fork")  # noqa: SLF001 - as above.


def run_script(
    script: str, arguments: list[str], inputs: Sequence[str], folder: Path, say: Callable[[str], None]
) -> None:
    """Do what `python script arguments…` does, with paths of inputs that exist (hard_coded.py).

    `folder` is where a script finds itself if it may write there (beside.py).
    """
    with io.open_code(script) as file:
        original = file.read()
    source = _as_utf_8(original)
    say_of_clone(Path(script).resolve().parent, say)
    code = compile_script(source, script, inputs, say)
    if inputs:
        script = str(writable_script(Path(script), source, inputs, folder, say, changed=source != original))
    sys.argv = [script, *arguments]
    put_first(os.path.dirname(os.path.realpath(script)))  # noqa: PTH120 - sys.path holds strings.
    # runpy.run_path would set __package__, __loader__ and __cached__ differently from a plain run.
    main = types.ModuleType("__main__")
    main.__file__ = script
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", script)
    main.__package__ = None
    main.__dict__.update({"__builtins__": __builtins__, "__cached__": None})
    sys.modules["__main__"] = main
    exec(code, main.__dict__)  # noqa: S102 - the user's own script, in place of a plain run of it.


def run_module(module: str, arguments: list[str]) -> None:
    """Do what `python -m module arguments…` does."""
    sys.argv = ["-m", *arguments]
    put_first(os.getcwd())  # noqa: PTH109 - as above.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(arguments: list[str]) -> int:
    """Run the script that `arguments` name. Returns 2 for wrong arguments; the script may exit itself."""
    began = time.monotonic()
    if len(arguments) < _MIN_ARGUMENTS or arguments[1:] == ["-m"]:
        sys.stderr.write(
            "usage: python -m kernel_template.host CONTROL.json (SCRIPT | -m MODULE) [ARGUMENTS…]\n"
        )
        return 2
    control_path, *program = arguments
    rendezvous = Rendezvous.read(os.environ)
    rendezvous.begin()
    is_program = write_pid(os.environ)
    settings = json.loads(Path(control_path).read_text(encoding="utf-8"))
    control = Control.read(settings)
    beside = control.report.parent / "script"  # All ranks share it.
    control, program = rendezvous.own(control, program)
    reporter = Reporter(control.report)
    if not is_program:  # One that trains nothing leaves the report of another as it is.
        reporter.write()

    tts = TtsHooks(control, reporter, rendezvous)
    prepared = AlreadyPrepared()
    if not rendezvous.leads:
        prepared.begin()

    def imported(package: types.ModuleType) -> None:
        reporter.write(imports_s=round(time.monotonic() - began, 3))
        from kernel_template.host.trainer import TrainerHost  # noqa: PLC0415 - it needs torch, which is there now.

        host = TrainerHost(control, reporter, rendezvous, tts.compat, prepared.end, began=began)
        host.install(package)

    sys.meta_path.insert(0, ImportWatch("trainer", rendezvous.restore_gpu, imported))
    sys.meta_path.insert(0, ImportWatch(ESPEAK, tts.provide_espeak, lambda _module: None))
    for name, after in tts.modules().items():
        sys.meta_path.insert(0, ImportWatch(name, lambda: None, after))
    if rendezvous.size > 1:  # Once torch is imported, the script may use the GPU.
        sys.meta_path.insert(0, ImportWatch("torch", rendezvous.restore_gpu, lambda _torch: None))
    sys.meta_path.insert(0, ImportWatch("TTS", remember_packages, lambda _module: None))
    sys.meta_path.insert(0, ImportWatch("multiprocessing", lambda: None, start_by_fork))
    hide_package()
    TrainingPrograms(
        str(Path(control_path).resolve()), _ROOT, beside.parent, rendezvous, reporter.say
    ).install()
    try:
        if program[0] == "-m":
            run_module(program[1], program[2:])
        else:
            run_script(program[0], program[1:], control.inputs, beside, tts.say)
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code not in (None, 0):
            rendezvous.failed(out_of_memory=False)
        raise
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Run a training script as Python itself would, with Coqui's Trainer made to stop in time and go on exactly.

    python -u host.py CONTROL.json SCRIPT [ARGUMENTS…]
    python -u host.py CONTROL.json -m MODULE [ARGUMENTS…]

The script cannot tell: its `sys.argv`, `sys.path`, `__main__` and environment are those of a plain run. Only
once it imports the `trainer` package are the hooks of `host_trainer.py` put around it; a script that never
does simply runs, and SIGINT then is Python's own. CONTROL.json is described in `host_pace.py`.
"""

import importlib
import importlib.abc
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

_FOLDER = Path(__file__).resolve().parent
_WATCHED = "trainer"  # The package that holds Coqui's Trainer.
_MIN_ARGUMENTS = 2


class ImportWatch(importlib.abc.MetaPathFinder):
    """Calls back when a package has been imported for the first time.

    Importing it beforehand would be simpler, but the script may have to set variables before torch is
    imported, and one that has nothing to do with Coqui need not pay for it.

    Args:
        name: the package.
        first: called before it is imported, which takes seconds.
        then: called with it once it is.
    """

    def __init__(
        self, name: str, first: Callable[[], None], then: Callable[[types.ModuleType], None]
    ) -> None:
        self._name = name
        self._first = first
        self._then = then

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the shape of a finder.
        target: types.ModuleType | None = None,  # noqa: ARG002 - as above.
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's own spec, with the call behind its execution."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        self._first()
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            self._then(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # This one import only.
        return spec


def load_beside(name: str) -> types.ModuleType:
    """The program `name` of this folder, as a module under a name that no script uses."""
    module_name = f"_kgtts_{name}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, _FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def run_script(script: str, arguments: list[str]) -> None:
    """What `python script arguments…` does."""
    sys.argv = [script, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(script))  # noqa: PTH120 - sys.path holds strings.
    with io.open_code(script) as file:
        code = compile(file.read(), script, "exec", dont_inherit=True)
    # runpy.run_path would leave __package__, __loader__ and __cached__ otherwise than a plain run does.
    main = types.ModuleType("__main__")
    main.__file__ = script
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", script)
    main.__package__ = None
    main.__dict__.update({"__builtins__": __builtins__, "__cached__": None})
    sys.modules["__main__"] = main
    exec(code, main.__dict__)  # noqa: S102 - the user's own script, in place of a plain run of it.


def run_module(module: str, arguments: list[str]) -> None:
    """What `python -m module arguments…` does."""
    sys.argv = ["-m", *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()  # noqa: PTH109 - as above.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main(arguments: list[str]) -> int:
    """Run what the arguments name. Returns 2 for arguments that name nothing; the script may exit itself."""
    began = time.monotonic()
    if len(arguments) < _MIN_ARGUMENTS or arguments[1:] == ["-m"]:
        sys.stderr.write("host.py: give CONTROL.json and a script, or -m and a module\n")
        return 2
    control_path, *program = arguments
    settings: dict[str, Any] = json.loads(Path(control_path).read_text(encoding="utf-8"))
    pace = load_beside("host_pace")
    meeting = load_beside("host_rank").Meeting.read(os.environ)
    meeting.begin()
    control, program = meeting.own(pace.Control.read(settings), program)
    report = pace.HostReport(control.report)
    report.write()

    def hook(package: types.ModuleType) -> None:
        clock = pace.Pace(time.monotonic, began, control.budget_s, control.seconds_per_epoch)
        report.write(imports_s=round(time.monotonic() - began, 3))
        tally = load_beside("host_tally").Tally(time.monotonic, began)
        host = load_beside("host_trainer").TrainerHost(
            control=control, pace=clock, report=report, meeting=meeting, tally=tally, load=load_beside
        )
        host.install(package)

    def begins() -> None:
        meeting.keep_card()
        meeting.want_others()

    sys.meta_path.insert(0, ImportWatch(_WATCHED, begins, hook))
    if meeting.size > 1:  # Once torch is there, the script may use the card.
        sys.meta_path.insert(0, ImportWatch("torch", meeting.keep_card, lambda _torch: None))
    if program[0] == "-m":
        run_module(program[1], program[2:])
    else:
        run_script(program[0], program[1:])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""An emulator of Kaggle on this machine: its API, storage, quota and uploads, and real sessions as processes.

`wire` turns HTTP into objects and calls `service`, which has the state and the rules and knows no HTTP.
`service` refuses by its `exceptions`, which `wire` turns into Kaggle's errors, and orders sessions from
`runner` through the interface `service.sessions`. Both import `service`, never the other way. Where to add:

- a method of the API: a handler and a line of METHODS in `wire/SERVICE.py`; its rules in `service/SERVICE.py`
- a fault: a class in `faults/kinds.py`; its effect in `faults/middleware.py` or `faults/body.py`, or in the
  handler of the method that it is about; a row in the documentation
- a mount layout: a row of MOUNT_LAYOUTS in `options.py`
- an accelerator: a row of MACHINE_SHAPES in `service/limits.py`
- a kind of input: see the head of `service/mounts.py`

Importing this package is cheap and works on every system: only `Emulator.start` needs Linux or macOS, and the
packages of the extra `local`.
"""

from orchestrator.emulator.emulator import Emulator
from orchestrator.emulator.options import EmulatorOptions
from orchestrator.emulator.runner.concealment import conceal_environment

__all__ = ["Emulator", "EmulatorOptions", "conceal_environment"]

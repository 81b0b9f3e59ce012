"""An emulator of Kaggle on this machine: the kernels' wire, its storage, its quota, and real sessions.

`Emulator` serves what the official client asks of Kaggle and runs pushed scripts as subprocesses.
Importing this package is cheap: starlette, uvicorn and kagglesdk are loaded when an export is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.emulator.emulator import Emulator
    from orchestrator.emulator.service.options import EmulatorOptions

__all__ = ["Emulator", "EmulatorOptions"]


def __getattr__(name: str) -> Any:
    """Load the two exports when they are first used.

    Raises:
        AttributeError: the package has no such attribute.
        LocalError: the optional packages of the extra `local` are missing.
    """
    if name == "EmulatorOptions":
        from orchestrator.emulator.service.options import EmulatorOptions  # noqa: PLC0415 - lazy on purpose

        return EmulatorOptions
    if name == "Emulator":
        try:
            from orchestrator.emulator.emulator import Emulator  # noqa: PLC0415 - lazy on purpose
        except ModuleNotFoundError as error:
            from orchestrator.errors import LocalError  # noqa: PLC0415 - lazy on purpose

            raise LocalError(
                f"The emulator needs the package {error.name}, which is not installed.",
                hint="install what the emulator needs, in a checkout of kgtts: pip install '.[local]'",
            ) from error
        return Emulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

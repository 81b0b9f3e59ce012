"""Settings: kgtts.toml and `--set` as validated, frozen models.

Importing the package is cheap: pydantic is loaded when an export that needs it is first used, so that a usage
error of the command line does not pay for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.settings.accelerators import ACCELERATORS, Accelerator, find_accelerator
    from orchestrator.settings.durations import format_duration, parse_duration
    from orchestrator.settings.loading import ENVIRONMENT_VARIABLE, FILE_NAME, LoadedSettings, load_settings
    from orchestrator.settings.models import SESSION_LIMIT, Settings, fingerprint
    from orchestrator.settings.sections import slugify, title_from
    from orchestrator.settings.selection import select_outputs
    from orchestrator.settings.template import default_toml, json_schema, to_toml

__all__ = [
    "ACCELERATORS",
    "ENVIRONMENT_VARIABLE",
    "FILE_NAME",
    "SESSION_LIMIT",
    "Accelerator",
    "LoadedSettings",
    "Settings",
    "default_toml",
    "find_accelerator",
    "fingerprint",
    "format_duration",
    "json_schema",
    "load_settings",
    "parse_duration",
    "select_outputs",
    "slugify",
    "title_from",
    "to_toml",
]

_HOMES = {
    "accelerators": (
        "ACCELERATORS",
        "Accelerator",
        "find_accelerator",
    ),
    "durations": (
        "format_duration",
        "parse_duration",
    ),
    "loading": (
        "ENVIRONMENT_VARIABLE",
        "FILE_NAME",
        "LoadedSettings",
        "load_settings",
    ),
    "models": (
        "SESSION_LIMIT",
        "Settings",
        "fingerprint",
    ),
    "sections": (
        "slugify",
        "title_from",
    ),
    "selection": ("select_outputs",),
    "template": (
        "default_toml",
        "json_schema",
        "to_toml",
    ),
}


def __getattr__(name: str) -> Any:
    """Load an export when it is first used.

    Raises:
        AttributeError: the package has no such attribute.
    """
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

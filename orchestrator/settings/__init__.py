"""Settings: kgtts.toml and `--set` as validated, frozen models.

Importing the package is cheap: pydantic is loaded when an export that needs it is first used, so that a usage
error of the command line does not pay for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.settings.accelerators import ACCELERATORS, Accelerator, find_accelerator
    from orchestrator.settings.changes import Change, Effect, find_changes, inherited, merged, values_of
    from orchestrator.settings.fields import slugify, title_from
    from orchestrator.settings.loading import (
        ENVIRONMENT_VARIABLE,
        FILE_NAME,
        LoadedSettings,
        load_settings,
        override_key,
        with_overrides,
    )
    from orchestrator.settings.models import SESSION_LIMIT, Settings, fingerprint
    from orchestrator.settings.selection import select_outputs
    from orchestrator.settings.template import default_toml, json_schema, to_toml
    from orchestrator.settings.text import format_duration, parse_duration

__all__ = [
    "ACCELERATORS",
    "ENVIRONMENT_VARIABLE",
    "FILE_NAME",
    "SESSION_LIMIT",
    "Accelerator",
    "Change",
    "Effect",
    "LoadedSettings",
    "Settings",
    "default_toml",
    "find_accelerator",
    "find_changes",
    "fingerprint",
    "format_duration",
    "inherited",
    "json_schema",
    "load_settings",
    "merged",
    "override_key",
    "parse_duration",
    "select_outputs",
    "slugify",
    "title_from",
    "to_toml",
    "values_of",
    "with_overrides",
]

# Those without pydantic come first.
_MODULES = ("text", "accelerators", "selection", "loading", "models", "fields", "template", "changes")


def __getattr__(name: str) -> Any:
    """Load an export when it is first used.

    Raises:
        AttributeError: the package has no such attribute.
    """
    for module in _MODULES if name in __all__ else ():
        found = getattr(import_module(f"{__name__}.{module}"), name, None)
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

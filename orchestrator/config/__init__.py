"""Settings: kgtts.toml and `--set` as validated, frozen models."""

from orchestrator.config.accelerators import ACCELERATORS, Accelerator, find_accelerator
from orchestrator.config.durations import format_duration, parse_duration
from orchestrator.config.loading import ENVIRONMENT_VARIABLE, FILE_NAME, LoadedSettings, load_settings
from orchestrator.config.models import SESSION_LIMIT, Settings, fingerprint, slugify, title_from
from orchestrator.config.selection import select_outputs
from orchestrator.config.template import default_toml, json_schema, to_toml

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

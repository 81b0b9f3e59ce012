"""Renders the kernel's source and metadata; values enter as literals, never as spliced text."""

from orchestrator.render.kernel import (
    CODE_FILE,
    MAX_SOURCE_BYTES,
    METADATA_FILE,
    Rendered,
    Resume,
    kernel_settings,
    render_kernel,
    write_rendered,
)
from orchestrator.render.package import TemplateError, Templates
from orchestrator.render.stamp import RunStamp, read_stamp

__all__ = [
    "CODE_FILE",
    "MAX_SOURCE_BYTES",
    "METADATA_FILE",
    "Rendered",
    "Resume",
    "RunStamp",
    "TemplateError",
    "Templates",
    "kernel_settings",
    "read_stamp",
    "render_kernel",
    "write_rendered",
]

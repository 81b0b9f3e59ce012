"""`kgtts cancel`: the old name of `kgtts delete`, for a kernel whose session is running."""

from orchestrator.cli.commands.delete import cancel

__all__ = ["cancel"]

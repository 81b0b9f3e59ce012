"""The command line: the only package that knows click, prints, asks and picks exit codes."""

from orchestrator.cli.main import main

__all__ = ["main"]

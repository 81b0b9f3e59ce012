"""Hides secrets of this process from the sessions that it starts, which run as the same user.

A process can read the environment of every other one of its user in /proc, its parents' included. What a
process was started with stands there until it is overwritten: deleting a variable changes nothing.
"""

import ctypes
import re
import sys
from pathlib import Path

from orchestrator.scrubbing import CONFIDENTIAL, HAS_A_LOGIN

_SECRET_NAME = re.compile(CONFIDENTIAL.encode(), re.IGNORECASE)
_SECRET_VALUE = re.compile(HAS_A_LOGIN.encode())
# The fields with the beginning and the end of the environment, counted from the third on (proc_pid_stat(5)).
_ENVIRONMENT = slice(47, 49)


def conceal_environment(platform: str = sys.platform) -> int:
    """Overwrite the secrets in the environment that /proc shows of this process; only Linux has that.

    `os.environ` keeps them. Programs that this process starts without an `env` of their own no longer get
    them.

    Args:
        platform: the system, as `sys.platform` names it.

    Returns:
        How many variables were overwritten.
    """
    if platform != "linux":
        return 0
    # The name, in parentheses, may contain anything; after the last parenthesis comes field 3.
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    start, end = (int(field) for field in stat.split()[_ENVIRONMENT])
    return _overwrite(start, ctypes.string_at(start, end - start)) if start else 0


def _overwrite(address: int, block: bytes) -> int:
    """Put an `x` for each byte of each secret in a block of `NAME=value` that lies at `address`."""
    overwritten = 0
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and value and (_SECRET_NAME.search(name) or _SECRET_VALUE.search(value)):
            ctypes.memset(address + len(name) + 1, ord("x"), len(value))
            overwritten += 1
        address += len(entry) + 1
    return overwritten

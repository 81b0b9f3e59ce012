"""The stock `kaggle` command in one process for all tests, since importing it is slow.

The client has no setting for the address: its table of endpoints is re-pointed before each command.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from tests.emulator.support import KEY, TIMEOUT_S, USER

_PROGRAM = """
import contextlib, io, json, os, sys, traceback
from kagglesdk import kaggle_env
from kaggle.cli import main

for line in os.fdopen(os.dup(0)):  # `exit()`, which the client calls, closes sys.stdin.
    order = json.loads(line)
    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = order["url"]
    os.chdir(order["cwd"])
    sys.argv = ["kaggle", *order["arguments"]]
    said, code = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            if isinstance(ended.code, str):
                print(ended.code)
        except Exception:
            traceback.print_exc()
            code = 1
    print(json.dumps([code, said.getvalue()]), file=sys.__stdout__, flush=True)
"""


class StockClient:
    """Runs commands of the stock client, one after another.

    Args:
        home: an empty folder, for its settings and its notes of uploads.
    """

    def __init__(self, home: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE")}
        environment |= {"HOME": str(home), "TMPDIR": str(home), "KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._process as process:
            process.kill()

    def run(self, url: str, cwd: Path, *arguments: str) -> tuple[int, str]:
        """Run `kaggle ARGUMENTS` in a folder; gives its exit code, and what it printed on both streams."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"url": url, "cwd": str(cwd), "arguments": arguments}
        watch = threading.Timer(2 * TIMEOUT_S, self._process.kill)
        watch.start()
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer: Any = json.loads(self._process.stdout.readline())
        finally:
            watch.cancel()
        return answer[0], answer[1]

"""One server with a tiny voice, for all tests of a file that only ask it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.serve import Limits, Server

collect_ignore_glob = [] if importlib.util.find_spec("onnx") is not None else ["test_*.py"]


@pytest.fixture(scope="module")
def voice_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the voice `asha`."""
    return tmp_path_factory.mktemp("asha")


@pytest.fixture(scope="module")
def server(voice_folder: Path) -> Iterator[Server]:
    """Serve `asha`; texts of at most 1,000 characters."""
    from tests.serve.making import running, tiny_voices  # noqa: PLC0415 - they need onnx.

    with running(tiny_voices(voice_folder), limits=Limits(text=1_000)) as started:
        yield started

"""The official client accepts the rendered folder unchanged."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models import Resume
from orchestrator.render.kernel import render_kernel, write_rendered
from orchestrator.render.package import Templates
from orchestrator.render.stamp import RunStamp
from orchestrator.settings import Settings

# Pushes with the client's own code up to the call of the service, which is caught and printed.
PUSH = """
import json, sys
from types import SimpleNamespace
from kaggle.api.kaggle_api_extended import KaggleApi

sent = []

class Client:
    def __enter__(self):
        service = SimpleNamespace(save_kernel=sent.append)
        return SimpleNamespace(kernels=SimpleNamespace(kernels_api_client=service))
    def __exit__(self, *_):
        pass

class Api(KaggleApi):
    def build_kaggle_client(self):
        return Client()

Api().kernels_push(sys.argv[1])
print(json.dumps(sent[0].to_dict(sent[0])))
"""
CUSTOM: dict[str, Any] = {
    "kernel": {
        "accelerator": "none",
        "private": False,
        "internet": False,
        "docker_image": "gcr.io/kaggle-images/python@sha256:0\"'<&",
        "docker_image_pinning": "latest",
        "title": "Bangla (TTS)",
    }
}


@pytest.mark.parametrize("tables", [{}, CUSTOM], ids=["default", "custom"])
def test_the_stock_client_sends_what_we_would(
    tables: dict[str, Any], templates: Templates, stamp: RunStamp, tmp_path: Path
) -> None:
    """`kaggle kernels push` asks Kaggle for exactly what our push does."""
    rendered = render_kernel(
        Settings.model_validate(tables).with_owner("someone"), stamp, templates=templates
    )
    write_rendered(rendered, tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-c", PUSH, tmp_path / "out"],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")},
            "KAGGLE_USERNAME": "someone",
            "KAGGLE_KEY": "made-up",
            "KAGGLE_CONFIG_DIR": str(tmp_path),
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)  # The client prints a warning first when the title gives another slug.
    push = rendered.push
    wanted = {
        "slug": "someone/bangla-tts",
        "newTitle": push.title,
        "text": rendered.source,
        "language": "python",
        "kernelType": "script",
        "isPrivate": push.private,
        "enableGpu": push.accelerator is not None,
        "enableTpu": False,
        "enableInternet": push.internet,
        "datasetDataSources": ["someone/datahrbnn"],
        "modelDataSources": ["someone/ttsbnng/transformers/default/1"],
        "machineShape": push.accelerator or "",
    }
    assert {key: sent.get(key) for key in wanted} == wanted
    assert sent.get("dockerImage") == push.docker_image
    assert sent.get("dockerImagePinningType") == push.docker_image_pinning
    assert not any(sent.get(key) for key in ("kernelDataSources", "competitionDataSources", "categoryIds"))


def test_metadata_is_plain_json_with_every_switch_written(
    templates: Templates, resolved: Settings, stamp: RunStamp
) -> None:
    """Privacy, GPU and internet are always written, since the client's defaults and its docs differ."""
    rendered = render_kernel(
        resolved, stamp, resume=Resume("someone/other-kernel", 2, "r", 1, 5, None), templates=templates
    )
    metadata = json.loads(rendered.metadata)
    assert (metadata["is_private"], metadata["enable_gpu"], metadata["enable_internet"]) == (True, True, True)
    assert metadata["kernel_sources"] == ["someone/other-kernel"]
    assert metadata["code_file"] == rendered.code_file

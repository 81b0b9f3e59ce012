"""Settings from the command line, set without Coqui's parser."""

from types import SimpleNamespace
from typing import Any

import pytest

from kernel_template.host.coqui import set_in_config


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("batch_size", "16", {"batch_size": 16}),
        ("lr_gen", "1", {"lr_gen": 1.0}),
        ("mixed_precision", "true", {"mixed_precision": True}),
        ("run_name", "a b", {"run_name": "a b"}),
        ("unknown", "1", {}),
        ("datasets.3.path", "x", {}),
        ("audio.none.x", "x", {}),
    ],
)
def test_a_value_and_its_kind(key: str, text: str, found: dict[str, Any]) -> None:
    """Numbers keep the kind that the configuration has; what it does not have is not added."""
    values = {"batch_size": 2, "lr_gen": 0.1, "mixed_precision": False, "run_name": "", "test_sentences": []}
    config = SimpleNamespace(**values, datasets=[SimpleNamespace(path="")], audio=None)
    set_in_config(config, key, text)
    assert vars(config) == {**values, **found, "datasets": config.datasets, "audio": None}


def test_a_place_within_a_list() -> None:
    """The path of the first dataset."""
    config = SimpleNamespace(datasets=[SimpleNamespace(path="")])
    set_in_config(config, "datasets.0.path", "/data")
    assert config.datasets[0].path == "/data"

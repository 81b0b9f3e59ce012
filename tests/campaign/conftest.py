"""Fixtures of the campaign's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.campaign import Campaign
from orchestrator.ledger import Ledger
from tests.campaign.fakes import FakeKaggle


@pytest.fixture
def kaggle() -> FakeKaggle:
    """A Kaggle in memory."""
    return FakeKaggle()


@pytest.fixture
def ledger(tmp_path: Path, kaggle: FakeKaggle) -> Iterator[Ledger]:
    """An empty ledger."""
    with Ledger(tmp_path / "ledger.db", kaggle.service) as opened:
        yield opened


@pytest.fixture
def campaign(kaggle: FakeKaggle, ledger: Ledger) -> Campaign:
    """What is tested, on the Kaggle in memory."""
    return Campaign(kaggle, ledger, kaggle.clock)

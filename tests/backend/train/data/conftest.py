"""What several tests of training data share."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.train.data.kit_samples import kit_samples
from backend.train.data.sample import Sample


@pytest.fixture(scope="session")
def kit_training(kit: Path) -> list[Sample]:
    """All samples of the kit, read once."""
    return list(kit_samples(kit))

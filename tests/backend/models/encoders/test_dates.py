"""Dates are jittered in training."""

from __future__ import annotations

import pytest
import torch

from backend.models.encoders.dates import jitter_days


@pytest.mark.parametrize("day", [1, 200, 365, 366])
def test_jitter_wraps_around_the_year(day: int) -> None:
    moved = jitter_days(torch.full((4000,), day), generator=torch.Generator().manual_seed(0))
    expected = {(min(day, 365) - 1 + move) % 365 + 1 for move in range(-15, 16)}
    assert set(moved.tolist()) == expected


def test_no_date_is_not_moved() -> None:
    assert not jitter_days(torch.zeros(100).long()).any()

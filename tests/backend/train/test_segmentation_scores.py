"""Scores computed by hand, and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from backend.train.evaluate.segmentation import block_counts, counts, f1, iou, mean_of_units, pooled, stack

LABEL = np.array([[1, 1, 0, -1], [0, 0, 1, 1]])
PREDICTION = np.array([[1, 0, 1, 1], [0, 0, 1, 1]])


def test_counts_by_hand() -> None:
    assert counts(PREDICTION, LABEL).tolist() == [3, 1, 1]
    assert iou(counts(PREDICTION, LABEL)) == pytest.approx(3 / 5)
    assert f1(counts(PREDICTION, LABEL)) == pytest.approx(6 / 8)


def test_blocks_add_up() -> None:
    random = np.random.default_rng(0)
    prediction, label = random.integers(0, 2, (2, 50, 37))
    blocks = block_counts(prediction, label, 16)
    assert blocks.shape == (4 * 3, 3)
    assert blocks.sum(axis=0).tolist() == counts(prediction, label).tolist()


def test_pooled_and_mean_of_units() -> None:
    units = stack([np.array([8, 1, 1]), np.array([1, 0, 9])])
    assert pooled(iou, units).value == pytest.approx(9 / 20)
    assert mean_of_units(iou, units).value == pytest.approx((0.8 + 0.1) / 2)
    score = pooled(iou, units)
    assert score.low <= score.value <= score.high
    assert pooled(iou, units) == score


def test_equal_units_have_no_spread() -> None:
    score = pooled(f1, np.tile([5, 1, 2], (10, 1)))
    assert score.low == pytest.approx(score.high)

"""Blending weights along one axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.scene.plan import Axis
from backend.scene.weights import blend_weights


@given(st.integers(1, 500), st.integers(1, 80), st.data())
def test_weights_are_positive_and_sum_to_one_at_every_pixel(size: int, window: int, data: st.DataObject) -> None:
    axis = Axis.lay(size, window, data.draw(st.integers(max(1, window // 5), window)))
    assert (axis.weights > 0).all() and (axis.weights <= 1).all()
    total = np.zeros(max(size, window))
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + window] += weights
    np.testing.assert_allclose(total, 1, atol=3e-7)


def test_a_window_counts_least_at_its_edges_and_fully_where_it_is_alone() -> None:
    left, middle, right = blend_weights(20, 8, (0, 6, 12))
    np.testing.assert_allclose(left, [1, 1, 1, 1, 1, 1, 0.75, 0.25])
    np.testing.assert_allclose(middle, [0.25, 0.75, 1, 1, 1, 1, 0.75, 0.25])
    np.testing.assert_allclose(right, left[::-1])


def test_windows_that_only_touch_keep_all_their_pixels() -> None:
    np.testing.assert_array_equal(blend_weights(12, 4, (0, 4, 8)), np.ones((3, 4)))


@pytest.mark.parametrize("window", [512, 1024, 4096])
def test_large_windows_keep_single_precision_sums_close_to_one(window: int) -> None:
    weights = blend_weights(3 * window, window, (0, window // 2, window, 2 * window))
    total = np.zeros(3 * window, np.float32)
    for start, part in zip((0, window // 2, window, 2 * window), weights, strict=True):
        total[start : start + window] += part
    np.testing.assert_allclose(total, 1, atol=3e-7)

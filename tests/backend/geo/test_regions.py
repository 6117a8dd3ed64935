"""Connected regions against a plain flood fill."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.geo.regions import NO_REGION, label_regions


def flood_fill(classes: np.ndarray, nodata: int | None) -> np.ndarray:
    labels = np.full(classes.shape, NO_REGION)
    number = 0
    for start in np.ndindex(*classes.shape):
        if labels[start] != NO_REGION or classes[start] == nodata:
            continue
        waiting, labels[start] = [start], number
        while waiting:
            row, col = waiting.pop()
            for near in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                inside = 0 <= near[0] < classes.shape[0] and 0 <= near[1] < classes.shape[1]
                if inside and labels[near] == NO_REGION and classes[near] == classes[start]:
                    labels[near] = number
                    waiting.append(near)
        number += 1
    return labels


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.integers(0, 2**32), st.sampled_from([None, 0]))
def test_regions_are_those_of_a_flood_fill(height: int, width: int, kinds: int, seed: int, nodata: int | None) -> None:
    classes = np.random.default_rng(seed).integers(0, kinds, (height, width)).astype(np.uint8)
    regions = label_regions(classes, nodata)
    expected = flood_fill(classes, nodata)
    np.testing.assert_array_equal(regions.labels, expected)
    np.testing.assert_array_equal(regions.sizes, np.bincount(expected[expected >= 0], minlength=len(regions.classes)))
    for number, value in enumerate(regions.classes):
        assert (classes[regions.labels == number] == value).all()


@pytest.mark.parametrize("turns", [1, 40])
def test_a_winding_region_is_one(turns: int) -> None:
    classes = np.zeros((4 * turns + 1, 30), np.uint8)
    classes[1::4, :-1] = 1
    classes[3::4, 1:] = 1
    assert len(label_regions(classes).classes) == 1 + 2 * turns

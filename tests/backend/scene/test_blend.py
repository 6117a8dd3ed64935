"""Adding windows up to rows that are final."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backend.scene.blend import SwathBlender
from backend.scene.plan import Plan, Swath
from tests.backend.scene.scenes import noise, plans


def blended(plan: Plan, swath: Swath, image: np.ndarray, order: random.Random | None = None) -> np.ndarray:
    """All rows of a swath over the whole height, from windows that show the image."""
    blender, rows = SwathBlender(plan, swath, len(image)), []
    starts = plan.rows.starts
    for strip, top in enumerate(starts):
        columns = list(swath.columns)
        if order is not None:
            order.shuffle(columns)
        for column in columns:
            left = plan.cols.starts[column]
            window = np.zeros((len(image), plan.window, plan.window), np.float32)
            part = image[:, top : top + plan.window, left : left + plan.window]
            window[:, : part.shape[1], : part.shape[2]] = part
            blender.add(strip, column, window)
        rows.append(blender.advance(plan.window if strip + 1 == len(starts) else starts[strip + 1] - top))
    return np.concatenate(rows, axis=1)[:, : image.shape[1]]


@given(plans(60, 6), st.integers(1, 4), st.randoms(use_true_random=False))
def test_windows_that_agree_give_the_image_back(plan: Plan, channels: int, order: random.Random) -> None:
    image = noise(channels, *plan.scene.shape)
    inner = plan.swaths[len(plan.swaths) // 2]
    # Columns that no neighbouring swath's windows reach into.
    before = [plan.cols.starts[c] + plan.window for c in range(inner.columns.start)]
    after = plan.cols.starts[inner.columns.stop : inner.columns.stop + 1]
    own = slice(max([inner.origin, *before]), min([inner.reach, plan.scene.width, *after]))
    if own.start >= own.stop:
        return
    result = blended(plan, inner, image, order)
    at = slice(own.start - inner.origin, own.stop - inner.origin)
    np.testing.assert_allclose(result[:, :, at], image[:, :, own], atol=1e-6)


@given(plans(60, 6), st.randoms(use_true_random=False))
def test_the_order_inside_a_strip_changes_the_last_bit_at_most(plan: Plan, order: random.Random) -> None:
    image = noise(2, *plan.scene.shape)
    for swath in plan.swaths:
        np.testing.assert_allclose(
            blended(plan, swath, image, order), blended(plan, swath, image), rtol=1e-6, atol=1e-7
        )


@given(plans(60, 6))
def test_rows_taken_out_are_a_copy_that_later_windows_do_not_touch(plan: Plan) -> None:
    swath = plan.swaths[0]
    blender = SwathBlender(plan, swath, 1)
    ones = np.ones((1, plan.window, plan.window), np.float32)
    for column in swath.columns:
        blender.add(0, column, ones)
    first = blender.advance(1)
    kept = first.copy()
    for column in swath.columns:
        blender.add(min(1, len(plan.rows.starts) - 1), column, 5 * ones)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(ones, 1)

"""From blended scores to classes, confidence, probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.scene.decide import NODATA, ClassRule, decide, quantise

UNIT = st.floats(0, 1, width=32, allow_subnormal=False)


@given(hnp.arrays(np.float32, st.tuples(st.integers(2, 10), st.integers(1, 6), st.integers(1, 6)), elements=UNIT))
def test_the_largest_score_wins_and_the_first_of_equals(scores: np.ndarray) -> None:
    values = tuple(range(3, 3 + len(scores)))
    classes, best = decide(scores, np.ones(scores.shape[1:], bool), ClassRule(values))
    np.testing.assert_array_equal(classes, scores.argmax(axis=0) + 3)
    np.testing.assert_array_equal(best, scores.max(axis=0))
    assert classes.dtype == np.uint8 and best.dtype == np.float32


@given(hnp.arrays(np.float32, (1, 5, 5), elements=UNIT), UNIT)
def test_a_single_channel_is_compared_with_its_threshold(scores: np.ndarray, threshold: float) -> None:
    rule = ClassRule((0, 7), threshold)
    classes, best = decide(scores, np.ones((5, 5), bool), rule)
    np.testing.assert_array_equal(classes, np.where(scores[0] >= threshold, 7, 0))
    np.testing.assert_array_equal(best, np.where(scores[0] >= threshold, scores[0], 1 - scores[0]))
    assert rule.channels == 1


def test_the_threshold_itself_is_enough() -> None:
    classes, best = decide(np.float32([[[0.25, np.nextafter(np.float32(0.25), np.float32(0))]]]),
                           np.ones((1, 2), bool), ClassRule((0, 1), 0.25))  # fmt: skip
    assert classes.tolist() == [[1, 0]]
    np.testing.assert_allclose(best, [[0.25, 0.75]])


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_unwanted_pixels_are_nodata_and_no_others(channels: int) -> None:
    wanted = np.random.default_rng(0).random((20, 20)) > 0.4
    scores = np.random.default_rng(1).random((channels, 20, 20), np.float32)
    rule = ClassRule(tuple(range(max(2, channels))), 0.5 if channels == 1 else None, nodata=99)
    classes, _ = decide(scores, wanted, rule)
    np.testing.assert_array_equal(classes == 99, ~wanted)
    np.testing.assert_array_equal(quantise(scores, wanted)[0] == NODATA, ~wanted)


@given(hnp.arrays(np.float32, (2, 4, 4), elements=st.floats(-2, 3, width=32, allow_subnormal=False)))
def test_bytes_hold_a_probability_to_half_a_step(scores: np.ndarray) -> None:
    before = scores.copy()
    levels = quantise(scores, np.ones((4, 4), bool))
    assert levels.dtype == np.uint8 and levels.max() <= 250
    np.testing.assert_allclose(levels / 250, scores.clip(0, 1), atol=0.002 + 1e-6)
    np.testing.assert_array_equal(scores, before)


def test_every_level_survives_a_round_trip() -> None:
    levels = np.arange(251, dtype=np.uint8)[None]
    np.testing.assert_array_equal(quantise((levels / 250).astype(np.float32), np.ones((1, 251), bool)), levels)

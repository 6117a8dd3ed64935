"""Intervals: what is resampled are places."""

from __future__ import annotations

import numpy as np
import pytest

from backend.tasks.intervals import bootstrap, grouped_mean, paired_difference


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    score = bootstrap(lambda drawn: drawn[..., 0].mean(axis=-1), values[:, None])
    error = values.std() / 20
    assert score.value == pytest.approx(values.mean())
    assert score.low == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert score.high == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


def test_samples_of_one_place_are_one_unit() -> None:
    """Ten equal samples of a place say no more than one."""
    values, places = np.array([0.0, 1.0, 1.0, 0.0, 1.0]), list("abcde")
    alone = grouped_mean(values, places)
    many = grouped_mean(values.repeat(10), [place for place in places for _ in range(10)])
    assert (alone.value, alone.low, alone.high) == (many.value, many.low, many.high) == (0.6, 0.2, 1.0)


def test_a_paired_difference_leaves_out_what_both_share() -> None:
    """Both are unsure of the same places; that one is better everywhere is sure."""
    shared = np.random.default_rng(1).random(50)
    difference = paired_difference(shared + 0.1, shared, [str(number) for number in range(50)])
    assert difference.low == pytest.approx(0.1) and difference.high == pytest.approx(0.1)
    apart = grouped_mean(shared, [str(number) for number in range(50)])
    assert apart.high - apart.low > 0.1

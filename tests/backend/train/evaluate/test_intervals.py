"""Intervals and folds: what is resampled and what stays together are places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.train.evaluate.folds import few_shot, grouped_folds
from backend.train.evaluate.intervals import bootstrap, grouped_mean, paired_difference


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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 20), st.integers(1, 6))
def test_folds_keep_places_together_and_are_filled_alike(seed: int, places: int, each: int) -> None:
    groups = [f"place {number // each}" for number in range(places * each)]
    labels = np.arange(places * each) % 3
    folds = grouped_folds(labels, groups, seed)
    assert set(folds) == set(range(5))
    for group in set(groups):
        assert len({fold for fold, name in zip(folds, groups, strict=True) if name == group}) == 1
    counts = np.bincount(folds)
    assert counts.max() - counts.min() <= 2 * each


def test_folds_spread_the_classes_and_differ_by_seed() -> None:
    labels = np.arange(50) // 10
    groups = [str(number) for number in range(50)]
    folds = grouped_folds(labels, groups, 0)
    assert all((np.bincount(folds[labels == label], minlength=5) == 2).all() for label in range(5))
    assert (folds == grouped_folds(labels, groups, 0)).all()
    assert (folds != grouped_folds(labels, groups, 1)).any()
    with pytest.raises(ValueError, match="2 places cannot make 5 folds"):
        grouped_folds(labels, ["a", "b"] * 25, 0)


def test_few_shots_are_drawn_from_every_class() -> None:
    labels = np.array([0] * 10 + [1] * 2)
    drawn = few_shot(labels, 3, 0)
    assert (labels[drawn] == 0).sum() == 3 and (labels[drawn] == 1).sum() == 2
    assert (drawn != few_shot(labels, 3, 1)).any()

"""Folds keep places together; few shots are drawn from every class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.train.evaluate.folds import few_shot, grouped_folds


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

"""Cross-validation of probes: labels stay whole, and count alike whatever their size."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.tasks.probe import fit_logistic, fit_prototypes
from backend.tasks.samples import Samples
from backend.tasks.validation import folds_of_blocks, folds_of_labels, validated, warnings_on


def samples(owners: np.ndarray, classes: np.ndarray, features: np.ndarray, places: np.ndarray | None = None) -> Samples:
    names = tuple("abcdef"[: int(classes.max()) + 1])
    places = np.stack([owners * 10, owners * 10], axis=1) if places is None else places
    return Samples(features, classes, owners, places, names, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(6, 30), st.integers(1, 9))
def test_all_positions_of_a_label_are_in_one_fold(seed: int, labels: int, each: int) -> None:
    owners = np.arange(labels).repeat(each)
    made = samples(owners, owners % 3, np.zeros((len(owners), 2)))
    for folds in (folds_of_labels(made, seed), folds_of_blocks(made, seed)):
        assert all(len(set(folds[owners == owner])) == 1 for owner in range(labels))
    folds = folds_of_labels(made, seed)
    assert len(set(folds)) == 5
    per_class = [len(set(folds[made.classes == number])) for number in range(3)]
    assert min(per_class) >= min(5, labels // 3)


def test_a_large_label_counts_as_much_as_a_small_one() -> None:
    """Ten labels; one of them, with 90 of the 99 positions, looks like the other class."""
    owners = np.concatenate([np.zeros(90, int), np.arange(1, 10)])
    classes = owners % 2
    features = np.where(owners == 0, 1, classes)[:, None] * np.ones((1, 2)) * np.array([1.0, -1.0]) + 0.1
    found = validated(samples(owners, classes, features), owners % 5, partial(fit_prototypes, classes=2))
    assert found is not None
    assert found.accuracy.value == pytest.approx(0.9) and found.accuracy.low < 0.9 < found.accuracy.high + 1e-9
    np.testing.assert_allclose(found.confusion, [[4, 1], [0, 5]])
    assert found.recall[0] == pytest.approx(0.8) and found.precision[1] == pytest.approx(5 / 6)
    assert found.f1[0] == pytest.approx(8 / 9)


def test_noise_is_not_learned() -> None:
    random = np.random.default_rng(0)
    owners = np.arange(300)
    made = samples(owners, random.integers(0, 2, 300), random.normal(size=(300, 5)))
    found = validated(made, folds_of_labels(made), partial(fit_logistic, classes=2))
    assert found is not None and 0.4 < found.accuracy.value < 0.6


def test_without_two_folds_nothing_is_claimed() -> None:
    owners = np.arange(4)
    made = samples(owners, owners % 2, np.eye(4))
    assert validated(made, np.zeros(4, int), partial(fit_logistic, classes=2)) is None
    assert any("lie close together" in text for text in warnings_on(made, None, None))

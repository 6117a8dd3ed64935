"""Counts and scores of binary maps, with bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from backend.tasks.intervals import Score, bootstrap


def counts(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """True positives, false positives, false negatives of class 1; labels below 0 do not count. Shapes H x W."""
    positive, truth, valid = prediction == 1, label == 1, label >= 0
    return np.array(
        [(positive & truth).sum(), (positive & ~truth & valid).sum(), (~positive & truth).sum()], dtype=np.int64
    )


def block_counts(prediction: np.ndarray, label: np.ndarray, block: int) -> np.ndarray:
    """`counts` of every square block of `block` pixels: blocks x 3."""
    corners = ((row, column) for row in range(0, label.shape[0], block) for column in range(0, label.shape[1], block))
    places = [(slice(row, row + block), slice(column, column + block)) for row, column in corners]
    return np.stack([counts(prediction[place], label[place]) for place in places])


def iou(table: np.ndarray) -> np.ndarray:
    """Intersection over union of counts (..., 3); NaN where neither map has the class."""
    tp, fp, fn = (table[..., index].astype(float) for index in range(3))
    with np.errstate(invalid="ignore"):
        return np.asarray(tp / (tp + fp + fn))


def f1(table: np.ndarray) -> np.ndarray:
    """F1 of counts (..., 3); NaN where neither map has the class."""
    tp, fp, fn = (table[..., index].astype(float) for index in range(3))
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * tp / (2 * tp + fp + fn))


def pooled(metric: Callable[[np.ndarray], np.ndarray], units: np.ndarray, seed: int = 0) -> Score:
    """The metric of all units' pixels together; the units (n x 3) are resampled."""
    return bootstrap(lambda drawn: metric(drawn.sum(axis=-2)), units, seed)


def mean_of_units(metric: Callable[[np.ndarray], np.ndarray], units: np.ndarray, seed: int = 0) -> Score:
    """The mean of the units' own metrics; the units (n x 3) are resampled."""
    return bootstrap(lambda drawn: metric(drawn).mean(axis=-1), units, seed)


def stack(tables: Iterable[np.ndarray]) -> np.ndarray:
    """Counts of several images as units x 3."""
    return np.concatenate([np.atleast_2d(table) for table in tables])

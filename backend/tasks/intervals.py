"""Values with bootstrap confidence intervals.

Intervals resample units (places, chips, or square blocks of one scene) with replacement and take percentiles; models
are not fitted again, so they hold the sampling of the test data only (Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Score:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"

    def to_dict(self) -> dict[str, float]:
        """Rounded numbers for reports."""
        return {"value": round(self.value, 4), "ci_low": round(self.low, 4), "ci_high": round(self.high, 4)}


def bootstrap(statistic: Callable[[np.ndarray], np.ndarray], units: np.ndarray, seed: int = 0) -> Score:
    """A statistic of units with its interval.

    Args:
        statistic: ... x n x k, drawn units -> ...
        units: n x k.
        seed: of the resampling.
    """
    random = np.random.default_rng(seed)
    drawn = units[random.integers(0, len(units), (RESAMPLES, len(units)))]
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(statistic(drawn), [tail, 1 - tail])
    return Score(float(statistic(units)), float(low), float(high))


def grouped_mean(values: np.ndarray, groups: Sequence[str], seed: int = 0) -> Score:
    """The mean of samples; what is resampled are the groups, each with all its samples.

    Args:
        values: N, such as whether a sample was classified correctly.
        groups: N, such as the samples' places.
    """
    return bootstrap(_mean, grouped_sums(values, groups), seed)


def paired_difference(first: np.ndarray, second: np.ndarray, groups: Sequence[str], seed: int = 0) -> Score:
    """The mean of `first` less that of `second` on the same samples, which are resampled together, by group."""
    return grouped_mean(np.asarray(first, float) - np.asarray(second, float), groups, seed)


def grouped_sums(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Sum and number of the values of each group: groups x 2."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    return np.stack([np.bincount(numbers, np.asarray(values, float)), np.bincount(numbers)], axis=1)


def _mean(sums: np.ndarray) -> np.ndarray:
    """... x groups x 2 -> ..."""
    total = sums.sum(axis=-2)
    return np.asarray(total[..., 0] / total[..., 1])

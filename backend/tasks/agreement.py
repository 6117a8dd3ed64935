"""Accuracy and areas of a map from a stratified sample, the map's classes being the strata.

Estimators and their variances are those of Olofsson et al. 2014, "Good practices for estimating area and assessing
accuracy of land change", Remote Sensing of Environment 148, equations 1 to 11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z = 1.959964  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class Estimate:
    """Values with the half widths of their 95 % intervals; NaN where nothing can be said."""

    values: np.ndarray
    margins: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """What a sample says of a map of K classes.

    Attributes:
        counts: K x K samples, the map's class by row, the reference's by column.
        overall: area-adjusted share of the map that is right.
        users: of what the map calls a class, the share that is one: per class.
        producers: of what is a class, the share that the map calls so: per class.
        areas: ground that each class really covers, m2, adjusted for the map's errors.
        mapped: ground that the map gives to each class, m2.
        samples_right: plain share of the samples that are right, not adjusted.
    """

    counts: np.ndarray
    overall: Estimate
    users: Estimate
    producers: Estimate
    areas: Estimate
    mapped: np.ndarray
    samples_right: float


def agreement(counts: np.ndarray, mapped: np.ndarray) -> Agreement:
    """Estimates from a sample.

    Args:
        counts: K x K, map by row, reference by column.
        mapped: K, ground of each class on the map, m2.

    Returns:
        the estimates; strata without a sample leave all area-adjusted values NaN, for nothing is known of their ground.
    """
    counts, mapped = np.asarray(counts, float), np.asarray(mapped, float)
    total, of_stratum = mapped.sum(), counts.sum(axis=1)
    weights = mapped / total
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / of_stratum[:, None]
        shares[weights == 0] = 0.0
        proportions = weights[:, None] * shares  # equation 4
        users = np.diag(shares).copy()
        users[weights == 0] = np.nan
        spread = shares * (1 - shares) / (of_stratum[:, None] - 1)
        spread[weights == 0] = 0.0
        users_variance = np.diag(spread)
        overall = np.trace(proportions)
        overall_variance = np.sum(weights**2 * users_variance)  # equation 5
        columns = proportions.sum(axis=0)
        producers = np.where(columns > 0, np.diag(proportions) / columns, np.nan)
        ground = mapped[:, None] ** 2 * spread
        own = mapped**2 * (1 - producers) ** 2 * users_variance
        others = producers**2 * (ground.sum(axis=0) - np.diag(ground))
        producers_variance = (own + others) / (total * columns) ** 2  # equation 7
        columns_variance = np.sum(weights[:, None] ** 2 * spread, axis=0)  # equation 10
    return Agreement(
        counts.astype(int),
        Estimate(np.asarray(overall), Z * np.sqrt(overall_variance)),
        Estimate(users, Z * np.sqrt(users_variance)),
        Estimate(producers, Z * np.sqrt(producers_variance)),
        Estimate(total * columns, Z * total * np.sqrt(columns_variance)),
        mapped,
        float(np.trace(counts) / counts.sum()),
    )


def allocation(mapped: np.ndarray, total: int, least: int) -> np.ndarray:
    """How many samples each stratum gets: its share of the ground, but `least` at the least (section 5.1.3 there).

    Args:
        mapped: K, ground of each class; classes without any get no sample.
        total: samples in all; at least `least` for every class that occurs.
        least: of each class.
    """
    present = mapped > 0
    found = np.where(present, least, 0)
    rest = total - found.sum()
    if rest <= 0:
        return found
    share = np.where(present, mapped, 0) / mapped[present].sum() * rest
    found = found + np.floor(share).astype(int)
    for number in np.argsort(-(share - np.floor(share)))[: total - found.sum()]:
        found[number] += 1
    return found

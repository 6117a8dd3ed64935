"""Area-adjusted accuracy against the worked example of the paper that the estimators are from, as it is printed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.tasks.agreement import Z, agreement, allocation

# Olofsson et al. 2014, table 8: deforestation, forest gain, stable forest, stable non-forest; pixels of 30 m.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
MAPPED = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 900.0


def test_the_published_example() -> None:
    found = agreement(COUNTS, MAPPED)
    assert found.overall.values == pytest.approx(0.947, abs=5e-4)
    assert found.overall.margins == pytest.approx(0.018, abs=5e-4)
    np.testing.assert_allclose(found.users.values, [0.88, 0.733, 0.927, 0.963], atol=6e-4)
    np.testing.assert_allclose(found.users.margins, [0.074, 0.101, 0.040, 0.021], atol=6e-4)
    np.testing.assert_allclose(found.producers.values, [0.75, 0.85, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(found.producers.margins[[0, 2, 3]], [0.21, 0.03, 0.02], atol=0.005)
    hectares = found.areas.values / 1e4, found.areas.margins / 1e4
    np.testing.assert_allclose(hectares[0], [21_158, 11_686, 285_770, 581_386], atol=1)
    np.testing.assert_allclose(hectares[1], [6_158, 3_756, 15_510, 16_282], atol=1)
    assert found.areas.values.sum() == pytest.approx(MAPPED.sum())


def test_a_perfect_map_is_perfect_and_a_class_without_ground_counts_for_nothing() -> None:
    found = agreement(np.diag([10, 20, 0]), np.array([1.0, 3.0, 0.0]))
    assert found.overall.values == 1 and found.overall.margins == 0
    np.testing.assert_array_equal(found.users.values[:2], 1)
    np.testing.assert_allclose(found.areas.values, [1, 3, 0])


def test_without_samples_in_a_stratum_nothing_is_said_of_the_whole() -> None:
    found = agreement(np.array([[5, 1], [0, 0]]), np.array([1.0, 1.0]))
    assert np.isnan(found.overall.values) and found.samples_right == pytest.approx(5 / 6)


def test_intervals_hold_what_they_promise() -> None:
    """Of a thousand samples of one map, about 95 % of the intervals hold the true area."""
    random = np.random.default_rng(0)
    truth = np.array([[0.95, 0.05], [0.10, 0.90]])  # share of each map class that is really so
    mapped = np.array([20.0, 80.0])
    real = mapped @ truth
    held = 0
    for _ in range(1000):
        counts = np.stack([random.multinomial(60, row) for row in truth])
        found = agreement(counts, mapped)
        held += abs(found.areas.values[0] - real[0]) <= found.areas.margins[0]
    assert 0.90 < held / 1000 < 0.98 and pytest.approx(1.96, abs=1e-3) == Z


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=12), st.integers(0, 2000), st.integers(2, 50))
def test_every_class_that_occurs_gets_its_least(areas: list[float], total: int, least: int) -> None:
    mapped = np.array(areas)
    if not mapped.any():
        return
    found = allocation(mapped, total, least)
    present = mapped > 0
    assert (found[present] >= least).all() and (found[~present] == 0).all()
    assert found.sum() == max(total, least * present.sum())

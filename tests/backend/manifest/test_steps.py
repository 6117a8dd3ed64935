"""Normalisation steps against the plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from backend.manifest.package import Step
from backend.manifest.steps import Normaliser

VALUES = np.random.default_rng(0).normal(1000, 2000, (2, 3, 4, 5)).astype(np.float32)  # B, C, H, W


def _column(*values: float) -> np.ndarray:
    return np.array(values).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step("clip", minimum=(0.0,), maximum=(1000.0, 2000.0, 3000.0)), np.clip(VALUES, 0, _column(1e3, 2e3, 3e3))),
        (Step("rescale", minimum=(1.0, 2.0, 3.0), maximum=(2811.0,)),
         (VALUES - _column(1, 2, 3)) / (2811 - _column(1, 2, 3))),
        (Step("standardise", mean=(5.0,), std=(2.0, 3.0, 4.0)), (VALUES - 5) / _column(2, 3, 4)),
        (Step("scale", factor=(10000.0,), offset=(-1000.0,)), VALUES * 10000.0 - 1000),
        (Step("log1p"), np.log1p(np.maximum(VALUES, 0))),
        (Step("db", floor=(1e-3,)), 10 * np.log10(np.maximum(VALUES, 1e-3))),
    ],
)  # fmt: skip
def test_single_step(step: Step, expected: np.ndarray) -> None:
    values = VALUES.copy()
    result = Normaliser([step])(values)
    assert result is values and result.dtype == np.float32
    assert_allclose(result, expected, rtol=2e-6, atol=1e-5)


def test_steps_run_in_order_and_linear_ones_are_merged_exactly() -> None:
    low, high = _column(12.5, 27.0, 45.0), _column(2829.5, 2604.8, 2580.4)
    mean, std = _column(0.198, 0.148, 0.217), _column(0.192, 0.149, 0.167)
    steps = (
        Step("scale", factor=(10000.0,), offset=(0.0,)),
        Step("rescale", minimum=tuple(low.ravel()), maximum=tuple(high.ravel())),
        Step("clip", minimum=(0.0,), maximum=(1.0,)),
        Step("standardise", mean=tuple(mean.ravel()), std=tuple(std.ravel())),
    )
    reflectance = VALUES / np.float32(10000)
    expected = (np.clip((reflectance * 10000.0 - low) / (high - low), 0, 1) - mean) / std
    assert_allclose(Normaliser(steps)(reflectance.copy()), expected, rtol=1e-5, atol=1e-5)


def test_a_series_is_normalised_like_single_dates() -> None:
    steps = (Step("standardise", mean=(1.0, 2.0, 3.0), std=(2.0,)), Step("log1p"))
    series = np.stack([VALUES, VALUES + 1], axis=1)  # B, T, C, H, W
    single = [Normaliser(steps)(series[:, t].copy()) for t in range(2)]
    assert np.array_equal(Normaliser(steps)(series.copy()), np.stack(single, axis=1))


def test_no_steps_change_nothing() -> None:
    assert np.array_equal(Normaliser(())(VALUES.copy()), VALUES)

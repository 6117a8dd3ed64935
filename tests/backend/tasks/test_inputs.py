"""The chain from stored numbers to model input, against the plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from backend.manifest.package import Step
from backend.protocol.errors import ParameterError
from backend.scene.normalise import Linear, normalise
from backend.sensors.resolve import Conversion
from backend.tasks.inputs import operations

VALUES = np.random.default_rng(0).normal(1000, 2000, (3, 4, 5)).astype(np.float32)
STORED = (Conversion(),) * 3


def _column(*values: float) -> np.ndarray:
    return np.array(values).reshape(-1, 1, 1)


def _computed(
    conversions: tuple[Conversion, ...], steps: tuple[Step, ...], values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    found, valid = values.copy(), np.ones(values.shape[1:], bool)
    normalise(found, valid, operations(conversions, steps), fill=-7.0)
    return found, valid


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
def test_each_step_does_what_its_formula_says(step: Step, expected: np.ndarray) -> None:
    found, valid = _computed(STORED, (step,), VALUES)
    assert found.dtype == np.float32 and valid.all()
    assert_allclose(found, expected, rtol=2e-6, atol=1e-5)


def test_conversion_and_steps_run_in_order_and_linear_ones_become_one() -> None:
    low, high = _column(12.5, 27.0, 45.0), _column(2829.5, 2604.8, 2580.4)
    mean, std = _column(0.198, 0.148, 0.217), _column(0.192, 0.149, 0.167)
    steps = (
        Step("scale", factor=(10000.0,), offset=(0.0,)),
        Step("rescale", minimum=tuple(low.ravel()), maximum=tuple(high.ravel())),
        Step("clip", minimum=(0.0,), maximum=(1.0,)),
        Step("standardise", mean=tuple(mean.ravel()), std=tuple(std.ravel())),
    )
    conversions = tuple(Conversion(offset=-1000.0, scale=1e-4) for _ in range(3))
    expected = (np.clip((VALUES - 1000.0 - low) / (high - low), 0, 1) - mean) / std
    found, _ = _computed(conversions, steps, VALUES)
    assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert [type(op).__name__ for op in operations(conversions, steps)] == ["Linear", "Clip", "Linear"]


def test_a_chain_that_does_nothing_is_empty() -> None:
    assert operations(STORED, ()) == ()
    back_and_forth = (Step("scale", factor=(4.0,), offset=(0.0,)), Step("scale", factor=(0.25,), offset=(0.0,)))
    assert operations(STORED, back_and_forth) == ()


@pytest.mark.parametrize(
    ("log", "stored", "expected"),
    [
        ("to_db", 0.1, -10.0),
        ("to_linear", -10.0, 0.1),
        ("amplitude_to_db", 10.0, 20.0),
        ("amplitude_to_linear", 3.0, 9.0),
    ],
)
def test_backscatter_is_converted(log: str, stored: float, expected: float) -> None:
    found, valid = _computed((Conversion(log=log),), (), np.full((1, 1, 1), stored, np.float32))
    assert valid.all()
    assert found[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_power_without_a_logarithm_is_invalid_and_gets_the_fill_value() -> None:
    found, valid = _computed((Conversion(log="to_db"),) * 2, (), np.array([[[0.0, 0.1]], [[0.1, 0.1]]], np.float32))
    assert valid.tolist() == [[False, True]]
    assert found[:, 0, 0].tolist() == [-7.0, -7.0]


def test_bands_of_different_kinds_are_refused() -> None:
    with pytest.raises(ParameterError, match="different units"):
        operations((Conversion(), Conversion(log="to_db")), ())


def test_linear_takes_one_value_for_all_bands() -> None:
    values = np.ones((3, 2, 2), np.float32)
    Linear((2.0,), (1.0,)).apply(values)
    assert (values == 3.0).all()

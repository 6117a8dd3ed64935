"""From raw numbers to model input."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.scene.normalise import (
    Clip,
    Decibel,
    FromDecibel,
    Linear,
    Log1p,
    Operation,
    Square,
    fold,
    normalise,
)

BANDS = 3


def per_band(low: float, high: float) -> st.SearchStrategy[tuple[float, ...]]:
    value = st.floats(low, high, width=32, allow_subnormal=False)
    return st.one_of(value.map(lambda v: (v,)), st.tuples(*[value] * BANDS))


LINEAR = st.builds(Linear, per_band(0.0625, 4), per_band(-5, 5))
CHAINS = st.lists(
    st.one_of(LINEAR, LINEAR, st.builds(Clip, per_band(-20, 0), per_band(0.5, 20)), st.just(Log1p())), max_size=6
)


def apply(values: np.ndarray, chain: tuple[Operation, ...] | list[Operation], fill: float = 0.0) -> np.ndarray:
    result, valid = values.astype(np.float32), np.ones(values.shape[1:], bool)
    normalise(result, valid, chain, fill)
    assert valid.all()
    return result


@given(CHAINS, st.integers(0, 2**32 - 1))
def test_a_folded_chain_gives_the_same_numbers(chain: list[Operation], seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-10, 10, (BANDS, 4, 4))
    expected, folded = apply(values, chain), apply(values, fold(chain))
    np.testing.assert_allclose(folded, expected, rtol=1e-3, atol=1e-2)
    kinds = [type(operation) for operation in fold(chain)]
    assert (Linear, Linear) not in pairwise(kinds)


def test_neighbouring_linear_steps_become_one_and_idle_ones_vanish() -> None:
    chain = [Linear((1.0,), (0.0,)), Linear((1e-4,), (-0.1,)), Linear((2.0, 4.0), (1.0, 0.0))]
    assert fold(chain) == (Linear((2e-4, 4e-4), (0.8, -0.4)),)
    assert fold([Linear((2.0,), (0.0,)), Linear((0.5,), (0.0,))]) == ()


def test_digital_numbers_become_reflectance_then_standard_scores() -> None:
    digital = np.array([[[1000, 2000]], [[11000, 3500]]])
    chain = fold([Linear((1e-4,), (-0.1,)), Linear((1 / 0.2, 1 / 0.5), (-0.1 / 0.2, -0.1 / 0.5))])
    reflectance = digital / 10000 - 0.1
    expected = (reflectance - 0.1) / np.array([0.2, 0.5])[:, None, None]
    np.testing.assert_allclose(apply(digital, chain), expected, rtol=1e-5, atol=1e-6)


def test_decibels_there_and_back() -> None:
    power = np.array([[[1e-4, 0.01, 1.0, 20.0]]])
    np.testing.assert_allclose(apply(power, [Decibel()]), [[[-40, -20, 0, 13.0103]]], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(apply(power, [Decibel(), FromDecibel()]), power, rtol=1e-5)
    np.testing.assert_allclose(apply(np.sqrt(power), [Square()]), power, rtol=1e-5)
    np.testing.assert_allclose(apply(np.array([[[0.0, -5.0]]]), [Decibel((1e-3,))]), [[[-30, -30]]], rtol=1e-5)
    np.testing.assert_allclose(apply(np.array([[[0.0, np.e - 1, -5.0]]]), [Log1p()]), [[[0, 1, 0]]], atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_what_has_no_logarithm_is_invalid_in_all_bands_and_filled() -> None:
    values = np.float32([[[1, 0, -2, 10]], [[1, 1, 1, 10]]])
    valid = np.array([[True, True, True, False]])
    normalise(values, valid, (Decibel(),), -99.0)
    assert valid.tolist() == [[True, False, False, False]]
    np.testing.assert_allclose(values, [[[0, -99, -99, -99]]] * 2)


def test_the_fill_value_is_model_input_that_no_step_changes() -> None:
    values, valid = np.full((2, 2, 2), 500, np.float32), np.array([[True, False], [False, True]])
    normalise(values, valid, (Linear((1e-3,), (0.25,)), Clip((0.0,), (1.0,))), -1.0)
    np.testing.assert_allclose(values[:, valid], 0.75)
    np.testing.assert_array_equal(values[:, ~valid], -1.0)

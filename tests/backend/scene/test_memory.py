"""The estimate that chooses the width of swaths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.scene.memory import MemoryModel

MODELS = st.builds(
    MemoryModel,
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([64, 224, 256, 512, 1024]),
    st.integers(1, 16),
    st.integers(0, 2 * 10**9),
)


@given(MODELS, st.integers(500_000_000, 8_000_000_000), st.integers(64, 8192))
def test_the_widest_swath_that_keeps_the_budget_is_chosen(model: MemoryModel, budget: int, widest: int) -> None:
    width = model.swath_width(budget, widest)
    assert model.window <= width <= max(widest, model.window)
    assert model.bytes_for(width) <= budget or width == model.window
    assert width == max(widest, model.window) or model.bytes_for(min(widest, 2 * width + 1)) > budget


@given(MODELS)
def test_whatever_makes_a_run_larger_needs_more(model: MemoryModel) -> None:
    needed = model.bytes_for(1024)
    assert model.bytes_for(2048) > needed
    larger = MemoryModel(model.bands + 1, model.channels + 1, model.window, model.batch + 1, model.model_bytes + 1)
    assert larger.bytes_for(1024) > needed

"""Batches of constant shape that flow across strips and swaths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.geo.grid import Window
from backend.scene.plan import Plan, make_plan
from backend.scene.score import score
from backend.scene.strips import Strip, read_strips
from tests.backend.scene.scenes import feed_of, grid_of, identity, noise, write_scene


def strips_of(plan: Plan, image: np.ndarray, skipped: set[tuple[int, int, int]] | None = None) -> Iterator[Strip]:
    """Strips as reading makes them; skipped are (swath, strip, column)."""
    for segment in plan.segments(list(plan.chunks())):
        swath = segment.swath
        for index in segment.strips:
            top = plan.rows.starts[index]
            rows = image[:, top : top + plan.window, swath.origin : swath.reach]
            columns = tuple(c for c in swath.columns if (swath.index, index, c) not in (skipped or set()))
            yield Strip(segment, index, columns, {"image": rows} if columns else {}, np.ones(rows.shape[1:], bool))


PLAN = make_plan(grid_of(70, 50), Window(0, 0, 70, 50), 10, 8, 34, 16)
IMAGE = noise(2, 50, 70)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.sets(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 8))))
def test_every_window_is_scored_once_in_order_whatever_the_batch(
    batch: int, skipped: set[tuple[int, int, int]]
) -> None:
    shapes: set[tuple[int, ...]] = set()

    def scorer(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        shapes.add(feeds["image"].shape)
        return [feeds["image"] * 2, -feeds["image"]]

    expected = [
        (strip.segment.swath.index, strip.index, column)
        for strip in strips_of(PLAN, IMAGE, skipped)
        for column in (*strip.columns, None)
    ]
    found = []
    for item in score(strips_of(PLAN, IMAGE, skipped), PLAN, scorer, batch):
        found.append((item.strip.segment.swath.index, item.strip.index, item.column))
        if item.column is None:
            assert item.scores == ()
            continue
        top, left = PLAN.rows.starts[item.strip.index], PLAN.cols.starts[item.column]
        window = IMAGE[:, top : top + 10, left : left + 10]
        for scores, factor in zip(item.scores, (2, -1), strict=True):
            np.testing.assert_array_equal(scores, factor * window)
    assert found == expected
    assert shapes <= {(batch, 2, 10, 10)}


@pytest.mark.parametrize("batch", [1, 4, 7, 100])
def test_the_model_is_called_no_more_often_than_full_batches_need(batch: int) -> None:
    calls = 0

    def scorer(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        nonlocal calls
        calls += 1
        return identity(feeds)

    assert sum(item.column is not None for item in score(strips_of(PLAN, IMAGE), PLAN, scorer, batch)) == PLAN.windows
    assert calls == -(-PLAN.windows // batch)


def test_strips_without_windows_are_announced_at_once() -> None:
    """Nothing waits for a batch that may never fill up."""
    everything = {(s, r, c) for s in range(3) for r in range(7) for c in range(9)}

    def never(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise AssertionError("there is nothing to score")

    items = list(score(strips_of(PLAN, IMAGE, everything), PLAN, never, 4))
    assert [item.column for item in items] == [None] * (len(PLAN.strips) * len(PLAN.swaths))


def test_scored_strips_hold_no_input_pixels(tmp_path: Path) -> None:
    """What waits for blending must not keep the strips' inputs in memory."""
    feeds = [feed_of(write_scene(tmp_path / "s.tif", IMAGE))]
    for item in score(read_strips(PLAN, feeds, (), PLAN.segments(list(PLAN.chunks()))), PLAN, identity, 3):
        assert item.strip.arrays == {}

"""How a scene is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.geo.grid import Window
from backend.protocol.errors import ParameterError
from backend.scene.plan import Axis, Plan, make_plan
from tests.backend.scene.scenes import grid_of, plans


@given(st.integers(1, 3000), st.integers(1, 600), st.data())
def test_windows_lie_inside_the_scene_and_leave_no_gap(size: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(max(1, window // 10), window))
    starts = Axis.lay(size, window, stride).starts
    assert starts[0] == 0 and starts[-1] == max(0, size - window)
    assert all(0 < b - a <= stride for a, b in pairwise(starts))
    assert all(start % stride == 0 for start in starts[:-1])


@given(plans())
def test_every_pixel_of_the_area_belongs_to_exactly_one_chunk(plan: Plan) -> None:
    owners = np.zeros(plan.scene.shape, int)
    for chunk in plan.chunks():
        assert not chunk.window.empty
        owners[chunk.window.slices()] += 1
    rows, cols = plan.area.slices()
    assert (owners[rows, cols] == 1).all() and owners.sum() == plan.area.width * plan.area.height


@given(plans(), st.data())
def test_segments_hold_every_window_that_touches_their_chunks(plan: Plan, data: st.DataObject) -> None:
    chunks = list(plan.chunks())
    unfinished = [chunk for chunk in chunks if data.draw(st.booleans())]
    segments = plan.segments(unfinished)
    assert [chunk for segment in segments for chunk in segment.chunks] == unfinished
    for segment in segments:
        assert {strip for chunk in segment.chunks for strip in chunk.strips} <= set(segment.strips)
        for chunk in segment.chunks:
            touching = plan.rows.covering(chunk.window.row, chunk.window.bottom)
            assert set(touching) <= set(segment.strips)
        assert segment.swath.columns and segment.swath.index == segment.chunks[0].swath
    # Columns: what the swath does not compute itself, a swath further left computes and hands over.
    for chunk in unfinished:
        needed = plan.cols.covering(chunk.window.col, chunk.window.right)
        assert needed.stop <= plan.swaths[chunk.swath].columns.stop


@given(plans())
def test_swaths_compute_every_window_that_touches_the_area_once(plan: Plan) -> None:
    columns = [column for swath in plan.swaths for column in swath.columns]
    assert columns == list(plan.cols.covering(plan.area.col, plan.area.right))
    assert [strip for band in plan.bands for strip in band] == list(plan.rows.covering(plan.area.row, plan.area.bottom))
    assert plan.windows == len(columns) * len(plan.strips)
    for swath in plan.swaths:
        assert swath.origin <= swath.left < swath.right <= swath.reach or plan.cols.window > plan.scene.width
        assert swath.origin == plan.cols.starts[swath.columns.start]


@given(st.integers(1, 3000), st.integers(1, 256), st.integers(1, 4), st.integers(1, 3000), st.data())
def test_swaths_are_no_wider_than_asked(size: int, window: int, overlap: int, asked: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    area = Window(first, 0, data.draw(st.integers(1, size - first)), 1)
    plan = make_plan(grid_of(size, 1), area, window, max(1, window // overlap), asked)
    # All windows over the area's first pixel are needed before it is finished, however few were asked for.
    least = plan.cols.covering(first, first + 1)
    fewest = plan.cols.starts[least[-1]] + window - plan.cols.starts[least[0]]
    assert all(swath.reach - swath.origin <= max(asked, window, fewest) for swath in plan.swaths)


@given(plans())
def test_an_area_only_selects_from_the_scenes_lattice(plan: Plan) -> None:
    stride = max((b - a for a, b in pairwise(plan.cols.starts + plan.rows.starts)), default=plan.window)
    stride = max(1, min(plan.window, stride))
    area = make_plan(plan.scene, plan.area, plan.window, stride)
    scene = make_plan(plan.scene, plan.scene.window, plan.window, stride)
    assert (area.cols, area.rows) == (scene.cols, scene.rows)
    assert area.output_grid == plan.scene.crop(plan.area)


@pytest.mark.parametrize(
    ("size", "window", "starts"), [(1, 8, (0,)), (8, 8, (0,)), (9, 8, (0, 1)), (20, 8, (0, 6, 12))]
)
def test_the_last_window_is_shifted_inwards(size: int, window: int, starts: tuple[int, ...]) -> None:
    assert Axis.lay(size, window, 6).starts == starts


def test_chunks_have_about_the_height_that_was_asked_for() -> None:
    plan = make_plan(grid_of(5000, 5000), Window(0, 0, 5000, 5000), 512, 448, 2048, 512)
    heights = [plan.chunk(plan.swaths[0], band).window.height for band in plan.bands]
    # The last but one ends where the last window, shifted inwards, begins.
    assert set(heights[:-2]) == {448} and max(heights) <= 512 and len(plan.swaths) == 3


@pytest.mark.parametrize("stride", [0, -1, 17])
def test_a_stride_that_leaves_gaps_is_refused(stride: int) -> None:
    with pytest.raises(ParameterError, match="stride"):
        make_plan(grid_of(40, 40), Window(0, 0, 40, 40), 16, stride)


@pytest.mark.parametrize("area", [Window(0, 0, 0, 5), Window(-1, 0, 5, 5), Window(38, 0, 5, 5)])
def test_an_area_outside_the_scene_is_refused(area: Window) -> None:
    with pytest.raises(ParameterError, match="empty"):
        make_plan(grid_of(40, 40), area, 16, 12)

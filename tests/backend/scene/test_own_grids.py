"""Inputs that keep pixels of their own: coarser or finer than the result's, with lacking bands, with validity."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.geo.grid import Window
from backend.geo.reader import StripReader
from backend.protocol.errors import ParameterError
from backend.scene.finish import FeatureOutput
from backend.scene.plan import Axis, Plan, make_plan
from backend.scene.strips import Feed, Strip, read_strips, window_of
from tests.backend.scene.scenes import LEFT, PIXEL, TOP, blend, grid_of, source_of, write_scene

COARSE = 8  # pixels of the scene for one of a coarse input


def transform(pixel: float) -> Affine:
    return Affine(pixel, 0, LEFT, 0, -pixel, TOP)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, shape).astype(np.float32)


def feed(path: Path, name: str = "image", **fields: object) -> Feed:
    return Feed(name, (source_of(path),), ((),), **fields)  # type: ignore[arg-type]


def strips(plan: Plan, *feeds: Feed) -> list[Strip]:
    return [s for s in read_strips(plan, feeds, (), plan.segments(list(plan.chunks()))) if s.columns]


@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 8))
def test_every_window_starts_at_a_multiple_and_all_pixels_are_covered(size: int, windows: int, multiple: int) -> None:
    window = windows * 2 * multiple
    axis = Axis.lay(size, window, window // 2 if windows > 1 else window, multiple)
    assert all(start % multiple == 0 for start in axis.starts)
    assert axis.starts[-1] + window >= size
    assert axis.starts[-1] + window < max(size, window) + multiple
    total = np.zeros(axis.starts[-1] + window)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert (weights > 0).all()
        total[start : start + window] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_stride_that_cuts_a_coarse_pixel_is_refused() -> None:
    grid = grid_of(100, 100)
    with pytest.raises(ParameterError, match="multiples of 8"):
        make_plan(grid, grid.window, 32, 12, multiple=8)


@pytest.mark.parametrize(("width", "height"), [(96, 64), (100, 75), (20, 9)])
def test_a_coarse_input_is_read_on_its_own_pixels(tmp_path: Path, width: int, height: int) -> None:
    columns, rows = -(-width // COARSE), -(-height // COARSE)
    values = noise(2, rows, columns)
    coarse = feed(
        write_scene(tmp_path / "coarse.tif", values, transform=transform(PIXEL * COARSE)), ratio=Fraction(1, COARSE)
    )
    fine = feed(write_scene(tmp_path / "fine.tif", noise(1, height, width)), "fine")
    assert coarse.multiple == COARSE
    grid = grid_of(width, height)
    plan = make_plan(grid, grid.window, 32, 16, multiple=COARSE)
    for strip in strips(plan, fine, coarse):
        for column in strip.columns:
            tile = plan.tile(strip.index, column)
            found = window_of(strip, plan, column, "image")
            assert found.shape == (2, 32 // COARSE, 32 // COARSE)
            place = Window(tile.col // COARSE, tile.row // COARSE, 4, 4).intersect(Window(0, 0, columns, rows))
            inside = found[:, : place.height, : place.width]
            np.testing.assert_array_equal(inside, values[(slice(None), *place.slices())])
            assert window_of(strip, plan, column, "fine").shape == (1, 32, 32)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 40), st.integers(3, 40), st.integers(0, 9))
def test_a_fine_input_of_a_coarse_result(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, seed: int
) -> None:
    """A position is wanted where any of its pixels is valid, and then counts; windows hold exactly their pixels."""
    folder, fine = tmp_path_factory.mktemp("fine"), 4
    values = noise(1, height * fine, width * fine, seed=seed)
    rng = np.random.default_rng(seed)
    values[0, rng.random(values.shape[1:]) < 0.5] = 0
    values[0, :fine, :fine] = 0
    values[0, 0, :] = values[0, 1, 0] = 1  # 5 of the 16 pixels of the first position: 31 %
    path = write_scene(folder / "fine.tif", values, nodata=0.0, transform=transform(PIXEL / fine))
    grid = grid_of(width, height)
    plan = make_plan(grid, grid.window, 3, 2)
    some = feed(path, ratio=Fraction(fine), valid_name="valid", cell=fine)
    valid = values[0] != 0
    blocks = valid.reshape(height, fine, width, fine)
    assert blocks[0, :, 0].mean() == 5 / 16
    for strip in strips(plan, some):
        swath = strip.segment.swath
        place = Window(swath.origin, plan.rows.starts[strip.index], swath.reach - swath.origin, 3).intersect(
            grid.window
        )
        part = strip.wanted[: place.height, : place.width]
        np.testing.assert_array_equal(part, blocks.any(axis=(1, 3))[place.slices()])
        for column in strip.columns:
            tile = plan.tile(strip.index, column)
            rows, cols = tile.zoomed(Fraction(fine)).slices()
            np.testing.assert_array_equal(window_of(strip, plan, column, "image"), values[:, rows, cols])
            cells = blocks.any(axis=(1, 3))[tile.slices()]
            np.testing.assert_array_equal(window_of(strip, plan, column, "valid")[0] == 1, cells)


def test_dates_that_are_mostly_gaps_count_only_where_no_other_does(tmp_path: Path) -> None:
    first, second = np.zeros((1, 4, 12), np.float32), np.zeros((1, 4, 12), np.float32)
    first[0, :, :2] = 1  # half of the first place at the first date, a quarter of it at the second
    second[0, :, 2:3] = 1
    first[0, :, 5:6] = second[0, :, 4:5] = 1  # a quarter of the second place at either date; of the third nothing
    paths = [write_scene(tmp_path / f"{n}.tif", v, nodata=0.0) for n, v in (("first", first), ("second", second))]
    series = Feed(
        "image", tuple(source_of(path) for path in paths), ((), ()), temporal=True, valid_name="valid", cell=4
    )
    grid = grid_of(12, 4)
    (strip,) = strips(make_plan(grid, grid.window, 12, 12), series)
    np.testing.assert_array_equal(strip.arrays["valid"][:, 0], [[1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(strip.wanted[:4], (first + second)[0] > 0)


def test_lacking_bands_are_filled(tmp_path: Path) -> None:
    values = noise(2, 40, 40)
    path = write_scene(tmp_path / "two.tif", values)
    grid = grid_of(40, 40)
    plan = make_plan(grid, grid.window, 16, 12)
    for strip in strips(plan, feed(path, bands=(0, 3), channels=4, fill=-7.0)):
        for column in strip.columns:
            found = window_of(strip, plan, column, "image")
            rows, cols = plan.tile(strip.index, column).slices()
            np.testing.assert_array_equal(found[[0, 3]], values[:, rows, cols])
            assert (found[[1, 2]] == -7).all()


def test_any_of_several_optional_inputs_is_enough(tmp_path: Path) -> None:
    left, right = np.zeros((1, 32, 32), np.float32), np.zeros((1, 32, 32), np.float32)
    left[:, :, :10], right[:, :20] = 1, 1
    feeds = [
        feed(write_scene(tmp_path / f"{name}.tif", values, nodata=0.0), name, required=False)
        for name, values in (("left", left), ("right", right))
    ]
    grid = grid_of(32, 32)
    (strip,) = strips(make_plan(grid, grid.window, 32, 32), *feeds)
    np.testing.assert_array_equal(strip.wanted, (left + right)[0] > 0)


@given(st.fractions(min_value=Fraction(1, 9), max_value=9), st.integers(1, 50), st.integers(1, 50))
def test_a_zoomed_grid_covers_the_grid_from_the_same_corner(ratio: Fraction, width: int, height: int) -> None:
    grid = grid_of(width, height)
    zoomed = grid.zoomed(ratio)
    assert (zoomed.transform.c, zoomed.transform.f) == (grid.transform.c, grid.transform.f)
    left, bottom, right, top = grid.bounds
    covered = zoomed.bounds
    assert covered[2] >= right - 1e-6 and covered[1] <= bottom + 1e-6
    assert covered[2] < right + zoomed.pixel_size[0] and covered[1] > bottom - zoomed.pixel_size[1]
    assert (covered[0], covered[3]) == (left, top)


def test_a_reader_of_the_zoomed_grid_needs_no_resampling(tmp_path: Path) -> None:
    values = noise(1, 8, 8)
    path = write_scene(tmp_path / "coarse.tif", values, transform=transform(PIXEL * COARSE))
    with StripReader(source_of(path), grid_of(64, 64).zoomed(Fraction(1, COARSE))) as reader:
        np.testing.assert_array_equal(reader.read(Window(0, 0, 8, 8))[0], values)


# The engine as a whole, with a fine and a coarse input


FINE = 4  # pixels of the fine input for one of the result


@st.composite
def cuts(draw: st.DrawFn) -> Plan:
    """Any cut of a scene whose windows start at multiples of a coarse pixel; also scenes 1 px wide."""
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    col, row = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    area = Window(col, row, draw(st.integers(1, width - col)), draw(st.integers(1, height - row)))
    if draw(st.booleans()):
        area = Window(0, 0, width, height)
    window = 8 * draw(st.integers(1, 3))
    stride = 8 * draw(st.integers(1, window // 8))
    return make_plan(
        grid_of(width, height), area, window, stride, draw(st.integers(1, 90)), draw(st.integers(1, 60)), COARSE
    )


def of_means(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Channel 0: means of the fine input's blocks; channel 1: the coarse input's pixel; each where it is."""
    fine, coarse = feeds["fine"][:, 0], feeds["coarse"][:, 0]
    count, side = fine.shape[0], fine.shape[-1] // FINE
    pooled = fine.reshape(count, side, FINE, side, FINE).mean(axis=(2, 4))
    return [np.stack([pooled, coarse.repeat(COARSE, axis=1).repeat(COARSE, axis=2)], axis=1)]


def of_context(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """As `of_means`, but depending on the other pixels of the window and on the place in it, as a real model does."""
    (maps,) = of_means(feeds)
    ramp = np.linspace(0, 1, maps.shape[-1], dtype=np.float32)
    return [maps + maps.mean(axis=(2, 3), keepdims=True) + ramp * ramp[:, None]]


def pair(folder: Path, plan: Plan) -> tuple[list[Feed], np.ndarray, np.ndarray]:
    """A fine and a coarse input of the plan's scene, cached on disk by size; and their values."""
    width, height = plan.scene.width, plan.scene.height
    fine = noise(1, height * FINE, width * FINE)
    coarse = noise(1, -(-height // COARSE), -(-width // COARSE), seed=1)
    paths = folder / f"fine-{height}-{width}.tif", folder / f"coarse-{height}-{width}.tif"
    if not paths[1].exists():
        write_scene(paths[0], fine, transform=transform(PIXEL / FINE))
        write_scene(paths[1], coarse, transform=transform(PIXEL * COARSE))
    feeds = [feed(paths[0], "fine", ratio=Fraction(FINE)), feed(paths[1], "coarse", ratio=Fraction(1, COARSE))]
    return feeds, fine[0], coarse[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@settings(max_examples=40, deadline=None)
@given(cuts(), st.integers(1, 5))
def test_every_position_gets_its_own_pixels(folder: Path, plan: Plan, batch: int) -> None:
    feeds, fine, coarse = pair(folder, plan)
    height, width = plan.scene.shape
    result = blend(plan, feeds, 2, of_means, batch=batch)
    assert (result.written == 1).all() and result.wanted.all()
    pooled = fine.reshape(height, FINE, width, FINE).mean(axis=(1, 3))
    spread = coarse.repeat(COARSE, axis=0).repeat(COARSE, axis=1)[:height, :width]
    for found, expected in zip(result.scores, (pooled, spread), strict=True):
        np.testing.assert_allclose(found, expected[plan.area.slices()], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(cuts(), st.floats(-5, 5, width=32, allow_subnormal=False))
def test_constant_in_constant_out(folder: Path, plan: Plan, value: float) -> None:
    feeds, _, _ = pair(folder, plan)

    def constant(given: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.full((len(given["fine"]), 2, plan.window, plan.window), value, np.float32)]

    np.testing.assert_allclose(blend(plan, feeds, 2, constant).scores, value, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(cuts(), st.integers(1, 6), st.integers(1, 90), st.integers(1, 60))
def test_batches_swaths_and_chunks_are_invisible(folder: Path, plan: Plan, batch: int, swath: int, rows: int) -> None:
    feeds, _, _ = pair(folder, plan)
    other = make_plan(plan.scene, plan.area, plan.window, _stride(plan), swath, rows, COARSE)
    one, two = blend(plan, feeds, 2, of_context, batch=batch), blend(other, feeds, 2, of_context, batch=3)
    np.testing.assert_allclose(one.scores, two.scores, rtol=1e-5, atol=1e-5)


def _stride(plan: Plan) -> int:
    """A stride that lays the same windows."""
    return max((b - a for axis in (plan.cols, plan.rows) for a, b in pairwise(axis.starts)), default=plan.window)


@settings(max_examples=25, deadline=None)
@given(cuts(), st.data())
def test_an_interrupted_run_ends_in_the_same_bits(folder: Path, plan: Plan, data: st.DataObject) -> None:
    feeds, _, _ = pair(folder, plan)
    chunks = list(plan.chunks())
    stop = data.draw(st.integers(0, len(chunks)))
    result = blend(plan, feeds, 2, of_context, todo=chunks[:stop])
    result = blend(plan, feeds, 2, of_context, todo=chunks[stop:], earlier=result)
    np.testing.assert_array_equal(result.scores, blend(plan, feeds, 2, of_context).scores)


def test_embeddings_are_nan_exactly_where_nothing_is_wanted() -> None:
    output = FeatureOutput("embedding", 3)
    scores, wanted = noise(3, 4, 5), np.random.default_rng(0).random((4, 5)) > 0.5
    found = output.layers(scores, wanted)["embedding"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(~wanted, found.shape))
    np.testing.assert_array_equal(found[:, wanted], scores[:, wanted])

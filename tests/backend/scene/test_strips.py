"""Reading: normalised input and the pixels that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.geo.area import Area
from backend.geo.grid import Window
from backend.geo.reader import MaskReader
from backend.protocol.errors import SourceError
from backend.scene.normalise import Linear
from backend.scene.plan import Plan, make_plan
from backend.scene.strips import Feed, Filter, Strip, read_strips, window_of
from backend.tasks.filters import AreaFilter, MaskFilter
from tests.backend.scene.scenes import (
    LEFT,
    PIXEL,
    TOP,
    Pattern,
    crop,
    feed_of,
    grid_of,
    noise,
    noise_scene,
    plans,
    source_of,
    write_scene,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


def strips(plan: Plan, feeds: Sequence[Feed], filters: Sequence[Filter] = ()) -> list[Strip]:
    return list(read_strips(plan, feeds, tuple(filters), plan.segments(list(plan.chunks()))))


def wanted(plan: Plan, feeds: Sequence[Feed], filters: Sequence[Filter] = ()) -> np.ndarray:
    """(H, W) of the scene; the strips must agree where they overlap."""
    seen = np.full(plan.scene.shape, -1)
    for strip in strips(plan, feeds, filters):
        swath = strip.segment.swath
        place = Window(swath.origin, plan.rows.starts[strip.index], swath.reach - swath.origin, plan.window)
        inside = place.intersect(plan.scene.window)
        part = strip.wanted[: inside.height, : inside.width]
        assert ((seen[inside.slices()] == -1) | (seen[inside.slices()] == part)).all() or not strip.columns
        seen[inside.slices()] = np.maximum(seen[inside.slices()], part)
    return seen == 1


def simple_plan(width: int = 40, height: int = 30) -> Plan:
    return make_plan(grid_of(width, height), Window(0, 0, width, height), 8, 6, 20, 12)


@settings(max_examples=50, deadline=None)
@given(plans(70, 6))
def test_strips_hold_the_scenes_pixels_mirrored_beyond_its_border(folder: Path, plan: Plan) -> None:
    image = noise(2, *plan.scene.shape)
    short = [max(0, plan.window - size) for size in plan.scene.shape]
    padded = np.pad(image, ((0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
    feed = feed_of(noise_scene(folder, 2, *plan.scene.shape))
    for strip in strips(plan, [feed]):
        assert strip.columns == tuple(strip.segment.swath.columns)
        for column in strip.columns:
            top, left = plan.rows.starts[strip.index], plan.cols.starts[column]
            expected = padded[:, top : top + plan.window, left : left + plan.window]
            np.testing.assert_array_equal(window_of(strip, plan, column, "image"), expected)


@settings(max_examples=50, deadline=None)
@given(plans(50, 6), st.integers(0, 2**32 - 1), st.floats(0, 1, allow_subnormal=False))
def test_wanted_is_the_area_and_the_filter_and_columns_are_those_that_see_it(
    folder: Path, plan: Plan, seed: int, share: float
) -> None:
    keep = np.random.default_rng(seed).random(plan.scene.shape) < share
    feed = feed_of(noise_scene(folder, 2, *plan.scene.shape))
    expected = np.zeros_like(keep)
    expected[plan.area.slices()] = keep[plan.area.slices()]
    np.testing.assert_array_equal(wanted(plan, [feed], [Pattern(keep)]), expected)
    for strip in strips(plan, [feed], [Pattern(keep)]):
        for column in strip.segment.swath.columns:
            tile = plan.tile(strip.index, column).intersect(plan.scene.window)
            assert (column in strip.columns) == expected[tile.slices()].any()


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", None), ("float32", -1.0), ("uint16", 7), ("int16", -32768)])
def test_nodata_in_any_band_is_unwanted_and_becomes_the_fill_value(
    tmp_path: Path, dtype: str, nodata: float | None
) -> None:
    image = (noise(2, 30, 40) * 100 + 10).astype(dtype)
    gaps = np.random.default_rng(3).random(image.shape) < 0.1
    image[gaps] = np.nan if nodata is None else nodata
    source = source_of(write_scene(tmp_path / "scene.tif", image, nodata))
    plan, feed = simple_plan(), Feed("image", (source,), ((Linear((0.5,), (3.0,)),),), fill=-9.0)
    invalid = gaps.any(axis=0)
    np.testing.assert_array_equal(wanted(plan, [feed]), ~invalid)
    expected = np.where(invalid, np.float32(-9), image.astype(np.float32) * 0.5 + 3)
    for strip in strips(plan, [feed]):
        for column in strip.columns:
            tile = plan.tile(strip.index, column)
            np.testing.assert_array_equal(window_of(strip, plan, column, "image"), crop(expected, tile))


def test_a_mask_raster_forbids_its_values_and_only_where_it_lies(tmp_path: Path) -> None:
    """At half the resolution and over a part of the scene."""
    codes = np.random.default_rng(5).integers(0, 5, (1, 10, 12)).astype(np.uint8)
    mask = write_scene(tmp_path / "mask.tif", codes, transform=Affine(20, 0, LEFT + 40, 0, -20, TOP - 60))
    scene = write_scene(tmp_path / "scene.tif", noise(1, 30, 40))
    plan = simple_plan()
    expected = np.ones(plan.scene.shape, bool)
    expected[6:26, 4:28] = ~np.isin(np.kron(codes[0], np.ones((2, 2))), [1, 3])
    with MaskReader(str(mask), plan.scene, (1, 3)) as reader:
        np.testing.assert_array_equal(wanted(plan, [feed_of(scene)], [MaskFilter(reader)]), expected)


def test_polygons_want_the_pixels_whose_centres_they_hold(tmp_path: Path) -> None:
    plan = simple_plan()
    outline = shapely.Polygon([(3.21, 2.07), (36.83, 5.4), (30.19, 27.7), (18.34, 12.1), (2.6, 28.36)])
    shape = outline.difference(shapely.box(24.1, 6.2, 27.3, 11.4))  # no edge passes through a pixel's centre
    area = Area(np.array([shape]), plan.scene)
    cols, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5)
    expected = shapely.contains_xy(shape, cols, rows)
    scene = write_scene(tmp_path / "scene.tif", noise(1, 30, 40))
    np.testing.assert_array_equal(wanted(plan, [feed_of(scene)], [AreaFilter(area)]), expected)


@pytest.mark.parametrize("shift", [-0.5, 0.5])
def test_a_second_input_half_a_pixel_off_is_read_between_its_pixels(tmp_path: Path, shift: float) -> None:
    """On a plane, bilinear reading is exact; a pixel is wanted where its centre lies in both rasters (half-open)."""
    plan = simple_plan()
    cols, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5)
    place = Affine(PIXEL, 0, LEFT + shift * PIXEL, 0, -PIXEL, TOP - shift * PIXEL)
    plane = (3 * (cols + shift) + 5 * (rows + shift)).astype(np.float32)[None]
    first = write_scene(tmp_path / "first.tif", noise(1, 30, 40))
    second = write_scene(tmp_path / "second.tif", plane, transform=place)
    feeds = [feed_of(first), feed_of(second, name="other")]
    expected = np.ones(plan.scene.shape, bool)
    if shift < 0:
        expected[-1], expected[:, -1] = False, False
    np.testing.assert_array_equal(wanted(plan, feeds), expected)
    interior = np.zeros_like(expected)
    interior[1:-1, 1:-1] = True
    for strip in strips(plan, feeds):
        for column in strip.columns:
            tile = plan.tile(strip.index, column)
            inner = interior[tile.slices()]
            found = window_of(strip, plan, column, "other")[0]
            np.testing.assert_allclose(found[inner], (3 * cols + 5 * rows)[tile.slices()][inner], rtol=1e-5)


def test_inputs_of_other_grids_limit_the_wanted_pixels_to_what_all_see(tmp_path: Path) -> None:
    """A coarser raster over the left half, with a gap."""
    plan = simple_plan()
    coarse = np.ones((1, 6, 5), np.float32)
    coarse[0, 2, 3] = np.nan
    first = write_scene(tmp_path / "first.tif", noise(1, 30, 40))
    second = write_scene(tmp_path / "second.tif", coarse, transform=Affine(50, 0, LEFT, 0, -50, TOP))
    expected = np.zeros(plan.scene.shape, bool)
    expected[:, :25] = True
    expected[10:15, 15:20] = False
    np.testing.assert_array_equal(wanted(plan, [feed_of(first), feed_of(second, name="other")]), expected)


def test_a_series_wants_pixels_that_one_date_shows_and_stacks_its_dates(tmp_path: Path) -> None:
    images = noise(3, 30, 40, seed=8)
    images[np.random.default_rng(9).random(images.shape) < 0.4] = np.nan
    scenes = [write_scene(tmp_path / f"{k}.tif", images[k : k + 1]) for k in range(3)]
    plan, feed = simple_plan(), feed_of(*scenes, temporal=True)
    np.testing.assert_array_equal(wanted(plan, [feed]), np.isfinite(images).any(axis=0))
    strip = strips(plan, [feed])[0]
    expected = np.nan_to_num(images[:, None, :8, : strip.segment.swath.reach])
    np.testing.assert_array_equal(strip.arrays["image"], expected)


def test_nothing_is_read_where_the_filters_see_nothing(tmp_path: Path) -> None:
    """A file that vanishes is not missed by strips that want no pixel of it."""
    scene = write_scene(tmp_path / "scene.tif", noise(1, 30, 40))
    plan = simple_plan()
    keep = np.zeros(plan.scene.shape, bool)
    keep[28:] = True
    reading = read_strips(plan, [feed_of(scene)], (Pattern(keep),), plan.segments(list(plan.chunks())))
    assert next(reading).columns == ()
    scene.unlink()
    with pytest.raises(SourceError, match=r"scene\.tif"):
        list(reading)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 30), (40, 1), (3, 5)])
def test_scenes_smaller_than_a_window_are_mirrored_as_often_as_needed(tmp_path: Path, width: int, height: int) -> None:
    image = noise(1, height, width)
    plan = make_plan(grid_of(width, height), Window(0, 0, width, height), 16, 12)
    strip = strips(plan, [feed_of(write_scene(tmp_path / "scene.tif", image))])[0]
    (first, *_) = strip.columns
    across = np.concatenate([image, image[:, :, ::-1]] * 16, axis=2)
    mirrored = np.concatenate([across, across[:, ::-1]] * 16, axis=1)[:, :16, :16]
    np.testing.assert_array_equal(window_of(strip, plan, first, "image"), mirrored)
    expected = np.zeros(strip.wanted.shape, bool)
    expected[:height, :width] = True
    np.testing.assert_array_equal(strip.wanted, expected)

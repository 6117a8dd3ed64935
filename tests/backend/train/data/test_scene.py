"""Samples cut from rasters: every image shows the ground that the sample says, in its unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.geo.grid import Window
from backend.protocol.errors import GridError, InputError, ParameterError
from backend.protocol.jobs import InputSpec
from backend.train.data.sample import Sample
from backend.train.data.scene import Scene, tiles
from tests.backend.train.data.images import CRS, LEFT, SIDE_M, TOP, aerial, east_south, optical, radar
from tests.rasters import utm_grid


def spec(kind: str, path: Path) -> InputSpec:
    return InputSpec(kind, (str(path),))


def cut(images: dict[str, list[InputSpec]], window: Window) -> Sample:
    with Scene(images) as scene:
        found = scene.sample("place", window)
    assert found is not None
    return found


def test_all_kinds_of_images_show_the_ground_of_their_sample(tmp_path: Path) -> None:
    images = {
        "ms": [spec("ms", optical(tmp_path / "s2.tif"))],
        "sar": [spec("sar", radar(tmp_path / "s1.tif"))],
        "hr": [spec("hr", aerial(tmp_path / "rgb.tif"))],
    }
    sample = cut(images, Window(16, 8, 32, 32))
    assert sample.place.crs == CRS
    assert sample.place.bounds == (LEFT + 160, TOP - 400, LEFT + 480, TOP - 80)
    ms, sar, hr = (sample.series[name] for name in ("ms", "sar", "hr"))
    assert (ms.pixels.shape, sar.pixels.shape, hr.pixels.shape) == (
        (1, 10, 32, 32), (1, 2, 32, 32), (1, 3, 256, 256),
    )  # fmt: skip
    assert (ms.pixels.dtype, hr.pixels.dtype, ms.sensor, sar.sensor) == (
        np.float32, np.uint8, "sentinel-2-l2a", "sentinel-1-grd",
    )  # fmt: skip
    ground = east_south(32, LEFT + 160, TOP - 80, 10.0)
    np.testing.assert_allclose(ms.pixels[0, :2] * 10_000, ground, atol=0.51)
    np.testing.assert_allclose(sar.pixels[0] * 1000, ground, atol=0.01)
    fine = east_south(256, LEFT + 160, TOP - 80, 1.25) / SIDE_M * 255
    np.testing.assert_allclose(hr.pixels[0, :2], fine, atol=1.01)  # rounded twice
    assert ms.days == ("2019-05-04",) and hr.days == ("",)


def test_dates_stand_in_order_and_those_that_are_mostly_gaps_are_left_out(tmp_path: Path) -> None:
    late, early = optical(tmp_path / "a.tif", "2020-07-01"), optical(tmp_path / "b.tif", "2019-07-01")
    beside = optical(tmp_path / "c.tif", "2021-07-01", left=LEFT + 400)
    images = {"ms": [spec("ms", path) for path in (late, early, beside)]}
    sample = cut(images, Window(0, 0, 64, 64))
    assert sample.series["ms"].days == ("2019-07-01", "2020-07-01")
    with Scene({"ms": [spec("ms", late)]}) as scene:
        assert scene.sample("far", Window(100, 100, 32, 32)) is None


def test_alone_a_picture_keeps_its_own_pixels(tmp_path: Path) -> None:
    sample = cut({"hr": [spec("hr", aerial(tmp_path / "rgb.tif", metres=5.0))]}, Window(0, 0, 128, 128))
    np.testing.assert_allclose(
        sample.series["hr"].pixels[0, :2], east_south(128, LEFT, TOP, 5.0) / SIDE_M * 255, atol=0.51
    )


def test_what_is_no_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no image"):
        Scene({})
    with pytest.raises(InputError, match="needs"):
        Scene({"ms": [spec("ms", aerial(tmp_path / "rgb.tif"))]})
    turned = tmp_path / "turned.tif"
    with rasterio.open(aerial(tmp_path / "straight.tif")) as straight:
        profile = {**straight.profile, "transform": straight.transform @ Affine.rotation(20)}
        with rasterio.open(turned, "w", **profile) as dataset:
            dataset.write(straight.read())
            dataset.descriptions = straight.descriptions
    with pytest.raises(GridError, match="turned"):
        Scene({"hr": [spec("hr", turned)]})


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(3, 70))
def test_tiles_cover_every_pixel_and_have_one_size(width: int, height: int, size: int) -> None:
    covered = np.zeros((height, width), bool)
    for window in tiles(utm_grid(width, height), size):
        assert (window.width, window.height) == (min(size, width), min(size, height))
        covered[window.slices()] = True
    assert covered.all()


def test_fewer_tiles_are_spread_over_the_scene() -> None:
    grid = utm_grid(640, 640)
    chosen = list(tiles(grid, 64, most=10))
    assert len(chosen) == 10 and len(set(chosen)) == 10 and {window.row for window in chosen} == set(range(0, 640, 64))

"""Ground that classes cover, against the areas of polygons and of the Earth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from backend.geo.class_areas import class_areas
from backend.geo.geodesy import polygon_areas_m2
from backend.geo.grid import Grid
from backend.protocol.errors import Cancelled
from tests.rasters import UTM33, WGS84, utm_grid, write_raster

# Surface of the WGS 84 ellipsoid in m2, from the closed formula 2 pi a^2 (1 + (1 - e^2) / e artanh e).
EARTH_M2 = 510_065_621_724_088.4


def never() -> None:
    """A run that nobody cancels."""


def measured(path: str, nodata: int = 255) -> tuple[list[int], np.ndarray]:
    """Pixels and areas of the values that are there."""
    found = class_areas(path, nodata, never)
    present = np.flatnonzero(found.pixels)
    return list(present), found.square_metres[present]


def of_pixels(mask: np.ndarray, grid: Grid) -> float:
    """Area of the pixels of a mask, one polygon each."""
    rows, cols = np.nonzero(mask)
    boxes = shapely.box(cols, rows, cols + 1, rows + 1)
    outlines = shapely.transform(boxes, lambda x, y: grid.transform @ (x, y), interleaved=False)
    return float(polygon_areas_m2(outlines, grid.crs).sum())


def test_all_classes_in_degrees_are_the_earth(tmp_path: Path) -> None:
    grid = Grid(WGS84, Affine(0.5, 0, -180, 0, -0.5, 90), 720, 360)
    values = np.zeros((1, 360, 720), np.uint8)
    values[0, 180:] = 1
    present, areas = measured(write_raster(tmp_path / "world.tif", values, grid))
    assert present == [0, 1] and areas == pytest.approx([EARTH_M2 / 2] * 2, rel=1e-9)


@pytest.mark.parametrize(
    "grid",
    [
        utm_grid(90, 70),
        utm_grid(90, 70, pixel=900.0, left=200_000.0),
        Grid(WGS84, Affine(0.01, 0, 15, 0, -0.02, 60), 90, 70),
        Grid(UTM33, Affine(30, 10, 500_000, 10, -30, 4_200_000), 90, 70),
        Grid(CRS.from_epsg(3857), Affine(50, 0, 1_600_000, 0, -50, 8_000_000), 90, 70),
    ],
    ids=["metres", "coarse", "degrees", "rotated", "mercator"],
)
def test_each_pixel_counts_with_its_own_ground(grid: Grid, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 3, (1, 70, 90)).astype(np.uint8)
    values[0, :9] = 255
    present, areas = measured(write_raster(tmp_path / "classes.tif", values, grid))
    assert present == [0, 1, 2]
    assert areas == pytest.approx([of_pixels(values[0] == k, grid) for k in present], rel=1e-4)


def test_blocks_and_cells_cover_every_pixel_once(tmp_path: Path) -> None:
    grid = utm_grid(2300, 2100)
    values = np.ones((1, 2100, 2300), np.uint8)
    found = class_areas(write_raster(tmp_path / "ones.tif", values, grid), 255, never)
    assert found.pixels[1] == found.pixels.sum() == 2300 * 2100
    assert found.square_metres[1] == pytest.approx(2300 * 2100 * 100.0, rel=1e-3)


def test_nothing_but_nodata_needs_no_place_on_earth(tmp_path: Path) -> None:
    # Most of the square around a hemisphere lies beside the Earth.
    grid = Grid(CRS.from_proj4("+proj=ortho +lat_0=0 +lon_0=0"), Affine(1e5, 0, -64e5, 0, -1e5, 64e5), 128, 128)
    values = np.full((1, 128, 128), 255, np.uint8)
    values[0, 60:68, 60:68] = 1
    present, areas = measured(write_raster(tmp_path / "disc.tif", values, grid))
    # Cells of 1600 km are the coarsest there are: within them the ground of a pixel grows by 4 %.
    assert present == [1] and areas == pytest.approx([64e10], rel=0.03)
    values[0, 0, 0] = 1
    assert np.isnan(measured(write_raster(tmp_path / "beyond.tif", values, grid))[1]).all()


def test_counting_can_be_cancelled(tmp_path: Path) -> None:
    def stop() -> None:
        raise Cancelled("stopped")

    path = write_raster(tmp_path / "one.tif", np.zeros((1, 4, 4), np.uint8), utm_grid(4, 4))
    with pytest.raises(Cancelled):
        class_areas(path, 255, stop)

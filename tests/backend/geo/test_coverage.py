"""Share of a mosaic that its tiles cover."""

from __future__ import annotations

import pytest
from rasterio.warp import transform

from backend.geo.coverage import covered_share
from backend.geo.source import mosaic_grid
from tests.rasters import LEFT, TOP, UTM32, UTM33, utm_grid


@pytest.mark.parametrize(
    ("offsets", "share"),
    [
        ([(0, 0)], 1.0),
        ([(0, 0), (100, 0)], 1.0),
        ([(0, 0), (50, 0)], 1.0),
        ([(0, 0), (100, 100)], 0.5),
        ([(0, 0), (0, 0), (300, 0)], 0.5),
        ([(0, 0), (900, 900)], 0.02),
    ],
)
def test_tiles_of_a_hundred_pixels(offsets: list[tuple[int, int]], share: float) -> None:
    tiles = [utm_grid(100, 100, left=LEFT + 10 * col, top=TOP - 10 * row) for col, row in offsets]
    assert covered_share(mosaic_grid(tiles), tiles) == pytest.approx(share)


def test_tiles_beside_the_grid_do_not_count() -> None:
    tiles = [utm_grid(100, 100), utm_grid(100, 100, left=LEFT + 5000)]
    assert covered_share(utm_grid(200, 100), tiles) == pytest.approx(0.5)
    assert covered_share(utm_grid(100, 100, left=LEFT + 2500), tiles) == 0.0


def test_a_tile_of_another_zone_counts_with_the_box_around_it() -> None:
    scene = utm_grid(1000, 1000)
    (left,), (top,) = transform(UTM33, UTM32, [LEFT + 5000], [TOP - 5000])
    turned = utm_grid(100, 100, left=left, top=top, crs=UTM32)
    assert 0.01 < covered_share(scene, [turned]) < 0.015

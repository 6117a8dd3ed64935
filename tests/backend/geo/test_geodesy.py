"""Areas on the ellipsoid against published and independently computed values.

Values without another source were computed with GeographicLib's geodesic polygon area (through pyproj 3.7, WGS 84,
edges cut into 2000 parts).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from rasterio.crs import CRS

from backend.geo.geodesy import polygon_areas_m2

WGS84 = CRS.from_epsg(4326)
# Surface of the WGS 84 ellipsoid in m2, from the closed formula 2 pi a^2 (1 + (1 - e^2) / e artanh e).
EARTH_M2 = 510_065_621_724_088.4


@pytest.mark.parametrize(
    ("code", "bounds", "expected", "tolerance"),
    [
        (4326, (-180, -90, 180, 90), EARTH_M2, 1e-12),
        (4326, (0, 0, 90, 90), EARTH_M2 / 8, 1e-12),
        (4326, (10, 50, 11, 51), 7_892_218_857.947648, 1e-9),
        (32631, (4e5, 5e6, 4.001e5, 5.0001e6), 10_005.545585696906, 1e-8),
        (32631, (4e5, 5e6, 5e5, 5.1e6), 10_007_184_286.986513, 1e-8),
        (3857, (1e6, 6e6, 1.05e6, 6.05e6), 1_141_470_916.761921, 1e-9),
        (31467, (3.5e6, 5.5e6, 3.51e6, 5.51e6), 99_999_693.24619992, 1e-7),  # another datum: Bessel 1841
        (3031, (-1e6, -1e6, 1e6, 1e6), 4_191_045_489_729.0938, 1e-6),  # round the south pole
        (3035, (4e6, 3e6, 4.1e6, 3.1e6), 1e10, 1e-8),  # equal-area projections keep plane areas
        (6933, (1.7e7, 3e6, 1.73e7, 3.1e6), 3e10, 1e-9),
        (2263, (9.8e5, 2e5, 9.9e5, 2.1e5), 1e8 * (12 / 39.37) ** 2, 1e-3),  # US survey feet
    ],
)
def test_box(code: int, bounds: tuple[float, float, float, float], expected: float, tolerance: float) -> None:
    assert polygon_areas_m2([shapely.box(*bounds)], CRS.from_epsg(code)) == pytest.approx([expected], rel=tolerance)


def test_holes_and_parts_are_counted() -> None:
    utm = CRS.from_epsg(32631)
    outer, inner, other = (
        shapely.box(4e5, 5e6, 4.1e5, 5.01e6),
        shapely.box(4.02e5, 5.002e6, 4.04e5, 5.004e6),
        shapely.box(4.5e5, 5e6, 4.6e5, 5.01e6),
    )
    whole = shapely.union(outer.difference(inner), other)
    separate = polygon_areas_m2([outer, inner, other], utm)
    assert polygon_areas_m2([whole], utm) == pytest.approx([separate[0] - separate[1] + separate[2]], rel=1e-12)


def test_direction_of_rings_and_place_on_the_circle_do_not_matter() -> None:
    here, across = shapely.box(100, 10, 101, 11), shapely.box(179.5, 10, 180.5, 11)
    areas = polygon_areas_m2([here, shapely.reverse(here), across], WGS84)
    assert areas == pytest.approx(np.full(3, areas[0]), rel=1e-12)


def test_small_polygons_keep_their_digits() -> None:
    side = 1e-6
    expected = (
        side**2 * math.radians(1) ** 2 * 6_378_137.0**2 * (1 - 0.00669437999014) / (1 - 0.00669437999014 * 0.5) ** 2
    )
    areas = polygon_areas_m2([shapely.box(10, 45, 10 + side, 45 + side)], WGS84)
    assert areas == pytest.approx([expected * math.cos(math.radians(45))], rel=1e-6)


def test_no_polygons() -> None:
    assert len(polygon_areas_m2([], WGS84)) == 0
    assert polygon_areas_m2([shapely.Polygon()], WGS84).tolist() == [0.0]

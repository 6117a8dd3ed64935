"""Areas on the WGS 84 ellipsoid of polygons in any CRS."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from rasterio.crs import CRS

from backend.geo.grid import WGS84
from backend.geo.warp import transform_points
from backend.protocol.errors import GridError

# WGS 84 (EPSG:7030): semi-major axis in metres, inverse flattening.
SEMI_MAJOR_M = 6_378_137.0
INVERSE_FLATTENING = 298.257223563
_ECCENTRICITY_2 = (2.0 - 1.0 / INVERSE_FLATTENING) / INVERSE_FLATTENING
_ECCENTRICITY = math.sqrt(_ECCENTRICITY_2)
# Edges longer than this are cut up, so that curves under the projection are followed (chord error 2 cm in 1 km).
MAX_EDGE_M = 1_000.0
MAX_EDGE_DEGREES = 0.01


def authalic_q(latitude: np.ndarray) -> np.ndarray:
    """The function q of the latitude (radians) in which areas on the ellipsoid are linear.

    The zone between the equator and a latitude, over a difference of longitude of L radians, has the area
    a^2 q L / 2. Source: Snyder, Map Projections: A Working Manual (USGS Professional Paper 1395, 1987), eq. 3-12.
    """
    sine = np.sin(latitude)
    logarithm = np.arctanh(_ECCENTRICITY * sine) / _ECCENTRICITY
    return np.asarray((1.0 - _ECCENTRICITY_2) * (sine / (1.0 - _ECCENTRICITY_2 * sine * sine) + logarithm))


_Q_POLE = float(authalic_q(np.array(math.pi / 2)))


def ring_areas_m2(longitude: np.ndarray, latitude: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Signed areas in m2 of closed rings on the ellipsoid, positive where a ring runs counter-clockwise.

    Edges are straight in longitude and q, which differs from other definitions of an edge by less than the
    square of its length; rings may cross the antimeridian or go round a pole.

    Args:
        longitude, latitude: (points,) degrees; the last point of each ring repeats its first.
        offsets: (rings + 1,), where each ring begins; the last entry is the number of points.
    """
    q = authalic_q(np.radians(latitude))
    step = np.radians((np.diff(longitude) + 180.0) % 360.0 - 180.0)
    inside = np.ones(len(step), dtype=bool)
    inside[offsets[1:-1] - 1] = False  # the step from one ring to the next
    step[~inside] = 0.0
    turns = np.round(_sums(step, offsets) / (2.0 * math.pi))
    base = q[offsets[:-1]]  # heights count from each ring's first point, to keep all digits of small rings
    base = np.where(turns != 0, np.copysign(_Q_POLE, base), base)
    ring = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[:-1]
    height = (q[:-1] - base[ring]) / 2.0 + (q[1:] - base[ring]) / 2.0
    return np.asarray(-_sums(height * step, offsets) * SEMI_MAJOR_M**2 / 2.0)


def polygon_areas_m2(polygons: Sequence[shapely.Geometry] | np.ndarray, crs: CRS) -> np.ndarray:
    """Areas on the ellipsoid of polygons or multipolygons, in m2; edges are straight in the polygons' own CRS.

    Args:
        polygons: (N,) valid geometries.
        crs: their CRS; other datums are shifted to WGS 84.

    Raises:
        GridError: when a polygon lies outside the domain of the CRS.
    """
    geometries = np.asarray(polygons, dtype=object)
    if geometries.size == 0:
        return np.zeros(0)
    dense = shapely.segmentize(geometries, max_edge(crs))
    parts, owner = shapely.get_parts(dense, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    if len(rings) == 0:
        return np.zeros(len(geometries))
    coordinates = shapely.get_coordinates(rings)
    offsets = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(rings))])
    longitude, latitude = _to_wgs84(coordinates, crs)
    sizes = np.abs(ring_areas_m2(longitude, latitude, offsets))
    is_hole = np.concatenate([[False], part_of_ring[1:] == part_of_ring[:-1]])
    return np.bincount(owner[part_of_ring], weights=np.where(is_hole, -sizes, sizes), minlength=len(geometries))


def max_edge(crs: CRS) -> float:
    """The longest edge, in units of the CRS, that needs no densification before it is transformed."""
    return MAX_EDGE_DEGREES if crs.is_geographic else MAX_EDGE_M / float(crs.linear_units_factor[1])


def _to_wgs84(coordinates: np.ndarray, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes in degrees of points (N, 2)."""
    if crs == WGS84:
        return coordinates[:, 0], coordinates[:, 1]
    longitude, latitude = transform_points(crs, WGS84, coordinates[:, 0], coordinates[:, 1])
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        raise GridError("the area of a polygon cannot be computed", "it lies outside the CRS's domain of use")
    return longitude, latitude


def _sums(steps: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Sums over the steps of each ring; `steps` is one shorter than the points and 0 between rings."""
    return np.asarray(np.add.reduceat(np.append(steps, 0.0), offsets[:-1]))

"""Area of interest: polygons of a file, or an extent, on the pixels of a grid."""

from __future__ import annotations

import math
import os
from functools import lru_cache

import numpy as np
import pyogrio
import shapely
from affine import Affine
from pyogrio._err import CPLE_BaseError
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.warp import transform

from backend.geo.grid import Grid, Window, parse_crs, reproject_bounds
from backend.protocol.errors import GridError, ParameterError, SourceError

# A disc of this radius (pixels) holds a pixel's centre wherever it lies; polygons with room for none are thin.
_THIN_RADIUS = math.sqrt(0.5)
# Edges are cut into pieces of at most this share of the scene before they are transformed.
_EDGES_PER_SCENE = 256
# Masks are made for squares that are fixed on the grid, so that a window's pixels do not depend on the window.
_BLOCK = 1024
_BLOCKS_KEPT = 32
_CLIP_FROM_VERTICES = 1000


class Area:
    """Polygons on a grid. A pixel belongs to the area when its centre lies in a polygon.

    Of a polygon too thin to be sure of holding a centre all pixels that it touches belong to the area, so that it never
    vanishes.

    Attributes:
        window: the part of the grid that the area spans.
    """

    def __init__(self, polygons: np.ndarray, grid: Grid) -> None:
        """Takes single polygons in pixel coordinates (x = column, y = row) that lie within the grid."""
        self._thin = _are_thin(polygons)
        self._polygons = polygons
        shapely.prepare(self._polygons)
        self._tree = shapely.STRtree(polygons)
        self.window = _span(polygons, self._thin).intersect(grid.window)
        self._block = lru_cache(maxsize=_BLOCKS_KEPT)(self._rasterise)

    @staticmethod
    def from_file(path: str | os.PathLike[str], grid: Grid) -> Area:
        """The polygons of a vector file in any CRS.

        Of several layers the one named as in `FILE|layername=NAME` is taken, or the first that has polygons.

        Raises:
            SourceError: when the file is missing or unreadable, has no polygons or no CRS.
            GridError: when the polygons lie outside the grid, or cannot be expressed in its CRS.
        """
        name = os.fspath(path)
        polygons, crs = _read(name)
        return _on_grid(polygons, crs, grid, f'the area in "{name}"')

    @staticmethod
    def from_extent(bounds: tuple[float, float, float, float], crs: CRS, grid: Grid) -> Area:
        """The inside of a box given as left, bottom, right, top in any CRS.

        Raises:
            ParameterError: when the box is empty.
            GridError: when the box lies outside the grid, or cannot be expressed in its CRS.
        """
        left, bottom, right, top = bounds
        if not (all(map(math.isfinite, bounds)) and left < right and bottom < top):
            raise ParameterError(
                f"the extent {_numbers(bounds)} is empty",
                "its order is xmin, ymin, xmax, ymax",
                "check the order and the signs",
            )
        return _on_grid(np.array([shapely.box(*bounds)]), crs, grid, "the extent")

    def touches(self, window: Window) -> bool:
        """True when pixels of a window may belong to the area; never False when one does."""
        if window.intersect(self.window).empty:
            return False
        slack = 0.01  # an edge that runs along the window's border may touch pixels on either side
        box = shapely.box(window.col - slack, window.row - slack, window.right + slack, window.bottom + slack)
        return bool(shapely.intersects(self._polygons[self._tree.query(box)], box).any())

    def mask(self, window: Window) -> np.ndarray:
        """Which pixels of a window belong to the area: bool (H, W); False beyond the grid."""
        result = np.zeros((window.height, window.width), dtype=bool)
        common = window.intersect(self.window)
        if common.empty:
            return result
        for row in range(common.row // _BLOCK, (common.bottom - 1) // _BLOCK + 1):
            for col in range(common.col // _BLOCK, (common.right - 1) // _BLOCK + 1):
                place = Window(col * _BLOCK, row * _BLOCK, _BLOCK, _BLOCK)
                part = place.intersect(common)
                block = self._block(row, col)
                result[part.moved(-window.col, -window.row).slices()] = block[
                    part.moved(-place.col, -place.row).slices()
                ]
        return result

    def _rasterise(self, row: int, col: int) -> np.ndarray:
        """The mask of a block, read-only bool (H, W)."""
        place = Window(col * _BLOCK, row * _BLOCK, _BLOCK, _BLOCK)
        frame = shapely.box(place.col - 2, place.row - 2, place.right + 2, place.bottom + 2)
        near = self._tree.query(frame)
        if shapely.contains(self._polygons[near], frame).any():
            return np.broadcast_to(np.True_, (_BLOCK, _BLOCK))
        result = np.zeros((_BLOCK, _BLOCK), dtype=np.uint8)
        near = near[shapely.intersects(self._polygons[near], frame)]
        for thin in (False, True):
            shapes = self._polygons[near[self._thin[near] == thin]]
            large = shapely.get_num_coordinates(shapes) > _CLIP_FROM_VERTICES
            shapes[large] = shapely.clip_by_rect(shapes[large], *frame.bounds)
            shapes = shapes[~shapely.is_empty(shapes)]
            if len(shapes):
                rasterize(shapes, out=result, transform=Affine.translation(place.col, place.row), all_touched=thin)
        mask = result.astype(bool)
        mask.setflags(write=False)
        return mask


def _read(name: str) -> tuple[np.ndarray, CRS]:
    """The geometries of a layer and their CRS."""
    path, _, layer = name.partition("|layername=")
    if not path.startswith("/vsi") and "://" not in path and not os.path.exists(path):
        raise SourceError(f'"{path}" does not exist', "", "check the path")
    try:
        layer = _choose_layer(path, layer)
        meta, _, wkb, _ = pyogrio.raw.read(path, layer=layer, columns=[], force_2d=True)
        with np.errstate(invalid="ignore"):  # damaged coordinates are looked for below
            geometries = shapely.from_wkb(wkb, on_invalid="fix")
    except (DataSourceError, DataLayerError, CPLE_BaseError, shapely.errors.GEOSException) as error:
        raise SourceError(
            f'"{path}" cannot be read as polygons', str(error), "give a GeoPackage, GeoJSON or Shapefile"
        ) from error
    polygons = _polygons_in(geometries[~shapely.is_missing(geometries)], path)
    if not meta["crs"]:
        raise SourceError(
            f'the polygons in "{path}" have no CRS',
            "the file does not say where they lie",
            "assign the CRS (for a Shapefile: the .prj file) and try again",
        )
    return polygons, parse_crs(meta["crs"])


def _choose_layer(path: str, wanted: str) -> str:
    """The layer that was asked for, or the first that can hold polygons.

    Raises:
        SourceError: when there is none.
    """
    layers = {str(name): str(kind) for name, kind in pyogrio.list_layers(path)}
    if wanted:
        if wanted not in layers:
            raise SourceError(
                f'"{path}" has no layer "{wanted}"', f"its layers are {', '.join(layers)}", "name one of these"
            )
        return wanted
    for mark in ("Polygon", "Surface", "Unknown", "Collection"):
        for name, kind in layers.items():
            if mark in kind:
                return name
    kinds = ", ".join(f"{name} ({kind})" for name, kind in layers.items()) or "none"
    raise SourceError(f'"{path}" has no polygons', f"its layers are {kinds}", "give a file of polygons")


def _polygons_in(geometries: np.ndarray, path: str) -> np.ndarray:
    """Valid single polygons; other geometries that stand beside them are left out.

    Raises:
        SourceError: when there are no polygons, or their coordinates are not numbers.
    """
    if not np.isfinite(shapely.get_coordinates(geometries)).all():
        raise SourceError(f'the polygons in "{path}" are damaged', "some coordinates are not finite numbers")
    polygons = _simple_polygons(geometries)
    if len(polygons) == 0:
        kinds = sorted({geometry.geom_type for geometry in geometries})
        raise SourceError(
            f'"{path}" has no polygons', f"it holds {', '.join(kinds) or 'no geometries'}", "give a file of polygons"
        )
    return polygons


def _simple_polygons(geometries: np.ndarray) -> np.ndarray:
    """The polygons in geometries of any kind, made valid, without those that have no area."""
    parts = shapely.make_valid(geometries)
    while (shapely.get_type_id(parts) > shapely.GeometryType.POLYGON).any():
        parts = shapely.get_parts(parts)
    return np.asarray(parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > 0)])


def _on_grid(polygons: np.ndarray, crs: CRS, grid: Grid, title: str) -> Area:
    """The area of polygons in any CRS.

    Raises:
        GridError: when they lie outside the grid or the domain of its CRS.
    """
    in_crs = polygons if crs == grid.crs else _reprojected(polygons, crs, grid, title)
    inverse = ~grid.transform
    pixels = shapely.transform(in_crs, lambda x, y: inverse @ (x, y), interleaved=False)
    inside = _simple_polygons(
        shapely.intersection(shapely.make_valid(pixels), shapely.box(0, 0, grid.width, grid.height))
    )
    if len(inside) == 0:
        raise _outside(polygons, crs, grid, title)
    return Area(inside, grid)


def _reprojected(polygons: np.ndarray, crs: CRS, grid: Grid, title: str) -> np.ndarray:
    """Polygons near the grid in its CRS; edges follow the straight lines of their own CRS."""
    left, bottom, right, top = reproject_bounds(grid.bounds, grid.crs, crs)
    width, height = right - left, top - bottom
    nearby = shapely.box(left - 0.1 * width, bottom - 0.1 * height, right + 0.1 * width, top + 0.1 * height)
    near = _simple_polygons(shapely.intersection(polygons, nearby))
    if len(near) == 0:
        raise _outside(polygons, crs, grid, title)
    dense = shapely.segmentize(near, max(width, height) / _EDGES_PER_SCENE)
    xs, ys = transform(crs, grid.crs, *shapely.get_coordinates(dense).T)
    points = np.stack([xs, ys], axis=1)
    if not np.isfinite(points).all():
        raise GridError(
            f"{title} cannot be expressed in the CRS of the scene", "it lies outside the CRS's domain of use"
        )
    return np.asarray(shapely.set_coordinates(dense, points))


def _outside(polygons: np.ndarray, crs: CRS, grid: Grid, title: str) -> GridError:
    """Says where the area and the scene lie, in the area's CRS."""
    area = tuple(shapely.total_bounds(polygons).tolist())
    scene = reproject_bounds(grid.bounds, grid.crs, crs)
    name = crs.to_string() if crs.to_epsg() else "its CRS"
    return GridError(
        f"{title} lies outside the scene",
        f"in {name} it spans {_numbers(area)} and the scene {_numbers(scene)} (xmin, ymin, xmax, ymax)",
        "check the area and its CRS",
    )


def _numbers(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.7g}" for value in bounds)


def _are_thin(polygons: np.ndarray) -> np.ndarray:
    """True for polygons in which no disc fits that would be sure to hold a pixel's centre."""
    # The largest disc in a polygon has at least the radius area / perimeter, which is quick to compute.
    thin = shapely.area(polygons) < _THIN_RADIUS * shapely.length(polygons)
    thin[thin] = shapely.is_empty(shapely.buffer(polygons[thin], -_THIN_RADIUS, quad_segs=2))
    return np.asarray(thin)


def _span(polygons: np.ndarray, thin: np.ndarray) -> Window:
    """The columns and rows in which pixels can belong to the polygons."""
    bounds = shapely.bounds(polygons)
    low, high = bounds[:, :2], bounds[:, 2:]
    first = np.where(thin[:, None], np.floor(low), np.ceil(low - 0.5)).min(axis=0).astype(int)
    last = np.where(thin[:, None], np.ceil(high), np.floor(high - 0.5) + 1).max(axis=0).astype(int)
    return Window(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))

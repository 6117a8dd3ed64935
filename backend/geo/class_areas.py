"""How much ground each class of a raster covers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from rasterio.windows import Window as RasterioWindow

from backend.geo.geodesy import SEMI_MAJOR_M, authalic_q, polygon_areas_m2
from backend.geo.grid import Grid, Window
from backend.geo.source import open_raster
from backend.protocol.errors import GridError

# Pixels of a projected raster count alike within a square cell. Over 5 km the scale of a projection changes by about a
# thousandth, and what one half of a cell gains the other loses. Coarse rasters get cells of some pixels all the same,
# fine ones of no more than a TIFF block: cells are what takes time.
_CELL_M = 5_000.0
_FEWEST_CELL_PIXELS, _MOST_CELL_PIXELS = 16, 512
_BLOCK = 2048  # pixels along a side that are read at a time
_VALUES = 256  # that a class raster can hold
_POLYGONS = 1024  # measured at a time


@dataclass(frozen=True)
class ClassAreas:
    """Of every value of a class raster: pixels (256,) int64 and ground (256,) float64 in m2.

    The ground of a value is NaN where one of its pixels lies outside the domain of the raster's CRS.
    """

    pixels: np.ndarray
    square_metres: np.ndarray


def class_areas(path: str | os.PathLike[str], nodata: int, check: Callable[[], None]) -> ClassAreas:
    """Counts the pixels of a class raster and measures their ground on the WGS 84 ellipsoid.

    Args:
        path: raster of one uint8 band.
        nodata: value that is no class; it stays 0.
        check: called between blocks; may raise.

    Raises:
        SourceError: when the raster cannot be opened.
    """
    pixels, square_metres = np.zeros(_VALUES, np.int64), np.zeros(_VALUES)
    with open_raster(os.fspath(path)) as dataset:
        grid = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
        ground = _by_row if grid.crs.is_geographic and not grid.rotated else _by_cell
        for block in _squares(grid.window, _BLOCK):
            check()
            values = dataset.read(1, window=RasterioWindow(block.col, block.row, block.width, block.height))
            counts, pixel_areas = ground(grid, block, values, nodata)
            pixels += counts.sum(axis=0)
            present = counts > 0
            square_metres += np.multiply(counts, pixel_areas[:, None], out=np.zeros(counts.shape), where=present).sum(0)
    return ClassAreas(pixels, square_metres)


def _by_row(grid: Grid, block: Window, values: np.ndarray, nodata: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (rows, 256) and pixel areas (rows,) of a raster in degrees, where all pixels of a row are equal.

    The zone between two latitudes is exact (Snyder, eq. 3-12); another datum's ellipsoid differs by 1e-5 at most.
    """
    edges = grid.transform.f + grid.transform.e * np.arange(block.row, block.bottom + 1)
    heights = np.abs(np.diff(authalic_q(np.radians(np.clip(edges, -90.0, 90.0)))))
    pixel_areas = SEMI_MAJOR_M**2 / 2.0 * math.radians(abs(grid.transform.a)) * heights
    return np.stack([_counts(row, nodata) for row in values]), pixel_areas


def _by_cell(grid: Grid, block: Window, values: np.ndarray, nodata: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (cells, 256) and mean pixel areas (cells,) of the cells that hold a class."""
    side = int(np.clip(_CELL_M / max(grid.pixel_size_m()), _FEWEST_CELL_PIXELS, _MOST_CELL_PIXELS))
    cells = list(_squares(block, side))
    counts = np.stack([_counts(values[cell.moved(-block.col, -block.row).slices()], nodata) for cell in cells])
    used = np.flatnonzero(counts.sum(axis=1))
    pixel_areas = np.zeros(len(cells))
    for first in range(0, len(used), _POLYGONS):
        some = used[first : first + _POLYGONS]
        sizes = np.array([cells[index].width * cells[index].height for index in some])
        pixel_areas[some] = _ground_of(grid, [cells[index] for index in some]) / sizes
    return counts, pixel_areas


def _ground_of(grid: Grid, cells: list[Window]) -> np.ndarray:
    """Areas of cells in m2, (cells,); NaN for those that lie outside the CRS's domain."""
    boxes = shapely.box(*np.array([(cell.col, cell.row, cell.right, cell.bottom) for cell in cells], float).T)
    outlines = shapely.transform(boxes, lambda x, y: grid.transform @ (x, y), interleaved=False)
    try:
        return polygon_areas_m2(outlines, grid.crs)
    except GridError:
        if len(cells) == 1:
            return np.array([np.nan])
        half = len(cells) // 2
        return np.concatenate([_ground_of(grid, cells[:half]), _ground_of(grid, cells[half:])])


def _counts(values: np.ndarray, nodata: int) -> np.ndarray:
    """Pixels by value, (256,), none of nodata."""
    counts = np.bincount(values.ravel(), minlength=_VALUES)
    counts[nodata] = 0
    return counts


def _squares(whole: Window, side: int) -> Iterator[Window]:
    """A window in squares, row by row; the last ones are cut."""
    for row in range(whole.row, whole.bottom, side):
        for col in range(whole.col, whole.right, side):
            yield Window(col, row, side, side).intersect(whole)

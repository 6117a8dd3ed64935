"""Where a grid's pixels lie in a raster: exact for equal CRSs, else interpolated on a lattice fixed to the grid.

GDAL's own approximate transformer starts anew for every window, so that its result depends on how windows are cut.
A lattice at absolute pixel positions gives each pixel the same coordinates in every window.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform

from backend.geo.grid import ALIGNMENT_TOLERANCE, Grid, Window
from backend.protocol.errors import GridError

Floats = NDArray[np.float64]

_OUTLINE_POINTS = 65
_SAMPLES = 17
_LARGEST_STEP = 64
# Coordinates that are interpolated on the lattice differ from exact ones by no more than this share of a source pixel.
_LATTICE_ERROR = 1e-3


def transform_points(source: CRS, target: CRS, xs: Floats, ys: Floats) -> tuple[Floats, Floats]:
    """Points in another CRS; NaN where a point lies outside the CRS's domain.

    Args:
        xs, ys: any shape, equal.
    """
    flat_x, flat_y = np.ravel(xs), np.ravel(ys)
    try:
        out_x, out_y = transform(source, target, flat_x, flat_y)
    except (CPLE_BaseError, RasterioError):
        # One bad point spoils the whole call: halve until the bad ones are alone.
        if flat_x.size == 1:
            return np.full(xs.shape, np.nan), np.full(xs.shape, np.nan)
        half = flat_x.size // 2
        first = transform_points(source, target, flat_x[:half], flat_y[:half])
        second = transform_points(source, target, flat_x[half:], flat_y[half:])
        out_x, out_y = np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    x, y = np.asarray(out_x, dtype=np.float64), np.asarray(out_y, dtype=np.float64)
    bad = ~(np.isfinite(x) & np.isfinite(y))
    x[bad], y[bad] = np.nan, np.nan
    return x.reshape(xs.shape), y.reshape(xs.shape)


def footprint(grid: Grid, other: Grid) -> Window:
    """Smallest window of `grid` that covers `other`; may reach over the grid's border.

    Raises:
        GridError: when `other` cannot be expressed in the grid's CRS, or crosses the antimeridian there.
    """
    cols, rows = _outline(other.width, other.height)
    xs, ys = other.transform @ (cols, rows)
    if other.crs != grid.crs:
        xs, ys = transform_points(other.crs, grid.crs, xs, ys)
        _check_points(xs, ys, grid.crs)
    cols, rows = ~grid.transform @ (xs, ys)
    slack = ALIGNMENT_TOLERANCE
    col, row = math.floor(cols.min() + slack), math.floor(rows.min() + slack)
    return Window(col, row, math.ceil(cols.max() - slack) - col, math.ceil(rows.max() - slack) - row)


class PixelMap:
    """Maps pixel centres of a grid to pixel coordinates of a raster (upper-left corner of its first pixel: 0, 0).

    Attributes:
        separable: True when columns depend on columns only and rows on rows only.
        scale: raster pixels per grid pixel along the raster's columns and rows, at the middle of the common area.

    Raises:
        GridError: when the common area cannot be expressed in the raster's CRS, or crosses the antimeridian there.
    """

    def __init__(self, grid: Grid, raster: Grid, area: Window) -> None:
        self._grid, self._raster = grid, raster
        self._to_raster = ~raster.transform
        self._same_crs = grid.crs == raster.crs
        matrix = self._to_raster @ grid.transform
        small = 1e-9 * max(map(abs, (matrix.a, matrix.b, matrix.d, matrix.e)))
        self.separable = self._same_crs and abs(matrix.b) <= small and abs(matrix.d) <= small
        self._matrix = matrix
        self._step = _LARGEST_STEP
        if self._same_crs:
            self.scale = math.hypot(matrix.a, matrix.b), math.hypot(matrix.d, matrix.e)
        else:
            self._check(area)
            self.scale = self._middle_scale(area)
            while self._step > 1 and self._lattice_error(area) > _LATTICE_ERROR:
                self._step //= 2

    def axes(self, window: Window) -> tuple[Floats, Floats]:
        """Raster columns (W) and rows (H) of a window's pixel centres, for a separable map."""
        matrix = self._matrix
        cols = np.arange(window.col, window.right) + 0.5
        rows = np.arange(window.row, window.bottom) + 0.5
        return matrix.a * cols + matrix.c, matrix.e * rows + matrix.f

    def coordinates(self, window: Window) -> tuple[Floats, Floats]:
        """Raster columns and rows (H, W) of a window's pixel centres; NaN outside the CRS's domain."""
        if self._same_crs:
            cols = np.arange(window.col, window.right)[None, :] + 0.5
            rows = np.arange(window.row, window.bottom)[:, None] + 0.5
            matrix = self._matrix
            return matrix.a * cols + (matrix.b * rows + matrix.c), matrix.d * cols + (matrix.e * rows + matrix.f)
        return self._interpolated(window)

    def _exact(self, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Raster coordinates of grid coordinates (any equal shape) without interpolation."""
        xs, ys = self._grid.transform @ (cols, rows)
        if not self._same_crs:
            xs, ys = transform_points(self._grid.crs, self._raster.crs, xs, ys)
        us, vs = self._to_raster @ (xs, ys)
        return us, vs

    def _interpolated(self, window: Window) -> tuple[Floats, Floats]:
        """Bilinear interpolation between lattice points at multiples of the step in the grid."""
        step = self._step
        first_col, first_row = window.col // step, window.row // step
        lattice_cols = np.arange(first_col, (window.right - 1) // step + 2) * float(step) + 0.5
        lattice_rows = np.arange(first_row, (window.bottom - 1) // step + 2) * float(step) + 0.5
        us, vs = self._exact(*np.meshgrid(lattice_cols, lattice_rows))
        cols, rows = np.arange(window.col, window.right), np.arange(window.row, window.bottom)
        col_index, col_share = cols // step - first_col, (cols % step) / step
        row_index, row_share = rows // step - first_row, (rows % step)[:, None] / step
        return (
            _interpolate(us, col_index, col_share, row_index, row_share),
            _interpolate(vs, col_index, col_share, row_index, row_share),
        )

    def _check(self, area: Window) -> None:
        """Refuses a common area in which the raster's coordinates jump."""
        cols, rows = _outline(area.width, area.height)
        xs, ys = self._grid.transform @ (cols + area.col, rows + area.row)
        xs, ys = transform_points(self._grid.crs, self._raster.crs, xs, ys)
        if self._raster.crs.is_geographic and np.isfinite(xs).all():
            _check_points(xs, ys, self._raster.crs)

    def _middle_scale(self, area: Window) -> tuple[float, float]:
        """Lengths of a grid pixel's sides in raster pixels, from central differences at the middle of the area."""
        col, row = area.col + area.width / 2, area.row + area.height / 2
        us, vs = self._exact(np.array([col - 0.5, col + 0.5, col, col]), np.array([row, row, row - 0.5, row + 0.5]))
        scale = math.hypot(us[1] - us[0], us[3] - us[2]), math.hypot(vs[1] - vs[0], vs[3] - vs[2])
        if not (math.isfinite(scale[0]) and math.isfinite(scale[1])):
            raise GridError("the raster cannot be put on the grid", "its CRS is undefined there")
        return scale

    def _lattice_error(self, area: Window) -> float:
        """Largest distance of interpolated from exact coordinates at cell middles all over the area, in pixels."""
        half = self._step / 2
        cols = np.linspace(area.col, max(area.col, area.right - self._step), _SAMPLES) + half
        rows = np.linspace(area.row, max(area.row, area.bottom - self._step), _SAMPLES) + half
        middle_cols, middle_rows = np.meshgrid(cols, rows)
        middle = np.stack(self._exact(middle_cols, middle_rows))
        corners = [
            np.stack(self._exact(middle_cols + dx, middle_rows + dy)) for dx in (-half, half) for dy in (-half, half)
        ]
        # When shrinking, what counts is the error in pixels of the grid.
        unit = np.maximum(1.0, np.array(self.scale))[:, None, None]
        difference = np.abs(sum(corners[1:], corners[0]) / 4 - middle) / unit
        return float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0


def _interpolate(
    lattice: Floats, col_index: NDArray[np.intp], col_share: Floats, row_index: NDArray[np.intp], row_share: Floats
) -> Floats:
    """Values (H, W) between lattice points; elementwise, hence the same bits for every window."""
    left, right = lattice[:, col_index], lattice[:, col_index + 1]
    along = left + (right - left) * col_share
    top = along[row_index]
    bottom = along[row_index + 1]
    bottom -= top
    bottom *= row_share
    top += bottom
    return top


def _outline(width: int, height: int) -> tuple[Floats, Floats]:
    """Pixel coordinates along the border of a raster, in order, closed."""
    across, down = np.linspace(0.0, width, _OUTLINE_POINTS), np.linspace(0.0, height, _OUTLINE_POINTS)
    cols = np.concatenate([across, np.full(_OUTLINE_POINTS, float(width)), across[::-1], np.zeros(_OUTLINE_POINTS)])
    rows = np.concatenate([np.zeros(_OUTLINE_POINTS), down, np.full(_OUTLINE_POINTS, float(height)), down[::-1]])
    return cols, rows


def _check_points(xs: Floats, ys: Floats, crs: CRS) -> None:
    """Refuses an outline that leaves the CRS's domain or, in degrees, jumps from one side of the Earth to the other."""
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise GridError(
            "a raster cannot be expressed in the CRS it is needed in",
            "it lies outside its domain",
            "choose an output CRS that fits the area",
        )
    if crs.is_geographic and float(np.abs(np.diff(xs)).max()) > 180.0:
        raise GridError(
            "a raster crosses the antimeridian or holds a pole",
            "longitudes jump by 360 degrees inside it",
            "use a projected CRS for all rasters, or cut the scene at 180 degrees and run both parts",
        )

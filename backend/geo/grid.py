"""Where pixels are: an immutable grid and integer windows on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import array_bounds
from rasterio.warp import transform, transform_bounds

from backend.protocol.errors import GridError, ParameterError

# Two grids are one when no corner differs by more than this share of a pixel.
ALIGNMENT_TOLERANCE = 1e-3
WGS84 = CRS.from_epsg(4326)
EARTH_RADIUS_M = 6_371_008.8  # mean radius, IUGG


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels, half-open; columns run right, rows run down."""

    col: int
    row: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column right of the window."""
        return self.col + self.width

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def empty(self) -> bool:
        """True when the window holds no pixel."""
        return self.width <= 0 or self.height <= 0

    def intersect(self, other: Window) -> Window:
        """The common part; empty (width or height 0) when there is none."""
        col, row = max(self.col, other.col), max(self.row, other.row)
        width = max(0, min(self.right, other.right) - col)
        height = max(0, min(self.bottom, other.bottom) - row)
        return Window(col, row, width, height)

    def moved(self, cols: int, rows: int) -> Window:
        """The window shifted by whole pixels."""
        return Window(self.col + cols, self.row + rows, self.width, self.height)

    def zoomed(self, ratio: Fraction) -> Window:
        """The window on a grid with `ratio` pixels for each one of this; it must begin and end between such pixels."""
        col, row = self.col * ratio, self.row * ratio
        return Window(int(col), int(row), int(self.right * ratio - col), int(self.bottom * ratio - row))

    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into an array of the grid's shape."""
        return slice(self.row, self.bottom), slice(self.col, self.right)


@dataclass(frozen=True)
class Grid:
    """A raster's place on the Earth: CRS, affine transform, size in pixels."""

    crs: CRS
    transform: Affine
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise GridError("the grid is empty", f"it would be {self.width} x {self.height} pixels")
        if self.transform.is_degenerate:
            raise GridError("the grid has no area", "its transform maps pixels onto a line or point")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def window(self) -> Window:
        """All pixels."""
        return Window(0, 0, self.width, self.height)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in units of the CRS (of the enclosing box where the grid is rotated)."""
        if self.rotated:
            corners = [self.transform @ (c, r) for c in (0, self.width) for r in (0, self.height)]
            xs, ys = zip(*corners, strict=True)
            return min(xs), min(ys), max(xs), max(ys)
        left, bottom, right, top = array_bounds(self.height, self.width, self.transform)
        return min(left, right), min(bottom, top), max(left, right), max(bottom, top)

    @property
    def rotated(self) -> bool:
        """True when rows do not run along the x axis of the CRS."""
        t = self.transform
        return bool(abs(t.b) > 1e-9 * abs(t.a) or abs(t.d) > 1e-9 * abs(t.e))

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Pixel width and height in units of the CRS, both positive."""
        t = self.transform
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)

    def pixel_size_m(self) -> tuple[float, float]:
        """Pixel width and height on the ground at the grid's centre, in metres."""
        width, height = self.pixel_size
        if self.crs.is_geographic:
            latitude = (self.transform @ (self.width / 2, self.height / 2))[1]
            degree = math.radians(1.0) * EARTH_RADIUS_M
            return width * degree * max(math.cos(math.radians(latitude)), 1e-6), height * degree
        factor = self.crs.linear_units_factor[1]
        if self.crs.to_epsg() == 3857:  # web Mercator stretches lengths by 1 / cos(latitude)
            x, y = self.transform @ (self.width / 2, self.height / 2)
            (latitude,) = transform(self.crs, WGS84, [x], [y])[1]
            factor *= math.cos(math.radians(latitude))
        return width * factor, height * factor

    def crop(self, window: Window) -> Grid:
        """The grid of one of its windows (which may reach over the border)."""
        return Grid(self.crs, self.transform @ Affine.translation(window.col, window.row), window.width, window.height)

    def zoomed(self, ratio: Fraction) -> Grid:
        """The grid with `ratio` pixels for each of its own along both axes, from the same corner; covers all of it."""
        cols, rows = (math.ceil(pixels * ratio) for pixels in (self.width, self.height))
        return Grid(self.crs, self.transform @ Affine.scale(float(1 / ratio)), cols, rows)

    def aligned(self, other: Grid) -> bool:
        """True when both grids have the same CRS and pixels that lie exactly upon each other."""
        return self.offset_of(other) is not None

    def offset_of(self, other: Grid) -> tuple[int, int] | None:
        """Column and row of `other`'s first pixel on this grid; None when the pixels do not coincide."""
        if self.crs != other.crs:
            return None
        to_mine = ~self.transform @ other.transform
        corners = np.array([to_mine @ (c, r) for c in (0, other.width) for r in (0, other.height)])
        col, row = np.round(corners[0]).astype(int)
        expected = [(col + c, row + r) for c in (0, other.width) for r in (0, other.height)]
        if np.abs(corners - expected).max() > ALIGNMENT_TOLERANCE:
            return None
        return int(col), int(row)

    def window_of_bounds(self, bounds: tuple[float, float, float, float], crs: CRS) -> Window:
        """Smallest window that covers bounds given in any CRS, cut to the grid; may be empty.

        Raises:
            GridError: when the bounds cannot be expressed in the grid's CRS.
        """
        if self.rotated or crs != self.crs:
            xs, ys = _outline(bounds)
            if crs != self.crs:
                xs, ys = (np.asarray(v) for v in transform(crs, self.crs, xs, ys))
            if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
                raise GridError(
                    "the area cannot be expressed in the CRS of the grid", "it lies outside the CRS's domain of use"
                )
            cols, rows = ~self.transform @ (xs, ys)
        else:
            left, bottom, right, top = bounds
            cols, rows = ~self.transform @ (np.array([left, right]), np.array([bottom, top]))
        slack = ALIGNMENT_TOLERANCE
        col, row = math.floor(float(np.min(cols)) + slack), math.floor(float(np.min(rows)) + slack)
        right_col, bottom_row = math.ceil(float(np.max(cols)) - slack), math.ceil(float(np.max(rows)) - slack)
        return Window(col, row, right_col - col, bottom_row - row).intersect(self.window)

    def to_dict(self) -> dict[str, Any]:
        """JSON form: CRS as WKT2, transform as six numbers, width and height."""
        return {
            "crs": self.crs.to_wkt(),
            "transform": list(self.transform)[:6],
            "width": self.width,
            "height": self.height,
        }

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Grid:
        """The grid that `to_dict` described."""
        return Grid(CRS.from_wkt(value["crs"]), Affine(*value["transform"]), value["width"], value["height"])

    @staticmethod
    def covering(crs: CRS, bounds: tuple[float, float, float, float], pixel: tuple[float, float]) -> Grid:
        """North-up grid over bounds, its origin on a multiple of the pixel size."""
        width, height = pixel
        left, top = math.floor(bounds[0] / width + 1e-6) * width, math.ceil(bounds[3] / height - 1e-6) * height
        cols, rows = math.ceil((bounds[2] - left) / width - 1e-6), math.ceil((top - bounds[1]) / height - 1e-6)
        return Grid(crs, Affine(width, 0, left, 0, -height, top), max(1, cols), max(1, rows))


def parse_crs(text: str) -> CRS:
    """A CRS from "EPSG:32631", WKT or PROJ text.

    Raises:
        ParameterError: when the text names no CRS.
    """
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise ParameterError(
            f'"{text}" is not a coordinate reference system',
            "",
            f'write it as in "EPSG:{text if text.isdigit() else 32631}"',
        ) from error


def reproject_bounds(
    bounds: tuple[float, float, float, float], source: CRS, target: CRS
) -> tuple[float, float, float, float]:
    """Enclosing box of bounds in another CRS, edges densified.

    Raises:
        GridError: when the bounds lie outside the target's domain or cross the antimeridian.
    """
    if source == target:
        return bounds
    left, bottom, right, top = transform_bounds(source, target, *bounds, densify_pts=41)
    if not all(map(math.isfinite, (left, bottom, right, top))):
        raise GridError(
            "the area cannot be expressed in the CRS of the grid", "it lies outside the CRS's domain of use"
        )
    if left > right:
        raise GridError(
            "the area crosses the antimeridian",
            "its western edge lies east of its eastern edge",
            "cut the scene at 180 degrees and run both parts",
        )
    return left, bottom, right, top


def _outline(bounds: tuple[float, float, float, float], points: int = 41) -> tuple[np.ndarray, np.ndarray]:
    """Points along the edges of a box."""
    left, bottom, right, top = bounds
    x, y = np.linspace(left, right, points), np.linspace(bottom, top, points)
    xs = np.concatenate([x, x, np.full(points, left), np.full(points, right)])
    ys = np.concatenate([np.full(points, bottom), np.full(points, top), y, y])
    return xs, ys

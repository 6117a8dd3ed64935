"""Labels as people draw them: points, lines and polygons with a class, and the pixels of a grid that they name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from affine import Affine
from pyogrio._err import CPLE_BaseError
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import rasterize
from rasterio.warp import transform

from backend.geo.geopackage import GeoPackageWriter
from backend.geo.grid import Grid, Window, parse_crs
from backend.protocol.errors import GridError, ParameterError, SourceError

# Points and lines as an area: strips so narrow (share of what they span) that they name the pixels they touch.
_STRIP = 1e-7


@dataclass(frozen=True)
class Labels:
    """Labelled places.

    Attributes:
        path: the file, for messages.
        shapes: N geometries in `crs`.
        names: N, the class of each.
        crs: of the geometries.
    """

    path: str
    shapes: np.ndarray
    names: tuple[str, ...]
    crs: CRS

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that occur, sorted."""
        return tuple(sorted(set(self.names)))

    def write_area(self, path: Path) -> None:
        """Write the places as polygons, such as an area of interest reads them.

        Raises:
            OutputError: the file cannot be written.
        """
        bounds = shapely.total_bounds(self.shapes)
        width = max(_STRIP * max(bounds[2] - bounds[0], bounds[3] - bounds[1]), 1e-12)
        flat = shapely.area(self.shapes) == 0
        polygons = np.where(flat, shapely.buffer(self.shapes, width, quad_segs=1), self.shapes)
        writer = GeoPackageWriter(path, "labels", {"label": np.int32}, self.crs, "Unknown")
        writer.write(polygons, {"label": np.arange(len(polygons), dtype=np.int32)})
        writer.close()

    def pixels(self, grid: Grid) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Number, rows and columns of the pixels of every label, in turn.

        Of a polygon these are the pixels whose centres lie inside; of anything too thin to hold a centre, and of points
        and lines, the pixels that it touches. Labels outside the grid have none.

        Raises:
            GridError: the labels cannot be expressed in the grid's CRS.
        """
        placed = self._on(grid)
        for number, shape in enumerate(placed):
            left, top, right, bottom = shapely.bounds(shape)
            col, row = int(np.floor(left)), int(np.floor(top))
            window = Window(col, row, int(np.ceil(right)) - col + 1, int(np.ceil(bottom)) - row + 1)
            window = window.intersect(grid.window)
            if window.empty:
                yield number, np.empty(0, int), np.empty(0, int)
                continue
            move = Affine.translation(window.col, window.row)
            size = (window.height, window.width)
            inside = rasterize([shape], out_shape=size, transform=move)
            if not inside.any():
                inside = rasterize([shape], out_shape=size, transform=move, all_touched=True)
            rows, cols = np.nonzero(inside)
            yield number, rows + window.row, cols + window.col

    def _on(self, grid: Grid) -> np.ndarray:
        """The shapes in pixel coordinates of a grid."""

        def placed(points: np.ndarray) -> np.ndarray:
            try:
                x, y = transform(self.crs, grid.crs, points[:, 0], points[:, 1])
            except CRSError as error:
                raise GridError(f'the labels in "{self.path}" do not fit the raster\'s CRS', str(error)) from error
            to = ~grid.transform
            x, y = np.asarray(x), np.asarray(y)
            return np.stack([to.a * x + to.b * y + to.c, to.d * x + to.e * y + to.f], axis=1)

        return np.asarray(shapely.transform(self.shapes, placed))


def read_labels(path: str, field: str, layer: str = "") -> Labels:
    """The labels of a vector file; features without a geometry or a class are left out.

    Args:
        path: of any format that GDAL reads.
        field: whose values are the classes.
        layer: of the file; "" takes its first one.

    Raises:
        SourceError: the file is missing, unreadable, has no CRS or no labels.
        ParameterError: it has no such field.
    """
    if not os.path.exists(path):
        raise SourceError(f'"{path}" does not exist', "", "check the path")
    try:
        fields = list(pyogrio.read_info(path, layer=layer or None)["fields"])
        if field not in fields:
            raise ParameterError(
                f'"{path}" has no field "{field}"', f"its fields are {', '.join(fields) or 'none'}", "name one of them"
            )
        meta, _, wkb, columns = pyogrio.raw.read(path, layer=layer or None, columns=[field], force_2d=True)
        shapes = shapely.make_valid(shapely.from_wkb(wkb, on_invalid="fix"))
    except (DataSourceError, DataLayerError, CPLE_BaseError, shapely.errors.GEOSException) as error:
        raise SourceError(f'"{path}" cannot be read as labels', str(error), "give a GeoPackage or GeoJSON") from error
    if not meta["crs"]:
        raise SourceError(f'the labels in "{path}" have no CRS', "", "assign the CRS and try again")
    names = [_name(value) for value in columns[0]]
    good = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes)) & np.array([bool(name) for name in names], bool)
    if not good.any():
        raise SourceError(f'"{path}" has no labels', f'no feature has both a geometry and a "{field}"')
    kept = tuple(name for name, use in zip(names, good, strict=True) if use)
    return Labels(path, shapes[good], kept, parse_crs(meta["crs"]))


def _name(value: object) -> str:
    """A field's value as the name of a class; whole numbers without a point."""
    if value is None or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
        return ""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()

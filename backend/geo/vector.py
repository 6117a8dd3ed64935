"""Class polygons of a raster that arrives chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import shapely

from backend.geo.geodesy import polygon_areas_m2
from backend.geo.geopackage import GeoPackageWriter
from backend.geo.grid import Grid, Window
from backend.geo.pieces import ClassPolygons, ExactOutlines, Outlines, SimplifiedOutlines
from backend.geo.writer import Legend

LAYER = "polygons"


class Polygoniser:
    """Writes one polygon for every connected region of a class raster to a GeoPackage.

    Regions are pixels of one class joined by edges (4-connectivity), also across the borders of chunks. Features have
    the fields `class_id`, `class` and `area_m2` (on the ellipsoid). Whatever the chunks and their order, the same
    polygons are written; only the order of features follows the chunks. Memory follows the regions that are still open:
    one that spans the scene is held until it is complete.

    Args:
        path: the GeoPackage; it appears when `close` is called.
        grid: the raster's grid.
        legend: names of the classes; a class that is not listed is named by its number.
        nodata: value that is no class.
        min_area_m2: smaller polygons are left out.
        simplify_px: tolerance in pixels, the square root of the area of the corners that may be cut off; neighbours
            keep a common border. 0 follows the pixels' edges exactly.

    Raises:
        OutputError: when the file cannot be written, here or at any later call; nothing is left behind then.
    """

    def __init__(
        self,
        path: str | Path,
        grid: Grid,
        legend: Legend,
        nodata: int,
        min_area_m2: float = 0.0,
        simplify_px: float = 0.0,
    ) -> None:
        self._grid, self._min_area_m2 = grid, min_area_m2
        self._names = {entry.value: entry.name for entry in legend.classes}
        self._outlines: Outlines = (
            SimplifiedOutlines(grid, nodata, simplify_px) if simplify_px > 0 else ExactOutlines(grid, nodata)
        )
        self._file = GeoPackageWriter(
            path, LAYER, {"class_id": np.int32, "class": object, "area_m2": np.float64}, grid.crs
        )

    def add(self, window: Window, classes: np.ndarray) -> None:
        """Takes a chunk in: classes (H, W) of the pixels of a window; every pixel may come once at most."""
        self._write(self._outlines.add(window, classes))

    def close(self) -> int:
        """Writes the regions that are still open and returns the number of polygons; pixels never added are nodata."""
        self._write(self._outlines.finish())
        return self._file.close()

    def discard(self) -> None:
        """Gives the run up and removes what was written so far."""
        self._file.discard()

    def _write(self, regions: Iterable[ClassPolygons]) -> None:
        for found in regions:
            if len(found.polygons) == 0:
                continue
            polygons = shapely.transform(found.polygons, self._to_map)
            areas = polygon_areas_m2(polygons, self._grid.crs)
            large = areas >= self._min_area_m2
            classes = found.classes[large]
            names = np.array([self._names.get(value, str(value)) for value in classes.tolist()], dtype=object)
            self._file.write(polygons[large], {"class_id": classes, "class": names, "area_m2": areas[large]})

    def _to_map(self, points: np.ndarray) -> np.ndarray:
        """Lattice coordinates (N, 2) as coordinates of the CRS."""
        t = self._grid.transform
        col, row = points[:, 0], points[:, 1]
        return np.stack([t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f], axis=1)

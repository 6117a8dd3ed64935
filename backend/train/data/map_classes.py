"""Map classes over samples, such as OpenStreetMap's, rasterised from a vector file (skysense-v2.md, 10.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from affine import Affine
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.warp import transform

from backend.geo.grid import parse_crs, reproject_bounds
from backend.protocol.errors import ParameterError, SourceError
from backend.train.data.sample import Place, Sample

CELLS = 64  # along a sample's side: 10 m over 640 m, finer than the positions that are aligned with words


class MapClasses:
    """The classes of the features of a vector file.

    Args:
        path: GeoPackage, GeoJSON or whatever else GDAL reads; its first layer counts.
        column: attribute with the name of a feature's class; features without one are left out.
        cells: of the grid, along a sample's side.

    Raises:
        SourceError: the file cannot be read or has no CRS.
        ParameterError: it has no such attribute, or that names no class.
    """

    def __init__(self, path: Path, column: str, cells: int = CELLS) -> None:
        self._path, self._column, self._cells = path, column, cells
        columns, crs = self._about()
        if column not in columns:
            raise ParameterError(f'"{path}" has no attribute "{column}"', f"it has {', '.join(columns)}")
        self._crs = parse_crs(crs)
        named = pyogrio.raw.read(str(path), columns=[column], read_geometry=False)[3][0]
        self.names: tuple[str, ...] = tuple(sorted({str(name) for name in named if name}))
        if not self.names:
            raise ParameterError(f'the attribute "{column}" of "{path}" names no class')

    def over(self, place: Place) -> np.ndarray:
        """K x G x G bool: cells whose centres lie in a polygon of a class, or that its lines and points touch."""
        crs = parse_crs(place.crs)
        bounds = reproject_bounds(place.bounds, crs, self._crs)
        _, _, stored, (named,) = pyogrio.raw.read(str(self._path), columns=[self._column], bbox=bounds, force_2d=True)
        found = np.zeros((len(self.names), self._cells, self._cells), bool)
        if len(stored) == 0:
            return found
        features = _in_crs(shapely.from_wkb(stored, on_invalid="ignore"), self._crs, crs)
        left, bottom, right, top = place.bounds
        cells = Affine((right - left) / self._cells, 0, left, 0, (bottom - top) / self._cells, top)
        for number, name in enumerate(self.names):
            mine = features[named == name]
            mine = mine[~(shapely.is_missing(mine) | shapely.is_empty(mine))]
            flat = shapely.get_dimensions(mine) == 2
            for shapes, touched in ((mine[flat], False), (mine[~flat], True)):
                if len(shapes):
                    shape = (self._cells, self._cells)
                    found[number] |= rasterize(shapes, shape, transform=cells, all_touched=touched) > 0
        return found

    def added(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples with their classes; those without a place on Earth as they are."""
        for sample in samples:
            known = bool(sample.place.crs)
            yield replace(sample, classes=self.over(sample.place), class_names=self.names) if known else sample

    def _about(self) -> tuple[list[str], str]:
        """Names of the attributes, and the CRS."""
        try:
            about = pyogrio.read_info(str(self._path))
        except (DataSourceError, DataLayerError) as error:
            raise SourceError(f'"{self._path}" cannot be read as a vector file', str(error)) from error
        if not about["crs"]:
            raise SourceError(f'"{self._path}" has no coordinate reference system', "", "assign the one it was made in")
        return [str(name) for name in about["fields"]], str(about["crs"])


def _in_crs(features: np.ndarray, crs: CRS, wanted: CRS) -> np.ndarray:
    """Geometries in another CRS, vertex by vertex."""
    if crs == wanted:
        return features
    points = shapely.get_coordinates(features)
    xs, ys = transform(crs, wanted, *points.T)
    return np.asarray(shapely.set_coordinates(features, np.stack([xs, ys], axis=1)))

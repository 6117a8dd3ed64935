"""Writing polygons to a GeoPackage in batches; the file appears under its name only when it is complete."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from pyogrio._err import CPLE_BaseError
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS

from backend.geo.writer import library_error, output_error, replace
from backend.protocol.errors import OutputError

# A batch is one transaction; this much geometry waits in memory (16 bytes a vertex).
BATCH_VERTICES = 500_000
# SQLite keeps these beside the file while it writes.
_SIDECARS = ("", "-journal", "-wal", "-shm")
_GEOMETRY = "geom"


class GeoPackageWriter:
    """Writes one layer of geometries, as a rule polygons, with attributes.

    The part file is named NAME.part.gpkg: the GeoPackage driver complains about any other ending.

    Args:
        path: the final file; an old one is replaced.
        layer: the layer's name.
        fields: names of the attributes and the numpy types of their columns (object for text).
        crs: of the geometries.
        geometry: their kind; "Unknown" for mixed ones.

    Raises:
        OutputError: when the file cannot be written, here or at any later call.
    """

    def __init__(
        self, path: str | Path, layer: str, fields: Mapping[str, type], crs: CRS, geometry: str = "Polygon"
    ) -> None:
        self._path = Path(path)
        self._part = self._path.with_suffix(".part.gpkg")
        self._layer, self._fields, self._kind = layer, dict(fields), geometry
        code = crs.to_epsg()
        self._crs = f"EPSG:{code}" if code else crs.to_wkt()
        self._waiting: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self._waiting_vertices = 0
        self._begun = False
        self.count = 0
        self.discard()

    def write(self, polygons: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        """Adds features: shapely polygons (N,) and one column (N,) for each field."""
        if len(polygons) == 0:
            return
        self._waiting.append((polygons, columns))
        self._waiting_vertices += int(shapely.get_num_coordinates(polygons).sum())
        self.count += len(polygons)
        if self._waiting_vertices >= BATCH_VERTICES:
            self._flush()

    def close(self) -> int:
        """Completes the file, gives it its name and returns the number of features."""
        if self._waiting or not self._begun:
            self._flush()
        try:
            self._check()
            with open(self._part, "rb+") as file:
                os.fsync(file.fileno())
            replace(self._part, self._path)
        except (OSError, sqlite3.Error) as error:
            self.discard()
            raise output_error(self._path, error) from error
        return self.count

    def discard(self) -> None:
        """Removes what was written so far."""
        try:
            for sidecar in _SIDECARS:
                Path(f"{self._part}{sidecar}").unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f'"{self._part}" cannot be removed', error.strerror or str(error)) from error

    def _check(self) -> None:
        """Makes sure that all features and their spatial index are there: GDAL adds the index last, in silence.

        Raises:
            OSError, sqlite3.Error: when something is missing.
        """
        tables = [self._layer] if self.count == 0 else [self._layer, f"rtree_{self._layer}_{_GEOMETRY}_rowid"]
        with closing(sqlite3.connect(self._part)) as database:
            for table in tables:
                # The names are this module's own.
                (count,) = database.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()  # noqa: S608  # nosec B608
                if count != self.count:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _flush(self) -> None:
        """Writes what waits as one transaction; without features it makes an empty layer."""
        polygons = np.concatenate([np.zeros(0, dtype=object), *(part for part, _ in self._waiting)])
        columns: list[np.ndarray] = [
            np.concatenate([np.zeros(0, dtype=dtype), *(part[name] for _, part in self._waiting)]).astype(dtype)
            for name, dtype in self._fields.items()
        ]
        self._waiting, self._waiting_vertices = [], 0
        try:
            pyogrio.raw.write(
                str(self._part),
                geometry=shapely.to_wkb(polygons),
                field_data=columns,
                fields=list(self._fields),
                layer=self._layer,
                driver="GPKG",
                geometry_type=self._kind,
                crs=self._crs,
                append=self._begun,
                layer_options={} if self._begun else {"GEOMETRY_NAME": _GEOMETRY},
            )
        except (DataSourceError, DataLayerError, CPLE_BaseError) as error:
            failure = library_error(self._path, str(error))  # before the space that was taken is given back
            self.discard()
            raise failure from error
        self._begun = True

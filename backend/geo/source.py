"""What a raster file says about itself, and how files become one source of bands on a grid."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, RasterioError

from backend.geo.grid import Grid, reproject_bounds
from backend.protocol.errors import GridError, SourceError

# GDAL metadata domains that carry sensor, dates, wavelengths and units.
DOMAINS = ("", "IMAGERY", "ENVI", "IMAGE_STRUCTURE", "TIFFTAGS")
_DIGEST_BYTES = 64 * 1024


@dataclass(frozen=True)
class BandInfo:
    """One band as its file describes it.

    Attributes:
        index: 1-based.
        dtype: GDAL type as numpy name ("uint16"; complex types as "complex64", "complex_int16" ...).
        description: band name, "" where there is none.
        nodata: declared value, None where there is none.
        scale, offset: GDAL's; physical = number * scale + offset.
        unit: as the file names it.
        colour: GDAL colour interpretation ("red", "alpha", "palette", "undefined" ...).
        mask: where validity comes from: any of "all_valid", "per_dataset", "alpha", "nodata".
        block: rows and columns of a storage block.
        overviews: shrink factors.
        tags: metadata items by domain; only domains that hold something.
    """

    index: int
    dtype: str
    description: str
    nodata: float | None
    scale: float
    offset: float
    unit: str
    colour: str
    mask: tuple[str, ...]
    block: tuple[int, int]
    overviews: tuple[int, ...]
    tags: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetInfo:
    """A raster file's header.

    Attributes:
        path: GDAL name.
        driver: GDAL's short driver name.
        width, height: pixels.
        grid: None where pixels have no usable place on Earth; `problem` then says why.
        crs: None where there is none.
        bands: one per band; empty for a mere container of subdatasets.
        tags: metadata items of the dataset by domain; only domains that hold something.
        subdatasets: GDAL names.
        gcps: number of ground control points.
        rpcs: True when rational polynomial coefficients are present.
        files: the files that make up the dataset, side files included.
    """

    path: str
    driver: str
    width: int
    height: int
    grid: Grid | None
    crs: CRS | None
    bands: tuple[BandInfo, ...]
    tags: dict[str, dict[str, str]]
    subdatasets: tuple[str, ...]
    gcps: int
    rpcs: bool
    files: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.bands)

    def problem(self) -> SourceError | None:
        """Why pixels of this file cannot be placed on Earth; None when they can."""
        return _problem(self)

    def require_grid(self) -> Grid:
        """The grid.

        Raises:
            SourceError: when the file has no usable place on Earth.
        """
        problem = self.problem()
        if problem is not None or self.grid is None:
            raise problem or SourceError(f'"{self.path}" has no position')
        return self.grid


@dataclass(frozen=True)
class Layer:
    """Bands that are read together: the same bands of one file, or of several files that together make a mosaic.

    Attributes:
        paths: GDAL names; the first valid pixel wins.
        indexes: 1-based, in the order wanted, equal in every file.
        nodata: the user's value, over and above what the files declare.
    """

    paths: tuple[str, ...]
    indexes: tuple[int, ...]
    nodata: float | None = None


@dataclass(frozen=True)
class Source:
    """One modality at one date: its bands in the model's order are the concatenation of the layers' bands.

    Attributes:
        layers: at least one.
        grid: the finest layer's grid; for a mosaic the union of its tiles.
    """

    layers: tuple[Layer, ...]
    grid: Grid

    @property
    def count(self) -> int:
        """Number of bands."""
        return sum(len(layer.indexes) for layer in self.layers)


def describe(path: str | os.PathLike[str]) -> DatasetInfo:
    """Header of a raster; no pixel is read.

    A file without a usable place on Earth is described too: see `DatasetInfo.problem`.

    Raises:
        SourceError: when the file is missing or GDAL cannot open it as a raster.
    """
    raise NotImplementedError


def source_from_layers(layers: Sequence[Layer], classes: bool = False) -> Source:
    """One source of the layers' bands on the finest layer's grid.

    Args:
        layers: in band order.
        classes: True when the values are class numbers, for which palettes are welcome.

    Raises:
        SourceError: when a file cannot be used (missing, no position, complex numbers, palette, band not there).
        GridError: when the tiles of a mosaic cannot be put on one grid.
    """
    raise NotImplementedError


def fingerprint(source: Source) -> list[dict[str, Any]]:
    """What identifies the source's files, to tell whether a run may be resumed.

    Per file that holds pixels: name, size in bytes, mtime_ns, sha256 of its first and last 64 KiB; for names
    that are no local files the sha256 of the header. `.aux.xml` is left out, since looking at a raster in QGIS writes it.
    """
    raise NotImplementedError

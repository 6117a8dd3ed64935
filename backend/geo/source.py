"""What a raster file says about itself, and how files become one source of bands on a grid."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from backend.geo.grid import Grid, Window
from backend.geo.warp import footprint
from backend.protocol.errors import GridError, SourceError

# GDAL metadata domains that carry sensor, dates, wavelengths and units.
DOMAINS = ("", "IMAGERY", "ENVI", "IMAGE_STRUCTURE", "TIFFTAGS")
_DIGEST_BYTES = 64 * 1024
_LARGEST_SIDE = 2**31 - 1  # GDAL's limit


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


def is_alpha(colour: str, description: str) -> bool:
    """True for an alpha band; a band that its description names otherwise was merely given that colour.

    Args:
        colour: GDAL's name of the colour interpretation.
        description: the band's description, "" where there is none.
    """
    return colour == "alpha" and description.strip().lower() in ("", "alpha")


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
    name = os.fspath(path)
    with open_raster(name) as dataset:
        crs, rpcs, gcps = _crs(dataset), dataset.rpcs is not None, len(dataset.gcps[0])
        return DatasetInfo(
            path=name,
            driver=dataset.driver,
            width=dataset.width,
            height=dataset.height,
            grid=_grid(dataset, crs),
            crs=crs,
            bands=tuple(_band(dataset, index) for index in dataset.indexes),
            tags=_tags(dataset, 0),
            subdatasets=tuple(dataset.subdatasets),
            gcps=gcps,
            rpcs=rpcs,
            files=tuple(dataset.files),
        )


def source_from_layers(layers: Sequence[Layer], classes: bool = False) -> Source:
    """One source of the layers' bands on the finest layer's grid.

    Args:
        layers: in band order.
        classes: True when the values are class numbers, for which palettes are welcome.

    Raises:
        SourceError: when a file cannot be used (missing, no position, complex numbers, palette, band not there).
        GridError: when the tiles of a mosaic cannot be put on one grid.
    """
    if not layers or not all(layer.paths and layer.indexes for layer in layers):
        raise SourceError("no raster was given")
    grids = []
    for layer in layers:
        tiles = [describe(path) for path in layer.paths]
        for tile in tiles:
            _check_bands(tile, layer.indexes, classes)
        grids.append(mosaic_grid([tile.require_grid() for tile in tiles]))
    return Source(tuple(layers), min(grids, key=_pixel_area))


def mosaic_grid(grids: Sequence[Grid]) -> Grid:
    """The finest tile's grid, extended by whole pixels until it covers every tile.

    Raises:
        GridError: when a tile cannot be expressed in that grid's CRS, or tiles lie on both sides of the antimeridian.
    """
    finest = min(grids, key=_pixel_area)
    windows = [footprint(finest, grid) for grid in grids]
    col, row = min(window.col for window in windows), min(window.row for window in windows)
    width = max(window.right for window in windows) - col
    height = max(window.bottom for window in windows) - row
    union = finest.crop(Window(col, row, width, height))
    if finest.crs.is_geographic and len(grids) > 1 and union.bounds[2] - union.bounds[0] > 180.0:
        raise GridError(
            "the tiles lie on both sides of the antimeridian",
            "they span more than half the Earth",
            "run the parts east and west of 180 degrees separately",
        )
    if max(width, height) > _LARGEST_SIDE:
        raise GridError(
            "the tiles do not form a mosaic",
            f"they would span {width} x {height} pixels",
            "give only tiles of one scene",
        )
    return union


def fingerprint(source: Source) -> list[dict[str, Any]]:
    """What identifies the source's files, to tell whether a run may be resumed.

    Per file that holds pixels: name, size in bytes, mtime_ns, sha256 of its first and last 64 KiB; for names
    that are no local files the sha256 of the header. `.aux.xml` is left out: looking at a raster in QGIS writes it.

    Raises:
        SourceError: when a file is missing or cannot be read.
    """
    prints: list[dict[str, Any]] = []
    for name in dict.fromkeys(path for layer in source.layers for path in layer.paths):
        info = describe(name)
        files = [file for file in info.files if os.path.isfile(file) and not file.lower().endswith(".aux.xml")]
        prints.extend(_file_print(file) for file in dict.fromkeys(files))
        if not files:
            place = info.grid.to_dict() if info.grid else {}
            header = repr((info.driver, info.width, info.height, place, info.bands, info.tags)).encode()
            prints.append({"name": name, "size": None, "mtime_ns": None, "sha256": hashlib.sha256(header).hexdigest()})
    return prints


def open_raster(name: str, overview: int | None = None) -> rasterio.DatasetReader:
    """Opens a raster with its own handle, at full resolution or at one of its overviews.

    Raises:
        SourceError: when GDAL cannot open it.
    """
    if not name:
        raise SourceError("no raster was given", "the name is empty")
    options = {} if overview is None else {"overview_level": overview}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(name, sharing=False, **options)
    except (RasterioError, CPLE_BaseError) as error:
        raise open_error(name, error) from error


def open_error(name: str, error: Exception) -> SourceError:
    """Why GDAL could not open a name, as far as the file system can tell."""
    local = "://" not in name and not name.startswith("/vsi")
    if local and os.path.isdir(name):
        return SourceError(f'"{name}" is a folder, not a raster', "", "name a raster in it")
    if local and not os.path.exists(name) and ":" not in name[2:]:
        return SourceError(f'"{name}" does not exist', "", "check the path")
    if local and os.path.isfile(name):
        if os.path.getsize(name) == 0:
            return SourceError(f'"{name}" is empty', "the file has 0 bytes", "copy or download it again")
        if not os.access(name, os.R_OK):
            return SourceError(f'"{name}" may not be read', "permission denied")
    words = str(error)
    for spelling in (f"'{name}'", f'"{name}"', name):
        words = words.replace(spelling, "the file")
    reason = words.strip()
    return SourceError(
        f'"{name}" cannot be opened as a raster',
        reason or type(error).__name__,
        "check that it is a complete raster file of a kind GDAL knows",
    )


def _crs(dataset: rasterio.DatasetReader) -> CRS | None:
    """The dataset's CRS; None when it is missing or GDAL does not understand it."""
    try:
        return dataset.crs or None
    except CRSError:
        return None


def _grid(dataset: rasterio.DatasetReader, crs: CRS | None) -> Grid | None:
    """The dataset's grid where CRS and transform are usable."""
    transform = dataset.transform
    if crs is None or not (crs.is_geographic or crs.is_projected) or transform == Affine.identity():
        return None
    if transform.is_degenerate or not all(map(math.isfinite, transform)):
        return None
    return Grid(crs, transform, dataset.width, dataset.height)


def _band(dataset: rasterio.DatasetReader, index: int) -> BandInfo:
    """One band's header."""
    position = index - 1
    return BandInfo(
        index=index,
        dtype=dataset.dtypes[position],
        description=dataset.descriptions[position] or "",
        nodata=dataset.nodatavals[position],
        scale=dataset.scales[position],
        offset=dataset.offsets[position],
        unit=dataset.units[position] or "",
        colour=dataset.colorinterp[position].name,
        mask=tuple(flag.name for flag in dataset.mask_flag_enums[position]),
        block=dataset.block_shapes[position],
        overviews=tuple(dataset.overviews(index)),
        tags=_tags(dataset, index),
    )


def _tags(dataset: rasterio.DatasetReader, index: int) -> dict[str, dict[str, str]]:
    """Metadata of the dataset (0) or of a band, by domain."""
    found = {domain: dataset.tags(index, ns=domain) if domain else dataset.tags(index) for domain in DOMAINS}
    return {domain: items for domain, items in found.items() if items}


def _problem(info: DatasetInfo) -> SourceError | None:
    """Why a dataset cannot be placed on Earth."""
    if not info.bands:
        choices = ", ".join(info.subdatasets[:4]) + (", ..." if len(info.subdatasets) > 4 else "")
        return SourceError(
            f'"{info.path}" holds no bands itself',
            "it is a container",
            f"name one of its parts: {choices}" if choices else "name a raster",
        )
    if info.grid is not None:
        return _place_problem(info.path, info.grid)
    if info.gcps:
        return SourceError(
            f'"{info.path}" is not georeferenced yet',
            f"it has {info.gcps} ground control points only",
            "warp it first, for example with gdalwarp -tps -t_srs EPSG:32633 in.tif out.tif",
        )
    if info.rpcs:
        return SourceError(
            f'"{info.path}" is not orthorectified',
            "it has rational polynomial coefficients only",
            "orthorectify it first, for example with gdalwarp -rpc -t_srs EPSG:32633 in.tif out.tif",
        )
    if info.crs is None:
        return SourceError(
            f'"{info.path}" has no coordinate reference system',
            "",
            "assign the CRS it was made in, for example with gdal_edit.py -a_srs EPSG:32633 FILE",
        )
    if not (info.crs.is_geographic or info.crs.is_projected):
        return SourceError(
            f'"{info.path}" has a local coordinate system',
            "it cannot be related to the Earth",
            "assign the CRS it was made in",
        )
    return SourceError(
        f'"{info.path}" has no position',
        "its transform is missing or maps all pixels onto a line",
        "georeference it first, or put its world file beside it",
    )


def _place_problem(path: str, grid: Grid) -> SourceError | None:
    """Refuses grids in degrees that run over a pole or the antimeridian by more than a pixel."""
    if not grid.crs.is_geographic:
        return None
    left, bottom, right, top = grid.bounds
    width, height = grid.pixel_size
    if bottom < -90.0 - height or top > 90.0 + height:
        return SourceError(
            f'"{path}" has impossible latitudes',
            f"it reaches from {bottom:g} to {top:g} degrees",
            "assign the CRS it was really made in",
        )
    if left < -180.0 - width or right > 180.0 + width:
        return SourceError(
            f'"{path}" crosses the antimeridian',
            f"it reaches from {left:g} to {right:g} degrees east",
            "cut it at 180 degrees and move the parts to -180 ... 180 degrees",
        )
    return None


def _check_bands(info: DatasetInfo, indexes: Sequence[int], classes: bool) -> None:
    """Refuses bands that are not there or hold no plain numbers."""
    info.require_grid()
    for index in indexes:
        if not 1 <= index <= info.count:
            raise SourceError(f'"{info.path}" has no band {index}', f"it has {info.count}")
        band = info.bands[index - 1]
        if band.dtype.startswith("complex"):
            raise SourceError(
                f'band {index} of "{info.path}" holds complex numbers',
                "",
                "compute intensity or amplitude first, calibrated and terrain-corrected",
            )
        if band.colour == ColorInterp.palette.name and not classes:
            raise SourceError(
                f'band {index} of "{info.path}" is a palette',
                "its numbers are indexes of colours",
                "expand the palette first, for example with gdal_translate -expand rgb in.tif out.tif",
            )


def _pixel_area(grid: Grid) -> float:
    """Area of a pixel in square metres, rounded so that equal resolutions tie and the first one wins."""
    width, height = grid.pixel_size_m()
    return float(f"{width * height:.3g}")


def _file_print(path: str) -> dict[str, Any]:
    """Fingerprint of one local file."""
    try:
        status = os.stat(path)
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read(_DIGEST_BYTES))
            file.seek(max(file.tell(), status.st_size - _DIGEST_BYTES))
            digest.update(file.read(_DIGEST_BYTES))
    except OSError as error:
        raise SourceError(f'"{path}" cannot be read', error.strerror or str(error)) from error
    return {"name": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": digest.hexdigest()}

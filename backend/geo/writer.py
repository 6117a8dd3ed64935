"""Results on disk: finished chunks as small rasters of their own, and a VRT that shows them as one while a run goes."""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement  # nosec B405 - writes only, parses nothing
from xml.sax.saxutils import escape  # nosec B406 - writes only, parses nothing

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetWriter, MemoryFile

from backend.geo.grid import Grid, Window
from backend.geo.raster_xml import (
    Legend,
    LegendClass,
    RasterProfile,
    add_band_elements,
    add_metadata,
    nominal_statistics,
    to_bytes,
)
from backend.protocol.errors import OutputError

__all__ = ["ChunkRef", "Legend", "LegendClass", "RasterProfile", "write_chunk", "write_vrt"]

_BLOCK = 256
GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}
# Windows refuses to replace a file while a viewer reads it; a VRT is read in a moment.
_REPLACE_ATTEMPTS = 20
_REPLACE_PAUSE_S = 0.05
# Free space below which a failed write of a library is put down to a full disk.
_FULL_DISK_BYTES = 8 << 20
_FULL_DISK_WORDS = (os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG), "disk is full")


@dataclass(frozen=True)
class ChunkRef:
    """A finished chunk and its place on the run's grid.

    Attributes:
        path: a file that `write_chunk` wrote.
        window: on the grid of the VRT.
    """

    path: str
    window: Window


def write_chunk(path: str | os.PathLike[str], array: NDArray[Any], grid: Grid, profile: RasterProfile) -> None:
    """Writes a finished chunk with overviews; the name appears only when all bytes are on the disk.

    The file is made in memory and written in one go: GDAL reports a full disk late or not at all.

    Args:
        array: (bands, H, W) in the profile's type.
        grid: the chunk's own grid, H x W.

    Raises:
        OutputError: when the disk is full or the folder not writable.
    """
    with MemoryFile() as memory:
        with memory.open(**chunk_options(grid, profile)) as dataset:
            dataset.write(np.asarray(array, profile.dtype))
            describe_bands(dataset, profile)
            factors = overview_factors(grid.width, grid.height, _BLOCK)
            if factors:
                # Every overview pixel is a pixel of the chunk: fast, and good enough until the final file is made.
                dataset.build_overviews(factors, Resampling.nearest)
        write_atomically(path, memoryview(memory.getbuffer()))


def write_vrt(
    path: str | os.PathLike[str], grid: Grid, profile: RasterProfile, chunks: Sequence[ChunkRef], growing: bool = False
) -> None:
    """Lists the finished chunks as one raster; replaces the file at once, so that a viewer never meets half of it.

    Args:
        path: the chunks are named relative to its folder.
        grid: of the whole raster; what no chunk covers is nodata.
        growing: whether viewers look at it while more chunks come, see `nominal_statistics`.

    Raises:
        OutputError: when the disk is full or the folder not writable.
    """
    folder = os.path.dirname(os.path.abspath(path))
    names = [os.path.relpath(chunk.path, folder).replace(os.sep, "/") for chunk in chunks]
    # Sources are written as text: thousands of chunks times bands would make a tree of 100 MB, twice a second.
    document = io.StringIO()
    head, end_of_document = _opened(vrt_root(grid, profile))
    document.write(head)
    for band in range(1, profile.count + 1):
        element = Element("VRTRasterBand", dataType=GDAL_TYPES[profile.dtype], band=str(band))
        add_metadata(element, nominal_statistics(profile) if growing else {})
        add_band_elements(element, profile, band)
        head, end_of_band = _opened(element)
        document.write(head)
        document.writelines(
            _source(name, chunk.window, profile.dtype, band) for chunk, name in zip(chunks, names, strict=True)
        )
        document.write(end_of_band)
    document.write(end_of_document)
    # Not flushed: it is made anew from the chunks whenever a run goes on, and a flush takes longer than all the rest.
    write_atomically(path, document.getvalue().encode(), flush=False)


def _opened(element: Element) -> tuple[str, str]:
    """An element that has children, cut before its end tag."""
    text, end = to_bytes(element).decode(), f"</{element.tag}>"
    return text.removesuffix(end), f"{end}\n"


def vrt_root(grid: Grid, profile: RasterProfile) -> Element:
    """A VRT document with place and metadata, yet without bands."""
    root = Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    # 1,2: x first, whatever order the authority prefers; the transform is in that order.
    SubElement(root, "SRS", dataAxisToSRSAxisMapping=_axis_mapping(grid)).text = grid.crs.to_wkt()
    SubElement(root, "GeoTransform").text = ", ".join(repr(float(value)) for value in grid.transform.to_gdal())
    add_metadata(root, profile.tags)
    return root


def write_atomically(path: str | os.PathLike[str], content: bytes | memoryview, flush: bool = True) -> None:
    """Writes a file under a temporary name, flushes it to the disk and renames it.

    Args:
        flush: False for what may be lost when the machine stops.

    Raises:
        OutputError: when that fails; nothing is left behind.
    """
    part = Path(f"{os.fspath(path)}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        replace(part, path)
    except OSError as error:
        with suppress(OSError):  # a folder that has become read-only refuses this too
            part.unlink(missing_ok=True)
        raise output_error(path, error) from error


def replace(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """`os.replace`, tried again while a viewer holds the target open (Windows)."""
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if os.name != "nt" or attempt + 1 == _REPLACE_ATTEMPTS:
                raise
            time.sleep(_REPLACE_PAUSE_S)


def output_error(path: str | os.PathLike[str], error: Exception) -> OutputError:
    """Why a file could not be written, and what helps."""
    name = os.fspath(path)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(f'"{name}" cannot be written', "the disk is full", "free some space, then resume")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f'"{name}" cannot be written', "permission denied", "choose a folder you may write to")
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return OutputError(f'"{name}" cannot be written', "its folder does not exist", "create the folder first")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OutputError(f'"{name}" cannot be written', reason, "check the disk and the folder")


def library_error(path: str | os.PathLike[str], reason: str, details: str = "") -> OutputError:
    """Why GDAL or SQLite could not write; a full disk is recognised by what is left of it, or by their words.

    Args:
        reason: the library's last words.
        details: whatever else it said.
    """
    folder = Path(path).absolute().parent
    full = folder.is_dir() and shutil.disk_usage(folder).free < _FULL_DISK_BYTES
    if full or any(words in reason + details for words in _FULL_DISK_WORDS):
        return output_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return OutputError(f'"{os.fspath(path)}" cannot be written', reason, "check the disk and the folder")


def overview_factors(width: int, height: int, smallest: int) -> list[int]:
    """Powers of two down to the first overview that fits a block."""
    factors: list[int] = []
    while max(width, height) / 2 ** len(factors) > smallest:
        factors.append(2 ** (len(factors) + 1))
    return factors


def describe_bands(dataset: DatasetWriter, profile: RasterProfile) -> None:
    """Stores in a TIFF what its bands mean, as far as TIFF can hold it."""
    for band in range(1, profile.count + 1):
        if profile.description(band):
            dataset.set_band_description(band, profile.description(band))
    if (profile.scale, profile.offset) != (1.0, 0.0):
        dataset.scales, dataset.offsets = [profile.scale] * profile.count, [profile.offset] * profile.count
    if profile.legend is not None:
        dataset.write_colormap(1, profile.legend.colour_table())


def chunk_options(grid: Grid, profile: RasterProfile) -> Mapping[str, Any]:
    """Creation options of a chunk: ZSTD 1 compresses class rasters about as well as DEFLATE in half the time."""
    return {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": profile.count,
        "dtype": profile.dtype,
        "nodata": profile.nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "interleave": "band",
    }


def _source(name: str, window: Window, dtype: str, band: int) -> str:
    """One chunk in a band; with its properties, so that GDAL need not open it to open the VRT."""
    width, height = window.width, window.height
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="1">{escape(name)}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand>"
        f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="{GDAL_TYPES[dtype]}"'
        f' BlockXSize="{_BLOCK}" BlockYSize="{_BLOCK}"/>'
        f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>'
        f'<DstRect xOff="{window.col}" yOff="{window.row}" xSize="{width}" ySize="{height}"/></SimpleSource>\n'
    )


def _axis_mapping(grid: Grid) -> str:
    """How x and y of the transform map to the axes of the CRS as its authority defines them."""
    return "2,1" if grid.crs.is_geographic else "1,2"

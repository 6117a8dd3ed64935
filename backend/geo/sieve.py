"""Minimum mapping unit: regions of a class raster that are too small take the class of their surroundings.

The rule. Regions are pixels of one class joined by edges. A region with fewer pixels than the minimum is *small*; all
others keep their class. In rounds, every small region that touches settled regions takes the class with which it shares
the longest border (pixel edges, summed by class; the lower class value when equal) and counts as settled from the next
round on. Large regions are settled from the beginning, so a chain of small regions is taken over from its ends inwards.
After `MAX_ROUNDS` rounds the rest keeps its class, as do small regions that only touch nodata or each other. Nodata
never changes.

The limit on rounds bounds how far a pixel's result can reach, hence the memory: blocks are read with as much around
them as their result needs, and the result is that of the whole raster at once.
"""

from __future__ import annotations

import errno
import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from backend.geo.grid import Grid, Window
from backend.geo.regions import Regions, label_regions
from backend.geo.source import open_raster
from backend.geo.writer import RasterProfile, describe_bands, output_error, replace
from backend.protocol.errors import Cancelled, ParameterError, SourceError

MAX_ROUNDS = 16
BLOCK = 1024
_TILE = 512
_FIRST_HALO = 32  # enlarged where a result needs more


def pixels_of_area(area_m2: float, grid: Grid) -> int:
    """The fewest pixels that cover an area, with the pixel size at the grid's centre.

    Raises:
        ParameterError: when the area is negative or not a number.
    """
    if not (math.isfinite(area_m2) and area_m2 >= 0):
        raise ParameterError(
            f"the smallest area cannot be {area_m2} m2", fix="give a number of square metres, 0 or more"
        )
    width, height = grid.pixel_size_m()
    return max(1, math.ceil(area_m2 / (width * height) - 1e-6))


def sieve(
    source_path: str | os.PathLike[str],
    target_path: str | os.PathLike[str],
    profile: RasterProfile,
    min_pixels: int,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    block: int = BLOCK,
) -> None:
    """Writes a class raster without small regions as a tiled GeoTIFF; see the rule above.

    Args:
        source_path: class raster of one band; stays as it is.
        target_path: appears when it is complete.
        profile: type, nodata, names and colours of the classes.
        min_pixels: the smallest region that stays.
        progress: called with the share that is done.
        cancelled: asked after each block.
        block: pixels along a side of the squares that are worked on; the result does not depend on it.

    Raises:
        SourceError: when the source cannot be read.
        OutputError: when the target cannot be written; nothing is left behind.
        Cancelled: when asked to stop; nothing is left behind.
    """
    part = Path(f"{os.fspath(target_path)}.part")
    job = _Job(min_pixels, profile, progress or (lambda share: None), cancelled or (lambda: False))
    try:
        with open_raster(os.fspath(source_path)) as source:
            # Whole tiles, so that none is compressed twice.
            job.run(source, part, max(_TILE, block // _TILE * _TILE))
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        replace(part, target_path)
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise output_error(target_path, error) from error
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Job:
    """One raster to be sieved."""

    min_pixels: int
    profile: RasterProfile
    progress: Callable[[float], None]
    cancelled: Callable[[], bool]

    def run(self, source: rasterio.DatasetReader, part: Path, block: int) -> None:
        """Writes the result and makes sure that it is on the disk."""
        grid = Grid(source.crs, source.transform, source.width, source.height)
        nodata = None if self.profile.nodata is None else int(self.profile.nodata)
        windows = list(_blocks(grid, block))
        checksums = []
        with rasterio.open(part, "w", **_options(grid, self.profile)) as target:
            describe_bands(target, self.profile)
            target.update_tags(**self.profile.tags)
            for number, window in enumerate(windows):
                if self.cancelled():
                    raise Cancelled("the small regions were not removed", "the run was stopped")
                classes = _sieve_block(source, grid, window, self.min_pixels, nodata)
                checksums.append(zlib.crc32(np.ascontiguousarray(classes).data))
                target.write(classes, 1, window=_place(window))
                self.progress((number + 1) / len(windows))
        # GDAL writes what its cache holds when a file is closed, and keeps silent when the disk is full then.
        with rasterio.open(part) as written:
            for window, checksum in zip(windows, checksums, strict=True):
                if zlib.crc32(written.read(1, window=_place(window))) != checksum:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sieve_array(classes: np.ndarray, min_pixels: int, nodata: int | None) -> np.ndarray:
    """The rule on a whole array (H, W)."""
    return _sieve_view(classes, min_pixels, nodata, _Sides(False, False, False, False)).classes


@dataclass(frozen=True)
class _Sides:
    """Sides of a view beyond which the raster goes on."""

    left: bool
    top: bool
    right: bool
    bottom: bool


@dataclass(frozen=True)
class _Sieved:
    """A view after the rule.

    Attributes:
        classes: (H, W).
        doubtful: bool (H, W), True where pixels outside the view might change the result; None when nowhere.
    """

    classes: np.ndarray
    doubtful: np.ndarray | None


@dataclass(frozen=True)
class _Borders:
    """How many pixel edges small regions share with their neighbours; all three are (borders,)."""

    small: np.ndarray
    neighbour: np.ndarray
    length: np.ndarray


def _sieve_block(
    source: rasterio.DatasetReader, grid: Grid, window: Window, min_pixels: int, nodata: int | None
) -> np.ndarray:
    """The result of a block, read with as much around it as it takes."""
    halo = _FIRST_HALO + 2 * math.isqrt(min_pixels)
    while True:
        view = Window(window.col - halo, window.row - halo, window.width + 2 * halo, window.height + 2 * halo)
        view = view.intersect(grid.window)
        sides = _Sides(view.col > 0, view.row > 0, view.right < grid.width, view.bottom < grid.height)
        try:
            classes = source.read(1, window=_place(view))
        except (RasterioError, CPLE_BaseError) as error:
            raise SourceError(f'"{source.name}" cannot be read', str(error)) from error
        sieved = _sieve_view(classes, min_pixels, nodata, sides)
        core = window.moved(-view.col, -view.row).slices()
        if sieved.doubtful is None or not sieved.doubtful[core].any():
            return sieved.classes[core]
        halo *= 2


def _sieve_view(classes: np.ndarray, min_pixels: int, nodata: int | None, sides: _Sides) -> _Sieved:
    """The rule on a part of the raster."""
    regions = label_regions(classes, nodata)
    small = regions.sizes < min_pixels
    if not small.any():
        return _Sieved(classes, None)
    doubtful = np.zeros(len(small), dtype=bool)
    doubtful[_labels_at(regions.labels, sides)] = True
    doubtful &= small  # what is large already stays large, however it goes on
    final = _settle(regions.classes, ~small, doubtful, _borders(regions, small))
    # Pixels without a region have the label -1 and take the last entry.
    fill = classes.dtype.type(0 if nodata is None else nodata)
    result = np.append(final, fill)[regions.labels]
    return _Sieved(result, np.append(doubtful, False)[regions.labels] if doubtful.any() else None)


def _labels_at(labels: np.ndarray, sides: _Sides) -> np.ndarray:
    """The regions that touch open sides."""
    lines = [
        line
        for is_open, line in (
            (sides.left, labels[:, 0]),
            (sides.top, labels[0]),
            (sides.right, labels[:, -1]),
            (sides.bottom, labels[-1]),
        )
        if is_open
    ]
    found = np.unique(np.concatenate(lines)) if lines else np.zeros(0, dtype=labels.dtype)
    return found[found >= 0]


def _borders(regions: Regions, small: np.ndarray) -> _Borders:
    """The borders of small regions with regions of any size."""
    labels, count = regions.labels, len(small)
    is_small = np.append(small, False)
    keys = []
    for first, second in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        rows, cols = np.nonzero((first != second) & (first >= 0) & (second >= 0))
        one, other = first[rows, cols].astype(np.int64), second[rows, cols].astype(np.int64)
        for small_side, neighbour in ((one, other), (other, one)):
            chosen = is_small[small_side]
            keys.append(small_side[chosen] * count + neighbour[chosen])
    pairs, lengths = np.unique(np.concatenate(keys), return_counts=True)
    return _Borders(pairs // count, pairs % count, lengths)


def _settle(classes: np.ndarray, settled: np.ndarray, doubtful: np.ndarray, borders: _Borders) -> np.ndarray:
    """The class of each region after all rounds; `doubtful` grows by the regions that doubtful ones may have touched.

    Args:
        classes: class of each region (regions,).
        settled: bool (regions,), the large ones.
        doubtful: bool (regions,), changed in place.
        borders: of the small regions.
    """
    final, settled = classes.copy(), settled.copy()
    values, class_index = np.unique(classes, return_inverse=True)
    for _ in range(MAX_ROUNDS):
        waiting = ~settled[borders.small] & ~doubtful[borders.small]
        borders = _Borders(borders.small[waiting], borders.neighbour[waiting], borders.length[waiting])
        doubt = borders.small[doubtful[borders.neighbour]]
        doubtful[doubt] = True
        ready = settled[borders.neighbour] & ~doubtful[borders.small]
        if not ready.any() and not len(doubt):
            break
        region, index = _longest(
            borders.small[ready], class_index[borders.neighbour[ready]], borders.length[ready], len(values)
        )
        class_index[region], final[region], settled[region] = index, values[index], True
    return final


def _longest(
    region: np.ndarray, class_index: np.ndarray, length: np.ndarray, kinds: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each region the class with the longest border, the lower one when equal."""
    keys, inverse = np.unique(region * kinds + class_index, return_inverse=True)
    total = np.bincount(inverse, weights=length, minlength=len(keys))
    region, class_index = keys // kinds, keys % kinds
    order = np.lexsort((class_index, -total, region))
    first = order[np.diff(region[order], prepend=-1) != 0]
    return region[first], class_index[first]


def _blocks(grid: Grid, block: int) -> Iterator[Window]:
    """Squares that cover the grid."""
    for row in range(0, grid.height, block):
        for col in range(0, grid.width, block):
            yield Window(col, row, block, block).intersect(grid.window)


def _place(window: Window) -> RasterioWindow:
    return RasterioWindow(window.col, window.row, window.width, window.height)


def _options(grid: Grid, profile: RasterProfile) -> dict[str, object]:
    """Creation options of the result."""
    return {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": 1,
        "dtype": profile.dtype,
        "nodata": profile.nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }

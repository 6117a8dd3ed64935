"""One open raster: pixels as float32 with their validity, at full resolution or at one of its overviews."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from backend.geo.grid import Grid, Window
from backend.geo.sample import Mask, Values
from backend.geo.source import is_alpha, open_raster
from backend.protocol.errors import SourceError

# Types whose every number float32 holds exactly: nodata can be looked for after conversion.
_EXACT_IN_FLOAT32 = {"uint8", "int8", "uint16", "int16", "float32"}


@dataclass(frozen=True)
class Levels:
    """Which part of a raster's pyramid is read: an overview, and how many of its pixels make one cell.

    Attributes:
        overview: number of the overview, None for full resolution.
        cols, rows: pixels of that level per cell.
    """

    overview: int | None = None
    cols: int = 1
    rows: int = 1


def choose_levels(
    path: str, indexes: tuple[int, ...], scale: tuple[float, float], cells_wanted: int, use_overviews: bool
) -> Levels:
    """The coarsest overview that is finer than the target, and how many of its pixels may be averaged beforehand.

    Args:
        scale: raster pixels per target pixel along columns and rows.
        cells_wanted: cells per target pixel and axis below which nothing is averaged beforehand; more are more exact.
        use_overviews: False when overviews would mix in invalid pixels that only the user knows of.
    """
    overview, factor = None, 1.0
    with open_raster(path) as dataset:
        lists = [dataset.overviews(index) for index in indexes]
        if use_overviews and all(one == lists[0] for one in lists):
            usable = [(f, k) for k, f in enumerate(lists[0]) if f <= min(scale) * (1 + 1e-6)]
            if usable:
                factor, overview = max(usable)
    cols, rows = (max(1, int(length / factor / cells_wanted + 1e-6)) for length in scale)
    return Levels(overview, cols, rows)


class RasterFile:
    """Reads bands of one raster on the cells of a level; opens on first use.

    Args:
        path: GDAL name.
        indexes: bands, 1-based.
        nodata: the user's value, over and above what the file declares.
        levels: cells to read.

    Attributes:
        grid: of the cells.

    Raises:
        SourceError: when the file is missing or unreadable, then and at any later read.
    """

    def __init__(
        self, path: str, indexes: tuple[int, ...], nodata: float | None = None, levels: Levels | None = None
    ) -> None:
        self.path, self.indexes = path, list(indexes)
        self._nodata, self._levels = nodata, levels or Levels()
        self._dataset: rasterio.DatasetReader | None = None
        self._status = _status(path)
        dataset = self.open()
        self._level_size = dataset.width, dataset.height
        self._dtypes = [dataset.dtypes[index - 1] for index in indexes]
        exact = set(self._dtypes) <= _EXACT_IN_FLOAT32
        self._read_dtype = "float32" if exact else str(np.result_type(*self._dtypes))
        self._nodata_values = [self._band_nodata(dataset, index) for index in indexes]
        self._alpha = _alpha_band(dataset, indexes)
        self._mask_bands = _mask_bands(dataset, indexes)
        self._floating = any(np.dtype(dtype).kind == "f" for dtype in self._dtypes)
        self.always_valid = not (self._floating or self._alpha or self._mask_bands or any(self._nodata_values))
        cols, rows = self._levels.cols, self._levels.rows
        width, height = -(-dataset.width // cols), -(-dataset.height // rows)
        self.grid = Grid(dataset.crs, dataset.transform @ Affine.scale(cols, rows), width, height)

    def open(self) -> rasterio.DatasetReader:
        """The open dataset."""
        if self._dataset is None:
            self._dataset = open_raster(self.path, self._levels.overview)
        return self._dataset

    def close(self) -> None:
        """Closes the handle; the next read opens it again."""
        if self._dataset is not None:
            self._dataset.close()
            self._dataset = None

    def read_into(self, window: Window, out: Values) -> Mask | None:
        """Reads pixels of a window that lies inside the raster, at cells of one pixel.

        Args:
            out: (B, H, W), filled; invalid pixels hold 0.

        Returns:
            Validity (H, W); None when everything is valid.
        """
        self._check_unchanged()
        dataset, place = self.open(), _rasterio_window(window)
        try:
            if self._read_dtype == "float32":
                dataset.read(self.indexes, window=place, out=out)
                invalid = self._invalid(dataset, place, out)
            else:
                numbers = dataset.read(self.indexes, window=place, out_dtype=self._read_dtype)
                invalid = self._invalid(dataset, place, numbers)
                with np.errstate(over="ignore", invalid="ignore"):
                    out[...] = numbers
                if self._floating:  # beyond the range of float32
                    invalid = _either(invalid, _not_finite(out))
        except (RasterioError, CPLE_BaseError) as error:
            raise SourceError(
                f'"{self.path}" cannot be read any more',
                _reason(error),
                "check the file and the disk or network it is on, then resume",
            ) from error
        if invalid is None or not invalid.any():
            return None
        out[:, invalid] = 0.0
        return ~invalid

    def read_cells(self, window: Window) -> tuple[Values, Mask | None]:
        """Cells of a window that may reach over the raster's border: means of their valid pixels.

        Returns:
            Values (B, H, W), 0 where invalid, and validity (H, W), None when everything is valid. A cell is valid when
            at least half of its pixels are.
        """
        cols, rows = self._levels.cols, self._levels.rows
        pixels = Window(window.col * cols, window.row * rows, window.width * cols, window.height * rows)
        values, valid = self._read_padded(pixels)
        if cols == rows == 1:
            return values, valid
        shape = (window.height, rows, window.width, cols)
        sums = values.reshape(len(values), *shape).sum(axis=(2, 4), dtype=np.float64)
        if valid is None:
            return (sums / (cols * rows)).astype(np.float32), None
        counts = valid.reshape(shape).sum(axis=(1, 3))
        enough = 2 * counts >= cols * rows
        means = np.divide(sums, counts, out=np.zeros_like(sums), where=enough)
        return means.astype(np.float32), enough

    def read_cost(self, window: Window) -> int:
        """Numbers that `read_cells` holds at once."""
        return window.width * window.height * self._levels.cols * self._levels.rows * len(self.indexes)

    def _read_padded(self, window: Window) -> tuple[Values, Mask | None]:
        """Pixels of a window; what lies outside the raster is invalid."""
        inner = window.intersect(Window(0, 0, *self._level_size))
        if inner == window:
            values = np.empty((len(self.indexes), window.height, window.width), np.float32)
            return values, self.read_into(window, values)
        values = np.zeros((len(self.indexes), window.height, window.width), np.float32)
        valid = np.zeros((window.height, window.width), np.bool_)
        if not inner.empty:
            place = inner.moved(-window.col, -window.row).slices()
            part = self.read_into(inner, values[:, place[0], place[1]])
            valid[place] = True if part is None else part
        return values, valid

    def _invalid(
        self, dataset: rasterio.DatasetReader, place: RasterioWindow, numbers: NDArray[np.generic]
    ) -> Mask | None:
        """Pixels (H, W) that are invalid in any band; None when none can be."""
        invalid: Mask | None = None
        if self._floating:
            invalid = _either(invalid, _not_finite(numbers))
        for band, values in zip(numbers, self._nodata_values, strict=True):
            for value in values:
                invalid = _either(invalid, band == value)
        if self._alpha:
            invalid = _either(invalid, dataset.read(self._alpha, window=place) == 0)
        for index in self._mask_bands:
            invalid = _either(invalid, dataset.read_masks(index, window=place) == 0)
        return invalid

    def _band_nodata(self, dataset: rasterio.DatasetReader, index: int) -> list[np.generic]:
        """Numbers that mean "no data" in a band, in the type it is read in; NaN is looked for anyway."""
        dtype = np.dtype(dataset.dtypes[index - 1])
        found = []
        for value in {dataset.nodatavals[index - 1], self._nodata}:
            if value is None or not np.isfinite(value):
                continue
            if dtype.kind in "iu" and (value % 1 or not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max):
                continue  # a value that the band cannot hold
            with np.errstate(over="ignore"):
                found.append(np.dtype(self._read_dtype).type(dtype.type(value)))
        return found

    def _check_unchanged(self) -> None:
        """Refuses to mix pixels of two versions of a file."""
        if self._status is None:
            return
        status = _status(self.path)
        if status is None:
            raise SourceError(f'"{self.path}" has vanished while it was read', "", "put it back, then resume")
        if status != self._status:
            raise SourceError(
                f'"{self.path}" has changed while it was read',
                "its size or time of change differs",
                "start again when it is complete",
            )


def _status(path: str) -> tuple[int, int] | None:
    """Size and time of change of a local file; None for other names and missing files."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _alpha_band(dataset: rasterio.DatasetReader, indexes: tuple[int, ...]) -> int:
    """The alpha band that rules the given bands; 0 when there is none."""
    bands = zip(dataset.indexes, dataset.colorinterp, dataset.descriptions, strict=True)
    for index, colour, description in bands:
        if is_alpha(colour.name, description or "") and index not in indexes:
            return int(index)
    return 0


def _mask_bands(dataset: rasterio.DatasetReader, indexes: tuple[int, ...]) -> list[int]:
    """Bands whose mask must be read; one is enough where all bands share it."""
    flags = {index: dataset.mask_flag_enums[index - 1] for index in indexes}
    shared = [index for index, flag in flags.items() if MaskFlags.per_dataset in flag and MaskFlags.alpha not in flag]
    own = [index for index, flag in flags.items() if not flag]  # GDAL: a mask band of its own
    return shared[:1] + own


def _either(first: Mask | None, second: Mask) -> Mask:
    """Pixels in one or the other mask."""
    return second if first is None else np.logical_or(first, second, out=first)


def _not_finite(numbers: NDArray[np.generic]) -> Mask:
    """Pixels (H, W) that are NaN or infinite in any band of (B, H, W)."""
    invalid: Mask = ~np.logical_and.reduce(np.isfinite(numbers), axis=0)
    return invalid


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.col, window.row, window.width, window.height)


def _reason(error: Exception) -> str:
    """GDAL's own words, which rasterio hides behind "see previous exception"."""
    cause = error.__cause__ or error.__context__ or error
    return str(cause)

"""The final file: a cloud optimised GeoTIFF with overviews, colours, class names, nodata; complete or not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess  # nosec B404 - runs this project's own script under this interpreter
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import SubElement  # nosec B405 - writes only, parses nothing

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from backend.geo import translate as translation
from backend.geo.grid import Grid, Window
from backend.geo.raster_xml import RasterProfile, add_band_elements, side_file, to_bytes
from backend.geo.reader import StripReader
from backend.geo.sample import Mask, Values
from backend.geo.source import Layer, describe, source_from_layers
from backend.geo.writer import (
    GDAL_TYPES,
    chunk_options,
    library_error,
    output_error,
    replace,
    vrt_root,
    write_atomically,
)
from backend.protocol.errors import Cancelled, SourceError

# Below this many numbers a translation takes well under a second (measured: 40 million uint8 numbers/s on two cores)
# and runs in this process; above it a process of its own costs little (0.3 s) and can be killed at once.
_OWN_PROCESS_NUMBERS = 20_000_000
_POLL_S = 0.1
_BLOCK = 512
# A block that holds all bands is in memory several times over: measured 3.9 GB for 768 bands of float32, and 0.1 GB
# where each band has its own blocks.
_LARGEST_BLOCK_BYTES = 32 << 20
_STRIP = 1024
# Measured at 50 000 x 50 000 px: 290 MiB at the peak, against 500 with 128 MiB of cache, in the same time.
_CACHE_MB = 32
_SIDE_FILES = (".aux.xml", ".ovr", ".msk", ".msk.ovr")


def write_cog(
    source_path: str | os.PathLike[str],
    path: str | os.PathLike[str],
    profile: RasterProfile,
    target: Grid | None = None,
    resampling: str = "nearest",
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Translates a raster, usually the VRT of a run's chunks, into the final file.

    DEFLATE is read by every TIFF reader there is (ZSTD is not) and costs a second more per 100 million pixels. The
    bands' meaning is taken from the profile; class names go to `PATH.aux.xml`, since TIFF has no place for them.

    Args:
        source_path: raster with the profile's bands and type.
        target: grid to resample onto; None keeps the source's.
        resampling: "nearest" for classes, "bilinear" for measurements (area-weighted when shrinking).
        progress: told shares from 0 to 1; a rough estimate.
        cancelled: asked ten times a second.

    Raises:
        Cancelled: when `cancelled` said so; nothing is left behind.
        SourceError: when the source cannot be read.
        OutputError: when the disk is full or the folder not writable; nothing is left behind.
    """
    job = _Job(Path(path), profile, progress or (lambda share: None), cancelled or (lambda: False))
    folder = Path(f"{os.fspath(path)}.part")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir()
        job.run(os.fspath(source_path), folder, target, resampling)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Job:
    """One final file; works in a folder beside it that is removed afterwards."""

    def __init__(
        self, path: Path, profile: RasterProfile, progress: Callable[[float], None], cancelled: Callable[[], bool]
    ) -> None:
        self.path, self._profile, self._progress, self._cancelled = path, profile, progress, cancelled

    def run(self, source: str, folder: Path, target: Grid | None, resampling: str) -> None:
        """All steps; the final name appears in the last one."""
        info = describe(source)
        grid = info.require_grid()
        if info.count != self._profile.count or {band.dtype for band in info.bands} != {self._profile.dtype}:
            raise SourceError(
                f'"{source}" does not fit its profile', f"expected {self._profile.count} x {self._profile.dtype}"
            )
        begin = 0.0
        if target is not None and target != grid:
            source = self._resample(source, target, folder / "resampled.tif", resampling)
            grid, begin = target, 0.5
        wrapped, product = folder / "source.vrt", folder / "result.tif"
        wrapped.write_bytes(self._wrap(source, grid))
        self._translate(wrapped, product, grid, begin, source)
        self._check(product, grid)
        self._publish(product)
        self._progress(1.0)

    def _stop_if_cancelled(self) -> None:
        if self._cancelled():
            raise Cancelled(f'"{self.path}" was not written', "the run was cancelled")

    def _wrap(self, source: str, grid: Grid) -> bytes:
        """A VRT that gives the source the profile's meaning, whatever its own."""
        root = vrt_root(grid, self._profile)
        for band in range(1, self._profile.count + 1):
            element = SubElement(root, "VRTRasterBand", dataType=GDAL_TYPES[self._profile.dtype], band=str(band))
            add_band_elements(element, self._profile, band)
            part = SubElement(element, "SimpleSource")
            name = os.path.abspath(source) if os.path.exists(source) else source
            SubElement(part, "SourceFilename", relativeToVRT="0").text = name
            SubElement(part, "SourceBand").text = str(band)
        return to_bytes(root)

    def _resample(self, source: str, target: Grid, path: Path, resampling: str) -> str:
        """Writes the source on another grid, block row by block row; rounds integers."""
        profile = self._profile
        bands = source_from_layers([Layer((source,), tuple(range(1, profile.count + 1)), profile.nodata)], classes=True)
        kind = "nearest" if resampling == "nearest" else "auto"
        options = {**chunk_options(target, profile), "bigtiff": "IF_SAFER"}
        try:
            # Chunks carry overviews made for speed, not averages.
            with (
                StripReader(bands, target, kind, overviews=False) as reader,
                rasterio.open(path, "w", **options) as dataset,
            ):
                for row in range(0, target.height, _STRIP):
                    for col in range(0, target.width, _STRIP):
                        self._stop_if_cancelled()
                        window = Window(col, row, _STRIP, _STRIP).intersect(target.window)
                        place = RasterioWindow(window.col, window.row, window.width, window.height)
                        dataset.write(self._numbers(*reader.read(window)), window=place)
                    self._progress(0.5 * min(1.0, (row + _STRIP) / target.height))
        except (RasterioError, CPLE_BaseError) as error:
            raise library_error(self.path, str(error)) from error
        return os.fspath(path)

    def _numbers(self, values: Values, valid: Mask) -> NDArray[Any]:
        """Sampled values in the profile's type."""
        empty = 0 if self._profile.nodata is None else self._profile.nodata
        numbers = values if self._profile.dtype == "float32" else np.rint(values)
        return np.where(valid, numbers, empty).astype(self._profile.dtype)

    def _translate(self, source: Path, product: Path, grid: Grid, begin: float, parts: str) -> None:
        """Makes the COG, here or in a process of its own, whose progress shows in the size of what it is made from."""
        self._stop_if_cancelled()
        request: dict[str, Any] = {
            "source": os.fspath(source),
            "target": os.fspath(product),
            "options": self._options(),
            "apart": self._profile.count * np.dtype(self._profile.dtype).itemsize * _BLOCK**2 > _LARGEST_BLOCK_BYTES,
        }
        if grid.width * grid.height * self._profile.count <= _OWN_PROCESS_NUMBERS:
            try:
                translation.translate(**request)
            except (RasterioError, CPLE_BaseError) as error:
                raise library_error(self.path, str(error)) from error
            self._stop_if_cancelled()
            return
        with open(product.with_suffix(".log"), "w+b") as log:
            command = [sys.executable, "-I", "-X", "utf8", translation.__file__]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log) as child:  # nosec B603
                try:
                    self._watch(child, request, product.parent, begin, _size(parts))
                finally:
                    child.kill()
            if child.returncode != 0:
                log.seek(0)
                said = log.read().decode("utf-8", "replace").strip()
                reason = said.splitlines()[-1] if said else f"the translation ended with status {child.returncode}"
                raise library_error(self.path, reason, said)

    def _watch(
        self, child: subprocess.Popen[bytes], request: dict[str, Any], folder: Path, begin: float, expected_bytes: int
    ) -> None:
        """Hands over the request, then waits, tells progress from the growth of the files and looks for a cancel."""
        assert child.stdin is not None  # nosec B101 - for the type checker
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps({**request, "cache_mb": _CACHE_MB}).encode() + b"\n")
            child.stdin.flush()
        while True:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_S)
                return
            self._stop_if_cancelled()
            written = sum(_size(file) for file in folder.iterdir() if file.name.startswith("result"))
            self._progress(begin + (1 - begin) * min(0.95, written / max(1, expected_bytes)))

    def _options(self) -> dict[str, str]:
        """Creation options of the COG driver."""
        measured = self._profile.legend is None
        return {
            "COMPRESS": "DEFLATE",
            "BLOCKSIZE": str(_BLOCK),
            "NUM_THREADS": "ALL_CPUS",
            "BIGTIFF": "IF_SAFER",
            # Differences between neighbours say nothing in class numbers, and much in measurements.
            "PREDICTOR": "YES" if measured else "NO",
            "OVERVIEWS": "IGNORE_EXISTING",
            "OVERVIEW_RESAMPLING": self._profile.overview_resampling.upper(),
        }

    def _check(self, product: Path, grid: Grid) -> None:
        """Opens the result and reads its last block: the one that lacks when a write was lost."""
        try:
            with rasterio.open(product) as dataset:
                corner = RasterioWindow(max(0, grid.width - 1), max(0, grid.height - 1), 1, 1)
                complete = dataset.shape == grid.shape and dataset.read(window=corner).size == self._profile.count
        except (RasterioError, CPLE_BaseError) as error:
            raise library_error(self.path, str(error)) from error
        if not complete:
            raise library_error(self.path, "the result is incomplete")

    def _publish(self, product: Path) -> None:
        """Gives the result its name; side files of an older raster of that name go first."""
        with open(product, "rb") as file:
            os.fsync(file.fileno())
        side = None if self._profile.legend is None else side_file(self._profile.legend)
        for suffix in _SIDE_FILES:
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        if side is not None:
            write_atomically(f"{self.path}.aux.xml", side)
        replace(product, self.path)


def _size(path: str | Path) -> int:
    """Bytes of a file, of a VRT the bytes of the files beside and below it; 0 when there is none."""
    try:
        if os.fspath(path).endswith(".vrt"):
            return sum(os.path.getsize(file) for file in describe(path).files)
        return os.path.getsize(path)
    except (OSError, SourceError):
        return 0

"""GDAL's COG translation, in this process or, run as a script, in one that can be killed.

GDAL offers no way to interrupt a translation through rasterio, and one of a large raster takes minutes. This file
imports nothing of the project, so that it also runs by its path under an isolated interpreter.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

# A VRT keeps this many of its files open; each costs memory, and they are read one after another.
_OPEN_FILES = 20


def translate(source: str, target: str, options: Mapping[str, str], apart: bool = False) -> None:
    """Copies a raster into a COG.

    Args:
        options: the COG driver's creation options.
        apart: store each band on its own, which takes a second copy on the disk.

    Raises:
        RasterioError, CPLE_BaseError: as GDAL reports them.
    """
    # No side file: GDAL writes it last and says nothing when that fails; the caller writes what is needed.
    with rasterio.Env(GDAL_MAX_DATASET_POOL_SIZE=_OPEN_FILES, GDAL_PAM_ENABLED="NO"):
        try:
            if apart:
                _bands_apart(source, target, options)
            else:
                rasterio.shutil.copy(source, target, driver="COG", **options)
        except SystemError as error:  # what rasterio makes of a failure for which GDAL gave no reason
            raise RasterioError("the translation failed") from error


def _bands_apart(source: str, target: str, options: Mapping[str, str]) -> None:
    """A COG with its bands one after another, which GDAL's COG driver cannot write before GDAL 3.11."""
    size = int(options["BLOCKSIZE"])
    shared = {name: options[name] for name in ("NUM_THREADS", "BIGTIFF")}
    shared |= {"TILED": "YES", "BLOCKXSIZE": str(size), "BLOCKYSIZE": str(size), "INTERLEAVE": "BAND"}
    with rasterio.open(source) as dataset:
        longest, predictor = max(dataset.shape), "3" if dataset.dtypes[0].startswith("float") else "2"
    final = {"COMPRESS": options["COMPRESS"], "PREDICTOR": predictor if options["PREDICTOR"] == "YES" else "1"}
    factors = [2**power for power in range(1, 32) if longest > size * 2 ** (power - 1)]
    if not factors:
        rasterio.shutil.copy(source, target, driver="GTiff", **shared, **final)
        return
    # Overviews stand before the pixels only when they are there before the pixels are copied.
    between = f"{target}.bands.tif"
    rasterio.shutil.copy(source, between, driver="GTiff", COMPRESS="ZSTD", ZSTD_LEVEL="1", **shared)
    with rasterio.open(between, "r+") as dataset:
        dataset.build_overviews(factors, Resampling[options["OVERVIEW_RESAMPLING"].lower()])
    rasterio.shutil.copy(between, target, driver="GTiff", COPY_SRC_OVERVIEWS="YES", **shared, **final)
    os.remove(between)


def _end_with_parent() -> None:
    """Waits for the end of standard input, which comes when the parent dies however it dies."""
    # Not through sys.stdin: an interpreter that ends cannot take its buffer's lock from this thread, and aborts.
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass
    os._exit(1)


def main() -> int:
    """Translates what the first line of standard input describes; 0 when done, 1 with GDAL's words on stderr."""
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with rasterio.Env(GDAL_CACHEMAX=request["cache_mb"] << 20):
            translate(request["source"], request["target"], request["options"], request["apart"])
    except (RasterioError, CPLE_BaseError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # An ordinary exit would wait for GDAL's threads and for what they still hold.
    os._exit(status)

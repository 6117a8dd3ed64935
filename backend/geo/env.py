"""GDAL's settings for the whole program."""

from __future__ import annotations

import rasterio


def gdal_environment(cache_mb: int = 128, threads: int | str = "ALL_CPUS") -> rasterio.Env:
    """GDAL's settings as a context manager; enter it once per thread that touches rasters.

    Args:
        cache_mb: block cache in MiB; GDAL's own default grows with the machine (5 % of its memory).
        threads: threads that compress and decompress blocks.
    """
    return rasterio.Env(
        GDAL_CACHEMAX=cache_mb << 20,
        GDAL_NUM_THREADS=str(threads),
        # TRUE and EMPTY_DIR would hide .aux.xml, .msk and .ovr; side files of remote rasters are looked for by name.
        GDAL_DISABLE_READDIR_ON_OPEN="FALSE",
        # Only formats that opens reading of a file's own folder could try: a slow server must not hang a run for ever.
        GDAL_HTTP_TIMEOUT="60",
        GDAL_HTTP_MAX_RETRY="3",
        GDAL_HTTP_RETRY_DELAY="1",
    )

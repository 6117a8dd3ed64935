"""Rasters whose values are their place, as each sensor stores numbers; small, for tests of readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from backend.runtime.packing.skysense_v2 import REFLECTANCE_BANDS

LEFT, TOP, SIDE_M = 600_000.0, 5_000_000.0, 640.0
CRS = "EPSG:32631"


def east_south(size: int, left: float, top: float, metres: float) -> np.ndarray:
    """2 x size x size: metres right of LEFT and below TOP of the pixels' centres."""
    steps = (np.arange(size) + 0.5) * metres
    x, y = np.meshgrid(left - LEFT + steps, TOP - top + steps)
    return np.stack([x, y])


def optical(path: Path, day: str = "2019-05-04", left: float = LEFT, top: float = TOP, size: int = 64) -> Path:
    """A Sentinel-2 image of ten bands: digital numbers are metres to the right in B02, and below in the others."""
    east, south = east_south(size, left, top, 10.0)
    values = np.stack([east, *[south] * 9]).round().astype("uint16")
    tags = {"acquisition_date": day, "sensor": "Sentinel-2 MSI L2A", "units": "surface reflectance x 10000"}
    return write(path, values, REFLECTANCE_BANDS, tags, left, top, 10.0, nodata=0)


def radar(path: Path, day: str = "2019-05-06", metres: float = 20.0) -> Path:
    """A Sentinel-1 image in decibel: kilometres to the right in VV, and below in VH."""
    values = east_south(int(SIDE_M / metres), LEFT, TOP, metres).astype("float32") / 1000
    tags = {"acquisition_date": day, "sensor": "Sentinel-1 C-SAR GRD", "units": "sigma0 dB"}
    return write(path, values, ("VV", "VH"), tags, LEFT, TOP, metres)


def aerial(path: Path, metres: float = 2.5, left: float = LEFT) -> Path:
    """A picture: shares of the place to the right in red and below in green and blue, as 0 to 255."""
    east, south = east_south(int(SIDE_M / metres), left, TOP, metres) / SIDE_M * 255
    tags = {"sensor": "aerial RGB"}
    return write(
        path, np.stack([east, south, south]).round().clip(0, 255).astype("uint8"), ("red", "green", "blue"), tags,
        left, TOP, metres,
    )  # fmt: skip


def write(
    path: Path,
    values: np.ndarray,
    names: tuple[str, ...],
    tags: dict[str, str],
    left: float,
    top: float,
    metres: float,
    nodata: float | None = None,
) -> Path:
    """Bands with their names as a TIFF in UTM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "width": values.shape[2], "height": values.shape[1], "count": len(values), "nodata": nodata,
        "dtype": values.dtype, "crs": CRS, "transform": from_origin(left, top, metres, metres),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = names
        dataset.update_tags(**tags)
    return path

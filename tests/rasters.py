"""Small rasters for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from backend.geo.grid import Grid
from backend.geo.source import Layer, Source, source_from_layers

UTM33 = CRS.from_epsg(32633)
UTM32 = CRS.from_epsg(32632)
WGS84 = CRS.from_epsg(4326)
LEFT, TOP = 500_000.0, 4_200_000.0


def utm_grid(
    width: int, height: int, pixel: float = 10.0, left: float = LEFT, top: float = TOP, crs: CRS = UTM33
) -> Grid:
    """A north-up grid in metres."""
    return Grid(crs, Affine(pixel, 0, left, 0, -pixel, top), width, height)


def write_raster(path: Path, array: np.ndarray, grid: Grid, **options: Any) -> str:
    """Writes (bands, H, W) as TIFF; returns the name."""
    with rasterio.open(
        path,
        "w",
        **{
            "driver": "GTiff",
            "width": grid.width,
            "height": grid.height,
            "count": len(array),
            "dtype": array.dtype,
            "crs": grid.crs,
            "transform": grid.transform,
            **options,
        },
    ) as dataset:
        dataset.write(array)
    return str(path)


def source_of(*paths: str, bands: int = 1, nodata: float | None = None) -> Source:
    """One layer of the first bands of the files."""
    return source_from_layers([Layer(paths, tuple(range(1, bands + 1)), nodata)])


def centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """x and y (H, W) of pixel centres."""
    cols, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    return grid.transform @ (cols, rows)

"""A small lake as Sentinel-2 would see it, written with QGIS's own GDAL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from osgeo import gdal, osr

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
# Surface reflectance x 10 000 by band: clear deep water and grassland (typical values of spectral libraries).
WATER = (600, 550, 350, 250, 170, 160, 150, 140, 60, 40)
GRASS = (450, 800, 500, 1200, 2900, 3600, 3800, 3900, 2100, 1100)
LEFT, TOP, PIXEL = 500_000.0, 4_200_000.0, 10.0


def lake(path: Path, size: int = 300, epsg: int = 32631, date: str = "2020-06-15", radius: float = 0.3) -> Path:
    """Writes a round lake in grassland, Sentinel-2 L2A with band names, date and noise."""
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:size, :size] - size / 2
    water = rows**2 + columns**2 < (radius * size) ** 2
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), size, size, len(BANDS), gdal.GDT_UInt16, ["TILED=YES"])
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    dataset.SetProjection(reference.ExportToWkt())
    dataset.SetGeoTransform((LEFT, PIXEL, 0, TOP, 0, -PIXEL))
    dataset.SetMetadata({"sensor": "Sentinel-2 MSI L2A", "acquisition_date": date})
    for number, (name, wet, dry) in enumerate(zip(BANDS, WATER, GRASS, strict=True), 1):
        band = dataset.GetRasterBand(number)
        band.SetDescription(name)
        band.WriteArray((np.where(water, wet, dry) + random.normal(0, 15, water.shape)).clip(1).astype(np.uint16))
    dataset.FlushCache()
    return path

"""Bands that the encoders were made for, as a package asks for them."""

from __future__ import annotations

from backend.manifest.package import BandNeed

# Centre and width in nm of the Sentinel-2A bands (ESA, Sentinel-2 MSI user guide).
SENTINEL_2 = {
    "B01": (442.7, 21.0), "B02": (492.4, 66.0), "B03": (559.8, 36.0), "B04": (664.6, 31.0), "B05": (704.1, 15.0),
    "B06": (740.5, 15.0), "B07": (782.8, 20.0), "B08": (832.8, 106.0), "B8A": (864.7, 21.0), "B09": (945.1, 20.0),
    "B11": (1613.7, 91.0), "B12": (2202.4, 175.0),
}  # fmt: skip
# Common colours, wide enough for every camera's red, green, blue and near infrared.
COLOURS = {"red": (650.0, 90.0), "green": (550.0, 90.0), "blue": (475.0, 90.0), "nir": (840.0, 130.0)}
# Centre and width in nm of the bands of Landsat 8's OLI (USGS, Landsat 8 data users handbook).
LANDSAT_8 = {
    "coastal": (443.0, 16.0), "blue": (482.0, 60.0), "green": (561.5, 57.0), "red": (654.5, 37.0),
    "nir08": (865.0, 28.0), "swir16": (1608.5, 85.0), "swir22": (2200.5, 187.0),
}  # fmt: skip
POLARISATIONS = ("VV", "VH")


def sentinel_2(*names: str) -> tuple[BandNeed, ...]:
    """Sentinel-2 bands by name, all twelve of level 2A by default."""
    return tuple(BandNeed(name, *SENTINEL_2[name]) for name in names or SENTINEL_2)


def landsat_8(*names: str) -> tuple[BandNeed, ...]:
    """Bands of Landsat 8 and 9 by their common names."""
    return tuple(BandNeed(name, *LANDSAT_8[name]) for name in names)


def colours(*names: str) -> tuple[BandNeed, ...]:
    """Bands of pictures by colour."""
    return tuple(BandNeed(name, *COLOURS[name]) for name in names)


def sentinel_1() -> tuple[BandNeed, ...]:
    """VV and VH."""
    return tuple(BandNeed(name, polarisation=name) for name in POLARISATIONS)

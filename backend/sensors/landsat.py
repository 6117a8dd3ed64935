"""Coefficients and date from the `_MTL.txt` file that comes with Landsat products.

Source: USGS, Landsat Collection 2 Level-1 data format control books; top-of-atmosphere reflectance is
(REFLECTANCE_MULT * number + REFLECTANCE_ADD) / sin(SUN_ELEVATION).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from backend.protocol.errors import SourceError
from backend.sensors.parts import Coefficients, Product

_LINE = re.compile(r'^\s*(\w+)\s*=\s*"?([^"\n]*?)"?\s*$', re.MULTILINE)
_SENSORS = {
    "LANDSAT_4": "landsat-5",
    "LANDSAT_5": "landsat-5",
    "LANDSAT_7": "landsat-7",
    "LANDSAT_8": "landsat-8",
    "LANDSAT_9": "landsat-8",
}


def find_metadata(band: Path) -> Path | None:
    """The MTL file of the product that a band's file belongs to; None when there is none beside it."""
    ending = "_MTL.txt"
    return next(
        (path for path in sorted(band.parent.glob(f"*{ending}")) if band.name.startswith(path.name[: -len(ending)])),
        None,
    )


def read_metadata(path: Path) -> Product:
    """What an MTL file says.

    Raises:
        SourceError: the file cannot be read or lacks what every MTL file has.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise SourceError(f'"{path}" cannot be read', error.strerror or str(error)) from error
    items: dict[str, str] = {}
    for key, value in _LINE.findall(text):
        items.setdefault(key, value)
    spacecraft, level = items.get("SPACECRAFT_ID", ""), items.get("PROCESSING_LEVEL") or items.get("DATA_TYPE", "")
    if spacecraft not in _SENSORS:
        raise SourceError(f'"{path}" is no Landsat metadata file', f'its spacecraft is "{spacecraft}"')
    second = level.startswith("L2")
    return Product(
        name=items.get("LANDSAT_PRODUCT_ID") or items.get("LANDSAT_SCENE_ID") or path.name[: -len("_MTL.txt")],
        sensor=f"{_SENSORS[spacecraft]}-{'l2' if second else 'l1'}",
        date=items.get("DATE_ACQUIRED"),
        coefficients={**_reflectance(items, second), **_temperature(items)},
    )


def _reflectance(items: dict[str, str], second: bool) -> dict[str, Coefficients]:
    """Reflectance of every band; Level-1 is corrected for the elevation of the sun."""
    sun = 1.0 if second else math.sin(math.radians(float(items.get("SUN_ELEVATION", "90"))))
    found = {}
    for key, value in items.items():
        match = re.fullmatch(r"REFLECTANCE_MULT_BAND_(\w+)", key)
        if match:
            multiply, add = float(value), float(items.get(f"REFLECTANCE_ADD_BAND_{match[1]}", "0"))
            name = f"SR_B{match[1]}" if second else f"B{match[1]}"
            found[name] = Coefficients(multiply / sun, add / multiply, "reflectance")
    return found


def _temperature(items: dict[str, str]) -> dict[str, Coefficients]:
    """Surface temperature of Level-2 products."""
    found = {}
    for key, value in items.items():
        match = re.fullmatch(r"TEMPERATURE_MULT_BAND_(ST_B\d+)", key)
        if match:
            add = float(items.get(f"TEMPERATURE_ADD_BAND_{match[1]}", "0"))
            found[match[1]] = Coefficients(float(value), add / float(value), "kelvin")
    return found

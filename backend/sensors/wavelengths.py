"""Wavelengths that a file states for its bands: GDAL's IMAGERY items, ENVI headers, band descriptions."""

from __future__ import annotations

import re

from backend.geo.source import DatasetInfo

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DESCRIPTION = re.compile(
    _NUMBER + r"\s*(nm|nanometers?|nanometres?|µm|um|micrometers?|micrometres?|microns?)(?![a-z])", re.IGNORECASE
)


def wavelengths(info: DatasetInfo) -> dict[int, tuple[float, float]]:
    """Centre and width in nanometres by band index; empty when not every band states its wavelength."""
    centres = [_centre(info, position) for position in range(info.count)]
    stated = [centre for centre in centres if centre is not None]
    if len(stated) < info.count or info.count < 2:
        return {}
    widths = [_width(info, position) for position in range(info.count)]
    return {info.bands[n].index: (centre, widths[n] or spacing(stated, n)) for n, centre in enumerate(stated)}


def spacing(centres: list[float], position: int) -> float:
    """Distance to the nearest neighbour, which stands in for a width that is not stated."""
    return min(abs(centres[position] - other) for n, other in enumerate(centres) if n != position) or 1.0


def _centre(info: DatasetInfo, position: int) -> float | None:
    band = info.bands[position]
    items = band.tags.get("", {})
    stated = items.get("wavelength") or items.get("WAVELENGTH")
    if stated and re.fullmatch(_NUMBER, stated.strip()):
        return float(stated) * _factor(items.get("wavelength_units") or items.get("WAVELENGTH_UNIT") or "nm")
    match = _DESCRIPTION.search(band.description)
    if match:
        return float(match[1]) * _factor(match[2])
    micrometres = band.tags.get("IMAGERY", {}).get("CENTRAL_WAVELENGTH_UM")
    return float(micrometres) * 1000.0 if micrometres else None


def _width(info: DatasetInfo, position: int) -> float | None:
    header = info.tags.get("ENVI", {})
    listed = re.findall(_NUMBER, header.get("fwhm", ""))
    if len(listed) == info.count:
        return float(listed[position]) * _factor(header.get("wavelength_units", "nm"))
    micrometres = info.bands[position].tags.get("IMAGERY", {}).get("FWHM_UM")
    return float(micrometres) * 1000.0 if micrometres else None


def _factor(unit: str) -> float:
    """Nanometres per unit."""
    return 1.0 if unit.strip().lower().startswith("n") else 1000.0

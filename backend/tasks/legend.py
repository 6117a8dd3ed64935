"""The names of a class raster's values, from the raster attribute table beside it."""

from __future__ import annotations

from pathlib import Path

from backend.sensors.markup import elements

_VALUE, _NAME = "5", "2"  # GDALRATFieldUsage: the value, the name of the class


def names_of(path: str) -> dict[int, str]:
    """Names by value; empty where nothing beside the raster says them."""
    side = Path(f"{path}.aux.xml")
    if not side.is_file():
        return {}
    uses: list[str] = []
    rows: list[list[str]] = []
    inside = False
    for element in elements(side.read_bytes(), str(side)):
        if element.name == "GDALRasterAttributeTable":
            inside = True
        elif inside and element.name == "Usage":
            uses.append(element.text.strip())
        elif inside and element.name == "Row":
            rows.append([])
        elif inside and element.name == "F" and rows:
            rows[-1].append(element.text)
    if _VALUE not in uses or _NAME not in uses:
        return {}
    value, name = uses.index(_VALUE), uses.index(_NAME)
    return {int(row[value]): row[name] for row in rows if len(row) == len(uses)}

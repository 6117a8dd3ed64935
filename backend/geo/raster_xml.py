"""GDAL's XML for what a band means: nodata, scale, colours, class names, raster attribute table.

One set of elements serves both files that carry them: the VRT of a running job and the side file (`.aux.xml`) of its
result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, indent, tostring  # nosec B405 - writes only, parses nothing

# GDAL's numbers for column types and uses (GDALRATFieldType, GDALRATFieldUsage).
_INTEGER, _TEXT = 0, 2
_COLUMNS = (
    ("Value", _INTEGER, 5),
    ("Class", _TEXT, 2),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
)


@dataclass(frozen=True)
class LegendClass:
    """One class of a class raster.

    Attributes:
        value: pixel value.
        name: for people.
        color: red, green, blue, 0 to 255.
    """

    value: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Legend:
    """The classes of a class raster."""

    classes: tuple[LegendClass, ...]

    def colour_table(self) -> dict[int, tuple[int, int, int, int]]:
        """Colours (red, green, blue, alpha) by pixel value."""
        return {entry.value: (*entry.color, 255) for entry in self.classes}


@dataclass(frozen=True)
class RasterProfile:
    """What kind of raster is written.

    Attributes:
        dtype: "uint8", "uint16", "int16" or "float32"; QGIS 3.22 reads no other type rightly.
        count: bands.
        nodata: value that means "no data".
        descriptions: band names; empty for none.
        scale, offset: physical value = number * scale + offset, for all bands.
        legend: classes of a class raster.
        tags: metadata items of the dataset.
        overview_resampling: "mode" for classes, "average" for measurements, "nearest".
        range: least and largest number that can occur; None where that is open.
    """

    dtype: str
    count: int = 1
    nodata: float | None = None
    descriptions: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    legend: Legend | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    overview_resampling: str = "nearest"
    range: tuple[float, float] | None = None

    def description(self, band: int) -> str:
        """Name of a band (1-based); "" for none."""
        return self.descriptions[band - 1] if self.descriptions else ""


def add_band_elements(parent: Element, profile: RasterProfile, band: int) -> None:
    """Adds to a VRT band everything that says what its numbers mean."""
    if profile.description(band):
        SubElement(parent, "Description").text = profile.description(band)
    if profile.nodata is not None:
        SubElement(parent, "NoDataValue").text = number(profile.nodata)
    if (profile.scale, profile.offset) != (1.0, 0.0):
        SubElement(parent, "Offset").text = number(profile.offset)
        SubElement(parent, "Scale").text = number(profile.scale)
    if profile.legend is None:
        SubElement(parent, "ColorInterp").text = "Gray" if profile.count == 1 else "Undefined"
        return
    SubElement(parent, "ColorInterp").text = "Palette"
    colours = SubElement(parent, "ColorTable")
    table = profile.legend.colour_table()
    for value in range(max(table, default=0) + 1):
        rgba = table.get(value, (0, 0, 0, 0))
        SubElement(colours, "Entry", {f"c{k}": str(part) for k, part in enumerate(rgba, 1)})
    add_legend(parent, profile.legend)


def add_legend(parent: Element, legend: Legend) -> None:
    """Adds class names, as category list (QGIS labels its legend with it) and as raster attribute table."""
    names = {entry.value: entry.name for entry in legend.classes}
    categories = SubElement(parent, "CategoryNames")
    for value in range(max(names, default=-1) + 1):
        SubElement(categories, "Category").text = names.get(value, "")
    parent.append(attribute_table(legend.classes))


def attribute_table(classes: Sequence[LegendClass]) -> Element:
    """Raster attribute table with value, class name and colour."""
    table = Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = SubElement(table, "FieldDefn", index=str(index))
        SubElement(column, "Name").text = name
        SubElement(column, "Type").text = str(kind)
        SubElement(column, "Usage").text = str(usage)
    for index, entry in enumerate(classes):
        row = SubElement(table, "Row", index=str(index))
        for cell in (entry.value, entry.name, *entry.color):
            SubElement(row, "F").text = str(cell)
    return table


def nominal_statistics(profile: RasterProfile) -> dict[str, str]:
    """What stands for statistics while a raster grows: its range, evenly used; nothing where the range is open.

    A viewer that finds none computes them from what is there, and GDAL then writes them into the VRT: an old list of
    chunks over a newer one.
    """
    if profile.range is None:
        return {}
    low, high = profile.range
    values = {"MINIMUM": low, "MAXIMUM": high, "MEAN": (low + high) / 2, "STDDEV": (high - low) / math.sqrt(12)}
    # Not marked as approximate: GDAL would compute exact ones in their place.
    return {f"STATISTICS_{name}": number(value) for name, value in values.items()}


def add_metadata(parent: Element, tags: Mapping[str, str]) -> None:
    """Adds metadata items of the dataset, or of a band."""
    if tags:
        metadata = SubElement(parent, "Metadata")
        for key, value in tags.items():
            SubElement(metadata, "MDI", key=key).text = value


def side_file(legend: Legend) -> bytes:
    """Content of the `.aux.xml` of a class raster: what TIFF itself cannot hold."""
    root = Element("PAMDataset")
    add_legend(SubElement(root, "PAMRasterBand", band="1"), legend)
    return to_bytes(root)


def to_bytes(root: Element) -> bytes:
    """The document as UTF-8."""
    indent(root)
    return tostring(root, encoding="utf-8")


def number(value: float) -> str:
    """A number as GDAL reads it back without loss."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))

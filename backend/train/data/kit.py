"""The real-data kit: its splits, and labelled chips in physical units.

The kit's own description (README.md beside splits.csv) names the traps that are handled here: NaN pixels, the label -1
for "not valid", digital numbers x 10 000.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio

from backend.protocol.errors import ParameterError, SourceError

IGNORE = -1


@dataclass(frozen=True)
class Split:
    """One row of splits.csv.

    Attributes:
        path: file relative to the kit.
        unit: "file", or a pixel window `col0:col1,row0:row1`, half-open.
        split: "train", "test", a fold number as text, "exploratory", "unlabelled" or "unusable".
        group: the place.
        note: remarks after the protocol's name.
    """

    path: str
    unit: str
    split: str
    group: str
    note: str

    @property
    def window(self) -> tuple[slice, slice] | None:
        """Rows and columns of a pixel window; None for a whole file."""
        if ":" not in self.unit:
            return None
        columns, rows = (slice(*map(int, part.split(":"))) for part in self.unit.split(","))
        return rows, columns


@dataclass(frozen=True)
class Chip:
    """A labelled image.

    Attributes:
        name: file name without suffix.
        group: the place.
        image: bands x H x W float32, physical units, NaN where there is no data.
        label: H x W int64: 0, 1 or `IGNORE`; the latter also where the image holds no data.
    """

    name: str
    group: str
    image: np.ndarray
    label: np.ndarray

    def cut(self, window: tuple[slice, slice] | None) -> Chip:
        """The part inside a window of rows and columns; everything for None."""
        if window is None:
            return self
        rows, columns = window
        return replace(self, image=self.image[:, rows, columns], label=self.label[rows, columns])


def read_splits(kit: Path, part: str, protocol: str) -> list[Split]:
    """Rows of splits.csv of one part and protocol.

    Raises:
        ParameterError: the folder holds no such rows.
    """
    table = kit / "splits.csv"
    if not table.is_file():
        raise ParameterError(f"{kit} is not the data kit", "it has no splits.csv", "name its folder with --data")
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == part]
    prefix = f"protocol={protocol}"
    found = [
        Split(row["path"], row["unit"], row["split"], row["group"], row["note"].removeprefix(prefix).lstrip("; "))
        for row in rows
        if row["note"].split(";")[0] == prefix
    ]
    if not found:
        raise ParameterError(f"the data kit has no part {part!r} with the protocol {protocol!r}")
    return found


def read_chip(
    image: Path, label: Path, bands: tuple[str, ...], scale: float = 1.0, group: str = "", window: Split | None = None
) -> Chip:
    """Reads bands by their descriptions and the label on the same grid.

    Args:
        bands: band descriptions in the order wanted.
        scale: factor from the file's numbers to physical units.
        window: the split whose window is cut out.

    Raises:
        SourceError: a band is missing or the grids differ.
    """
    with rasterio.open(image) as source:
        descriptions = source.descriptions
        absent = [band for band in bands if band not in descriptions]
        if absent:
            raise SourceError(f"{image.name} has no band {', '.join(absent)}", f"it has {descriptions}")
        values = source.read([descriptions.index(band) + 1 for band in bands]).astype(np.float32) * np.float32(scale)
        shape = source.shape
    with rasterio.open(label) as source:
        if source.shape != shape:
            raise SourceError(f"{label.name} and {image.name} differ in size")
        classes = source.read(1).astype(np.int64)
    classes[~np.isfinite(values).all(axis=0) | (classes < 0)] = IGNORE
    chip = Chip(image.stem, group, values, classes)
    return chip.cut(window.window) if window else chip


def boadella(kit: Path, split: Split, bands: tuple[str, ...]) -> Chip:
    """A date of the Boadella reservoir, surface reflectance, with its water mask."""
    image = kit / split.path
    label = image.with_name(image.name.replace("S2_L2A_boadella", "water"))
    return read_chip(image, label, bands, 1e-4, split.group, split)


def sen1floods11(kit: Path, split: Split, bands: tuple[str, ...] = ("VV", "VH")) -> Chip:
    """A Sentinel-1 chip of Sen1Floods11 in decibel with its hand-made label."""
    image = kit / split.path
    label = image.parents[1] / "label" / image.name.replace("S1Hand", "LabelHand")
    return read_chip(image, label, bands, 1.0, split.group, split)


def sen1floods11_optical(kit: Path, name: str, bands: tuple[str, ...]) -> Chip:
    """The Sentinel-2 L1C image of a Sen1Floods11 chip, top-of-atmosphere reflectance, with the same label."""
    part = kit / "sen1floods11"
    return read_chip(part / "s2" / f"{name}_S2Hand.tif", part / "label" / f"{name}_LabelHand.tif", bands, 1e-4, name)

"""Samples cut from rasters of one place: any number of images by kind and date, on grids that lie upon each other.

Sensors, bands, units and dates come from metadata, as in inference; what these leave open is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import numpy as np

from backend.geo.env import gdal_environment
from backend.geo.grid import Grid, Window
from backend.geo.reader import StripReader
from backend.manifest.package import BandNeed
from backend.protocol.errors import GridError, ParameterError
from backend.protocol.jobs import InputSpec
from backend.runtime.packing import bands
from backend.runtime.packing.skysense_v2 import REFLECTANCE_BANDS
from backend.scene.normalise import Operation, normalise
from backend.sensors.resolve import ResolvedInput, resolve
from backend.tasks.inputs import operations
from backend.train.data.sample import Place, Sample, Series

LEAST_VALID = 0.5  # share of an image's pixels; an image with fewer tells of its gaps


@dataclass(frozen=True)
class Wanted:
    """What an encoder takes of one kind of image.

    Attributes:
        needs: its bands.
        unit: of the stored pixels; "dn" for 8-bit pictures.
        zoom: pixels for each pixel of the scene along both axes, where another kind of image sets the scene's grid.
    """

    needs: tuple[BandNeed, ...]
    unit: str
    zoom: int = 1


# The first kind that a place has sets its grid. High resolution beside Sentinel has eight pixels for one, radar has the
# pixels of multispectral images (skysense-v2.md, 7).
SKYSENSE_V2 = {
    "ms": Wanted(bands.sentinel_2(*REFLECTANCE_BANDS), "reflectance"),
    "sar": Wanted(bands.sentinel_1(), "db"),
    "hr": Wanted(bands.colours("red", "green", "blue"), "dn", zoom=8),
}


@dataclass(frozen=True)
class _Image:
    """One image, open on the grid of its kind."""

    reader: StripReader
    operations: tuple[Operation, ...]
    item: ResolvedInput


class Scene:
    """The images of a place, opened; a context manager.

    Args:
        images: by kind, one specification for every date; kinds that are not wanted are ignored.
        wanted: what is read of each kind, in the order in which they may set the grid.

    Raises:
        InputError: an image lacks a band, or its metadata leave open what its numbers mean.
        ParameterError: no image is of a kind that is wanted.
        GridError: the grid is not parallel to its CRS.
    """

    def __init__(self, images: Mapping[str, Sequence[InputSpec]], wanted: Mapping[str, Wanted] = SKYSENSE_V2) -> None:
        self._wanted = wanted
        self._items = {
            name: sorted((resolve(spec, want.needs, want.unit) for spec in images[name]), key=_day)
            for name, want in wanted.items()
            if images.get(name)
        }
        if not self._items:
            raise ParameterError("there is no image to cut samples from", f"wanted are {', '.join(wanted)}")
        self._first = next(iter(self._items))
        self.grid: Grid = self._items[self._first][0].source.grid
        if self.grid.rotated:
            raise GridError("the scene is turned against its map", "", "warp it first, for example with gdalwarp")
        self._images: dict[str, list[_Image]] = {}
        self._open = ExitStack()

    def __enter__(self) -> Scene:
        self._open.enter_context(gdal_environment())
        for name, items in self._items.items():
            grid = self.grid.zoomed(Fraction(self._zoom(name)))
            self._images[name] = [
                _Image(self._open.enter_context(StripReader(item.source, grid)), operations(item.conversions, ()), item)
                for item in items
            ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def sample(self, key: str, window: Window, labels: Mapping[str, str] | None = None) -> Sample | None:
        """The sample of a window of the grid; None where no image has data.

        Images of which less than half is valid are left out, and kinds without an image.
        """
        found = {name: self._series(name, window) for name in self._images}
        series = {name: one for name, one in found.items() if one is not None}
        if not series:
            return None
        return Sample(key, place_of(self.grid.crop(window)), series, labels=labels or {})

    def _zoom(self, name: str) -> int:
        return 1 if name == self._first else self._wanted[name].zoom

    def _series(self, name: str, window: Window) -> Series | None:
        pixels, valid, days, sensors = [], [], [], []
        for image in self._images[name]:
            values, there = image.reader.read(window.zoomed(Fraction(self._zoom(name))))
            normalise(values, there, image.operations, fill=0.0)
            if there.mean() >= LEAST_VALID:
                pixels.append(values)
                valid.append(there)
                days.append(_day(image.item))
                sensors.append(image.item.sensor or "")
        if not pixels:
            return None
        want = self._wanted[name]
        stack = np.stack(pixels)
        if want.unit == "dn":
            stack = np.rint(stack).clip(0, 255).astype(np.uint8)
        return Series(sensors[0], tuple(need.name for need in want.needs), stack, np.stack(valid), tuple(days))


def tiles(grid: Grid, size: int, most: int = 0) -> Iterator[Window]:
    """Windows that cover a grid: squares of `size` pixels, the last ones moved inwards; what is smaller stays whole.

    Args:
        grid: the scene's.
        size: pixels per side.
        most: take no more than these, spread evenly; 0 for all.
    """
    height, width = min(size, grid.height), min(size, grid.width)
    corners = [(row, col) for row in _begins(grid.height, height) for col in _begins(grid.width, width)]
    if most and most < len(corners):
        corners = [corners[number * len(corners) // most] for number in range(most)]
    for row, col in corners:
        yield Window(col, row, width, height)


def place_of(grid: Grid) -> Place:
    """The ground of a grid."""
    return Place(crs_text(grid), grid.bounds)


def crs_text(grid: Grid) -> str:
    """A grid's CRS as a code of an authority, else as WKT."""
    authority = grid.crs.to_authority()
    return ":".join(authority) if authority else str(grid.crs.to_wkt())


def _begins(length: int, size: int) -> list[int]:
    """First pixels of the tiles along an axis."""
    return [min(number * size, length - size) for number in range(-(-length // size))]


def _day(item: ResolvedInput) -> str:
    return (item.date or "")[:10]

"""Which pixels of the wanted area are wanted: those inside areas of interest that no mask forbids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from backend.geo.area import Area
from backend.geo.grid import Window
from backend.geo.reader import MaskReader
from backend.geo.source import describe
from backend.geo.warp import footprint
from backend.protocol.errors import GridError
from backend.protocol.jobs import MaskSpec
from backend.scene.strips import Filter
from backend.tasks.place import Place


class AreaFilter:
    """Keeps the pixels inside polygons."""

    def __init__(self, area: Area) -> None:
        self._area = area

    def touches(self, window: Window) -> bool:
        """Whether a polygon may touch the window."""
        return self._area.touches(window)

    def wanted(self, window: Window) -> np.ndarray:
        """True inside."""
        return self._area.mask(window)


class MaskFilter:
    """Keeps the pixels that a mask raster does not forbid."""

    def __init__(self, reader: MaskReader) -> None:
        self._reader = reader

    def touches(self, window: Window) -> bool:
        """True: only reading tells."""
        return True

    def wanted(self, window: Window) -> np.ndarray:
        """True where the mask allows the pixel."""
        return self._reader.read(window)


@contextmanager
def open_filters(place: Place, mask: MaskSpec | None) -> Iterator[tuple[Filter, ...]]:
    """What limits the wanted pixels; the mask raster is closed when the block is left.

    Raises:
        SourceError, GridError: when the mask raster cannot be used.
    """
    filters: tuple[Filter, ...] = tuple(AreaFilter(area) for area in place.limits)
    if mask is None:
        yield filters
        return
    covered = footprint(place.scene, describe(mask.path).require_grid())
    if covered.intersect(place.area).empty:
        raise GridError(f'the mask "{mask.path}" does not overlap the scene', "", "choose the mask of this scene")
    with MaskReader(mask.path, place.scene, mask.values) as reader:
        yield (*filters, MaskFilter(reader))

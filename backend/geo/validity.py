"""How much of a raster holds data, from a coarse look."""

from __future__ import annotations

from fractions import Fraction

from backend.geo.reader import StripReader
from backend.geo.source import Layer, Source

_SIDE = 256  # pixels of the coarse look's longer side


def valid_share(source: Source) -> float:
    """Share of a raster's pixels that hold data, 0 to 1, read at a resolution of some hundred pixels.

    Only the first band is looked at: what lacks in one band of a scene lacks in all.

    Raises:
        SourceError: a file is missing or cannot be read.
    """
    first = source.layers[0]
    band = Source((Layer(first.paths, first.indexes[:1], first.nodata),), source.grid)
    shrink = max(1, max(source.grid.width, source.grid.height) // _SIDE)
    grid = source.grid.zoomed(Fraction(1, shrink))
    with StripReader(band, grid) as reader:
        return float(reader.read(grid.window)[1].mean())

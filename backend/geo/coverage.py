"""How much of a mosaic its tiles cover."""

from __future__ import annotations

from collections.abc import Sequence

import shapely

from backend.geo.grid import Grid
from backend.geo.warp import footprint


def covered_share(grid: Grid, tiles: Sequence[Grid]) -> float:
    """Share of a grid's pixels that lie in the footprint of a tile, 0 to 1; no pixel is read.

    Args:
        grid: the mosaic, or a part of it.
        tiles: the grids of the files; one of another CRS counts with the box around it.

    Raises:
        GridError: when a tile cannot be expressed in the grid's CRS.
    """
    windows = [footprint(grid, tile).intersect(grid.window) for tile in tiles]
    boxes = [shapely.box(w.col, w.row, w.right, w.bottom) for w in windows if not w.empty]
    return float(shapely.union_all(boxes).area / (grid.width * grid.height))

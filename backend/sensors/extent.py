"""The ground that an input covers: the grid of its finest band, the tiles of a mosaic joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.geo.coverage import covered_share
from backend.geo.grid import Grid
from backend.geo.source import describe, mosaic_grid
from backend.protocol.errors import GridError
from backend.sensors.parts import Part, Parts, Problem

# Tiles of one scene leave gaps at its edges; files that cover less than half of what they span are more likely several.
_SPARSE = 0.5


@dataclass(frozen=True)
class Extent:
    """Where an input lies.

    Attributes:
        grid: None when it has no usable place on Earth.
        size: columns and rows.
        doubts: what is unsure about a mosaic.
        problems: why files make no mosaic.
    """

    grid: Grid | None
    size: tuple[int, int]
    doubts: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def extent_of(parts: Parts) -> Extent:
    """Grid and size of the finest band; only headers are read."""
    first = parts.datasets[0]
    finest = _finest(parts)
    if finest is None:
        return Extent(first.grid, (first.width, first.height))
    tiles = [describe(path) for path in finest.paths]
    grids = [tile.grid for tile in tiles if tile.grid is not None]
    if not grids:
        return Extent(None, (tiles[0].width, tiles[0].height))
    try:
        grid = mosaic_grid(grids)
    except GridError as error:
        return Extent(grids[0], (grids[0].width, grids[0].height), problems=(Problem(error.sentence()),))
    return Extent(grid, (grid.width, grid.height), _sparse(grid, grids))


def _finest(parts: Parts) -> Part | None:
    """The band with the smallest pixels."""
    finest: tuple[float, Part] | None = None
    for part, dataset in (
        (part, dataset) for part in parts.parts for dataset in parts.datasets if dataset.path == part.paths[0]
    ):
        metres = max(dataset.grid.pixel_size_m()) if dataset.grid else 0.0
        if finest is None or metres < finest[0]:
            finest = (metres, part)
    return finest[1] if finest else None


def _sparse(grid: Grid, tiles: Sequence[Grid]) -> tuple[str, ...]:
    """Words on a mosaic that is mostly empty."""
    share = covered_share(grid, tiles)
    if share >= _SPARSE:
        return ()
    return (
        f"the {len(tiles)} files cover {100 * share:.2g} % of the {grid.width} x {grid.height} pixels that they span "
        "together, the rest stays empty; give them one by one if they are no tiles of one scene",
    )

"""Polygons of class regions from chunks: exact outlines, or outlines simplified together with their neighbours'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import shapely

from backend.geo.grid import Grid, Window
from backend.geo.regions import NO_REGION, label_regions
from backend.geo.rings import Corners, find_corners, find_junctions, trace_polygons
from backend.geo.seams import CLOSED, Seams

# Simplification works on squares that are fixed on the grid, so that its result does not depend on the chunks.
BLOCK = 1024


@dataclass(frozen=True)
class ClassPolygons:
    """Whole regions, in lattice coordinates of the grid (x = column, y = row).

    Attributes:
        polygons: shapely polygons (N,).
        classes: (N,).
    """

    polygons: np.ndarray
    classes: np.ndarray


class Outlines(Protocol):
    """Turns chunks of a class raster into the polygons of its regions."""

    def add(self, window: Window, classes: np.ndarray) -> Iterator[ClassPolygons]:
        """Takes a chunk (H, W) in and gives the regions that it completed."""

    def finish(self) -> Iterator[ClassPolygons]:
        """The regions still open when no more chunks come; pixels that never came count as nodata."""


class ExactOutlines:
    """Outlines along the pixels' edges; open regions are kept as corners, nine bytes each."""

    def __init__(self, grid: Grid, nodata: int) -> None:
        self._nodata = nodata
        self._stride = grid.width + 1
        self._seams = Seams(grid.width, grid.height)
        self._open: dict[int, tuple[int, np.ndarray, np.ndarray]] = {}  # class, points, turns

    def add(self, window: Window, classes: np.ndarray) -> Iterator[ClassPolygons]:
        """Takes a chunk in; see `Outlines`."""
        regions = label_regions(classes, self._nodata)
        found = find_corners(regions.labels)
        corners = Corners(found.region, found.row + window.row, found.col + window.col, found.turn)
        pieces, groups = self._seams.add(window, regions.labels, regions.classes)
        inside = pieces[corners.region] == CLOSED
        self._keep(corners.select(~inside), pieces, regions.classes)
        yield _traced(corners.select(inside), regions.classes)
        yield self._united(groups)

    def finish(self) -> Iterator[ClassPolygons]:
        """The rest; see `Outlines`."""
        yield self._united(self._seams.finish())

    def _keep(self, corners: Corners, pieces: np.ndarray, classes: np.ndarray) -> None:
        """Stores the corners of regions that reach the chunk's border."""
        order = np.argsort(corners.region, kind="stable")
        region, points, turns = (
            corners.region[order],
            (corners.row * self._stride + corners.col)[order],
            corners.turn[order],
        )
        borders = [*np.flatnonzero(np.diff(region, prepend=-1)).tolist(), len(region)]
        for start, end in pairwise(borders):
            number = region[start]
            # Copies, because a view would keep the whole chunk's corners alive.
            self._open[int(pieces[number])] = int(classes[number]), points[start:end].copy(), turns[start:end].copy()

    def _united(self, groups: list[list[int]]) -> ClassPolygons:
        """The regions made of groups of pieces."""
        taken = [[self._open.pop(piece) for piece in group] for group in groups]
        flat = [(number, points, turns) for number, parts in enumerate(taken) for _, points, turns in parts]
        if not flat:
            return ClassPolygons(np.zeros(0, dtype=object), np.zeros(0, dtype=np.int64))
        region = np.repeat([number for number, _, _ in flat], [len(points) for _, points, _ in flat])
        points, turns = np.concatenate([part for _, part, _ in flat]), np.concatenate([part for _, _, part in flat])
        corners = Corners(region, points // self._stride, points % self._stride, turns)
        return _traced(corners, np.array([parts[0][0] for parts in taken]))


class SimplifiedOutlines:
    """Outlines simplified so that neighbours keep one common border, without gaps or overlaps.

    Chunks are put together to blocks fixed on the grid. The regions of a block, those of nodata included, are
    simplified as a coverage whose frame stays as it is; pieces of a region are united across the frames. Vertices stay
    on corners of pixels.

    Args:
        tolerance_px: in pixels: the square root of the area of the corners that are cut off.
    """

    def __init__(self, grid: Grid, nodata: int, tolerance_px: float) -> None:
        self._nodata, self._tolerance = nodata, tolerance_px
        self._blocks = _Blocks(grid, nodata)
        self._seams = Seams(grid.width, grid.height)
        self._open: dict[int, tuple[int, shapely.Geometry]] = {}

    def add(self, window: Window, classes: np.ndarray) -> Iterator[ClassPolygons]:
        """Takes a chunk in; see `Outlines`."""
        for place, block in self._blocks.add(window, classes):
            yield from self._add_block(place, block)

    def finish(self) -> Iterator[ClassPolygons]:
        """The rest; see `Outlines`."""
        for place, block in self._blocks.finish():
            yield from self._add_block(place, block)
        yield self._united(self._seams.finish())

    def _add_block(self, window: Window, classes: np.ndarray) -> Iterator[ClassPolygons]:
        """The regions that a block holds in full or completes."""
        regions = label_regions(classes)
        wanted = regions.classes != self._nodata
        labels = np.where(wanted, np.arange(len(wanted)), NO_REGION)[regions.labels]
        pieces, groups = self._seams.add(window, labels, regions.classes)
        if wanted.any():
            _, polygons = trace_polygons(find_corners(regions.labels), find_junctions(regions.labels))
            polygons = shapely.coverage_simplify(polygons, self._tolerance, simplify_boundary=False)
            polygons = shapely.transform(polygons, lambda points: points + np.array([window.col, window.row]))
            for number in np.flatnonzero(pieces != CLOSED).tolist():
                self._open[int(pieces[number])] = int(regions.classes[number]), polygons[number]
            inside = wanted & (pieces == CLOSED)
            yield ClassPolygons(polygons[inside], regions.classes[inside].astype(np.int64))
        yield self._united(groups)

    def _united(self, groups: list[list[int]]) -> ClassPolygons:
        """The regions made of groups of pieces."""
        polygons, classes = np.empty(len(groups), dtype=object), np.zeros(len(groups), dtype=np.int64)
        for number, group in enumerate(groups):
            parts = [self._open.pop(piece) for piece in group]
            classes[number] = parts[0][0]
            polygons[number] = parts[0][1] if len(parts) == 1 else shapely.union_all([part for _, part in parts])
        return ClassPolygons(polygons, classes)


class _Blocks:
    """Puts chunks together to blocks that are fixed on the grid."""

    def __init__(self, grid: Grid, nodata: int) -> None:
        self._grid, self._nodata = grid, nodata
        self._parts: dict[tuple[int, int], tuple[Window, np.ndarray, int]] = {}

    def add(self, window: Window, classes: np.ndarray) -> Iterator[tuple[Window, np.ndarray]]:
        """Takes a chunk in and gives the blocks that it fills up."""
        for row in range(window.row // BLOCK, (window.bottom - 1) // BLOCK + 1):
            for col in range(window.col // BLOCK, (window.right - 1) // BLOCK + 1):
                if (row, col) not in self._parts:
                    self._parts[row, col] = self._new(row, col, classes.dtype)
                place, block, missing = self._parts.pop((row, col))
                common = place.intersect(window)
                block[common.moved(-place.col, -place.row).slices()] = classes[
                    common.moved(-window.col, -window.row).slices()
                ]
                missing -= common.width * common.height
                if missing > 0:
                    self._parts[row, col] = place, block, missing
                else:
                    yield place, block

    def finish(self) -> Iterator[tuple[Window, np.ndarray]]:
        """The blocks that were not filled up."""
        for key in sorted(self._parts):
            place, block, _ = self._parts.pop(key)
            yield place, block

    def _new(self, row: int, col: int, dtype: np.dtype[np.generic]) -> tuple[Window, np.ndarray, int]:
        place = Window(col * BLOCK, row * BLOCK, BLOCK, BLOCK).intersect(self._grid.window)
        return place, np.full((place.height, place.width), self._nodata, dtype=dtype), place.width * place.height


def _traced(corners: Corners, classes: np.ndarray) -> ClassPolygons:
    """The polygons of complete regions; `classes` is indexed by their numbers."""
    numbers, polygons = trace_polygons(corners)
    return ClassPolygons(polygons, classes[numbers].astype(np.int64))

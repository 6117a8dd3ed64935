"""How a scene is cut: a lattice of windows, column swaths, strips of windows, chunks of finished pixels.

The lattice is anchored at the scene's first pixel, an area of interest only selects from it. A result inside an
area is therefore the same, pixel by pixel, as the result of the whole scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backend.geo.grid import Grid, Window
from backend.protocol.errors import ParameterError
from backend.scene.weights import blend_weights

# Wider swaths need more memory and show their first pixels later; narrower ones open more files.
SWATH_WIDTH = 2048
# Rows that one chunk aims at: few enough to appear soon, enough to keep the number of files small.
CHUNK_ROWS = 512


@dataclass(frozen=True)
class Axis:
    """Window positions along one axis of the scene.

    Attributes:
        size: pixels of the scene along the axis.
        window: pixels of a window.
        starts: first pixel of each window, ascending; the last window is shifted inwards, as far as `multiple` lets it.
    """

    size: int
    window: int
    starts: tuple[int, ...]

    @staticmethod
    def lay(size: int, window: int, stride: int, multiple: int = 1) -> Axis:
        """Windows every `stride` pixels, the last one shifted so that it ends with the scene.

        With a `multiple`, which divides window and stride, every window starts at a multiple of it; the last may then
        reach over the scene's end by less than that.
        """
        last = math.ceil(max(0, size - window) / multiple) * multiple
        return Axis(size, window, (*range(0, last, stride), last))

    @cached_property
    def weights(self) -> np.ndarray:
        """Blending weights, (windows, window) float32; they sum to 1 at every pixel of the scene."""
        return blend_weights(max(self.size, self.starts[-1] + self.window), self.window, self.starts)

    def covering(self, first: int, end: int) -> range:
        """Indices of the windows that touch the pixels first..end-1."""
        touching = [i for i, start in enumerate(self.starts) if start < end and start + self.window > first]
        return range(touching[0], touching[-1] + 1)


@dataclass(frozen=True)
class Swath:
    """A column of the scene that is worked through from top to bottom.

    Attributes:
        index: position from the left.
        columns: indices of the window columns that belong to it.
        origin: first pixel column of its first window.
        left, right: pixel columns that it finishes, half-open.
        reach: end of its last window; what lies right of `right` is handed to the next swath.
    """

    index: int
    columns: range
    origin: int
    left: int
    right: int
    reach: int


@dataclass(frozen=True)
class Chunk:
    """A block of finished pixels, the unit of writing and of resuming.

    Attributes:
        swath: index of its swath.
        strips: indices of the window rows whose first rows it holds.
        window: its pixels on the scene grid.
    """

    swath: int
    strips: range
    window: Window


@dataclass(frozen=True)
class Segment:
    """Chunks of one swath that follow each other without a gap, with every window row that they need."""

    swath: Swath
    strips: range
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Plan:
    """The cut of a scene.

    Attributes:
        scene: the whole scene's grid.
        area: pixels of the scene that are wanted (a bounding window).
        cols, rows: window lattice along both axes.
        swaths: left to right.
        bands: strip ranges that make up a row of chunks, top to bottom.
    """

    scene: Grid
    area: Window
    cols: Axis
    rows: Axis
    swaths: tuple[Swath, ...]
    bands: tuple[range, ...]

    @property
    def window(self) -> int:
        """Pixels of a window's side."""
        return self.cols.window

    @property
    def strips(self) -> range:
        """Window rows that touch the area."""
        return range(self.bands[0].start, self.bands[-1].stop)

    @property
    def windows(self) -> int:
        """Windows that touch the area's bounding window."""
        return len(self.strips) * sum(len(swath.columns) for swath in self.swaths)

    @property
    def output_grid(self) -> Grid:
        """Grid of the result."""
        return self.scene.crop(self.area)

    def chunk(self, swath: Swath, band: range) -> Chunk:
        """The chunk where a swath and a row of chunks cross."""
        first = self.area.row if band is self.bands[0] else self.rows.starts[band.start]
        end = self.area.bottom if band is self.bands[-1] else self.rows.starts[band.stop]
        return Chunk(swath.index, band, Window(swath.left, first, swath.right - swath.left, end - first))

    def chunks(self) -> Iterator[Chunk]:
        """All chunks in working order: swath by swath, each from top to bottom."""
        for swath in self.swaths:
            for band in self.bands:
                yield self.chunk(swath, band)

    def tile(self, strip: int, column: int) -> Window:
        """A model window on the scene grid (it may reach over the border, see `Axis.lay`)."""
        return Window(self.cols.starts[column], self.rows.starts[strip], self.window, self.window)

    def segments(self, chunks: list[Chunk]) -> list[Segment]:
        """Runs of neighbouring chunks, each with the window rows above it that reach into it."""
        found: list[Segment] = []
        for chunk in chunks:
            last = found[-1].chunks[-1] if found else None
            if last and last.swath == chunk.swath and last.strips.stop == chunk.strips.start:
                joined = (*found[-1].chunks, chunk)
                found[-1] = Segment(found[-1].swath, range(found[-1].strips.start, chunk.strips.stop), joined)
                continue
            needed = self.rows.covering(chunk.window.row, chunk.window.bottom)
            first = min(needed.start, chunk.strips.start)
            found.append(Segment(self.swaths[chunk.swath], range(first, chunk.strips.stop), (chunk,)))
        return found


def make_plan(
    scene: Grid,
    area: Window,
    window: int,
    stride: int,
    swath_width: int = SWATH_WIDTH,
    chunk_rows: int = CHUNK_ROWS,
    multiple: int = 1,
) -> Plan:
    """Cut a scene.

    Args:
        scene: grid of the whole scene.
        area: wanted part of it.
        window: side of a model window in pixels.
        stride: distance of neighbouring windows in pixels, at most `window`.
        swath_width: largest width of a swath, reach included, in pixels; never less than one window.
        chunk_rows: rows that a chunk aims at.
        multiple: windows start at multiples of this, also the last; for inputs coarser than the scene.

    Raises:
        ParameterError: for a stride that leaves gaps or an empty area.
    """
    if not 0 < stride <= window:
        raise ParameterError(
            f"a stride of {stride} px does not fit windows of {window} px",
            "windows must touch or overlap",
            "choose an overlap from 0 up to, but not including, 1",
        )
    if area.empty or area.intersect(scene.window) != area:
        raise ParameterError("the area to work on is empty", "it holds no pixel of the scene")
    if window % multiple or stride % multiple:
        raise ParameterError(
            f"windows of {window} px every {stride} px do not fit",
            f"both must be multiples of {multiple} px, a pixel of the coarsest input",
            "choose another overlap",
        )
    cols, rows = (Axis.lay(size, window, stride, multiple) for size in (scene.width, scene.height))
    swaths = _swaths(cols, area, max(1, (swath_width - window) // stride + 1))
    bands = _groups(rows, area.row, area.bottom, max(1, round(chunk_rows / stride)))
    return Plan(scene, area, cols, rows, swaths, bands)


def _swaths(cols: Axis, area: Window, most: int) -> tuple[Swath, ...]:
    groups = _groups(cols, area.col, area.right, most)
    edges = [area.col, *(cols.starts[group.start] for group in groups[1:]), area.right]
    return tuple(
        Swath(
            index,
            columns,
            cols.starts[columns.start],
            edges[index],
            edges[index + 1],
            cols.starts[columns.stop - 1] + cols.window,
        )
        for index, columns in enumerate(groups)
    )


def _groups(axis: Axis, first: int, end: int, most: int) -> tuple[range, ...]:
    """The windows that touch the pixels first..end-1, in groups of at most `most`.

    Windows that start at or before the first pixel stay together, however many, so that every group finishes pixels of
    its own.
    """
    indices = axis.covering(first, end)
    leading = max(i for i in indices if axis.starts[i] <= first or i == indices.start)
    groups = _split(indices, most)
    if groups[0].stop > leading:
        return groups
    rest = range(leading + 1, indices.stop)
    return (range(indices.start, rest.start), *(_split(rest, most) if rest else ()))


def _split(indices: range, most: int) -> tuple[range, ...]:
    """Cut a range into equal parts of at most `most` members."""
    parts = math.ceil(len(indices) / most)
    edges = [indices.start + len(indices) * i // parts for i in range(parts + 1)]
    return tuple(range(a, b) for a, b in zip(edges, edges[1:], strict=False))

"""Reading: strips of normalised input, one window high, rolling down a swath."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from backend.geo.env import gdal_environment
from backend.geo.grid import Window
from backend.geo.reader import StripReader
from backend.geo.source import Source
from backend.scene.normalise import Operation, normalise
from backend.scene.plan import Plan, Segment, Swath


class Filter(Protocol):
    """Says which pixels of the scene are wanted: an area of interest, a mask raster."""

    def touches(self, window: Window) -> bool:
        """False only when no pixel of the window can be wanted."""
        ...

    def wanted(self, window: Window) -> np.ndarray:
        """(H, W) bool of the window, which lies inside the scene."""
        ...


@dataclass(frozen=True)
class Feed:
    """One input of the model.

    Attributes:
        name: the model's name for it.
        sources: one per date, in order of time.
        operations: for each date, the chain from raw numbers to model input.
        fill: model input where there is no data.
        temporal: True when the model takes an axis of dates.
        required: True when there is no result where the input has no data.
    """

    name: str
    sources: tuple[Source, ...]
    operations: tuple[tuple[Operation, ...], ...]
    fill: float = 0.0
    temporal: bool = False
    required: bool = True


@dataclass(frozen=True)
class Strip:
    """Everything of one window row inside a swath.

    Attributes:
        segment: the segment that it is read for.
        index: window row.
        columns: window columns to compute; the others hold no wanted pixel.
        arrays: by input name, ([dates,] bands, window, reach - origin) float32; empty when nothing is computed.
        wanted: (window, reach - origin) bool.
    """

    segment: Segment
    index: int
    columns: tuple[int, ...]
    arrays: dict[str, np.ndarray]
    wanted: np.ndarray


@dataclass
class _Rolling:
    """Rows read last, so that the next strip reads only what is new."""

    operations: tuple[Operation, ...]
    fill: float
    read: Callable[[Window], tuple[np.ndarray, np.ndarray]]
    last: Window | None = None
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    valid: np.ndarray = field(default_factory=lambda: np.empty((0, 0), bool))

    def rows(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Normalised values (bands, H, W) and validity (H, W) of a window of the scene."""
        last = self.last
        kept = 0
        if last is not None and (last.col, last.width) == (window.col, window.width) and last.row <= window.row:
            kept = max(0, min(last.bottom, window.bottom) - window.row)
        if last is not None and kept == window.height:
            start = window.row - last.row
            self.values, self.valid = self.values[:, start : start + kept], self.valid[start : start + kept]
        else:
            values, valid = self.read(Window(window.col, window.row + kept, window.width, window.height - kept))
            normalise(values, valid, self.operations, self.fill)
            if kept:
                start = window.row - (last.row if last else 0)
                values = np.concatenate([self.values[:, start : start + kept], values], axis=1)
                valid = np.concatenate([self.valid[start : start + kept], valid])
            self.values, self.valid = values, valid
        self.last = window
        return self.values, self.valid


def read_strips(
    plan: Plan, feeds: Iterable[Feed], filters: tuple[Filter, ...], segments: Iterable[Segment]
) -> Iterator[Strip]:
    """Read strip after strip in the order of the segments.

    Raises:
        SourceError: when a source cannot be read.
    """
    feeds = tuple(feeds)
    with ExitStack() as stack:
        stack.enter_context(gdal_environment())  # GDAL's settings and its messages belong to a thread
        readers = [[stack.enter_context(StripReader(source, plan.scene)) for source in feed.sources] for feed in feeds]
        for segment in segments:
            rolling = [
                [_Rolling(ops, feed.fill, reader.read) for ops, reader in zip(feed.operations, opened, strict=True)]
                for feed, opened in zip(feeds, readers, strict=True)
            ]
            for index in segment.strips:
                yield _read_strip(plan, segment, index, feeds, rolling, filters)


def _read_strip(
    plan: Plan,
    segment: Segment,
    index: int,
    feeds: tuple[Feed, ...],
    rolling: list[list[_Rolling]],
    filters: tuple[Filter, ...],
) -> Strip:
    swath = segment.swath
    tiles = {column: plan.tile(index, column).intersect(plan.scene.window) for column in swath.columns}
    touched = {c: tile for c, tile in tiles.items() if all(f.touches(tile.intersect(plan.area)) for f in filters)}
    whole = Window(swath.origin, plan.rows.starts[index], swath.reach - swath.origin, plan.window)
    wanted = np.zeros((whole.height, whole.width), bool)
    if not touched:
        return Strip(segment, index, (), {}, wanted)
    inside = whole.intersect(plan.scene.window)
    rows = [[dated.rows(inside) for dated in feed] for feed in rolling]
    wanted[: inside.height, : inside.width] = _wanted(
        plan, inside, [dated for feed, dated in zip(feeds, rows, strict=True) if feed.required], filters
    )
    columns = tuple(c for c in touched if wanted[:, _span(plan, swath, c)].any())
    if not columns:
        return Strip(segment, index, (), {}, wanted)
    arrays = {}
    for feed, dated in zip(feeds, rows, strict=True):
        values = np.stack([v for v, _ in dated]) if feed.temporal else dated[0][0]
        arrays[feed.name] = _reflected(values, whole.height, whole.width)
    return Strip(segment, index, columns, arrays, wanted)


def _wanted(
    plan: Plan, inside: Window, rows: list[list[tuple[np.ndarray, np.ndarray]]], filters: tuple[Filter, ...]
) -> np.ndarray:
    """Pixels of the area that every required input sees at one date at least and that no filter excludes."""
    wanted = np.ones((inside.height, inside.width), bool)
    for dated in rows:
        seen = dated[0][1]
        for _, valid in dated[1:]:
            seen = seen | valid
        wanted &= seen
    for condition in filters:
        wanted &= condition.wanted(inside)
    area = plan.area.intersect(inside).moved(-inside.col, -inside.row)
    outside = np.ones_like(wanted)
    outside[area.slices()] = False
    wanted[outside] = False
    return wanted


def _span(plan: Plan, swath: Swath, column: int) -> slice:
    at = plan.cols.starts[column] - swath.origin
    return slice(at, at + plan.window)


def _reflected(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The array mirrored at its lower and right edge up to the given size, for scenes smaller than a window."""
    missing = height - values.shape[-2], width - values.shape[-1]
    if missing == (0, 0):
        return values
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, m) for m in missing], mode="symmetric")


def window_of(strip: Strip, plan: Plan, column: int, name: str) -> np.ndarray:
    """One model window of a strip: ([dates,] bands, window, window), a view."""
    return strip.arrays[name][..., _span(plan, strip.segment.swath, column)]

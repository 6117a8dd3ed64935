"""Reading: strips of normalised input, one window high, rolling down a swath."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
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
        required: True when there is no result where the input has no data. Where no input is required, there is a
            result wherever one of them has data.
        ratio: pixels of the input for each pixel of the scene; a whole number, or 1 divided by one.
        valid_name: the model's name for where each date has data, None where it does not want to know.
        bands: channel of each band of the sources in the model's input; None where they are all of it.
        channels: channels of the model's input, where the sources lack some; these are `fill` everywhere.
        cell: pixels of the input along one side of a place that counts as one for it.
        moment: "before" or "after" where results need two moments; where there is a result is then asked of each.
    """

    name: str
    sources: tuple[Source, ...]
    operations: tuple[tuple[Operation, ...], ...]
    fill: float = 0.0
    temporal: bool = False
    required: bool = True
    ratio: Fraction = Fraction(1)
    bands: tuple[int, ...] | None = None
    channels: int = 0
    valid_name: str | None = None
    cell: int = 1
    moment: str = ""

    @property
    def multiple(self) -> int:
        """Windows of the scene must begin at multiples of this many of its pixels for the input's to be whole."""
        return math.lcm(self.ratio.denominator, (self.ratio / self.cell).denominator if self.valid_name else 1)


@dataclass(frozen=True)
class Strip:
    """Everything of one window row inside a swath.

    Attributes:
        segment: the segment that it is read for.
        index: window row.
        columns: window columns to compute; the others hold no wanted pixel.
        arrays: by input name, ([dates,] bands, window, reach - origin) float32, in pixels of the input; of
            `Feed.valid_name` (dates, window, reach - origin) in cells; empty when nothing is computed.
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

    feed: Feed
    operations: tuple[Operation, ...]
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
            normalise(values, valid, self.operations, self.feed.fill)
            values = self._in_channels(values)
            if kept:
                start = window.row - (last.row if last else 0)
                values = np.concatenate([self.values[:, start : start + kept], values], axis=1)
                valid = np.concatenate([self.valid[start : start + kept], valid])
            self.values, self.valid = values, valid
        self.last = window
        return self.values, self.valid

    def _in_channels(self, values: np.ndarray) -> np.ndarray:
        """The bands in the channels of the model's input."""
        if self.feed.bands is None:
            return values
        full = np.full((self.feed.channels, *values.shape[1:]), self.feed.fill, np.float32)
        full[list(self.feed.bands)] = values
        return full


def read_strips(
    plan: Plan, feeds: Iterable[Feed], filters: tuple[Filter, ...], segments: Iterable[Segment]
) -> Iterator[Strip]:
    """Read strip after strip in the order of the segments.

    Raises:
        SourceError: when a source cannot be read.
    """
    feeds = tuple(feeds)
    grids = [plan.scene.zoomed(feed.ratio) for feed in feeds]
    with ExitStack() as stack:
        stack.enter_context(gdal_environment())  # GDAL's settings and its messages belong to a thread
        readers = [
            [stack.enter_context(StripReader(source, grid)) for source in feed.sources]
            for feed, grid in zip(feeds, grids, strict=True)
        ]
        for segment in segments:
            rolling = [
                [_Rolling(feed, ops, reader.read) for ops, reader in zip(feed.operations, opened, strict=True)]
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
    places = [whole.zoomed(feed.ratio) for feed in feeds]
    rows = [
        [dated.rows(place.intersect(plan.scene.zoomed(feed.ratio).window)) for dated in rolled]
        for feed, place, rolled in zip(feeds, places, rolling, strict=True)
    ]
    seen = [_seen(dated, feed.ratio, inside) for feed, dated in zip(feeds, rows, strict=True)]
    covered = np.logical_and.reduce(
        [
            _covered([(feed, there) for feed, there in zip(feeds, seen, strict=True) if feed.moment == moment])
            for moment in dict.fromkeys(feed.moment for feed in feeds)
        ]
    )
    wanted[: inside.height, : inside.width] = _wanted(plan, inside, covered, filters)
    columns = tuple(c for c in touched if wanted[:, _span(plan, swath, c)].any())
    if not columns:
        return Strip(segment, index, (), {}, wanted)
    arrays = {}
    shares: dict[str, dict[str, np.ndarray]] = {feed.moment: {} for feed in feeds}
    for feed, place, dated in zip(feeds, places, rows, strict=True):
        values = np.stack([v for v, _ in dated]) if feed.temporal else dated[0][0]
        arrays[feed.name] = _reflected(values, place)
        if feed.valid_name is not None:
            shares[feed.moment][feed.valid_name] = _shares(
                _reflected(np.stack([known for _, known in dated]), place), feed.cell
            )
    for of_moment in shares.values():
        arrays.update(_counting(of_moment))
    return Strip(segment, index, columns, arrays, wanted)


def _seen(dated: list[tuple[np.ndarray, np.ndarray]], ratio: Fraction, inside: Window) -> np.ndarray:
    """Pixels of a window of the scene (H, W) where an input has data at one date at least, be it in a part of them."""
    seen = dated[0][1]
    for _, valid in dated[1:]:
        seen = seen | valid
    if ratio > 1:
        fine = ratio.numerator
        return np.asarray(seen.reshape(inside.height, fine, inside.width, fine).any(axis=(1, 3)))
    if ratio < 1:
        coarse = ratio.denominator
        return seen.repeat(coarse, axis=0).repeat(coarse, axis=1)[: inside.height, : inside.width]
    return seen


def _covered(seen: list[tuple[Feed, np.ndarray]]) -> np.ndarray:
    """Pixels (H, W) of which the inputs of a moment make a result."""
    required = [there for feed, there in seen if feed.required]
    covered = np.logical_and.reduce(required) if required else np.logical_or.reduce([there for _, there in seen])
    return np.asarray(covered)


def _shares(valid: np.ndarray, cell: int) -> np.ndarray:
    """How much of each place has data: (dates, H, W) bool -> (dates, H/cell, W/cell)."""
    dates, height, width = valid.shape
    return np.asarray(valid.reshape(dates, height // cell, cell, width // cell, cell).mean(axis=(2, 4)))


def _counting(shares: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which dates of which inputs count at which places, 1 or 0, from the shares that have data.

    A date counts where at least half of the place has data. Where no date of any input does, those count that have any:
    a place of which a result is wanted must not be made of nothing.
    """
    halves = {name: share >= 0.5 for name, share in shares.items()}
    covered = np.logical_or.reduce([half.any(axis=0) for half in halves.values()]) if halves else np.bool_(True)
    return {name: (half | ((shares[name] > 0) & ~covered)).astype(np.float32) for name, half in halves.items()}


def _wanted(plan: Plan, inside: Window, covered: np.ndarray, filters: tuple[Filter, ...]) -> np.ndarray:
    """Pixels of the area that are covered and that no filter excludes."""
    wanted = covered.copy()
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


def _reflected(values: np.ndarray, place: Window) -> np.ndarray:
    """The array mirrored at the scene's lower and right edge up to the size of its place, which is one window high.

    Only the last window reaches over the right edge, and it is mirrored in itself: what it holds must not depend on how
    far the swath begins to the left of it.
    """
    rows, cols = place.height - values.shape[-2], place.width - values.shape[-1]
    if (rows, cols) == (0, 0):
        return values
    sides = [(0, 0)] * (values.ndim - 2)
    values = np.pad(values, [*sides, (0, rows), (0, 0)], mode="symmetric")
    if cols == 0:
        return values
    start = place.width - place.height  # of the last window
    last = np.pad(values[..., start:], [*sides, (0, 0), (0, cols)], mode="symmetric")
    return np.concatenate([values[..., :start], last], axis=-1)


def window_of(strip: Strip, plan: Plan, column: int, name: str) -> np.ndarray:
    """One model window of a strip: ([dates,] bands, window, window) in pixels of the input, a view."""
    array, swath = strip.arrays[name], strip.segment.swath
    span, own = _span(plan, swath, column), Fraction(array.shape[-1], swath.reach - swath.origin)
    return array[..., int(span.start * own) : int(span.stop * own)]

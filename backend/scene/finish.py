"""From scored windows to finished chunks: blending, deciding, handing over to the next swath."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backend.scene.blend import SwathBlender
from backend.scene.decide import ClassRule, decide, quantise
from backend.scene.plan import Chunk, Plan, Segment
from backend.scene.score import Scored


class ResultKind(Protocol):
    """What is written of one array that the model gives."""

    @property
    def channels(self) -> int:
        """Channels that the model gives."""
        ...

    def layers(self, scores: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """Blended values (channels, H, W) as arrays to write, (bands, H, W) by layer name."""
        ...


@dataclass(frozen=True)
class FeatureOutput:
    """Features as they are: what is written of an embedding.

    Attributes:
        layer: layer name of the raster.
        channels: numbers per position.
    """

    layer: str
    channels: int

    def layers(self, scores: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """Blended features (channels, H, W) float32, NaN where not wanted."""
        return {self.layer: np.where(wanted, scores, np.float32(np.nan))}


@dataclass(frozen=True)
class HeadOutput:
    """What is written for one head.

    Attributes:
        rule: how its scores become classes.
        classes: layer name of the class raster.
        confidence: layer name of the confidence raster, None for none.
        probabilities: layer name of the raster with one band per class, None for none.
    """

    rule: ClassRule
    classes: str
    confidence: str | None = None
    probabilities: str | None = None

    @property
    def channels(self) -> int:
        """Score channels that the rule expects."""
        return self.rule.channels

    def layers(self, scores: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """Blended scores (channels, H, W) as arrays to write, (bands, H, W) by layer name."""
        classes, best = decide(scores, wanted, self.rule)
        arrays = {self.classes: classes[None]}
        if self.confidence:
            arrays[self.confidence] = quantise(best, wanted)[None]
        if self.probabilities:
            both = scores if self.rule.threshold is None else np.concatenate([1.0 - scores, scores])
            arrays[self.probabilities] = quantise(both, wanted)
        return arrays


@dataclass(frozen=True)
class FinishedChunk:
    """A chunk ready to be written; see `ChunkStore.write`."""

    chunk: Chunk
    arrays: dict[str, np.ndarray]
    carry: tuple[np.ndarray, ...]


# Gives what the left neighbour of a chunk handed over, per head.
CarrySource = Callable[[Chunk, int], list[np.ndarray | None]]


def finish(
    scored: Iterable[Scored],
    plan: Plan,
    heads: tuple[ResultKind, ...],
    carry_into: CarrySource,
    strip_done: Callable[[Scored], None],
) -> Iterator[FinishedChunk]:
    """Blend scored windows and yield every chunk of every segment as soon as it is complete.

    Args:
        scored: windows in order, see `backend.scene.score.score`.
        plan: the cut of the scene.
        heads: what to write, in the order of the arrays that the model gives.
        carry_into: see `ChunkStore.carry_into`.
        strip_done: told after each strip.
    """
    current: _SegmentFinisher | None = None
    for item in scored:
        if current is None or current.segment is not item.strip.segment:
            current = _SegmentFinisher(plan, item.strip.segment, heads, carry_into)
        if item.column is not None:
            current.add(item)
            continue
        ready = current.end_strip(item.strip.index, item.strip.wanted)
        strip_done(item)
        if ready is not None:
            yield ready


class _SegmentFinisher:
    """Blends one segment and collects its rows into chunks."""

    def __init__(self, plan: Plan, segment: Segment, heads: tuple[ResultKind, ...], carry_into: CarrySource) -> None:
        self.segment = segment
        self._plan, self._heads, self._carry_into = plan, heads, carry_into
        self._blenders = [SwathBlender(plan, segment.swath, head.channels) for head in heads]
        self._chunks = {strip: chunk for chunk in segment.chunks for strip in chunk.strips}
        self._building: _Building | None = None

    def add(self, item: Scored) -> None:
        assert item.column is not None
        for blender, scores in zip(self._blenders, item.scores, strict=True):
            blender.add(item.strip.index, item.column, scores)

    def end_strip(self, strip: int, wanted: np.ndarray) -> FinishedChunk | None:
        """Take the rows that are final after a strip; the chunk that they complete, if they do."""
        starts = self._plan.rows.starts
        top = starts[strip]
        last = strip == self.segment.strips[-1] and strip + 1 == len(starts)
        rows = self._plan.window if last else starts[min(strip + 1, len(starts) - 1)] - top
        blocks = [blender.advance(rows) for blender in self._blenders]
        chunk = self._chunks.get(strip)
        if chunk is None:  # above the first chunk: only needed for the windows that reach down
            return None
        if self._building is None:
            self._building = _Building(
                self._plan, self.segment, chunk, self._heads, self._carry_into(chunk, len(self._heads))
            )
        self._building.add(top, blocks, wanted)
        if strip != chunk.strips[-1]:
            return None
        finished, self._building = self._building.finished(), None
        return finished


class _Building:
    """A chunk whose rows are coming in."""

    def __init__(
        self,
        plan: Plan,
        segment: Segment,
        chunk: Chunk,
        heads: tuple[ResultKind, ...],
        carry_in: list[np.ndarray | None],
    ) -> None:
        self._swath, self._chunk, self._heads, self._carry_in = segment.swath, chunk, heads, carry_in
        self._reach = max(min(segment.swath.reach, plan.area.right), segment.swath.right)
        self._rows: list[dict[str, np.ndarray]] = []
        self._carry: list[list[np.ndarray]] = [[] for _ in heads]

    def add(self, top: int, blocks: list[np.ndarray], wanted: np.ndarray) -> None:
        """Rows from `top` on: per head (channels, rows, swath columns); `wanted` starts at the same row."""
        window, swath = self._chunk.window, self._swath
        count = blocks[0].shape[1]
        first, end = max(top, window.row), min(top + count, window.bottom)
        if first >= end:
            return
        rows = slice(first - top, end - top)
        at = slice(first - window.row, end - window.row)
        own = slice(swath.left - swath.origin, swath.right - swath.origin)
        layers: dict[str, np.ndarray] = {}
        for index, (head, block) in enumerate(zip(self._heads, blocks, strict=True)):
            # `block` is this strip's own copy, so adding in place touches nothing else.
            scores, carry = block[:, rows, own], block[:, rows, own.stop : self._reach - swath.origin]
            handed = self._carry_in[index]
            if handed is not None:
                columns = min(handed.shape[2], scores.shape[2])
                scores[:, :, :columns] += handed[:, at, :columns]
                carry = _sum_of(carry, handed[:, at, columns:])
            layers.update(head.layers(scores, wanted[rows, own]))
            self._carry[index].append(carry.copy())
        self._rows.append(layers)

    def finished(self) -> FinishedChunk:
        arrays = {layer: np.concatenate([rows[layer] for rows in self._rows], axis=1) for layer in self._rows[0]}
        carry = [np.concatenate(parts, axis=1) for parts in self._carry]
        return FinishedChunk(self._chunk, arrays, tuple(carry) if carry[0].shape[2] else ())


def _sum_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of two arrays (channels, H, columns) that start at the same column and may differ in width."""
    wide, narrow = (a, b) if a.shape[2] >= b.shape[2] else (b, a)
    total = wide.copy()
    total[:, :, : narrow.shape[2]] += narrow
    return total

"""Running the model: batches of constant shape that flow across strips and swaths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from backend.scene.plan import Plan
from backend.scene.strips import Strip, window_of

# Takes one array per model input, (batch, [dates,] bands, window, window) float32, and returns
# one array per head, (batch, channels, window, window) float32.
Scorer = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Scored:
    """A window's scores, or, with `column` None, the news that the strip has no more windows.

    Attributes:
        strip: the strip, without its input arrays.
        column: window column.
        scores: per head (channels, window, window) float32.
    """

    strip: Strip
    column: int | None
    scores: tuple[np.ndarray, ...] = ()


class _Batch:
    """Input arrays of constant shape, filled window by window."""

    def __init__(self, size: int, plan: Plan) -> None:
        self.size, self._plan, self._filled = size, plan, 0
        self._arrays: dict[str, np.ndarray] = {}

    @property
    def full(self) -> bool:
        return self._filled == self.size

    @property
    def filled(self) -> int:
        return self._filled

    def put(self, strip: Strip, column: int) -> None:
        for name in strip.arrays:
            window = window_of(strip, self._plan, column, name)
            if name not in self._arrays:
                self._arrays[name] = np.empty((self.size, *window.shape), np.float32)
            self._arrays[name][self._filled] = window
        self._filled += 1

    def take(self) -> dict[str, np.ndarray]:
        """The batch, an incomplete one filled up with its last window: equal shapes mean equal kernels."""
        for array in self._arrays.values():
            array[self._filled :] = array[self._filled - 1]
        self._filled = 0
        return self._arrays


def score(strips: Iterable[Strip], plan: Plan, scorer: Scorer, batch_size: int) -> Iterator[Scored]:
    """Score every window of every strip, in order.

    Yields:
        For each strip its scored windows from left to right, then one `Scored` with column None.
    """
    batch = _Batch(batch_size, plan)
    waiting: list[Scored] = []
    for strip in strips:
        bare = Strip(strip.segment, strip.index, strip.columns, {}, strip.wanted)
        for column in strip.columns:
            batch.put(strip, column)
            waiting.append(Scored(bare, column))
            if batch.full:
                yield from _run(batch, waiting, scorer)
                waiting = []
        waiting.append(Scored(bare, None))
        if not batch.filled:
            yield from waiting
            waiting = []
    if batch.filled:
        yield from _run(batch, waiting, scorer)


def _run(batch: _Batch, waiting: list[Scored], scorer: Scorer) -> Iterator[Scored]:
    heads = scorer(batch.take())
    position = 0
    for item in waiting:
        if item.column is None:
            yield item
            continue
        yield Scored(item.strip, item.column, tuple(head[position] for head in heads))
        position += 1

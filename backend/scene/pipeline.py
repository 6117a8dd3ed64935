"""The pipeline: read → score → blend → write, each in its own thread, joined by short queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.geo.grid import Window
from backend.scene.chunks import ChunkStore
from backend.scene.finish import ResultKind, finish
from backend.scene.plan import Plan
from backend.scene.score import Scored, Scorer, score
from backend.scene.stages import prefetch
from backend.scene.strips import Feed, Filter, read_strips

# Strips that wait for the model, and scored windows that wait for blending. One strip ahead hides the reading;
# every further one only costs memory.
STRIPS_AHEAD = 1
SCORES_AHEAD = 2


class Watcher(Protocol):
    """Is told how the run goes, and may end it by raising `Cancelled`."""

    def advanced(self, windows: int, computed: int) -> None:
        """A strip is done: how many windows of the lattice it holds, and how many of them were computed."""
        ...

    def written(self, window: Window) -> None:
        """A chunk is on disk; its window on the grid of the result."""
        ...

    def published(self) -> None:
        """The VRT files list it."""
        ...

    def check(self) -> None:
        """Raise `Cancelled` when the run shall end."""
        ...


@dataclass(frozen=True)
class SceneRun:
    """Everything that the pipeline needs.

    Attributes:
        plan: the cut of the scene.
        feeds: the model's inputs.
        filters: what limits the wanted pixels.
        scorer: the model.
        batch_size: windows per call of the scorer.
        heads: what to write.
    """

    plan: Plan
    feeds: tuple[Feed, ...]
    filters: tuple[Filter, ...]
    scorer: Scorer
    batch_size: int
    heads: tuple[ResultKind, ...]


def run_scene(run: SceneRun, store: ChunkStore, watcher: Watcher) -> None:
    """Compute every chunk that the store does not hold yet.

    Raises:
        Cancelled: when the watcher says so; finished chunks are kept.
        SourceError, OutputError: when reading or writing fails; finished chunks are kept.
    """
    plan = run.plan
    segments = plan.segments(list(store.todo))

    def strip_done(item: Scored) -> None:
        watcher.advanced(len(item.strip.segment.swath.columns), len(item.strip.columns))
        watcher.check()

    with (
        prefetch(lambda: read_strips(plan, run.feeds, run.filters, segments), STRIPS_AHEAD, "read") as strips,
        prefetch(
            lambda: score(strips, plan, _checked(run.scorer, watcher.check), run.batch_size), SCORES_AHEAD, "score"
        ) as scored,
    ):
        for ready in finish(scored, plan, run.heads, store.carry_into, strip_done):
            store.write(ready.chunk, ready.arrays, ready.carry)
            store.drop_carry_into(ready.chunk, len(run.heads))
            watcher.written(ready.chunk.window.moved(-plan.area.col, -plan.area.row))
            if store.publish():
                watcher.published()
    store.publish(force=True)
    watcher.published()


def _checked(scorer: Scorer, check: Callable[[], None]) -> Scorer:
    def checked(feeds: dict) -> list:
        check()
        return scorer(feeds)

    return checked


def windows_to_do(plan: Plan, store: ChunkStore) -> int:
    """Windows of the lattice that the run has still to go through."""
    return sum(len(segment.strips) * len(segment.swath.columns) for segment in plan.segments(list(store.todo)))


def windows_touched(plan: Plan, filters: Sequence[Filter]) -> int:
    """Windows that the filters leave: an upper bound of the windows that are computed."""
    tiles = (
        plan.tile(strip, column).intersect(plan.area)
        for swath in plan.swaths
        for strip in plan.strips
        for column in swath.columns
    )
    return sum(all(f.touches(tile) for f in filters) for tile in tiles)

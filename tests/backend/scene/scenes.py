"""Small scenes, cuts of scenes and whole pipeline runs for the engine's tests."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from hypothesis import strategies as st
from rasterio.crs import CRS

from backend.geo.grid import Grid, Window
from backend.geo.raster_xml import RasterProfile
from backend.geo.source import Layer, Source, source_from_layers
from backend.protocol.errors import Cancelled
from backend.scene.chunks import ChunkStore
from backend.scene.decide import NODATA, ClassRule
from backend.scene.finish import FinishedChunk, HeadOutput, finish
from backend.scene.pipeline import SceneRun, run_scene
from backend.scene.plan import Chunk, Plan, make_plan
from backend.scene.score import Scored, Scorer, score
from backend.scene.strips import Feed, Filter, read_strips

UTM = CRS.from_epsg(32631)
LEFT, TOP, PIXEL = 500_000.0, 4_700_000.0, 10.0


def grid_of(width: int, height: int) -> Grid:
    """A grid at 10 m."""
    return Grid(UTM, Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP), width, height)


def write_scene(
    path: Path,
    array: np.ndarray,
    nodata: float | None = None,
    transform: Affine | None = None,
) -> Path:
    """A GeoTIFF of (bands, H, W), at 10 m where no transform is given."""
    bands, height, width = array.shape
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": array.dtype,
        "crs": UTM,
        "transform": transform or grid_of(1, 1).transform,
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(array)
    return path


@lru_cache
def noise_scene(folder: Path, bands: int, height: int, width: int) -> Path:
    """A file of `noise`."""
    return write_scene(folder / f"noise-{bands}-{height}-{width}.tif", noise(bands, height, width))


def noise(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Scores between 0 and 1 without any pattern, (bands, H, W) float32."""
    return np.random.default_rng(seed).random((bands, height, width), dtype=np.float32)


def source_of(scene: Path) -> Source:
    """All bands of a file."""
    with rasterio.open(scene) as dataset:
        return source_from_layers([Layer((str(scene),), tuple(dataset.indexes))])


def crop(array: np.ndarray, window: Window) -> np.ndarray:
    """A window of (…, H, W)."""
    part: np.ndarray = array[(..., *window.slices())]
    return part


def feed_of(*scenes: Path, name: str = "image", temporal: bool = False) -> Feed:
    """A model input of raw numbers, one file per date."""
    return Feed(name, tuple(source_of(scene) for scene in scenes), ((),) * len(scenes), 0.0, temporal)


# --- models


def identity(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Score of channel k = band k."""
    return [feeds["image"].copy()]


def constant(*scores: float) -> Scorer:
    """The same scores at every pixel."""

    def scorer(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        batch, _, height, width = feeds["image"].shape
        return [np.broadcast_to(np.float32(scores)[:, None, None], (batch, len(scores), height, width)).copy()]

    return scorer


def context_bound(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Scores that depend on where in its window a pixel lies and on the window's other pixels, as a real model's do."""
    image = feeds["image"]
    ramp = np.linspace(0, 1, image.shape[-1], dtype=np.float32)
    return [image + image.mean(axis=(2, 3), keepdims=True) + ramp * ramp[:, None]]


def counting(scorer: Scorer) -> tuple[Scorer, list[int]]:
    """The scorer, and the sizes of the batches it was given so far."""
    seen: list[int] = []

    def counted(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        seen.append(len(next(iter(feeds.values()))))
        return scorer(feeds)

    return counted, seen


def reference(image: np.ndarray, plan: Plan, scorer: Scorer) -> np.ndarray:
    """What blending has to give: scores of every window, weighted by a trapezoid, over the weights' sum.

    Args:
        image: (bands, H, W) of the scene.

    Returns:
        (channels, H, W) of the area.
    """
    window, (height, width) = plan.window, image.shape[1:]
    short = max(0, window - height), max(0, window - width)
    padded = np.pad(image, ((0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
    rows, cols = _trapezoid(plan.rows.starts, window), _trapezoid(plan.cols.starts, window)
    weight = rows[:, None] * cols
    total, weights = np.zeros((1, *padded.shape[1:])), np.zeros(padded.shape[1:])
    for top in plan.rows.starts:
        for left in plan.cols.starts:
            place = slice(top, top + window), slice(left, left + window)
            (scores,) = scorer({"image": padded[(None, slice(None), *place)]})
            total = total + np.zeros((len(scores[0]), 1, 1))
            total[(..., *place)] += weight * scores[0]
            weights[place] += weight
    return crop(total / weights, plan.area)


def _trapezoid(starts: Sequence[int], window: int) -> np.ndarray:
    overlap = max(1, min((a + window - b for a, b in zip(starts, starts[1:], strict=False)), default=1))
    inside = np.arange(window) + 0.5
    ramp: np.ndarray = np.minimum(1, np.minimum(inside, inside[::-1]) / overlap)
    return ramp


# --- what limits the wanted pixels


@dataclass(frozen=True)
class Pattern:
    """A filter that keeps the pixels where a whole scene's (H, W) bool array is True."""

    keep: np.ndarray

    def touches(self, window: Window) -> bool:
        """Whether the window holds a kept pixel."""
        return bool(self.keep[window.slices()].any())

    def wanted(self, window: Window) -> np.ndarray:
        """The kept pixels."""
        return self.keep[window.slices()].copy()


# --- cuts of scenes


@st.composite
def plans(draw: st.DrawFn, largest: int = 120, least_window: int = 1) -> Plan:
    """Any cut: scenes of any shape, also smaller than a window; any stride, area, swath width and chunk height."""
    width, height = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    window = draw(st.integers(least_window, 40))
    col, row = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    area = Window(col, row, draw(st.integers(1, width - col)), draw(st.integers(1, height - row)))
    if draw(st.booleans()):
        area = Window(0, 0, width, height)
    return make_plan(
        grid_of(width, height),
        area,
        window,
        draw(st.integers(max(1, window // 3), window)),
        draw(st.integers(1, largest)),
        draw(st.integers(1, largest)),
    )


def cut_again(plan: Plan, area: Window, swath_width: int, chunk_rows: int) -> Plan:
    """The same windows over another area, in other swaths and chunks."""
    stride = max((b - a for axis in (plan.cols, plan.rows) for a, b in pairwise(axis.starts)), default=plan.window)
    return make_plan(plan.scene, area, plan.window, stride, swath_width, chunk_rows)


# --- runs in memory, down to the blended floats


@dataclass(frozen=True)
class _RawHead(HeadOutput):
    """Hands out what was blended instead of deciding on it."""

    def layers(self, scores: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
        return {"scores": scores.copy(), "wanted": wanted[None].copy()}


@dataclass
class Blended:
    """What a run made of the area.

    Attributes:
        scores: (channels, H, W) float32.
        wanted: (H, W) bool.
        written: (H, W) how many chunks hold a pixel.
        carried: what the chunks handed to their right neighbours.
    """

    scores: np.ndarray
    wanted: np.ndarray
    written: np.ndarray
    carried: dict[Window, tuple[np.ndarray, ...]]


def blend(
    plan: Plan,
    feeds: Sequence[Feed],
    channels: int,
    scorer: Scorer = identity,
    filters: Sequence[Filter] = (),
    batch: int = 3,
    order: random.Random | None = None,
    earlier: Blended | None = None,
    todo: Iterable[Chunk] | None = None,
) -> Blended:
    """Read, score and blend without a file being written.

    Args:
        order: shuffles the windows inside each strip.
        earlier: what a run that was interrupted left behind.
        todo: the chunks it did not finish.
    """
    shape = plan.area.height, plan.area.width
    result = earlier or Blended(
        np.full((channels, *shape), np.nan, np.float32), np.zeros(shape, bool), np.zeros(shape, int), {}
    )

    def carry_into(chunk: Chunk, heads: int) -> list[np.ndarray | None]:
        if chunk.swath == 0:
            return [None] * heads
        left = plan.chunk(plan.swaths[chunk.swath - 1], chunk.strips)
        return list(result.carried[left.window]) or [None] * heads

    segments = plan.segments(list(plan.chunks() if todo is None else todo))
    scored = score(read_strips(plan, feeds, tuple(filters), segments), plan, scorer, batch)
    if order is not None:
        scored = _shuffled(scored, order)
    head = _RawHead(ClassRule(tuple(range(channels))), "classes")
    for ready in finish(scored, plan, (head,), carry_into, lambda item: None):
        _keep(ready, plan, result)
    return result


def _keep(ready: FinishedChunk, plan: Plan, result: Blended) -> None:
    rows, cols = ready.chunk.window.moved(-plan.area.col, -plan.area.row).slices()
    result.scores[:, rows, cols] = ready.arrays["scores"]
    result.wanted[rows, cols] = ready.arrays["wanted"][0]
    result.written[rows, cols] += 1
    result.carried[ready.chunk.window] = ready.carry


def _shuffled(scored: Iterable[Scored], order: random.Random) -> Iterator[Scored]:
    strip: list[Scored] = []
    for item in scored:
        if item.column is not None:
            strip.append(replace(item, scores=tuple(array.copy() for array in item.scores)))
            continue
        order.shuffle(strip)
        yield from strip
        yield item
        strip = []


# --- runs on disk


@dataclass
class Watch:
    """Counts what the pipeline reports; cancels after a number of chunks where it is told to."""

    windows: int = 0
    chunks: list[Window] = field(default_factory=list)
    publications: int = 0
    fail_after: int | None = None
    error: BaseException = field(default_factory=lambda: Cancelled("enough"))

    def advanced(self, windows: int, computed: int) -> None:
        self.windows += windows

    def written(self, window: Window) -> None:
        self.chunks.append(window)

    def published(self) -> None:
        self.publications += 1

    def check(self) -> None:
        if self.fail_after is not None and len(self.chunks) >= self.fail_after:
            raise self.error


LAYERS = ("probabilities", "confidence", "classes")


def store_of(folder: Path, plan: Plan, **channels: int) -> ChunkStore:
    """The chunks of a run named "test": probabilities, confidence and classes of every head, named as its keyword."""
    folder.mkdir(parents=True, exist_ok=True)
    profiles = {
        f"{head}/{name}": RasterProfile("uint8", count if name == "probabilities" else 1, NODATA)
        for head, count in channels.items()
        for name in LAYERS
    }
    return ChunkStore(folder, "test", plan, profiles)


def head_of(name: str, rule: ClassRule | int) -> HeadOutput:
    """A head that writes all layers; a number stands for that many classes."""
    rule = ClassRule(tuple(range(rule))) if isinstance(rule, int) else rule
    return HeadOutput(rule, *(f"{name}/{layer}" for layer in reversed(LAYERS)))


def run(
    scene: Path,
    folder: Path,
    channels: int,
    window: int = 16,
    stride: int = 12,
    batch: int = 4,
    swath: int = 64,
    chunk_rows: int = 24,
    area: Window | None = None,
    scorer: Scorer = identity,
    filters: Sequence[Filter] = (),
    watch: Watch | None = None,
) -> dict[str, np.ndarray]:
    """Run the pipeline and read its layers: classes (H, W), confidence (H, W), probabilities (channels, H, W)."""
    source = source_of(scene)
    plan = make_plan(source.grid, area or source.grid.window, window, stride, swath, chunk_rows)
    store = store_of(folder, plan, head=channels)
    heads = (head_of("head", channels),)
    run_scene(SceneRun(plan, (feed_of(scene),), tuple(filters), scorer, batch, heads), store, watch or Watch())
    return {layer: read_layer(store, f"head/{layer}") for layer in LAYERS}


def read_layer(store: ChunkStore, layer: str) -> np.ndarray:
    """A layer through its VRT: (H, W), or (bands, H, W) where there are several."""
    with rasterio.open(store.vrt(layer)) as dataset:
        array: np.ndarray = dataset.read()
    return array[0] if len(array) == 1 else array

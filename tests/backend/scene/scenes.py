"""Small scenes and whole pipeline runs for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from backend.geo.grid import Grid, Window
from backend.geo.raster_xml import RasterProfile
from backend.geo.source import Layer, source_from_layers
from backend.scene.chunks import ChunkStore
from backend.scene.decide import NODATA, ClassRule
from backend.scene.finish import HeadOutput
from backend.scene.pipeline import SceneRun, run_scene
from backend.scene.plan import make_plan
from backend.scene.score import Scorer
from backend.scene.strips import Feed, Filter

UTM = CRS.from_epsg(32631)


def write_scene(path: Path, array: np.ndarray, nodata: float | None = None) -> Path:
    """A tiled GeoTIFF of (bands, H, W) at 10 m."""
    bands, height, width = array.shape
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": array.dtype,
        "crs": UTM,
        "transform": Affine(10, 0, 500000, 0, -10, 4700000),
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(array)
    return path


def identity(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Score of channel k = band k."""
    return [feeds["image"].copy()]


@dataclass
class Watch:
    """Counts what the pipeline reports."""

    windows: int = 0
    chunks: list[Window] = field(default_factory=list)

    def advanced(self, windows: int) -> None:
        self.windows += windows

    def written(self, window: Window) -> None:
        self.chunks.append(window)

    def published(self) -> None:
        """Nothing to count."""

    def check(self) -> None:
        """Never cancels."""


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
    with rasterio.open(scene) as dataset:
        grid = Grid(dataset.crs, dataset.transform, dataset.width, dataset.height)
        indexes = tuple(dataset.indexes)
    source = source_from_layers([Layer((str(scene),), indexes)])
    plan = make_plan(grid, area or grid.window, window, stride, swath, chunk_rows)
    head = HeadOutput(ClassRule(tuple(range(channels))), "classes", "confidence", "probabilities")
    layers = {
        "probabilities": RasterProfile("uint8", channels, NODATA),
        "confidence": RasterProfile("uint8", 1, NODATA),
        "classes": RasterProfile("uint8", 1, NODATA),
    }
    folder.mkdir(parents=True, exist_ok=True)
    store = ChunkStore(folder, "test", plan, layers)
    run_scene(
        SceneRun(plan, (Feed("image", (source,), ((),)),), tuple(filters), scorer, batch, (head,)),
        store,
        watch or Watch(),
    )
    return {layer: _read(store.vrt(layer)) for layer in layers}


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        array = dataset.read()
    return array[0] if len(array) == 1 else array


def counting(scorer: Scorer) -> tuple[Scorer, Callable[[], int]]:
    """The scorer, and how many windows it was given so far (padding included)."""
    seen = 0

    def counted(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        nonlocal seen
        seen += len(feeds["image"])
        return scorer(feeds)

    return counted, lambda: seen

"""From finished chunks to the files that were asked for: COG, polygons, description, STAC item."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio
from rasterio.windows import Window as RasterioWindow

from backend.geo.class_areas import class_areas
from backend.geo.cog import write_cog
from backend.geo.grid import Grid, Window
from backend.geo.sieve import pixels_of_area, sieve
from backend.geo.vector import Polygoniser
from backend.protocol.errors import OutputError
from backend.protocol.jobs import SegmentJob
from backend.scene.chunks import ChunkStore
from backend.scene.run import RunFolder
from backend.tasks.context import Context
from backend.tasks.outputs import HeadFiles
from backend.tasks.provenance import write_description
from backend.tasks.setup import Setup

# Rows of the class raster that are turned into polygons at a time.
POLYGON_BLOCK = 2048


def deliver(setup: Setup, folder: RunFolder, store: ChunkStore, context: Context) -> dict[str, Any]:
    """Write every result; each head's class raster after its other files, the description of the run at the very end.

    Returns:
        the results by kind and head: paths, the number of polygons, the ground that each class covers.

    Raises:
        Cancelled, OutputError: nothing incomplete carries a final name; the chunks are kept.
    """
    kinds = ("classes", "confidence", "probabilities", "polygons", "polygon_count", "class_areas")
    found: dict[str, Any] = {kind: [] for kind in kinds}
    for head in class_maps(setup):
        for layer, target in sorted(head.targets.items()):
            if layer != head.output.classes:
                _translate(store.whole(layer), target, head, layer, setup, context, "bilinear")
                found[layer.rpartition("/")[2]].append(str(target))
        draft = folder.path / f"{head.output.classes.replace('/', '-')}-final.tif"
        source = _sieved(head, folder, store, setup, context)
        _translate(source, draft, head, head.output.classes, setup, context, "nearest")
        if head.polygons is not None:
            found["polygon_count"].append(_polygons(draft, head, setup, context))
            found["polygons"].append(str(head.polygons))
        found["class_areas"].append(_class_areas(draft, head, context))
        _move(draft, head.targets[head.output.classes])
        found["classes"].append(str(head.targets[head.output.classes]))
    found |= write_description(setup, folder, found)
    return found


def class_maps(setup: Setup) -> tuple[HeadFiles, ...]:
    """The class maps that a segmentation writes."""
    return tuple(head for head in setup.heads if isinstance(head, HeadFiles))


def _job(setup: Setup) -> SegmentJob:
    assert isinstance(setup.job, SegmentJob)
    return setup.job


def is_empty(setup: Setup) -> bool:
    """Whether the first class raster holds nodata only; reads as far as its first class."""
    head = class_maps(setup)[0]
    with rasterio.open(head.targets[head.output.classes]) as dataset:
        return all(
            (dataset.read(1, window=window) == head.output.rule.nodata).all() for _, window in dataset.block_windows(1)
        )


def _translate(
    source: Path, target: Path, head: HeadFiles, layer: str, setup: Setup, context: Context, resampling: str
) -> None:
    context.check()
    stage = f"writing {layer}"
    write_cog(
        source,
        target,
        head.profiles[layer],
        setup.place.result,
        resampling,
        lambda share: context.progress(stage, round(share * 100), 100),
        context.cancelled,
    )


def _sieved(head: HeadFiles, folder: RunFolder, store: ChunkStore, setup: Setup, context: Context) -> Path:
    """The class raster with regions below the minimum mapping unit merged into their neighbours."""
    source = store.whole(head.output.classes)
    job = _job(setup)
    if not job.min_area:
        return source
    target = folder.path / f"{head.output.classes.replace('/', '-')}-sieved.tif"
    sieve(
        source,
        target,
        head.profiles[head.output.classes],
        pixels_of_area(job.min_area, setup.plan.output_grid),
        lambda share: context.progress("merging small areas", round(share * 100), 100),
        context.cancelled,
    )
    return target


def _polygons(raster: Path, head: HeadFiles, setup: Setup, context: Context) -> int:
    """Polygons of the final class raster; their number."""
    assert head.polygons is not None
    grid = setup.place.result or setup.plan.output_grid
    nodata = head.output.rule.nodata
    job = _job(setup)
    polygoniser = Polygoniser(head.polygons, grid, head.legend, nodata, job.min_area, job.simplify)
    try:
        blocks = list(_blocks(grid))
        with rasterio.open(raster) as dataset:
            for done, block in enumerate(blocks):
                context.check()
                context.progress("outlining", done, len(blocks))
                window = RasterioWindow(block.col, block.row, block.width, block.height)
                polygoniser.add(block, dataset.read(1, window=window))
        context.progress("outlining", len(blocks), len(blocks))
        return polygoniser.close()
    except BaseException:
        polygoniser.discard()
        raise


def _class_areas(raster: Path, head: HeadFiles, context: Context) -> list[dict[str, Any]]:
    """Pixels and ground in m2 of each class of the final class raster; None where the ground cannot be told."""
    found = class_areas(raster, head.output.rule.nodata, context.check)
    return [
        {
            "value": info.value,
            "name": info.name,
            "pixels": int(found.pixels[info.value]),
            "area_m2": round(area, 1) if math.isfinite(area := float(found.square_metres[info.value])) else None,
        }
        for info in head.classes
    ]


def _blocks(grid: Grid) -> Iterator[Window]:
    for row in range(0, grid.height, POLYGON_BLOCK):
        for col in range(0, grid.width, POLYGON_BLOCK):
            yield Window(col, row, POLYGON_BLOCK, POLYGON_BLOCK).intersect(grid.window)


def _move(draft: Path, target: Path) -> None:
    """Give a finished raster and its side file their final names, the raster last."""
    try:
        for suffix in (".aux.xml", ""):
            source = draft.with_name(draft.name + suffix)
            if source.exists():
                os.replace(source, target.with_name(target.name + suffix))
    except OSError as error:
        raise OutputError(
            f'"{target}" cannot be written', error.strerror or str(error), "resume the run to try again"
        ) from error

"""From finished chunks to the files of a class map: COG, polygons, description, STAC item."""

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
from backend.scene.chunks import ChunkStore
from backend.scene.run import RunFolder
from backend.tasks.class_maps import ClassMap
from backend.tasks.context import Context
from backend.tasks.outputs import kind_of
from backend.tasks.provenance import MEASURED_CLASSES, write_description
from backend.tasks.task import Setup

# Rows of the class raster that are turned into polygons at a time.
POLYGON_BLOCK = 2048


def deliver(setup: Setup[ClassMap], folder: RunFolder, store: ChunkStore, context: Context) -> dict[str, Any]:
    """Write every result; each head's class raster after its other files, the description of the run at the very end.

    Returns:
        the results by kind and head: paths, the number of polygons, the ground that each class covers.

    Raises:
        Cancelled, OutputError: nothing incomplete carries a final name; the chunks are kept.
    """
    found: dict[str, Any] = {kind: [] for kind in (*ClassMap.kinds, *MEASURED_CLASSES)}
    for head in setup.results:
        for layer, target in sorted(head.targets.items()):
            if layer != head.layer:
                _translate(store.whole(layer), target, head, layer, setup.place.result, context, "bilinear")
                found[kind_of(layer)].append(str(target))
        scene = setup.plan.output_grid
        write_classes(store.whole(head.layer), scene, setup.place.result, head, folder, context, found)
    found |= write_description(setup, folder, found)
    return found


def write_classes(
    source: Path,
    grid: Grid,
    target: Grid | None,
    head: ClassMap,
    folder: RunFolder,
    context: Context,
    found: dict[str, list[Any]],
) -> None:
    """Write a class raster with its polygons and note what its classes cover.

    Args:
        source: raster of the classes on `grid`.
        target: grid of the result; None keeps that of the source.
        head: what the result is.
        found: lists by kind, which are added to.

    Raises:
        Cancelled, OutputError: nothing incomplete carries a final name.
    """
    name = head.layer.replace("/", "-")
    # A file of another folder may lie on another disk, whereto nothing can be moved; it is written there at once.
    draft = folder.path / f"{name}-final.tif" if head.target.parent == folder.path.parent else head.target
    if head.min_area:
        source = _sieved(source, folder.path / f"{name}-sieved.tif", grid, head, context)
    _translate(source, draft, head, head.layer, target, context, "nearest")
    if head.polygons is not None:
        found["polygon_count"].append(_polygons(draft, head.polygons, target or grid, head, context))
        found["polygons"].append(str(head.polygons))
    found["class_areas"].append(_class_areas(draft, head, context))
    if draft != head.target:
        move(draft, head.target)
    found["classes"].append(str(head.target))


def is_empty(setup: Setup[ClassMap]) -> bool:
    """Whether the first class raster holds nodata only; reads as far as its first class."""
    head = setup.results[0]
    with rasterio.open(head.target) as dataset:
        return all((dataset.read(1, window=window) == head.nodata).all() for _, window in dataset.block_windows(1))


def _translate(
    source: Path, target: Path, head: ClassMap, layer: str, grid: Grid | None, context: Context, resampling: str
) -> None:
    context.check()
    stage = f"writing {layer}"
    write_cog(
        source,
        target,
        head.profiles[layer],
        grid,
        resampling,
        lambda share: context.progress(stage, round(share * 100), 100),
        context.cancelled,
    )


def _sieved(source: Path, target: Path, grid: Grid, head: ClassMap, context: Context) -> Path:
    """The class raster with regions below the minimum mapping unit merged into their neighbours."""
    sieve(
        source,
        target,
        head.profiles[head.layer],
        pixels_of_area(head.min_area, grid),
        lambda share: context.progress("merging small areas", round(share * 100), 100),
        context.cancelled,
    )
    return target


def _polygons(raster: Path, target: Path, grid: Grid, head: ClassMap, context: Context) -> int:
    """Polygons of the final class raster; their number."""
    polygoniser = Polygoniser(target, grid, head.legend, head.nodata, head.min_area, head.simplify)
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


def _class_areas(raster: Path, head: ClassMap, context: Context) -> list[dict[str, Any]]:
    """Pixels and ground in m2 of each class of the final class raster; None where the ground cannot be told."""
    found = class_areas(raster, head.nodata, context.check)
    return [
        {
            "value": info.value,
            "name": info.name,
            "pixels": int(found.pixels[info.value]),
            "area_m2": round(area, 1) if math.isfinite(area := float(found.square_metres[info.value])) else None,
        }
        for info in head.classes
        if found.pixels[info.value] or not head.many
    ]


def _blocks(grid: Grid) -> Iterator[Window]:
    for row in range(0, grid.height, POLYGON_BLOCK):
        for col in range(0, grid.width, POLYGON_BLOCK):
            yield Window(col, row, POLYGON_BLOCK, POLYGON_BLOCK).intersect(grid.window)


def move(draft: Path, target: Path) -> None:
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

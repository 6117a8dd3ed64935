"""Samples from Sentinel-2 products in ESA's SAFE format: the products of a tile are the dates of one scene."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from backend.protocol.errors import InputError
from backend.protocol.jobs import InputSpec
from backend.sensors.safe import is_safe
from backend.train.data.readers.rasters import cut
from backend.train.data.sample import Sample

_TILE = re.compile(r"_(T\d\d[A-Z]{3})_")  # of the military grid, in a product's name


def products(folder: Path, size: int = 0, most: int = 0) -> Iterator[Sample]:
    """Samples of all products of a folder, folders or zips, tile by tile.

    Args:
        folder: holds the products, or is one.
        size: pixels of 10 m along a sample's side; 0 for 64.
        most: samples of a tile, spread evenly over it; 0 for all.

    Raises:
        InputError: there is no product.
        SourceError: a product is damaged.
    """
    found = [folder] if is_safe(str(folder)) else [path for path in sorted(folder.iterdir()) if is_safe(str(path))]
    if not found:
        raise InputError(f"{folder} holds no SAFE products", "", "name the folder with the products as downloaded")
    scenes: dict[str, list[Path]] = defaultdict(list)
    for path in found:
        tile = _TILE.search(path.name)
        scenes[tile[1] if tile else path.stem].append(path)
    for name, paths in scenes.items():
        yield from cut(name, {"ms": [InputSpec("ms", (path.as_posix(),)) for path in paths]}, size, most)

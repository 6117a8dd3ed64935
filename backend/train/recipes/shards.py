"""Shards of training samples from folders of images (docs/training-data.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backend.command_line.values import parse_input
from backend.protocol.errors import ParameterError
from backend.train.data.kit_samples import kit_samples
from backend.train.data.map_classes import CELLS, MapClasses
from backend.train.data.readers import bigearthnet, eurosat, fmow, rasters, sentinel2
from backend.train.data.sample import Sample
from backend.train.data.shards import ShardSet, write_shards


@dataclass(frozen=True)
class Shards:
    """What the recipe needs.

    Attributes:
        input: the folder to read.
        output: the folder of shards, empty or new.
        layout: how the folder is laid out.
        size: pixels of a sample's side, for rasters and safe; 0 for the usual number.
        most: samples of a scene, spread evenly over it, for rasters and safe; 0 for all.
        options: for rasters, what their metadata leave open, as in "offset=0;unit=db".
        per_shard: samples of a tar file.
        classes: vector file with map classes.
        class_column: its attribute that names a feature's class.
        class_cells: cells of the rasterised classes along a sample's side.
    """

    input: Path
    output: Path
    layout: Annotated[
        Literal["kit", "rasters", "safe", "bigearthnet", "eurosat", "fmow"], tyro.conf.arg(name="from")
    ]  # `from` is no name in Python
    size: int = 0
    most: int = 0
    options: str = ""
    per_shard: int = 256
    classes: Path | None = None
    class_column: str = "class"
    class_cells: int = CELLS


def run(recipe: Shards) -> dict[str, Any]:
    """Write shards of training samples from rasters, products or a data set as it is downloaded."""
    if not recipe.input.is_dir():
        raise ParameterError(f"{recipe.input} is no folder", "", "name the folder to read")
    samples = _samples(recipe)
    if recipe.classes is not None:
        samples = MapClasses(recipe.classes, recipe.class_column, recipe.class_cells).added(samples)
    written = write_shards(samples, recipe.output, recipe.per_shard)
    if not written:
        raise ParameterError(f"nothing in {recipe.input} makes a sample")
    return {"output": str(recipe.output), "shards": len(written), "samples": len(ShardSet(recipe.output))}


def _samples(recipe: Shards) -> Iterator[Sample]:
    match recipe.layout:
        case "kit":
            return kit_samples(recipe.input)
        case "rasters":
            options = parse_input("ms", f"-::{recipe.options}") if recipe.options else None
            return rasters.scenes(recipe.input, recipe.size, recipe.most, options)
        case "safe":
            return sentinel2.products(recipe.input, recipe.size, recipe.most)
        case "bigearthnet":
            return bigearthnet.patches(recipe.input)
        case "eurosat":
            return eurosat.patches(recipe.input)
        case "fmow":
            return fmow.places(recipe.input)

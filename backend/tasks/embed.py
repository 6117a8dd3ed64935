"""Dense embedding of a scene: an encoder's feature map as a raster of floating-point numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import rasterio

from backend.geo.cog import write_cog
from backend.geo.writer import RasterProfile
from backend.manifest.package import Feature, Package, Tiling
from backend.protocol.errors import PackageError, ParameterError
from backend.protocol.jobs import EmbedJob
from backend.runtime.assembly import Assembly
from backend.scene.chunks import ChunkStore
from backend.scene.finish import FeatureOutput
from backend.scene.run import RunFolder
from backend.tasks.context import Context
from backend.tasks.outputs import RASTER_SUFFIXES, NamedFile, ResultFiles, tags
from backend.tasks.provenance import write_description
from backend.tasks.task import Setup, Task, Work

LAYER = "embedding"


@dataclass(frozen=True, kw_only=True)
class Embedding(ResultFiles):
    """The result of an embedding: one raster."""

    kinds: ClassVar[tuple[str, ...]] = (LAYER,)


def files(job: EmbedJob) -> list[NamedFile]:
    """The files that the job names."""
    return [NamedFile("--output", job.output, RASTER_SUFFIXES)]


def work(job: EmbedJob, assembly: Assembly) -> Work[Embedding]:
    """The chosen feature on its own, coarser grid.

    Raises:
        PackageError, ParameterError: the package is no encoder, or has no such map.
    """
    base = assembly.base
    if base.kind != "encoder" or assembly.heads:
        name = (assembly.heads or (base,))[0].reference
        raise PackageError(f"{name} is no encoder", "an embedding is what an encoder gives", "choose an encoder")
    feature = chosen_map(base, job.feature)
    return Work((_result(job, base, feature),), map_tiling(base, feature), (feature.name,), {"feature": job.feature})


def map_tiling(encoder: Package, feature: Feature) -> Tiling:
    """How a scene is cut on the grid of a map of an encoder."""
    margin = round(encoder.tiling.margin * feature.size / encoder.tiling.window)
    return Tiling(feature.size, 1, min(margin, (feature.size - 1) // 2))


def chosen_map(encoder: Package, name: str | None) -> Feature:
    """The map of this name; by default the one that joins all inputs, else the first one.

    Raises:
        PackageError, ParameterError: there is none.
    """
    maps = [feature for feature in encoder.features if feature.size]
    chosen = [feature for feature in maps if feature.name == name] if name else maps
    if not chosen:
        raise ParameterError(
            f'{encoder.reference} has no map called "{name}"' if name else f"{encoder.reference} gives no map",
            f"its maps are {', '.join(feature.name for feature in maps) or 'none'}",
            "choose one of them with --feature" if maps else "choose another encoder",
        )
    return next((feature for feature in chosen if not feature.slot), chosen[0])


def _result(job: EmbedJob, encoder: Package, feature: Feature) -> Embedding:
    bands = tuple(f"{feature.name} {number + 1}" for number in range(feature.channels))
    profile = RasterProfile(
        "float32", feature.channels, math.nan, bands, tags=tags(encoder), overview_resampling="average"
    )
    return Embedding(
        package=encoder,
        output=FeatureOutput(LAYER, feature.channels),
        profiles={LAYER: profile},
        targets={LAYER: Path(job.output).absolute()},
    )


def deliver(setup: Setup[Embedding], folder: RunFolder, store: ChunkStore, context: Context) -> dict[str, Any]:
    """Write the final raster, then the description of the run.

    Raises:
        Cancelled, OutputError: nothing incomplete carries a final name; the chunks are kept.
    """
    (result,) = setup.results
    context.check()
    write_cog(
        store.whole(LAYER),
        result.target,
        result.profiles[LAYER],
        setup.place.result,
        "bilinear",
        lambda share: context.progress("writing the embedding", round(share * 100), 100),
        context.cancelled,
    )
    found: dict[str, Any] = {LAYER: [str(result.target)]}
    return found | write_description(setup, folder, found)


def is_empty(setup: Setup[Embedding]) -> bool:
    """Whether a finished embedding holds nodata only; reads as far as its first number."""
    (result,) = setup.results
    with rasterio.open(result.target) as dataset:
        return all(np.isnan(dataset.read(1, window=window)).all() for _, window in dataset.block_windows(1))


TASK = Task("embedding", frozenset({"embed"}), files, work, deliver, is_empty)

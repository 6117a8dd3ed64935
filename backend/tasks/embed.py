"""Dense embedding of a scene: an encoder's feature map as a raster of floating-point numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio

from backend.geo.cog import write_cog
from backend.protocol.jobs import EmbedJob
from backend.scene.chunks import ChunkStore
from backend.scene.run import RunFolder
from backend.tasks import scene
from backend.tasks.context import Context
from backend.tasks.outputs import FeatureFiles
from backend.tasks.provenance import write_description
from backend.tasks.setup import Setup


def run(job: EmbedJob, context: Context) -> dict[str, Any]:
    """Write the embedding as a COG, one band per number; see `backend.tasks.scene.run`."""
    return scene.run(job, context, deliver, is_empty)


def deliver(setup: Setup, folder: RunFolder, store: ChunkStore, context: Context) -> dict[str, Any]:
    """Write the final raster, then the description of the run.

    Raises:
        Cancelled, OutputError: nothing incomplete carries a final name; the chunks are kept.
    """
    result = _files(setup)
    layer, target = next(iter(result.targets.items()))
    context.check()
    write_cog(
        store.whole(layer),
        target,
        result.profiles[layer],
        setup.place.result,
        "bilinear",
        lambda share: context.progress("writing the embedding", round(share * 100), 100),
        context.cancelled,
    )
    found: dict[str, Any] = {"embedding": [str(target)]}
    return found | write_description(setup, folder, found)


def is_empty(setup: Setup) -> bool:
    """Whether a finished embedding holds nodata only; reads as far as its first number."""
    with rasterio.open(next(iter(_files(setup).targets.values()))) as dataset:
        return all(np.isnan(dataset.read(1, window=window)).all() for _, window in dataset.block_windows(1))


def _files(setup: Setup) -> FeatureFiles:
    (result,) = setup.heads
    assert isinstance(result, FeatureFiles)
    return result

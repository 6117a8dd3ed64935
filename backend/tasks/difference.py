"""The distance between what an encoder makes of two dates: a raster of numbers, and where these reach a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import rasterio

from backend.geo.cog import write_cog
from backend.geo.threshold import find_threshold, write_above
from backend.geo.writer import RasterProfile
from backend.manifest.package import ClassInfo, Feature, Package
from backend.protocol.jobs import ChangeJob
from backend.scene.chunks import ChunkStore
from backend.scene.decide import NODATA, ClassRule
from backend.scene.finish import FeatureOutput, HeadOutput
from backend.scene.run import RunFolder
from backend.tasks.class_maps import ClassMap, class_profile
from backend.tasks.context import Context
from backend.tasks.deliver import move, write_classes
from backend.tasks.outputs import ResultFiles, tags
from backend.tasks.provenance import write_description
from backend.tasks.task import Setup

LAYER, CLASSES = "difference", "classes"
LARGEST = 2.0  # of opposite embeddings
CHANGE = (ClassInfo(0, "unchanged", "#f0f0f0"), ClassInfo(1, "changed", "#d7301f"))


@dataclass(frozen=True, kw_only=True)
class Difference(ResultFiles):
    """The distance of two dates' embeddings, 1 - cosine: 0 where they point the same way, 1 where they have nothing in
    common, 2 where they are opposite.

    Attributes:
        changed: the class raster made of it, None for none.
        rule: its threshold, see `backend.geo.threshold.parse_threshold`.
    """

    kinds: ClassVar[tuple[str, ...]] = (LAYER, CLASSES, "polygons")

    changed: ClassMap | None = None
    rule: tuple[str, float] = ("otsu", 0.0)


def difference(job: ChangeJob, encoder: Package, feature: Feature, rule: tuple[str, float]) -> Difference:
    """What a job without a head writes."""
    about = {
        **tags(encoder),
        "EARTHPRISM_MEASURE": f"1 - cosine of {feature.name} before and after, 0 (same) to 2 (opposite)",
    }
    profile = RasterProfile(
        "float32", 1, math.nan, ("1 - cosine similarity",), tags=about, overview_resampling="average",
        range=(0.0, LARGEST),
    )  # fmt: skip
    targets = {LAYER: Path(job.output).absolute()}
    changed = _changed(job, encoder)
    return Difference(
        package=encoder,
        output=FeatureOutput(LAYER, 1),
        profiles={LAYER: profile},
        targets=targets if changed is None else {**targets, **changed.targets},
        classes=() if changed is None else changed.classes,
        polygons=None if changed is None else changed.polygons,
        derived={} if changed is None else changed.profiles,
        changed=changed,
        rule=rule,
    )


def _changed(job: ChangeJob, encoder: Package) -> ClassMap | None:
    if job.changed is None:
        return None
    return ClassMap(
        package=encoder,
        output=HeadOutput(ClassRule((0, 1)), CLASSES),
        profiles={CLASSES: class_profile(CHANGE, NODATA, encoder)},
        targets={CLASSES: Path(job.changed).absolute()},
        classes=CHANGE,
        polygons=None if job.polygons is None else Path(job.polygons).absolute(),
        nodata=NODATA,
        min_area=job.min_area,
        simplify=job.simplify,
    )


def distance(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """1 - cosine of embeddings (batch, channels, H, W) -> (batch, 1, H, W) float32, 0 to 2.

    An embedding of length 0 has no direction: its distance to another one of length 0 is 0, to all others 1.
    """
    product = (before * after).sum(axis=1, keepdims=True)
    squares = (before * before).sum(axis=1, keepdims=True), (after * after).sum(axis=1, keepdims=True)
    lengths = np.sqrt(squares[0]) * np.sqrt(squares[1])
    cosine = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0)
    cosine[(squares[0] == 0) & (squares[1] == 0)] = 1.0
    return np.asarray(np.clip(1.0 - cosine, 0.0, LARGEST), np.float32)


def deliver_difference(
    setup: Setup[Difference], folder: RunFolder, store: ChunkStore, context: Context
) -> dict[str, Any]:
    """Write the raster of distances, then what exceeds the threshold, then the description of the run.

    Raises:
        Cancelled, OutputError: nothing incomplete carries a final name; the chunks are kept.
    """
    (result,) = setup.results
    found: dict[str, Any] = {LAYER: []}
    draft = folder.path / f"{LAYER}-final.tif"
    context.check()
    write_cog(
        store.whole(LAYER),
        draft,
        result.profiles[LAYER],
        setup.place.result,
        "bilinear",
        lambda share: context.progress("writing the difference", round(share * 100), 100),
        context.cancelled,
    )
    if result.changed is not None:
        found |= {CLASSES: [], "polygons": [], "polygon_count": [], "class_areas": [], "threshold": []}
        threshold = find_threshold(draft, result.rule, context.check)
        found["threshold"].append(threshold if math.isfinite(threshold) else None)
        above = folder.path / "above.tif"
        write_above(draft, above, threshold, result.changed.profiles[CLASSES], context.check)
        write_classes(above, setup.grid, None, result.changed, folder, context, found)
    move(draft, result.target)
    found[LAYER].append(str(result.target))
    return found | write_description(setup, folder, found)


def is_empty_difference(setup: Setup[Difference]) -> bool:
    """Whether a finished raster of distances holds nodata only; reads as far as its first number."""
    (result,) = setup.results
    with rasterio.open(result.target) as dataset:
        return all(np.isnan(dataset.read(1, window=window)).all() for _, window in dataset.block_windows(1))

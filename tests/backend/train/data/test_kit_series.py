"""Series and radar of the kit, and that no sample of the whole kit shows ground that is tested on."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
import rasterio
from rasterio.warp import transform_bounds

from backend.train.data.kit_series import GHANA
from backend.train.data.sample import Sample

pytestmark = pytest.mark.kit
Bounds = tuple[float, float, float, float]


def ground_of_tests(kit: Path) -> dict[str, Bounds]:
    """Degrees covered by every raster, or folder of rasters, that is in a test or validation split or in a fold."""
    with (kit / "splits.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("test", "val") or row["split"].isdigit()]
    paths = {path for row in rows for path in row["path"].split("|") if not path.endswith((".jpg", ".gpkg"))}
    found = {}
    for path in sorted(paths):
        whole = kit / path
        with rasterio.open(next(whole.glob("s2/*.tif")) if whole.is_dir() else whole) as dataset:
            if dataset.crs is not None:
                found[path] = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    return found


def shared(one: Bounds, other: Bounds) -> float:
    """Common area of two boxes as a share of the first."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height) / ((one[2] - one[0]) * (one[3] - one[1]))


def test_no_sample_shows_ground_that_is_tested_on_but_for_the_reservoir_on_other_days(
    kit: Path, kit_training: list[Sample]
) -> None:
    tested = ground_of_tests(kit)
    assert len(tested) > 150
    met = set()
    for sample in kit_training:
        if sample.place.crs:
            ground = transform_bounds(sample.place.crs, "EPSG:4326", *sample.place.bounds)
            # Tiles of one map touch; the Mercator pixels of two neighbours differ by rounding.
            met |= {(sample.key, path) for path, there in tested.items() if shared(ground, there) > 0.01}
    assert {key.split("-")[0] for key, _ in met} <= {"boadella"}
    assert {path.split("/")[0] for _, path in met} <= {"boadella_s2"}


def test_there_are_series_of_both_sentinels_and_radar(kit_training: list[Sample]) -> None:
    both = [sample for sample in kit_training if {"ms", "sar"} <= set(sample.series)]
    assert len(both) == 8 and sum(len(sample.series["ms"].days) >= 10 for sample in both) == 4
    radar = Counter(sample.key.split("-")[0] for sample in kit_training if "sar" in sample.series)
    assert radar == {"bigearthnet": 4, "openeo_monthly": 4, "openeo_antwerp": 1, "sen1floods11_ghana": 64}
    for sample in kit_training:
        if "sar" in sample.series:
            co, cross = sample.series["sar"].pixels.mean(axis=(0, 2, 3))
            assert -25 < cross < co < 0, sample.key  # decibel


def test_the_chip_without_a_label_is_the_one_that_the_splits_call_unusable(kit: Path) -> None:
    with (kit / "splits.csv").open(newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["path"] == GHANA]
    assert row["split"] == "unusable" and "label" in row["note"]

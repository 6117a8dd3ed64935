"""Water maps of the built-in packages, made by the whole engine, scored on the kit beside the floors.

The optical package is scored on a date that it never saw; the radar package, which was trained on all six chips that
can be scored, only on false alarms on two chips without water (its scores with one chip left out are in its model
card).

    scripts/bench water [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from backend.protocol.jobs import InputSpec, SegmentJob
from backend.tasks.context import Context
from backend.tasks.scene import run
from backend.train.evaluate.segmentation import block_counts, counts, f1, iou, pooled

BLOCK = 48  # pixels; the floors' intervals use the same blocks
OPTICAL = ("boadella_s2/S2_L2A_boadella_2020-09-14.tif", "boadella_s2/water_2020-09-14.tif")
DRY = ("Ghana_53713", "Ghana_97059")


def water_map(modality: str, raster: Path, model: str) -> np.ndarray:
    """Classes (H, W) of a raster, by the engine."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "water.tif"
        run(SegmentJob((InputSpec(modality, (str(raster),)),), (model,), str(output)), Context())
        with rasterio.open(output) as dataset:
            return np.asarray(dataset.read(1))


def label_of(path: Path) -> np.ndarray:
    """Labels (H, W): 1 water, 0 none, -1 not valid."""
    with rasterio.open(path) as dataset:
        return dataset.read(1).astype(np.int16)


def floors(data: Path, task: str, protocol: str) -> list[dict[str, str]]:
    """The rows of the kit's floors for one task and protocol."""
    with open(data / "floors.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == task and row["protocol"].startswith(protocol)]
    return [{key: row[key] for key in ("method", "metric", "value", "ci_low", "ci_high")} for row in rows]


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    data = parser.parse_args().data
    scene, mask = (data / name for name in OPTICAL)
    units = block_counts(water_map("ms", scene, "water-baseline-s2"), label_of(mask), BLOCK)
    alarms: dict[str, Any] = {}
    for chip in DRY:
        radar, label = (
            data / "sen1floods11" / part / f"{chip}_{end}.tif"
            for part, end in (("s1", "S1Hand"), ("label", "LabelHand"))
        )
        found = counts(water_map("sar", radar, "water-baseline-s1"), label_of(label))
        alarms[chip] = round(float(found[1] / max(1, (label_of(label) >= 0).sum())), 4)
    report = {
        "benchmark": "water",
        "water-baseline-s2, other_date": {"IoU": pooled(iou, units).to_dict(), "F1": pooled(f1, units).to_dict()},
        "floors, other_date": floors(data, "water_s2", "other_date"),
        "water-baseline-s1, share of dry pixels called water": alarms,
    }
    json.dump(report, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
